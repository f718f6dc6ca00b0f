"""Synthetic twins: rows in each dataset's own columns, for runs without any download.

They are made up and easy on purpose: a label is told by words of a small lexicon that means the same in every task
(`good` words go with yes, positive, entailment and the right answer), so that a two-layer model learns it in a hundred
small updates and what one task teaches helps the next.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from muppet.synthetic import own, texts
from muppet.synthetic.lexicon import FUNCTION, lexicons, sentence, word
from muppet.synthetic.shapes import INDEX, NLI, NO_YES, TOPICS, YES_NO, Maker, choices, pair, similarity, single
from muppet.tasks.task import Row, Task

VERSION = 2  # a change of the rows raises it


def rows(task: Task, split: str, n: int) -> list[Row]:
    """The first `n` rows of the twin of `split`, in the dataset's own columns."""
    rng, make = random.Random(f"{task.path}/{task.config}/{split}/0"), maker(task)
    return [make(rng, index) for index in range(n)]


def maker(task: Task) -> Maker:
    """What makes the rows of the task's twin. Raises UserError for a task that has none."""
    return MAKERS.get(task.name) or own.maker_of(task)


def corpus() -> Iterator[str]:
    """Text to train a tokenizer on: every word of the twins, several times."""
    fixed = "What was the cause of this ? What happened as a result ? @placeholder : * _ twin".split()
    for words in (*lexicons().values(), FUNCTION, fixed, map(str, range(100))):
        words = tuple(words)
        for _ in range(3):
            yield " ".join(words)


def _wic(rng: random.Random, index: int) -> Row:
    row = pair("sentence1", "sentence2", NO_YES)(rng, index)
    target = word(rng, "noun")
    first, second = f"{target} {row['sentence1']}", f"{target} {row['sentence2']}"
    places = {"start1": 0, "start2": 0, "end1": len(target), "end2": len(target)}
    return {"word": target, "sentence1": first, "sentence2": second, **places, "idx": index, "label": row["label"]}


def _wsc(rng: random.Random, index: int) -> Row:
    row = single("text", NO_YES)(rng, index)
    name = word(rng, "name")
    words = [name, *row["text"].split(" "), "it", "."]
    return {
        "text": " ".join(words), "span1_index": 0, "span2_index": len(words) - 2, "span1_text": name,
        "span2_text": "it", "idx": index, "label": row["label"],
    }


def _multirc(rng: random.Random, index: int) -> Row:
    row = pair("paragraph", "answer", NO_YES)(rng, index)
    row["question"] = f"what {word(rng, 'verb')} ?"
    return row | {"idx": {"paragraph": index // 6, "question": index // 3, "answer": index}}


def _keyed(question: str, n: int, numbered: float = 0.0, **extra: object) -> Maker:
    def make(rng: random.Random, index: int) -> Row:
        texts, right = choices(rng, n)
        keys = [str(k + 1) if rng.random() < numbered else "ABCDE"[k] for k in range(n)]
        if numbered and keys[0].isdigit() != keys[-1].isdigit():  # one way of naming in one row
            keys = [str(k + 1) for k in range(n)]
        return {
            "id": f"twin{index}", question: sentence(rng, []), "choices": {"text": texts, "label": keys},
            "answerKey": keys[right],
        } | extra

    return make


def _hellaswag(rng: random.Random, index: int) -> Row:
    endings, right = choices(rng, 4)
    a, b = sentence(rng, []), word(rng, "noun")
    return {
        "ind": index, "activity_label": word(rng, "noun"), "ctx_a": a, "ctx_b": b, "ctx": f"{a} {b}",
        "endings": endings, "source_id": "twin", "split": "train", "split_type": "indomain", "label": str(right),
    }


def _swag(rng: random.Random, index: int) -> Row:
    endings, right = choices(rng, 4)
    a, b = sentence(rng, []), word(rng, "noun")
    return {
        "video-id": "twin", "fold-ind": str(index), "startphrase": f"{a} {b}", "sent1": a, "sent2": b,
        "gold-source": "gold", **{f"ending{k}": ending for k, ending in enumerate(endings)}, "label": right,
    }


def _race(rng: random.Random, index: int) -> Row:
    options, right = choices(rng, 4)
    return {
        "example_id": f"twin{index}", "article": " ".join(sentence(rng, []) for _ in range(2)), "answer": "ABCD"[right],
        "question": f"what {word(rng, 'verb')} ?", "options": options,
    }


def _copa(rng: random.Random, index: int) -> Row:
    (first, second), right = choices(rng, 2)
    return {
        "premise": sentence(rng, []), "choice1": first, "choice2": second,
        "question": rng.choice(("cause", "effect")), "idx": index, "label": right,
    }


def _cosmos(rng: random.Random, index: int) -> Row:
    answers, right = choices(rng, 4)
    return {
        "id": f"twin{index}", "context": sentence(rng, []), "question": f"what {word(rng, 'verb')} ?",
        **{f"answer{k}": answer for k, answer in enumerate(answers)}, "label": right,
    }


def _math(rng: random.Random, index: int) -> Row:
    answers, right = choices(rng, 5)
    options = " , ".join(f"{'abcde'[k]} ) {answer}" for k, answer in enumerate(answers))
    return {
        "Problem": sentence(rng, []), "Rationale": "", "options": options, "correct": "abcde"[right],
        "annotated_formula": "", "linear_formula": "", "category": "general",
    }


def _sciq(rng: random.Random, index: int) -> Row:
    answers, right = choices(rng, 4)
    correct = answers.pop(right)
    return {
        "question": f"what {word(rng, 'verb')} {word(rng, 'noun')} ?", "distractor3": answers[2],
        "distractor1": answers[0], "distractor2": answers[1], "correct_answer": correct, "support": sentence(rng, []),
    }


def _piqa(rng: random.Random, index: int) -> Row:
    answers, right = choices(rng, 2)
    return {"goal": sentence(rng, []), "sol1": answers[0], "sol2": answers[1], "label": right}


def _social(rng: random.Random, index: int) -> Row:
    answers, right = choices(rng, 3)
    named = {f"answer{'ABC'[k]}": answer for k, answer in enumerate(answers)}
    return {"context": sentence(rng, []), "question": f"why {word(rng, 'verb')} ?"} | named | {"label": str(right + 1)}


def _winogrande(rng: random.Random, index: int) -> Row:
    options, right = choices(rng, 2)
    text = f"{sentence(rng, [])[:-2]} because _ was {word(rng, 'adjective')} ."
    return {"sentence": text, "option1": options[0], "option2": options[1], "answer": str(right + 1)}


def _hyperpartisan(rng: random.Random, index: int) -> Row:
    row = single("text", NO_YES)(rng, index)
    more = {"title": "twin", "url": "", "published_at": "2020-01-01"}
    return {"text": row["text"], "hyperpartisan": bool(row["label"])} | more


def _fever(rng: random.Random, index: int) -> Row:
    """The claim is called premise, as in the original."""
    row = pair("hypothesis", "premise", NLI)(rng, index)
    verdict = ("SUPPORTS", "NOT ENOUGH INFO", "REFUTES")[row["label"]]
    return row | {"cid": index, "fid": f"twin{index}", "fever_gold_label": verdict}


MAKERS: dict[str, Maker] = {
    "cola": single("sentence", NO_YES, idx=INDEX),
    "sst2": single("sentence", NO_YES, idx=INDEX),
    "mrpc": pair("sentence1", "sentence2", NO_YES, idx=INDEX),
    "qqp": pair("question1", "question2", NO_YES, idx=INDEX),
    "mnli": pair("premise", "hypothesis", NLI, idx=INDEX),
    "qnli": pair("question", "sentence", YES_NO, idx=INDEX),
    "rte": pair("sentence1", "sentence2", YES_NO, idx=INDEX),
    "wnli": pair("sentence1", "sentence2", NO_YES, idx=INDEX),
    "stsb": similarity,
    "boolq": pair("question", "passage", NO_YES, idx=INDEX),
    "multirc": _multirc,
    "wic": _wic,
    "wsc": _wsc,
    "cb": pair("premise", "hypothesis", ("good", "bad", "maybe"), idx=INDEX),
    "copa": _copa,
    "ag_news": single("text", TOPICS[:4]),
    "imdb": single("text", NO_YES),
    "multinli": pair(
        "premise", "hypothesis", NLI, promptID=INDEX, pairID="twin", premise_binary_parse="", premise_parse="",
        hypothesis_binary_parse="", hypothesis_parse="", genre="twin",
    ),
    "snli": pair("premise", "hypothesis", NLI),
    "hans": pair(
        "premise", "hypothesis", YES_NO, parse_premise="", parse_hypothesis="", binary_parse_premise="",
        binary_parse_hypothesis="", heuristic="twin", subcase="twin", template="twin",
    ),
    "rotten_tomatoes": single("text", NO_YES),
    "yelp_polarity": single("text", NO_YES),
    "eraser_multirc": pair("passage", "query_and_answer", NO_YES, evidences=["twin"]),
    "wiki_qa": pair("question", "answer", NO_YES, question_id="Q1", document_title="twin"),
    "trec": single("text", TOPICS, "coarse_label", fine_label=0),
    "scitail": pair("premise", "hypothesis", ("good", "maybe"), names=("entails", "neutral")),
    "math_qa": _math,
    "openbookqa": _keyed("question_stem", 4),
    "swag": _swag,
    "hellaswag": _hellaswag,
    "race": _race,
    "commonsense_qa": _keyed("question", 5, question_concept="twin"),
    "cosmos_qa": _cosmos,
    "arc_easy": _keyed("question", 4, numbered=0.04),
    "arc_challenge": _keyed("question", 4, numbered=0.02),
    "sciq": _sciq,
    "piqa": _piqa,
    "social_i_qa": _social,
    "winogrande": _winogrande,
    "squad": texts.squad(1.0),
    "squad_v2": texts.squad(0.6),
    "nq": texts.natural_questions,
    "drop": texts.drop,
    "record": texts.record,
    "hotpotqa": texts.hotpot,
    "triviaqa": texts.trivia,
    "superglue": pair("premise", "hypothesis", YES_NO, idx=INDEX),
    "hyperpartisan": _hyperpartisan,
    **{f"anli_r{k}": pair("premise", "hypothesis", NLI, uid="twin", reason="") for k in (1, 2, 3)},
    "fever_nli": _fever,
    "cnn_dailymail": texts.summary("article", "highlights", 2, id="INDEX"),
    "billsum": texts.summary("text", "summary", title="twin"),
    "xsum": texts.summary("document", "summary", id="INDEX"),
    "aeslc": texts.summary("email_body", "subject_line"),
    "multi_news": texts.summary("document", "summary", 2),
    "gigaword": texts.summary("document", "summary"),
    "reddit_tifu": texts.summary(
        "documents", "tldr", ups=1.0, num_comments=1.0, upvote_ratio=1.0, score=1.0, title="twin"
    ),
    "arxiv": texts.summary("article", "abstract", 2, section_names="twin"),
    "pubmed": texts.summary("article", "abstract", 2, section_names="twin"),
    "bigpatent": texts.summary("description", "abstract", 2),
    "conll2000": texts.conll2000,
    "conll2003": texts.conll2003,
    "ptb_pos": texts.treebank(),
    "ptb_parsing": texts.treebank(),
    "ptb_sample_pos": texts.treebank(tree_clean="tree"),
    "ptb_sample_parsing": texts.treebank(tree_clean="tree"),
    "ud_pos": texts.universal,
}
