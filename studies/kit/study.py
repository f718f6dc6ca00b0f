"""A study is a value: rows × columns → cells, and each cell names the runs that measure it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Literal

from muppet.errors import UserError, unknown
from muppet.runs import Finetune, Run, parent, run_id

Kind = Literal["table", "curve", "bars", "heatmap"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One value of the paper, or one beyond it: the runs that measure it and the score that is read from each.

    `runs` holds every point of the search and every seed, all trained on all rows; `honest` the same with a part held
    out, where the honest protocol needs one to select by. A protocol reduces them (`ledger.cells.reduce`). Without
    runs the cell is the paper's alone, or has none in this profile, and `why` says so.
    """

    row: str
    column: str
    runs: tuple[Run, ...] = ()
    score: str = ""  # key of the score in a result, `task/split/metric`; of several joined by ` + `, the mean by n
    honest: tuple[Run, ...] = ()
    judge: str | None = None  # key of the score that a point of the search is chosen by (None: `score`)
    select: str | None = None  # the same on held-out training rows
    metric: str = "accuracy"  # the metric's name in the reference CSV
    why: str = ""  # no runs: "paper only", or "not yet: …"
    x: float | None = None  # position on a curve or a heat-map's axis
    folds: bool = False  # the runs of one point are folds of a cross-validation, not repetitions

    @property
    def key(self) -> str:
        """`row/column`, what ONLY= globs over."""
        return f"{self.row}/{self.column}"

    def needs(self, protocol: str) -> tuple[Run, ...]:
        """The runs that `protocol` reads."""
        return self.honest if protocol == "honest" and self.honest else self.runs


@dataclass(frozen=True, kw_only=True)
class Study:
    """One artefact of the paper."""

    name: str  # the module's: `python -m studies NAME`
    title: str
    kind: Kind
    cells: tuple[Cell, ...]
    base: dict[str, str] = field(default_factory=dict)  # MUPPET row → the row it is compared with
    beyond: tuple[str, ...] = ()  # columns that the paper does not print
    note: str = ""
    protocol: str = "paper"  # whose runs are done (the decision `protocol`)
    reference: int | None = None  # the reference layer's table with the printed values; None: none is printed

    @property
    def rows(self) -> tuple[str, ...]:
        """Rows in declared order."""
        return tuple(dict.fromkeys(cell.row for cell in self.cells))

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns in declared order."""
        return tuple(dict.fromkeys(cell.column for cell in self.cells))

    def control(self, row: str, column: str) -> tuple[str, str]:
        """Where the cell stands that a cell is compared with: its row's base, or what was not pre-finetuned; a row or
        column of no name where there is none."""
        if self.kind == "curve":
            return row, next((cell.column for cell in self.cells if (cell.row, cell.x) == (row, 0)), "")
        if self.kind == "heatmap":
            return f"{row.partition(' | ')[0]} | 0 sets", column
        return self.base.get(row, ""), column

    def only(self, glob: str | None) -> Study:
        """The study cut to the cells whose `row/column` matches `glob`; a glob that matches none is a UserError."""
        if not glob:
            return self
        kept = tuple(cell for cell in self.cells if matches(cell.key, glob))
        if not kept:
            raise no_cell(f"cell of {self.name} (ONLY)", glob, [cell.key for cell in self.cells])
        return replace(self, cells=kept)

    def where(self, cells: Callable[[str, Cell], bool]) -> Study:
        """The study cut to the cells that `cells` accepts (given the study's name and the cell); none may be left."""
        return replace(self, cells=tuple(cell for cell in self.cells if cells(self.name, cell)))

    def runs(self) -> dict[str, Run]:
        """Every run that the protocol in force needs, by id, parents before children; callers do not write to it."""
        return self._runs

    @cached_property
    def _runs(self) -> dict[str, Run]:
        own = {run_id(run): run for cell in self.cells for run in cell.needs(self.protocol)}
        parents = {run_id(before): before for run in own.values() if (before := parent(run)) is not None}
        return parents | own


def matches(key: str, glob: str) -> bool:
    """Whether a cell's `row/column` is meant by `glob`, upper or lower case."""
    return fnmatchcase(key.lower(), glob.lower())


def no_cell(kind: str, glob: str, keys: list[str]) -> UserError:
    """The error for a glob that fits none of `keys`; it offers the globs of the row or the column of that name."""
    near = [whole for whole in (f"{glob}/*", f"*/{glob}") if any(matches(key, whole) for key in keys)]
    hint = f"unknown {kind} {glob!r}: did you mean {' or '.join(map(repr, near))}?"
    return UserError(hint) if near else unknown(kind, glob, keys)


def check(study: Study) -> None:
    """Raise UserError when two cells of `study` stand in one place with one metric, when the paper's protocol would
    train on less than all rows, or the honest one would hold nothing out."""
    seen: set[tuple[str, str, str]] = set()
    for cell in study.cells:
        for runs, apart in ((cell.runs, False), (cell.honest, True)):
            if any(isinstance(run, Finetune) and (run.held_out is not None) != apart for run in runs):
                why = "holds no rows out under protocol honest" if apart else "holds rows out under protocol paper"
                raise UserError(
                    f"studies/{study.name}.py: {cell.key} {why}; `held_out` belongs to the runs in `honest`, and to all"
                )
        place = (cell.row, cell.column, cell.metric)
        if place in seen:
            raise UserError(f"studies/{study.name}.py declares {cell.key} ({cell.metric}) twice")
        seen.add(place)
