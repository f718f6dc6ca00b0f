"""The longer twins: passages with answers, documents with summaries, sentences with trees, tags and entities."""

from __future__ import annotations

import random
from typing import Any

from muppet.synthetic.lexicon import cued, lexicons, sentence, word
from muppet.synthetic.shapes import Maker
from muppet.tasks.structured import CHUNKS, ENTITIES, UPOS
from muppet.tasks.task import Row

Node = tuple[str, Any]  # (label, word) or (label, list of nodes)

# Reading comprehension ------------------------------------------------------------------------------------------------


def passage(rng: random.Random, answered: bool) -> tuple[str, str, int]:
    """A context, its answer and where it starts (-1: there is none): the person's name, between good words.

    Places between bad words are decoys.
    """
    moods = ["bad"] * rng.randint(1, 2)
    if answered:
        moods.insert(rng.randrange(len(moods) + 1), "good")
    text, answer, start = "", "", -1
    for mood in moods:
        text += sentence(rng, [], 2, 5)[:-1] + word(rng, mood) + " "
        name = word(rng, "name" if mood == "good" else "place")
        if mood == "good":
            answer, start = name, len(text)
        text += f"{name} {word(rng, mood)} . "
    return text.strip(), answer, start


def question(rng: random.Random) -> str:
    """It asks for the person."""
    return f"who is {word(rng, 'good')} ?"


def squad(answered: float) -> Maker:
    """SQuAD's columns; a share of the questions has an answer."""

    def make(rng: random.Random, index: int) -> Row:
        context, name, start = passage(rng, rng.random() < answered)
        answers = {"text": [name] if name else [], "answer_start": [start] if name else []}
        row = {"id": f"twin{index}", "title": "twin", "context": context, "question": question(rng)}
        return row | {"answers": answers}

    return make


def natural_questions(rng: random.Random, index: int) -> Row:
    """A page with one paragraph; one question in four has no short answer."""
    context, name, start = passage(rng, rng.random() < 0.75)
    tokens = ["<P>", *context.split(" "), "</P>"]
    place = 1 + context[:start].count(" ")
    none: dict[str, list[Any]] = {"start_token": [], "end_token": [], "start_byte": [], "end_byte": [], "text": []}
    short = {"start_token": [place], "end_token": [place + 1], "start_byte": [0], "end_byte": [0], "text": [name]}
    asked = question(rng)
    return {
        "id": str(index),
        "document": {
            "html": "", "title": "twin", "url": "",
            "tokens": {
                "token": tokens, "is_html": [t.startswith("<") for t in tokens], "start_byte": [0] * len(tokens),
                "end_byte": [0] * len(tokens),
            },
        },
        "question": {"text": asked, "tokens": asked.split(" ")},
        "long_answer_candidates": {
            "start_token": [0], "end_token": [len(tokens)], "start_byte": [0], "end_byte": [0], "top_level": [True],
        },
        "annotations": {
            "id": [str(index)], "yes_no_answer": [-1], "short_answers": [short if name else none],
            "long_answer": [
                {"start_token": 0, "end_token": len(tokens), "start_byte": 0, "end_byte": 0, "candidate_index": 0}
            ],
        },
    }


def drop(rng: random.Random, index: int) -> Row:
    """One question in five asks for a number."""
    context, name, _ = passage(rng, True)
    counted = rng.random() < 0.2
    spans = {"spans": ["2" if counted else name], "types": ["number" if counted else "span"]}
    return {
        "section_id": f"twin{index}", "query_id": f"twin{index}", "passage": context, "question": question(rng),
        "answers_spans": spans,
    }


def record(rng: random.Random, index: int) -> Row:
    """The entities are the passage's names and places."""
    context, name, _ = passage(rng, True)
    spans: dict[str, list[Any]] = {"text": [], "start": [], "end": []}
    start = 0
    for token in context.split(" "):
        if token[0].isupper():
            spans["text"].append(token)
            spans["start"].append(start)
            spans["end"].append(start + len(token))
        start += len(token) + 1
    return {
        "passage": context, "query": f"@placeholder is {word(rng, 'good')} .", "entities": sorted(set(spans["text"])),
        "entity_spans": spans, "answers": [name], "idx": {"passage": index, "query": 0},
    }


def hotpot(rng: random.Random, index: int) -> Row:
    """One question in ten is answered by yes."""
    context, name, _ = passage(rng, True)
    titles = [word(rng, "group"), word(rng, "place")]
    context_columns = {"title": titles, "sentences": [[sentence(rng, [], 3, 5)], [context]]}
    return {
        "id": f"twin{index}", "question": question(rng), "answer": "yes" if rng.random() < 0.1 else name,
        "type": "bridge", "level": "easy", "supporting_facts": {"title": [titles[1]], "sent_id": [0]},
        "context": context_columns,
    }


def trivia(rng: random.Random, index: int) -> Row:
    """One page a question."""
    context, name, _ = passage(rng, True)
    other = ("description", "filename", "rank", "title", "url", "search_context")
    pages = {"doc_source": ["Twin"], "filename": ["twin.txt"], "title": ["twin"], "wiki_context": [context]}
    names = {"aliases": [name], "normalized_aliases": [name.lower()], "value": name, "normalized_value": name.lower()}
    matched = {"matched_wiki_entity_name": "", "normalized_matched_wiki_entity_name": "", "type": "WikipediaEntity"}
    return {
        "question": question(rng), "question_id": f"twin{index}", "question_source": "twin", "entity_pages": pages,
        "search_results": {column: [] for column in other}, "answer": names | matched,
    }


# Summarization --------------------------------------------------------------------------------------------------------


def summary(source: str, target: str, sentences: int = 1, **extra: object) -> Maker:
    """Documents on one of six topics in one of two moods; the summary names both, in the topic's first words."""

    def make(rng: random.Random, index: int) -> Row:
        topic, mood = f"topic{rng.randrange(6)}", rng.choice(("good", "bad"))
        first, second, third = lexicons()[topic][:3]
        document = " ".join(
            sentence(rng, [*cued(rng, topic, (), 2), word(rng, mood)], 3, 7) for _ in range(rng.randint(2, 4))
        )
        lines = [f"the {first} of {second} was {lexicons()[mood][0]} .", f"they said {third} ."][:sentences]
        more = {column: str(index) if value == "INDEX" else value for column, value in extra.items()}
        return {source: document, target: "\n".join(lines)} | more

    return make


# Structured prediction ------------------------------------------------------------------------------------------------

UNIVERSAL = {"DT": "DET", "NN": "NOUN", "JJ": "ADJ", "NNP": "PROPN", "VBZ": "VERB", "IN": "ADP", ".": "PUNCT"}
CONLL2000 = {"DT": 11, "NN": 19, "JJ": 15, "NNP": 20, "VBZ": 39, "IN": 14, ".": 6}  # numbers of its pos_tags
CONLL2003 = {"DT": 12, "NN": 21, "JJ": 16, "NNP": 22, "VBZ": 42, "IN": 15, ".": 7}
KINDS = {"name": "PER", "group": "ORG", "place": "LOC"}


def clause(rng: random.Random) -> Node:
    """A tree from a small grammar."""
    return ("S", [_np(rng, 2), ("VP", [("VBZ", word(rng, "verb")), _np(rng, 2)]), (".", ".")])


def _np(rng: random.Random, depth: int) -> Node:
    draw = rng.random()
    if depth and draw < 0.3:
        return ("NP", [_np(rng, 0), ("PP", [("IN", rng.choice(("in", "of", "with", "from"))), _np(rng, depth - 1)])])
    if draw < 0.5:
        kind = rng.choice(tuple(KINDS))
        return ("NP", [("NNP", word(rng, kind)) for _ in range(rng.randint(1, 2))])
    adjective: list[Node] = [("JJ", word(rng, "adjective"))] if draw < 0.75 else []
    return ("NP", [("DT", rng.choice(("the", "a"))), *adjective, ("NN", word(rng, "noun"))])


def leaves(node: Node) -> list[tuple[str, str]]:
    """(part of speech, word) in order."""
    label, inside = node
    return [(label, inside)] if isinstance(inside, str) else [leaf for child in inside for leaf in leaves(child)]


def bracketed(node: Node) -> str:
    """The tree as the Treebank writes it."""
    label, inside = node
    return f"({label} {inside})" if isinstance(inside, str) else f"({label} {' '.join(map(bracketed, inside))})"


def chunks(node: Node) -> list[str]:
    """Base noun phrases, verbs and prepositions as chunks."""
    label, inside = node
    if isinstance(inside, str):
        return [{"VBZ": "B-VP", "IN": "B-PP"}.get(label, "O")]
    if label == "NP" and all(isinstance(child[1], str) for child in inside):
        return ["B-NP"] + ["I-NP"] * (len(inside) - 1)
    return [tag for child in inside for tag in chunks(child)]


def entities(tagged: list[tuple[str, str]]) -> list[str]:
    """Names by the lexicon they are from; neighbouring names of one kind are one entity."""
    of = {item: KINDS[kind] for kind in KINDS for item in lexicons()[kind]}
    tags: list[str] = []
    for pos, token in tagged:
        kind = of[token] if pos == "NNP" else ""
        inside = kind and tags and tags[-1][2:] == kind
        tags.append(f"{'I' if inside else 'B'}-{kind}" if kind else "O")
    return tags


def conll2000(rng: random.Random, index: int) -> Row:
    """Chunking."""
    return _conll(clause(rng), CONLL2000, index)


def _conll(tree: Node, numbers: dict[str, int], index: int) -> Row:
    tagged = leaves(tree)
    return {
        "id": str(index), "tokens": [token for _, token in tagged], "pos_tags": [numbers[pos] for pos, _ in tagged],
        "chunk_tags": [CHUNKS.index(tag) for tag in chunks(tree)],
    }


def conll2003(rng: random.Random, index: int) -> Row:
    """Named entities."""
    tree = clause(rng)
    return _conll(tree, CONLL2003, index) | {"ner_tags": [ENTITIES.index(tag) for tag in entities(leaves(tree))]}


def treebank(**more: str) -> Maker:
    """Trees with their words and parts of speech; `more` names further columns that hold the tree."""

    def make(rng: random.Random, index: int) -> Row:
        tree = clause(rng)
        tagged = leaves(tree)
        text = f"(TOP {bracketed(tree)})"
        row = {"id": f"twin.{index}", "tokens": [token for _, token in tagged], "pos_tags": [pos for pos, _ in tagged]}
        return row | {"tree": text} | {column: text for column in more}

    return make


def universal(rng: random.Random, index: int) -> Row:
    """Universal Dependencies' columns; only the parts of speech mean something."""
    tagged = leaves(clause(rng))
    tokens = [token for _, token in tagged]
    none = ["None"] * len(tokens)
    return {
        "idx": f"twin-{index}", "text": " ".join(tokens), "tokens": tokens, "lemmas": tokens,
        "upos": [UPOS.index(UNIVERSAL[pos]) for pos, _ in tagged], "xpos": [pos for pos, _ in tagged], "feats": none,
        "head": ["0"] * len(tokens), "deprel": ["dep"] * len(tokens), "deps": none, "misc": none,
    }
