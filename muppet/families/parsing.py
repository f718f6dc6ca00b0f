"""Constituency parsing as tagging: the tags of a sentence spell its tree (see `muppet.trees`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from muppet import trees
from muppet.families.encoded import Encoded, Part
from muppet.families.family import Outputs, examples_of
from muppet.families.roles import Drop, Example, text
from muppet.families.spec import HeadSpec
from muppet.families.tagging import Tagging, TagLayout
from muppet.tasks.task import Row, Task, dataset_name

if TYPE_CHECKING:
    from nltk.tree import Tree


class TreeLayout(TagLayout):
    """A split's tags are numbered in order of appearance."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.known: dict[str, int] = {}

    def add(self, batch: list[Example]) -> None:
        name = dataset_name(self.task)
        read = [trees.example(e["tree"], f"{name}, {self.n_examples + i}") for i, e in enumerate(batch)]
        numbers = [[self.known.setdefault(tag, len(self.known)) for tag in tags] for _, _, tags in read]
        self.add_sentences(batch, [words for words, _, _ in read], numbers)
        self.tag_names = list(self.known)
        sentences = zip(batch, read)
        self.add_gold([{"tree": e["tree"], "tokens": words, "pos_tags": pos} for e, (words, pos, _) in sentences])


class Parsing(Tagging):
    """A bracketed tree."""

    name = "parsing"
    layout = TreeLayout
    learns_from_gold = False

    def read(self, task: Task, row: Row) -> Example:
        tree = text(row["tree"], "tree").strip()
        if not tree:
            raise Drop("empty tree")
        return {"tree": tree}

    def texts(self, task: Task, example: Example) -> list[str]:
        return [" ".join(trees.example(example["tree"], task.name)[0])]

    def shown(self, task: Task, example: Example) -> list[str]:
        words, _, tags = trees.example(example["tree"], task.name)
        return [f"[CLS] {' '.join(words)} [SEP]", f"→ {'  '.join(f'{w}/{t}' for w, t in zip(words, tags))}"]

    def answers(
        self, part: Part, spec: HeadSpec, outputs: Outputs, chosen: Sequence[int]
    ) -> tuple[list[Any], list[Any]]:
        gold = part.encoded.gold()
        spelt = []
        for example in chosen:
            tags = self.word_tags(part.encoded, spec, outputs, example)
            spelt.append(trees.one_line(trees.decode(gold[example]["tokens"], gold[example]["pos_tags"], tags)))
        return spelt, [gold[example]["tree"] for example in chosen]

    def plainest(self, names: Sequence[str]) -> str:
        return "=1 S"

    def trivial(self, train: Part, part: Part, tokenizer: Any) -> dict[str, float]:
        """Right-branching trees."""
        gold, chosen = part.encoded.gold(), examples_of(part)
        guesses = [trees.one_line(right_branching(gold[e]["tokens"], gold[e]["pos_tags"])) for e in chosen]
        return self.scores(part.encoded.task, guesses, [gold[e]["tree"] for e in chosen])

    def unanswered(self, row: Row) -> Row:
        words = (word.replace("(", "-LRB-").replace(")", "-RRB-") for word in row["tokens"])
        return {"tree": "(TOP " + " ".join(f"(XX {word})" for word in words) + ")"}

    def answer(self, spec: HeadSpec, encoded: Encoded, outputs: Outputs, example: int) -> dict[str, Any]:
        tags, words = self.word_tags(encoded, spec, outputs, example), encoded.gold()[example]["tokens"]
        return {"tree": trees.one_line(trees.decode(words, None, tags))}


def right_branching(words: Sequence[str], pos_tags: Sequence[str] | None = None, *, label: str = "VP") -> Tree:
    """The tree in which each word opens a constituent over the rest: S at the top, `label` below.

    A last word without letters or digits hangs from the top, as full stops do. In English most constituents branch to
    the right, and VP is the label that fits most of them.
    """
    body = len(words) - (len(words) > 1 and not any(character.isalnum() for character in words[-1]))
    tags = [f"+1 {label}"] * (len(words) - 1) + ["end"]
    if len(words) > 1:
        tags[0] = "+1 S"
        if body < len(words):
            tags[body - 1] = "=1 S"
    return trees.decode(words, pos_tags, tags)
