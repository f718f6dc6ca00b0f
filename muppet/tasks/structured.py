"""Structured prediction (paper Table 5): chunking, parsing, part-of-speech tagging, and named entities beyond it."""

from __future__ import annotations

from muppet.tasks.task import CARD, PARQUET, Row, Task


def iob(kinds: str) -> tuple[str, ...]:
    """The tags of chunks of these kinds in the Hub's order: O, B-first, I-first, …"""
    return ("O", *(f"{mark}-{kind}" for kind in kinds.split() for mark in "BI"))


CHUNKS, ENTITIES = iob("ADJP ADVP CONJP INTJ LST NP PP PRT SBAR UCP VP"), iob("PER ORG LOC MISC")
UPOS = tuple("NOUN PUNCT ADP NUM SYM SCONJ ADJ PART DET CCONJ PROPN PRON X _ ADV INTJ VERB AUX".split())
PENN = tuple(
    "# $ '' , -LRB- -RRB- . : CC CD DT EX FW IN JJ JJR JJS LS MD NN NNP NNPS NNS PDT POS PRP PRP$ RB RBR RBS RP SYM TO"
    " UH VB VBD VBG VBN VBP VBZ WDT WP WP$ WRB ``".split()
)
LDC = "LDC licence (LDC99T42)"
FOLDER = "set MUPPET_PTB to the folder of the original WSJ .mrg files (sections 00 to 24)"
SAMPLE = "train wsj_0001-0159, validation 0160-0179, test 0180-0199: not the standard division"


def upos(row: Row) -> list[Row]:
    """The parts of a contraction are tagged, the contraction itself (`_`) is left out."""
    kept = [(token, tag) for token, tag in zip(row["tokens"], row["upos"]) if UPOS[tag] != "_"]
    return [{"tokens": [token for token, _ in kept], "tags": [tag for _, tag in kept]}]


STRUCTURED = (
    Task(
        name="conll2000", family="tagging", path="eriktks/conll2000", config="default", revision=PARQUET,
        evaluation=("test",), columns=(("tokens", "tokens"), ("tags", "chunk_tags")), classes=CHUNKS,
        metrics=("chunk_f1", "chunk_f1_strict"), train_rows=8936, evaluation_rows=2012,
        licence="not stated (Penn Treebank)", checked="offline mirror; label order: " + CARD + "conll2003",
    ),
    Task(
        name="ptb_pos", family="tagging", path="local/ptb", evaluation=("validation", "test"),
        columns=(("tokens", "tokens"), ("tags", "pos_tags")), classes=PENN, train_rows=39832, evaluation_rows=1700,
        licence=LDC, checked="the Treebank's own README", note=FOLDER,
    ),
    Task(
        name="ptb_parsing", family="parsing", path="local/ptb", evaluation=("validation", "test"),
        columns=(("tree", "tree"),), metrics=("bracket_f1",), train_rows=39832, evaluation_rows=1700, licence=LDC,
        checked="the Treebank's own README", note=FOLDER,
    ),
    Task(
        name="ptb_sample_pos", family="tagging", path="local/ptb_sample", config="default",
        evaluation=("validation", "test"), columns=(("tokens", "tokens"), ("tags", "pos_tags")), classes=PENN,
        train_rows=3396, evaluation_rows=273, licence="non-commercial (NLTK)", checked="offline mirror", note=SAMPLE,
    ),
    Task(
        name="ptb_sample_parsing", family="parsing", path="local/ptb_sample", config="default",
        evaluation=("validation", "test"), columns=(("tree", "tree"),), metrics=("bracket_f1",), train_rows=3396,
        evaluation_rows=273, licence="non-commercial (NLTK)", checked="offline mirror", note=SAMPLE,
    ),
    Task(
        name="ud_pos", family="tagging", path="universal-dependencies/universal_dependencies", config="en_ewt",
        revision=PARQUET, rows=upos, classes=UPOS, train_rows=12543, evaluation_rows=2002, licence="CC BY-SA 4.0",
        checked="offline mirror; label order: public copies of its loader",
    ),
    Task(
        name="conll2003", family="tagging", path="eriktks/conll2003", config="conll2003", revision=PARQUET,
        evaluation=("validation", "test"), columns=(("tokens", "tokens"), ("tags", "ner_tags")), classes=ENTITIES,
        metrics=("chunk_f1", "chunk_f1_strict"), train_rows=14041, evaluation_rows=3250,
        licence="Reuters, research only", checked=CARD + "conll2003",
    ),
)
