"""What the tests of rows as tokens share: a tokenizer in T5's way, and examples of a twin."""

from __future__ import annotations

from collections import Counter

from muppet.families import examples
from muppet.synthetic.twins import corpus
from muppet.synthetic.twins import rows as twin_rows
from muppet.tasks import get


def sentence_pieces():
    """In T5's way: a unigram model whose pieces hold the space before them, and no token in front."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.Unigram())
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=1500, special_tokens=special, unk_token="<unk>", show_progress=False)
    made.train_from_iterator(corpus(), trainer)
    made.post_processor = processors.TemplateProcessing("$A </s>", "$A </s> $B </s>", [("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def twin(task: str, split: str = "train", n: int = 40):
    return list(examples(get(task), split, twin_rows(get(task), split, n), Counter()))
