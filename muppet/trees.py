"""Constituency trees: reading, the normal form, and parsing as one tag per word.

A parsing example is made from a bracketed tree alone: `words, pos_tags, tags = example(text, where)`. The model sees
the words and learns the tags with the tagging head, one class per distinct tag of the training split; `decode` turns
any predicted tags into a tree, which the metric `bracket_f1` scores against the gold tree. Part-of-speech tags are not
predicted: preterminals are no brackets, and the metric finds punctuation by the gold tags.

The encoding follows Gómez-Rodríguez and Vilares (2018) and the two-scale form of Vilares, Abdou and Søgaard (2019). The
tag of a word says how many constituents it shares with the next word, as a change from the word before (`+1`, `-2`) or,
where the tree falls back near its top, as the number itself (`=1`); the label of the lowest of these; and the
constituents above the word alone. Why this one: it is invertible for every tree, without binarisation or head rules; it
is one softmax per word, so parsing is the tagging task that an encoder already has; and any sequence of tags has a
tree, since only the order of the depths matters: each run of words is split where its depth is lowest. A span chart
parses better, at the price of a second kind of head and a cubic decoder; transition codes need repair of invalid
sequences.

    (TOP (S (NP (DT the) (NN cat)) (VP (VBZ sleeps))))   ⇔   the/"+2 NP"  cat/"-1 S"  sleeps/"end VP"
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from muppet.errors import UserError

if TYPE_CHECKING:
    from nltk.tree import Tree

TOP = "TOP"  # the root of every tree in normal form
ROOTS = frozenset({"", TOP, "ROOT", "S1"})  # how treebanks write that root
EMPTY = "-NONE-"  # the part of speech of traces
UNKNOWN_POS = "XX"
_CHAIN = "("  # joins the labels of a unary chain; no label of a bracketed tree holds a parenthesis
_TOKEN = re.compile(r"[()]|[^\s()]+")
_LEVEL = re.compile(r"[+-]\d+|=[1-9]\d*")


class TreeError(UserError):
    """A tree that does not parse, or has no words."""


# Reading --------------------------------------------------------------------------------------------------------------


def read_all(text: str, where: str) -> list[Tree]:
    """The bracketed trees of a text, such as a `.mrg` file of the Penn Treebank, as they stand.

    `where` names the text in errors (file, or dataset, split and row). Raises TreeError with line and column.
    """
    from nltk.tree import Tree

    trees: list[Tree] = []
    opened: list[tuple[Tree, int]] = []
    tokens = [(match.group(), match.start()) for match in _TOKEN.finditer(text)]
    labelled = False  # the token is the label of the node just opened
    for index, (token, at) in enumerate(tokens):
        if labelled:
            labelled = False
            continue
        if token == "(":
            label = tokens[index + 1][0] if index + 1 < len(tokens) else ")"
            labelled = label not in "()"
            opened.append((Tree(label if labelled else "", []), at))
        elif not opened:
            what = "a ')' closes nothing" if token == ")" else f"{token!r} stands outside the brackets"
            raise TreeError(f"{_place(text, at, where)}: {what}; a tree is (LABEL child …)")
        elif token == ")":
            node, start = opened.pop()
            if node.label() and not node:
                raise TreeError(
                    f"{_place(text, start, where)}: ({node.label()}) holds nothing; a word stands behind its tag"
                )
            if any(isinstance(child, str) for child in node) and len(node) > 1:
                raise TreeError(
                    f"{_place(text, start, where)}: {_brief(node)} holds a word and more; each word needs its own tag"
                )
            if opened:
                opened[-1][0].append(node)
            else:
                trees.append(node)
        else:
            opened[-1][0].append(token)
    if opened:
        raise TreeError(f"{_place(text, opened[-1][1], where)}: the '(' here is never closed")
    return trees


def read(text: str, where: str) -> Tree:
    """The one bracketed tree of a text, as it stands. Raises TreeError as `read_all` does, and for none or several."""
    trees = read_all(text, where)
    if len(trees) != 1:
        raise TreeError(f"{where}: {len(trees)} trees where one is expected")
    return trees[0]


def _place(text: str, at: int, where: str) -> str:
    line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    return f"{where}, line {line}, column {column}"


def _brief(node: Tree) -> str:
    parts = [child if isinstance(child, str) else f"({child.label()} …)" for child in node[:3]]
    return f"({' '.join([node.label(), *parts])}{' …' if len(node) > 3 else ''})"


# The normal form ------------------------------------------------------------------------------------------------------


def is_preterminal(node: Tree) -> bool:
    """Whether the node is a word with its part of speech."""
    return len(node) == 1 and isinstance(node[0], str)


def preterminals(tree: Tree) -> list[Tree]:
    """The words with their parts of speech, in order. Works at any depth."""
    leaves, stack = [], [tree]
    while stack:
        node = stack.pop()
        if is_preterminal(node):
            leaves.append(node)
        else:
            stack.extend(reversed(node))
    return leaves


def normalise(tree: Tree, where: str = "tree") -> Tree:
    """The tree without traces, functional tags, indices and emptied constituents, under one root TOP.

    Parts of speech and labels such as ADVP|PRT stay as they are. Raises TreeError when no word is left.
    """
    kept: list[list[Tree]] = [[]]  # what is left of the children of each open node
    stack = [(tree, False)]
    while stack:
        node, ended = stack.pop()
        if ended:
            if children := kept.pop():
                label = re.split("[-=]", node.label()[1:], maxsplit=1)[0]
                kept[-1].append(type(node)(node.label()[:1] + label, children))
        elif not is_preterminal(node):
            kept.append([])
            stack += [(node, True), *((child, False) for child in reversed(node))]
        elif node.label() != EMPTY:
            kept[-1].append(node)
    if not kept[0]:
        raise TreeError(f"{where}: the tree has no words; drop it from the split")
    return _rooted(kept[0][0])


def _rooted(tree: Tree) -> Tree:
    while tree.label() in ROOTS and len(tree) == 1 and not is_preterminal(tree):
        tree = tree[0]
    several = tree.label() in ROOTS and not is_preterminal(tree)
    return type(tree)(TOP, list(tree) if several else [tree])


def example(text: str, where: str) -> tuple[list[str], list[str], list[str]]:
    """(words, parts of speech, tags to learn) of one bracketed tree, each as long as the sentence, traces left out.

    Raises TreeError when the text is no tree; `where` names it.
    """
    tree = normalise(read(text, where), where)
    leaves = preterminals(tree)
    return [leaf[0] for leaf in leaves], [leaf.label() for leaf in leaves], encode(tree, where)


# Trees as tags --------------------------------------------------------------------------------------------------------


def encode(tree: Tree, where: str = "tree") -> list[str]:
    """The tags of the tree's normal form, one per word.

    A tag is `depth label` or `depth label chain`; the last word's is `end` or `end chain`. Label and chain are labels
    from the top down, joined by `(`. Raises TreeError for a constituent without a label.
    """
    tree = normalise(tree, where)
    depths: list[tuple[int, str]] = []  # between each word and the next: of the lowest constituent that holds both
    chains: list[str] = []
    _walk(tree[0] if len(tree) == 1 else tree, depths, chains, where)
    tags, before = [], 0
    for depth, label in depths:
        step = depth - before
        level = f"={depth}" if depth <= 3 and step <= -2 else f"{step:+d}"
        tags.append(f"{level} {label}")
        before = depth
    return [f"{tag} {chain}" if chain else tag for tag, chain in zip([*tags, "end"], chains, strict=True)]


def _walk(tree: Tree, depths: list[tuple[int, str]], chains: list[str], where: str) -> None:
    stack: list[tuple[int, Tree | str]] = [(1, tree)]
    while stack:
        depth, node = stack.pop()
        if isinstance(node, str):  # between two children
            depths.append((depth, node))
            continue
        labels = []
        while len(node) == 1 and not is_preterminal(node):
            labels.append(node.label())
            node = node[0]
        if "" in (*labels, node.label()):
            raise TreeError(f"{where}: a bracket inside the tree has no label; write one, as in (NP …)")
        if is_preterminal(node):
            chains.append(_CHAIN.join(labels))
            continue
        label = _CHAIN.join([*labels, node.label()])
        for child in reversed(node[1:]):
            stack += [(depth + 1, child), (depth, label)]
        stack.append((depth + 1, node[0]))


@lru_cache(maxsize=None)
def _parse(tag: str) -> tuple[str, str | None, str]:
    """(depth, label, chain) of a tag; label None for `end`, which no pair of words shares."""
    fields = tag.split(" ")
    if fields[0] == "end" and len(fields) <= 2 and all(fields):
        return "=1", None, fields[1] if len(fields) == 2 else ""
    if _LEVEL.fullmatch(fields[0]) and len(fields) in (2, 3) and all(fields):
        return fields[0], fields[1], fields[2] if len(fields) == 3 else ""
    raise UserError(f"{tag!r} is no tag of a tree; tags are made by muppet.trees.encode")


def decode(words: Sequence[str], pos_tags: Sequence[str] | None, tags: Sequence[str]) -> Tree:
    """The tree in normal form that the tags describe, over these words; whatever the tags, a whole tree.

    Each constituent takes the label that most of its tags give, the first on a tie. Parentheses in words are written as
    the Treebank writes them. Raises UserError for unequal lengths, no words, and a tag that `encode` never makes.
    """
    from nltk.tree import Tree

    if not len(words) or len(words) != len(tags) or (pos_tags is not None and len(pos_tags) != len(words)):
        counts = f"{len(words)} words, {len(tags)} tags"
        counts += f", {len(pos_tags)} parts of speech" if pos_tags is not None else ""
        raise UserError(f"a tree needs as many tags as words, and at least one: {counts}")
    parsed = [_parse(tag) for tag in tags]
    leaves = (
        _under(chain, Tree(pos, [word.replace("(", "-LRB-").replace(")", "-RRB-")]))
        for word, pos, (_, _, chain) in zip(words, pos_tags or [UNKNOWN_POS] * len(words), parsed, strict=True)
    )
    current = next(leaves)
    opened: list[tuple[int, list[Tree], list[str]]] = []  # depth, finished children, labels proposed; from the top down
    depth = 0
    for level, label, _ in parsed[:-1]:
        depth = max(1, int(level[1:]) if level[0] == "=" else depth + int(level))
        while opened and opened[-1][0] > depth:
            current = _close(opened.pop(), current)
        if not opened or opened[-1][0] < depth:
            opened.append((depth, [], []))
        opened[-1][1].append(current)
        opened[-1][2].extend([label] if label else [])
        current = next(leaves)
    while opened:
        current = _close(opened.pop(), current)
    return _rooted(current)


def _close(constituent: tuple[int, list[Tree], list[str]], last: Tree) -> Tree:
    _, children, proposed = constituent
    labels = Counter(proposed).most_common(1)[0][0] if proposed else "S"
    above, _, own = labels.rpartition(_CHAIN)
    return _under(above, type(last)(own, [*children, last]))


def _under(chain: str, node: Tree) -> Tree:
    for label in reversed(chain.split(_CHAIN) if chain else []):
        node = type(node)(label, [node])
    return node


# Brackets -------------------------------------------------------------------------------------------------------------


def constituents(tree: Tree, skip: Sequence[bool]) -> Iterator[tuple[str, int, int]]:
    """(label, start, end) of each constituent, counted in the words that `skip` (one per word) leaves.

    Parts of speech are no constituents; a constituent of skipped words alone is left out. Works at any depth.
    """
    position, kept = 0, 0
    stack: list[tuple[Tree, int | None]] = [(tree, None)]
    while stack:
        node, start = stack.pop()
        if is_preterminal(node):
            kept += not skip[position]
            position += 1
        elif start is None:
            stack.append((node, kept))
            stack.extend((child, None) for child in reversed(node))
        elif kept > start:
            yield node.label(), start, kept


def one_line(tree: Tree) -> str:
    """A tree as bracketed text on one line. Works at any depth."""
    parts: list[str] = []
    stack: list[Tree | str | None] = [tree]
    while stack:
        node = stack.pop()
        if node is None:
            parts.append(")")
        elif isinstance(node, str):
            parts.append(f" {node}")
        else:
            parts.append(f" ({node.label()}")
            stack += [None, *reversed(node)]
    return "".join(parts)[1:]
