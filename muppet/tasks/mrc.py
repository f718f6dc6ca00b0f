"""Machine reading comprehension as span prediction (paper §3.1 "MRC", appendix A.1 entries 42-47).

The paper does not say how answers that are no span of a context were learnt (P31): here they are dropped and counted.
"""

from __future__ import annotations

from typing import Any

from muppet.tasks.task import CARD, PARQUET, Row, Task, occurrences

SQUAD = (("id", "id"), ("question", "question"), ("context", "context"), ("answers", "answers"))
TRIVIA_WORDS = 800  # words of each document that are read, as the MRQA 2019 shared task does


def answers(texts: list[str], starts: list[int] | None = None) -> dict[str, list[Any]]:
    """Answers in SQuAD's shape; without `starts` each is looked for in the context."""
    return {"text": texts, "answer_start": [-1] * len(texts) if starts is None else starts}


def natural_questions(row: Row) -> list[Row]:
    """The long answer's text is the context, its short answers the spans; a question without a short one is dropped."""
    document, notes = row["document"]["tokens"], row["annotations"]
    gold: list[str] = []
    found: Row | None = None
    for long, short in zip(notes["long_answer"], notes["short_answers"]):
        first, last = long["start_token"], long["end_token"]
        if first < 0 or not short["start_token"]:
            continue
        words = [(i, document["token"][i]) for i in range(first, last) if not document["is_html"][i]]
        places, context = {}, ""
        for index, word in words:
            context += " " if context else ""
            places[index] = len(context), len(context) + len(word)
            context += word
        spans = []
        for begin, end in zip(short["start_token"], short["end_token"]):
            inside = [places[i] for i in range(begin, end) if i in places]
            if inside:
                spans.append((inside[0][0], context[inside[0][0] : inside[-1][1]]))
        gold += [text for _, text in spans]
        if spans and found is None:
            question = {"id": row["id"], "question": row["question"]["text"], "context": context}
            found = question | {"answers": answers([text for _, text in spans], [start for start, _ in spans])}
    return [] if found is None else [found | {"gold": gold}]


def drop(row: Row) -> list[Row]:
    """Answers that are spans or dates written in the passage; numbers, which are counted or computed, are dropped.

    An annotator's answer may be several spans, which count together; each span that the passage holds is learnt.
    """
    spans, types = row["answers_spans"]["spans"], row["answers_spans"]["types"]
    texts = [text for text, kind in zip(spans, types) if kind != "number" and text.strip()]
    if not any(text in row["passage"] for text in texts):
        return []
    roles = {"id": row["query_id"], "question": row["question"], "context": row["passage"]}
    return [roles | {"answers": answers(texts), "gold": _annotators(spans, types)}]


def _annotators(spans: list[str], types: list[str]) -> list[list[str]]:
    """DROP's answers, one per annotator: the Hub's rows list the spans of all of them one after another.

    A number or date is an answer of its own, and so is a span that repeats one of the answer before it, or is part of
    one, or holds one: no annotator marks a span twice. Two annotators with wholly different spans cannot be told from
    one with both; they are read as one.
    """
    parted: list[list[str]] = []
    before = ""
    for text, kind in zip(spans, types):
        if not text.strip():
            continue
        if kind == before == "span" and not any(_overlap(text, other) for other in parted[-1]):
            parted[-1].append(text)
        else:
            parted.append([text])
        before = kind
    return [list(answer) for answer in dict.fromkeys(map(tuple, parted))]


def _overlap(one: str, other: str) -> bool:
    ours, theirs = f" {one.lower()} ", f" {other.lower()} "
    return ours in theirs or theirs in ours


def record(row: Row) -> list[Row]:
    """A cloze question; the answers are the entities that fill it, where the passage mentions them."""
    spans = row["entity_spans"]
    mentions = [(t, s) for t, s in zip(spans["text"], spans["start"]) if t in row["answers"]]
    if not mentions:
        return []
    name = f"{row['idx']['passage']}-{row['idx']['query']}"
    roles = {"id": name, "question": row["query"], "context": row["passage"], "gold": row["answers"]}
    return [roles | {"answers": answers([t for t, _ in mentions], [s for _, s in mentions])}]


def hotpot(row: Row) -> list[Row]:
    """The ten paragraphs make one context; the answer is sought in the supporting sentences first, then anywhere."""
    if row["answer"] in ("yes", "no"):
        return []
    facts = set(zip(row["supporting_facts"]["title"], row["supporting_facts"]["sent_id"]))
    context, starts = "", []
    for title, sentences in zip(row["context"]["title"], row["context"]["sentences"]):
        context += ("\n" if context else "") + title + "\n"
        for number, sentence in enumerate(sentences):
            if (title, number) in facts and (places := occurrences(sentence, row["answer"])):
                starts.append(len(context) + places[0])
            context += sentence
    starts = starts or occurrences(context, row["answer"])[:1]
    if not starts:
        return []
    roles = {"id": row["id"], "question": row["question"], "context": context, "gold": [row["answer"]]}
    return [roles | {"answers": answers([row["answer"]] * len(starts), starts)}]


def trivia(row: Row) -> list[Row]:
    """The first document that mentions an alias of the answer early on (distant supervision, as in MRQA 2019).

    The gold answers are the normalised aliases, as the dataset's own script has them.
    """
    names = list(dict.fromkeys([row["answer"]["value"], *row["answer"]["aliases"]]))
    for document in [*row["entity_pages"]["wiki_context"], *row["search_results"]["search_context"]]:
        context = " ".join(document.split()[:TRIVIA_WORDS])
        present = [name for name in names if name and name in context]
        if present:
            gold = row["answer"].get("normalized_aliases") or names
            roles = {"id": row["question_id"], "question": row["question"], "context": context, "gold": gold}
            return [roles | {"answers": answers(present)}]
    return []


MRC = (
    Task(
        name="squad", family="span", path="rajpurkar/squad", config="plain_text",
        revision="7b6d24c440a36b6815f21b70d25016731768db1f", columns=SQUAD, metrics=("f1", "em"), no_answer=False,
        train_rows=87599, evaluation_rows=10570, licence="CC BY-SA 4.0", checked="offline mirror",
    ),
    Task(
        name="nq", family="span", path="google-research-datasets/natural_questions", config="default",
        revision="e8103d566bef4154c2c12b17c6095ec5275840cc", rows=natural_questions, metrics=("f1", "em"),
        no_answer=False, train_rows=307373, evaluation_rows=7830, licence="CC BY-SA 3.0",
        checked="huggingface.co/datasets/google-research-datasets/natural_questions, README at the revision",
        note="about 100 GB; two in three questions have no short answer and are dropped",
    ),
    Task(
        name="drop", family="span", path="ucinlp/drop", config="default", revision=PARQUET, rows=drop,
        metrics=("drop_f1", "drop_em"), no_answer=False, train_rows=77400, evaluation_rows=9535,
        licence="CC BY-SA 4.0", checked=CARD + "drop; huggingface.co/datasets/ucinlp/drop",
    ),
    Task(
        name="record", family="span", path="aps/super_glue", config="record",
        revision="3de24cf8022e94f4ee4b9d55a6f539891524d646", rows=record, metrics=("record_f1", "record_em"),
        no_answer=False, train_rows=100730, evaluation_rows=10000, licence="as the news texts (SuperGLUE)",
        checked=CARD + "super_glue",
    ),
    Task(
        name="hotpotqa", family="span", path="hotpotqa/hotpot_qa", config="distractor",
        revision="1908d6afbbead072334abe2965f91bd2709910ab", rows=hotpot, metrics=("f1", "em"), no_answer=False,
        carved="carved_from_validation", train_rows=90447, evaluation_rows=7405, licence="CC BY-SA 4.0",
        checked="offline mirror",
    ),
    Task(
        name="triviaqa", family="span", path="mandarjoshi/trivia_qa", config="rc",
        revision="0f7faf33a3908546c6fd5b73a660e0f8ff173c2f", rows=trivia,
        metrics=("trivia_f1", "trivia_em"), no_answer=False,
        train_rows=138384, evaluation_rows=17944, licence="not stated",
        checked="tensorflow.org/datasets/catalog/trivia_qa, same fields",
        note="scored over the questions that have a document with an alias in its first 800 words, one document each",
    ),
)

BEYOND = (
    Task(
        name="squad_v2", family="span", path="rajpurkar/squad_v2", config="squad_v2",
        revision="3ffb306f725f7d2ce8394bc1873b24868140c412", columns=SQUAD, metrics=("f1", "em"), no_answer=True,
        carved="carved_from_validation", train_rows=130319, evaluation_rows=11873, licence="CC BY-SA 4.0",
        checked="offline mirror",
    ),
)
