"""Constituency parsing as tagging: the tags of a sentence spell its tree (see `muppet.trees`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from muppet import trees
from muppet.families.encoded import Encoded, Part
from muppet.families.family import Outputs
from muppet.families.layout import Layout
from muppet.families.roles import BadRow, Drop, Example, text
from muppet.families.spec import HeadSpec
from muppet.families.tagging import Tagging
from muppet.tasks.task import Row, Task

if TYPE_CHECKING:
    from nltk.tree import Tree


class Parsing(Tagging):
    """A bracketed tree."""

    name = "parsing"
    gold = "tree"
    learns_from_gold = False
    has_classes = False
    learns = ("tree",)

    def read(self, task: Task, row: Row) -> Example:
        tree = text(row["tree"], "tree").strip()
        if not tree:
            raise Drop("empty tree")
        try:
            words, pos_tags, tags = trees.example(tree, "`tree`")
        except trees.TreeError as error:
            raise BadRow(str(error)) from None
        return {"tree": tree, "tokens": words, "pos_tags": pos_tags, "tags": tags}

    def rows(self, task: Task, example: Example) -> list[list[str]]:
        return [[" ".join(example["tokens"])]]

    def truth(self, task: Task, example: Example) -> str:
        return "  ".join(f"{word}/{tag}" for word, tag in zip(example["tokens"], example["tags"]))

    def lay_out(self, layout: Layout, batch: list[Example]) -> None:
        """A split's tags are numbered in order of appearance."""
        numbers = {tag: i for i, tag in enumerate(layout.tag_names or ())}
        tagged = [(e["tokens"], [numbers.setdefault(tag, len(numbers)) for tag in e["tags"]]) for e in batch]
        self.lay_words(layout, tagged, list(numbers))
        layout.add_gold([{name: e[name] for name in ("tree", "tokens", "pos_tags")} for e in batch])

    def predictions(self, encoded: Encoded, spec: HeadSpec, outputs: Outputs, chosen: Sequence[int]) -> list[Any]:
        gold = encoded.gold()
        tags = [self.word_tags(encoded, spec, outputs, example) for example in chosen]
        spelt = [trees.decode(gold[e]["tokens"], gold[e]["pos_tags"], own) for e, own in zip(chosen, tags)]
        return [trees.one_line(tree) for tree in spelt]

    def plainest(self, names: Sequence[str]) -> str:
        return "=1 S"

    def guesses(self, train: Part, encoded: Encoded, chosen: Sequence[int], tokenizer: Any) -> list[Any]:
        """Right-branching trees."""
        gold = encoded.gold()
        return [trees.one_line(right_branching(gold[e]["tokens"], gold[e]["pos_tags"])) for e in chosen]

    def unanswered(self, task: Task, row: Row) -> Row:
        words = (word.replace("(", "-LRB-").replace(")", "-RRB-") for word in row["tokens"])
        return {"tree": "(TOP " + " ".join(f"(XX {word})" for word in words) + ")"}


def right_branching(words: Sequence[str], pos_tags: Sequence[str] | None = None) -> Tree:
    """The tree in which each word opens a constituent over the rest: S at the top, VP below.

    A last word without letters or digits hangs from the top, as full stops do. In English most constituents branch to
    the right, and VP is the label that fits most of them.
    """
    body = len(words) - (len(words) > 1 and not any(character.isalnum() for character in words[-1]))
    tags = ["+1 VP"] * (len(words) - 1) + ["end"]
    if len(words) > 1:
        tags[0] = "+1 S"
        if body < len(words):
            tags[body - 1] = "=1 S"
    return trees.decode(words, pos_tags, tags)
