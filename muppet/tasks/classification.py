"""Sentence and sentence-pair prediction (paper §3.1, appendix A.1 entries 1-26), and what is fine-tuned beside them."""

from __future__ import annotations

from dataclasses import replace

from muppet.tasks.task import PARQUET, Row, Task

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
    """The pronoun is marked in the text with asterisks; the candidate it may refer to is the second segment."""
    words = row["text"].split(" ")
    start, pronoun = row["span2_index"], row["span2_text"].split(" ")
    marked = words[:start] + [f"*{' '.join(pronoun)}*"] + words[start + len(pronoun) :]
    return [{"text": " ".join(marked), "pair": row["span1_text"], "label": row["label"]}]


GLUE = Task(
    name="glue",
    family="classification",
    path="nyu-mll/glue",
    licence="as each corpus (GLUE)",
    checked="huggingface.co/datasets/nyu-mll/glue",
)
SUPERGLUE = Task(
    name="superglue",
    family="classification",
    path="aps/super_glue",
    revision=PARQUET,
    licence="as each corpus (SuperGLUE)",
    checked="huggingface.co/datasets/aps/super_glue",
)

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
        GLUE, name="mrpc", config="mrpc", columns=pair("sentence1", "sentence2"), classes=("not_equivalent", "equivalent"),
        metrics=("accuracy", "f1"), train_rows=3668, evaluation_rows=408,
    ),
    replace(
        GLUE, name="qqp", config="qqp", columns=pair("question1", "question2"), classes=("not_duplicate", "duplicate"),
        metrics=("accuracy", "f1"), train_rows=363846, evaluation_rows=40430,
    ),
    replace(
        GLUE, name="mnli", config="mnli", columns=pair("premise", "hypothesis"), classes=NLI,
        evaluation=("validation_matched",), train_rows=392702, evaluation_rows=9815,
    ),
    replace(
        GLUE, name="qnli", config="qnli", columns=pair("question", "sentence"), classes=("entailment", "not_entailment"),
        train_rows=104743, evaluation_rows=5463,
    ),
    replace(
        GLUE, name="rte", config="rte", columns=pair("sentence1", "sentence2"), classes=("entailment", "not_entailment"),
        train_rows=2490, evaluation_rows=277,
    ),
    replace(
        GLUE, name="wnli", config="wnli", columns=pair("sentence1", "sentence2"), classes=("not_entailment", "entailment"),
        train_rows=635, evaluation_rows=71,
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
        SUPERGLUE, name="wic", config="wic", rows=wic, classes=("False", "True"), train_rows=5428, evaluation_rows=638,
        licence="CC BY-NC 4.0",
    ),
    replace(SUPERGLUE, name="wsc", config="wsc", rows=wsc, classes=("False", "True"), train_rows=554, evaluation_rows=104),
    replace(
        SUPERGLUE, name="cb", config="cb", columns=pair("premise", "hypothesis"),
        classes=("entailment", "contradiction", "neutral"), train_rows=250, evaluation_rows=56,
    ),
    Task(
        name="ag_news", family="classification", path="fancyzhx/ag_news", config="default", evaluation=("test",),
        columns=single("text"), classes=("World", "Sports", "Business", "Sci/Tech"), train_rows=120000,
        evaluation_rows=7600, licence="non-commercial", checked="huggingface.co/datasets/fancyzhx/ag_news",
    ),
    Task(
        name="imdb", family="classification", path="stanfordnlp/imdb", config="plain_text", evaluation=("test",),
        columns=single("text"), classes=("neg", "pos"), train_rows=25000, evaluation_rows=25000,
        licence="not stated", checked="huggingface.co/datasets/stanfordnlp/imdb",
    ),
    Task(
        name="multinli", family="classification", path="nyu-mll/multi_nli", config="default",
        evaluation=("validation_matched",), columns=pair("premise", "hypothesis"), classes=NLI, train_rows=392702,
        evaluation_rows=9815, licence="OANC, CC BY 3.0, CC BY-SA 3.0",
        checked="huggingface.co/datasets/nyu-mll/multi_nli", note="the same rows as mnli (A.1 #5 and #18)",
    ),
    Task(
        name="snli", family="classification", path="stanfordnlp/snli", config="plain_text",
        columns=pair("premise", "hypothesis"), classes=NLI, train_rows=550152, evaluation_rows=10000,
        licence="CC BY-SA 4.0", checked="huggingface.co/datasets/stanfordnlp/snli",
        note="785 train and 158 validation rows have no gold label (-1) and are dropped",
    ),
    Task(
        name="hans", family="classification", path="jhu-cogsci/hans", config="plain_text", revision=PARQUET,
        columns=pair("premise", "hypothesis"), classes=("entailment", "non-entailment"), train_rows=30000,
        evaluation_rows=30000, licence="MIT", checked="huggingface.co/datasets/jhu-cogsci/hans",
    ),
    Task(
        name="rotten_tomatoes", family="classification", path="cornell-movie-review-data/rotten_tomatoes",
        config="default", columns=single("text"), classes=("neg", "pos"), train_rows=8530, evaluation_rows=1066,
        licence="not stated", checked="huggingface.co/datasets/cornell-movie-review-data/rotten_tomatoes",
    ),
    Task(
        name="yelp_polarity", family="classification", path="fancyzhx/yelp_polarity", config="plain_text",
        evaluation=("test",), columns=single("text"), classes=("negative", "positive"), train_rows=560000,
        evaluation_rows=38000, licence="Yelp dataset terms", checked="huggingface.co/datasets/fancyzhx/yelp_polarity",
    ),
    Task(
        name="eraser_multirc", family="classification", path="eraser-benchmark/eraser_multi_rc", config="default",
        revision=PARQUET, columns=pair("passage", "query_and_answer"), classes=("False", "True"), train_rows=24029,
        evaluation_rows=3214, licence="not stated",
        checked="huggingface.co/datasets/eraser-benchmark/eraser_multi_rc",
    ),
    Task(
        name="wiki_qa", family="classification", path="microsoft/wiki_qa", config="default",
        columns=pair("question", "answer"), classes=("0", "1"), metrics=("accuracy", "f1"), train_rows=20360,
        evaluation_rows=2733, licence="Microsoft Research Data License",
        checked="huggingface.co/datasets/microsoft/wiki_qa",
    ),
    Task(
        name="trec", family="classification", path="CogComp/trec", config="default", revision=PARQUET,
        evaluation=("test",), columns=single("text", "coarse_label"),
        classes=("ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM"), train_rows=5452, evaluation_rows=500,
        licence="not stated", checked="huggingface.co/datasets/CogComp/trec",
    ),
    Task(
        name="scitail", family="classification", path="allenai/scitail", config="tsv_format",
        columns=pair("premise", "hypothesis"), classes=("entails", "neutral"), train_rows=23097, evaluation_rows=1304,
        licence="Apache-2.0", checked="huggingface.co/datasets/allenai/scitail",
    ),
)

BEYOND = (
    replace(
        GLUE, name="stsb", family="regression", config="stsb", columns=pair("sentence1", "sentence2"),
        metrics=("pearson", "spearman"), train_rows=5749, evaluation_rows=1500, note="scores from 0 to 5",
    ),
)
