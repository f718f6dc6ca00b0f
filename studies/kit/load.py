"""The declared studies, each cut to a profile."""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache

from muppet.errors import UserError, unknown
from muppet.runs import Run
from studies import ARTEFACTS
from studies.kit.decisions import OVERRIDE, option
from studies.kit.distinct import distinct
from studies.kit.profiles import Profile, get
from studies.kit.profiles import published as at_published_point
from studies.kit.study import Cell, Study, check, matches, no_cell

ABSENT = "not in this profile"


def load_studies(profile: str, only_names: Iterable[str] | None = None) -> dict[str, Study]:
    """Studies by name, every run as `profile` scales it. Raises UserError for an unknown profile or artefact."""
    get(profile)
    wanted = ARTEFACTS if only_names is None else tuple(only_names)
    for name in wanted:
        if name not in ARTEFACTS:
            raise unknown("artefact", name, ARTEFACTS)
    return dict(_load(profile, wanted, os.environ.get(OVERRIDE, "")))


@lru_cache(maxsize=32)  # a worker asks for each artefact by itself, run after run
def _load(profile: str, wanted: tuple[str, ...], decided: str) -> dict[str, Study]:
    """One command asks several times, for tables, claims and the report; what is decided is a part of the answer."""
    scale = get(profile)
    studies = {name: importlib.import_module(f"studies.{name}").study() for name in wanted}
    for study in studies.values():
        check(study)
    scaled: dict[Run, Run | None] = {}
    for name, study in studies.items():
        cells = tuple(_scaled_cell(cell, scale, scaled) for cell in study.cells)
        studies[name] = distinct(replace(study, cells=cells, protocol=str(option("protocol"))))
    return studies


def cut(
    studies: Mapping[str, Study], glob: str | None, cells: Callable[[str, Cell], bool] | None = None
) -> dict[str, Study]:
    """`studies` with the cells that `glob` names (ONLY) and `cells` accepts (CLAIM); those that have none are left out.

    Raises UserError when all are. What decides a claim is not known here.
    """
    if cells is not None:
        studies = {name: study.where(cells) for name, study in studies.items()}
        studies = {name: study for name, study in studies.items() if study.cells}
        if not studies:
            raise UserError("no cell of what was asked for decides that claim (CLAIM); `make plan CLAIM=…` lists them")
    if glob is None or len(studies) == 1:
        return {name: study.only(glob) for name, study in studies.items()}
    keys = {name: [cell.key for cell in study.cells] for name, study in studies.items()}
    kept = {name: studies[name].only(glob) for name in studies if any(matches(key, glob) for key in keys[name])}
    if not kept:
        raise no_cell("cell (ONLY)", glob, [key for own in keys.values() for key in own])
    return kept


def chosen(args: argparse.Namespace, names: Iterable[str] | None = None) -> dict[str, Study]:
    """The studies `names`, or those that the command line names (ARTEFACT; without it, all), cut to what it asks for
    (ONLY, CLAIM, SEEDS, SEARCH)."""
    named = names or ([args.artefact] if args.artefact else None)
    studies = cut(load_studies(args.profile, named), args.only, getattr(args, "cells", None))
    seeds, published = getattr(args, "seeds", None), getattr(args, "search", None) == "published"
    return {name: fewer(study, seeds, published) for name, study in studies.items()}


def fewer(study: Study, seeds: int | None, published: bool) -> Study:
    """`study` with the first `seeds` seeds of each point, and of a search its published point alone; no run changes."""
    if seeds is None and not published:
        return study

    def kept(cell: Cell, every: tuple[Run, ...]) -> tuple[Run, ...]:
        runs = tuple(filter(at_published_point, every)) if published else every
        first = sorted({run.seed for run in every})[: None if cell.folds else seeds]  # a fold is no repetition
        return tuple(run for run in runs or every if run.seed in first)

    cells = (replace(cell, runs=kept(cell, cell.runs), honest=kept(cell, cell.honest)) for cell in study.cells)
    return replace(study, cells=tuple(cells))


def runs(studies: Iterable[Study]) -> dict[str, Run]:
    """Every run of `studies` by id, parents before children; a run that several share stands once."""
    every: dict[str, Run] = {}
    for study in studies:
        every |= study.runs()
    return dict(sorted(every.items(), key=lambda pair: pair[1].stage != "prefinetune"))


def _scaled_cell(cell: Cell, scale: Profile, seen: dict[Run, Run | None]) -> Cell:
    if not cell.runs:
        return cell

    def scaled(runs: tuple[Run, ...]) -> tuple[Run, ...]:
        for run in runs:
            if run not in seen:
                seen[run] = scale(run)
        return tuple(dict.fromkeys(small for run in runs if (small := seen[run]) is not None))

    kept, honest = scaled(cell.runs), scaled(cell.honest)
    return replace(cell, runs=kept, honest=() if honest == kept else honest, why=cell.why if kept else ABSENT)
