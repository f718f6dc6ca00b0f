"""Sentence and sentence-pair prediction (paper §3.1, appendix A.1 entries 1-26), and what is fine-tuned beside them."""

from __future__ import annotations

from dataclasses import replace

from muppet.tasks.task import CARD, PARQUET, TENTHS, Row, Task

NLI = ("entailment", "neutral", "contradiction")


def pair(text: str, second: str, label: str = "label") -> tuple[tuple[str, str], ...]:
    """The columns of a sentence-pair dataset."""
    return (("text", text), ("pair", second), ("label", label))


def single(text: str, label: str = "label") -> tuple[tuple[str, str], ...]:
    """The columns of a single-sentence dataset."""
    return (("text", text), ("label", label))


def wic(row: Row) -> list[Row]:
    """The word in question stands before the first sentence, so that the model knows which word is asked about."""
    return [{"text": f"{row['word']}: {row['sentence1']}", "pair": row["sentence2"], "label": row["label"]}]


def wsc(row: Row) -> list[Row]:
    """The pronoun is marked in the text with asterisks; the candidate it may refer to is the second segment.

    Where the pronoun does not stand at its index, the nearest place at which it does is taken; a row whose text does
    not hold it is left out.
    """
    words, start, pronoun = row["text"].split(" "), row["span2_index"], row["span2_text"]
    length = len(pronoun.split(" "))
    places = [i for i in range(len(words)) if pronoun.lower() in _bare(words[i : i + length])]
    if not places:
        return []
    start = min(places, key=lambda place: abs(place - start))
    said = " ".join(words[start : start + length])
    begin = said.lower().index(pronoun.lower())
    marked = f"{said[:begin]}*{said[begin : begin + len(pronoun)]}*{said[begin + len(pronoun) :]}"
    text = " ".join([*words[:start], marked, *words[start + length :]])
    return [{"text": text, "pair": row["span1_text"], "label": row["label"]}]


def _bare(words: list[str]) -> tuple[str, ...]:
    """Some words as they stand, and without the punctuation around them, in small letters."""
    said = " ".join(words).lower()
    return said, said.strip(".,;:!?\"'()")


def fever(row: Row) -> list[Row]:
    """The repository calls the claim premise and the evidence hypothesis; here, as in ANLI, evidence comes first."""
    verdict = {"SUPPORTS": "entailment", "NOT ENOUGH INFO": "neutral", "REFUTES": "contradiction", "NONE": ""}
    label = verdict.get(row["fever_gold_label"].upper(), row["fever_gold_label"])
    return [{"text": row["hypothesis"], "pair": row["premise"], "label": label}]


GLUE = Task(
    name="glue", family="classification", path="nyu-mll/glue", revision="bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c",
    licence="as each corpus (GLUE)", checked="offline mirror",
)
SUPERGLUE = Task(
    name="superglue", family="classification", path="aps/super_glue",
    revision="3de24cf8022e94f4ee4b9d55a6f539891524d646", licence="as each corpus (SuperGLUE)",
    checked=CARD + "super_glue",
)
ANLI = Task(
    name="anli", family="classification", path="facebook/anli", config="plain_text", revision=PARQUET,
    columns=pair("premise", "hypothesis"), classes=NLI, licence="CC BY-NC 4.0", checked=CARD + "anli",
)
ENTAILS = ("entailment", "not_entailment")

CLASSIFICATION = (
    replace(
        GLUE, name="cola", config="cola", columns=single("sentence"), classes=("unacceptable", "acceptable"),
        metrics=("matthews", "accuracy"), train_rows=8551, evaluation_rows=1043,
    ),
    replace(
        GLUE, name="sst2", config="sst2", columns=single("sentence"), classes=("negative", "positive"),
        train_rows=67349, evaluation_rows=872,
    ),
    replace(
        GLUE, name="mrpc", config="mrpc", columns=pair("sentence1", "sentence2"),
        classes=("not_equivalent", "equivalent"), metrics=("accuracy", "f1"), train_rows=3668, evaluation_rows=408,
    ),
    replace(
        GLUE, name="qqp", config="qqp", columns=pair("question1", "question2"),
        classes=("not_duplicate", "duplicate"), metrics=("accuracy", "f1"), train_rows=363846, evaluation_rows=40430,
    ),
    replace(
        GLUE, name="mnli", config="mnli", columns=pair("premise", "hypothesis"), classes=NLI,
        evaluation=("validation_matched",), train_rows=392702, evaluation_rows=9815,
    ),
    replace(
        GLUE, name="qnli", config="qnli", columns=pair("question", "sentence"), classes=ENTAILS, train_rows=104743,
        evaluation_rows=5463,
    ),
    replace(
        GLUE, name="rte", config="rte", columns=pair("sentence1", "sentence2"), classes=ENTAILS, train_rows=2490,
        evaluation_rows=277,
    ),
    replace(
        GLUE, name="wnli", config="wnli", columns=pair("sentence1", "sentence2"),
        classes=("not_entailment", "entailment"), train_rows=635, evaluation_rows=71,
        checked="the GLUE card's features",
    ),
    replace(
        SUPERGLUE, name="superglue", config="rte", columns=pair("premise", "hypothesis"), classes=ENTAILS,
        train_rows=2490, evaluation_rows=277,
        note="A.1 #9 names the benchmark beside all its sets; its copy of RTE stands for it",
    ),
    replace(
        SUPERGLUE, name="boolq", config="boolq", columns=pair("question", "passage"), classes=("False", "True"),
        train_rows=9427, evaluation_rows=3270, licence="CC BY-SA 3.0",
    ),
    replace(
        SUPERGLUE, name="multirc", config="multirc", columns=pair("paragraph", "question + answer"),
        classes=("False", "True"), metrics=("accuracy", "f1"), train_rows=27243, evaluation_rows=4848,
    ),
    replace(
        SUPERGLUE, name="wic", config="wic", rows=wic, classes=("False", "True"), train_rows=5428,
        evaluation_rows=638, licence="CC BY-NC 4.0",
    ),
    replace(
        SUPERGLUE, name="wsc", config="wsc", rows=wsc, classes=("False", "True"), train_rows=554, evaluation_rows=104,
    ),
    replace(
        SUPERGLUE, name="cb", config="cb", columns=pair("premise", "hypothesis"),
        classes=("entailment", "contradiction", "neutral"), metrics=("accuracy", "macro_f1"), train_rows=250,
        evaluation_rows=56,
    ),
    Task(
        name="ag_news", family="classification", path="fancyzhx/ag_news", config="default",
        revision="eb185aade064a813bc0b7f42de02595523103ca4", evaluation=("test",), columns=single("text"),
        classes=("World", "Sports", "Business", "Sci/Tech"), train_rows=120000, evaluation_rows=7600,
        licence="non-commercial", checked="offline mirror",
    ),
    Task(
        name="imdb", family="classification", path="stanfordnlp/imdb", config="plain_text",
        revision="e6281661ce1c48d982bc483cf8a173c1bbeb5d31", evaluation=("test",), columns=single("text"),
        classes=("neg", "pos"), train_rows=25000, evaluation_rows=25000, licence="not stated",
        checked="offline mirror",
    ),
    Task(
        name="multinli", family="classification", path="nyu-mll/multi_nli", config="default",
        revision="da70db2af9d09693783c3320c4249840212ee221", evaluation=("validation_matched",),
        columns=pair("premise", "hypothesis"), classes=NLI, train_rows=392702, evaluation_rows=9815,
        licence="OANC, CC BY 3.0, CC BY-SA 3.0", checked=CARD + "multi_nli",
        note="the rows of mnli again (A.1 #5, #18)",
    ),
    Task(
        name="snli", family="classification", path="stanfordnlp/snli", config="plain_text",
        revision="cdb5c3d5eed6ead6e5a341c8e56e669bb666725b", columns=pair("premise", "hypothesis"), classes=NLI,
        train_rows=549367, evaluation_rows=9842, licence="CC BY-SA 4.0", checked="offline mirror",
        note="another 785 train and 158 validation rows have no gold label",
    ),
    Task(
        name="hans", family="classification", path="jhu-cogsci/hans", config="plain_text", revision=PARQUET,
        columns=pair("premise", "hypothesis"), classes=("entailment", "non-entailment"), train_rows=30000,
        evaluation_rows=30000, licence="MIT", checked=CARD + "hans",
    ),
    Task(
        name="rotten_tomatoes", family="classification", path="cornell-movie-review-data/rotten_tomatoes",
        config="default", revision="aa13bc287fa6fcab6daf52f0dfb9994269ffea28", columns=single("text"),
        classes=("neg", "pos"), train_rows=8530, evaluation_rows=1066, licence="not stated", checked="offline mirror",
    ),
    Task(
        name="yelp_polarity", family="classification", path="fancyzhx/yelp_polarity", config="plain_text",
        revision=PARQUET, evaluation=("test",), columns=single("text"), classes=("negative", "positive"),
        train_rows=560000, evaluation_rows=38000, licence="Yelp dataset terms", checked=CARD + "yelp_polarity",
    ),
    Task(
        name="eraser_multirc", family="classification", path="eraser-benchmark/eraser_multi_rc", config="default",
        revision=PARQUET, columns=pair("passage", "query_and_answer"), classes=("False", "True"),
        metrics=("accuracy", "f1"), train_rows=24029, evaluation_rows=3214, licence="not stated",
        checked="offline mirror", note="MultiRC's questions again",
    ),
    Task(
        name="wiki_qa", family="classification", path="microsoft/wiki_qa", config="default", revision=PARQUET,
        columns=pair("question", "answer"), classes=("0", "1"), metrics=("accuracy", "f1"), train_rows=20360,
        evaluation_rows=2733, licence="Microsoft Research Data License", checked="offline mirror",
    ),
    Task(
        name="trec", family="classification", path="CogComp/trec", config="default", revision=PARQUET,
        evaluation=("test",), columns=single("text", "coarse_label"),
        classes=("ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM"), train_rows=5452, evaluation_rows=500,
        licence="not stated", checked=CARD + "trec",
    ),
    Task(
        name="scitail", family="classification", path="allenai/scitail", config="tsv_format",
        revision="0cc4353235b289165dfde1c7c5d1be983f99ce44", columns=pair("premise", "hypothesis"),
        classes=("entails", "neutral"), train_rows=23097, evaluation_rows=1304, licence="Apache-2.0",
        checked=CARD + "scitail",
    ),
)

BEYOND = (
    replace(
        GLUE, name="stsb", family="regression", config="stsb", columns=pair("sentence1", "sentence2"),
        metrics=("pearson", "spearman"), train_rows=5749, evaluation_rows=1500, note="scores from 0 to 5",
    ),
    Task(
        name="hyperpartisan", family="classification", path="SemEvalWorkshop/hyperpartisan_news_detection",
        config="byarticle", revision=PARQUET, evaluation=("validation", "test"),
        columns=single("text", "hyperpartisan"), classes=("False", "True"), metrics=("accuracy", "f1"),
        partition=TENTHS, train_rows=645, evaluation_rows=64, licence="CC BY 4.0",
        checked=CARD + "hyperpartisan_news_detection", note="the original has one split: ours are 80/10/10 (P15)",
    ),
    *(
        replace(
            ANLI, name=f"anli_r{k}", train=f"train_r{k}", evaluation=(f"dev_r{k}", f"test_r{k}"), train_rows=train,
            evaluation_rows=evaluation, note="premises come from HotpotQA's paragraphs" if k < 3 else "",
        )
        for k, train, evaluation in ((1, 16946, 1000), (2, 45460, 1000), (3, 100459, 1200))
    ),
    Task(
        name="fever_nli", family="classification", path="pietrolesci/nli_fever", config="default", revision=PARQUET,
        evaluation=("dev",), rows=fever, classes=NLI, train_rows=208346, evaluation_rows=19998,
        licence="CC BY-SA 3.0, GPL-3.0",
        checked="public code that reads it; github.com/easonnie/combine-FEVER-NSMN, nli_fever.md",
    ),
)
