"""Which cells decide a claim: what `CLAIM=` runs, and what a budget is spent on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, cast

from muppet.errors import UserError, unknown
from studies.claims import get
from studies.claims.claim import MODELS, OURS_B
from studies.claims.comparisons import GLUE, STAGED, SUMMARIES
from studies.claims.curves import FULL_SCALES
from studies.claims.gains import CONCLUSION, ROBERTA, SMALL, TABLES
from studies.claims.method import ABLATED
from studies.claims.prints import ROUNDS
from studies.claims.sources import RELEASED, paper, train_rows
from studies.kit import profiles
from studies.kit.ledger import reference
from studies.kit.study import Cell, Study
from studies.recipes import ROBERTA_L, prefinetuning

Arm = Literal["released", "ours"]  # whose pre-finetuned checkpoint: the authors', or our own
ARMS: tuple[Arm, ...] = ("released", "ours")
Cells = Callable[[str, Cell], bool]  # (study, cell) → whether the claim is about it
Columns = Callable[[str, str], bool]  # (study, column) → the same


def cells(claim: str, arm: Arm | None = None, profile: str = "paper") -> Cells:
    """The cells that decide `claim`, with both kinds of checkpoint or with one.

    C32 is asked of RoBERTa-B where `profile` has no RoBERTa-L. Raises UserError for an unknown claim and for one that
    no run decides.
    """
    name = get(claim).id
    if name not in CELLS:
        raise UserError(f"CLAIM={name} is decided by what is printed or declared, and by no run; see `make claims`")
    other = {"released": lambda row: row.endswith("+ MUPPET"), "ours": lambda row: row.endswith(RELEASED)}
    large = name != "C32" or profiles.get(profile)(prefinetuning(ROBERTA_L)) is not None
    about = CELLS[name] if large else _staged("RoBERTa-B")
    return lambda study, cell: about(study, cell) and not (arm and other[arm](cell.row))


def any_of(claims: str, profile: str = "paper") -> Cells:
    """The cells that decide one of `claims` (`named`); `C5:released` takes one kind of checkpoint."""
    chosen = [cells(name, arm, profile) for name, arm in named(claims)]
    if not chosen:
        raise UserError(f"CLAIM={claims!r} names no claim; as C5, C5:released or C5,C6")
    return lambda study, cell: any(own(study, cell) for own in chosen)


def named(claims: str) -> list[tuple[str, Arm | None]]:
    """The claims that a text names, split at spaces or commas, and of each whose checkpoint alone is meant."""
    every: list[tuple[str, Arm | None]] = []
    for name in claims.replace(",", " ").split():
        claim, _, arm = name.partition(":")
        if arm and arm not in ARMS:
            raise unknown("checkpoint (CLAIM=C5:…)", arm, ARMS)
        every.append((get(claim).id, cast(Arm, arm) or None))
    return every


def complete(studies: dict[str, Study], claim: str, arm: Arm, profile: str = "paper") -> dict[str, Study] | None:
    """`studies` cut to what decides `claim` with the checkpoints of `arm`; None when some of it has no runs here."""
    own = cells(claim, arm, profile)
    picked = {name: study.where(own) for name, study in studies.items()}
    picked = {name: study for name, study in picked.items() if study.cells}
    if not picked or not all(cell.runs for study in picked.values() for cell in study.cells):
        return None
    if arm == "released":  # every row of ours has its released counterpart, and there is one
        rows = {
            (name, cell.row)
            for name, study in studies.items()
            for cell in study.where(cells(claim, profile=profile)).cells
        }
        muppet = {(name, row) for name, row in rows if "+ MUPPET" in row and not row.endswith(RELEASED)}
        if not muppet or not all((name, row + RELEASED) in rows for name, row in muppet):
            return None
    return picked


def _gains(models: Sequence[str], tables: Sequence[str], columns: Columns = lambda study, column: True) -> Cells:
    """Rows of `models`, plain and pre-finetuned, in the columns that the paper prints of them."""

    def about(study: str, cell: Cell) -> bool:
        plain = cell.row.partition(" + ")[0]
        pair = (study, f"{plain} + MUPPET", cell.column, cell.metric)
        return study in tables and plain in models and pair in paper().numbers and columns(study, cell.column)

    return about


def _rows(study: str, rows: tuple[str, ...], columns: tuple[str, ...] = ()) -> Cells:
    return lambda name, cell: name == study and cell.row in rows and (not columns or cell.column in columns)


def _arms(claim: str) -> Cells:
    better, others = ABLATED[claim]
    return _rows("ablations", (better, *(f"{better}, {other}" for other in others)))


def _staged(model: str) -> Cells:
    """MUPPET and one stage on MNLI, in the sets that such a stage helps."""
    stage = _rows("ablations", (f"{model} + one MNLI stage",), STAGED)
    return _either(_rows("table3", (f"{model} + MUPPET", f"{model} + MUPPET{RELEASED}"), STAGED), stage)


def _either(*chosen: Cells) -> Cells:
    return lambda study, cell: any(own(study, cell) for own in chosen)


def _small(study: str, column: str) -> bool:
    return train_rows().get((study, column), SMALL) < SMALL


def _public(study: str, column: str) -> bool:
    return any(f"table{c.table}" == study and c.column == column and c.row in MODELS for c in reference.public())


def _half_or_whole(study: str, cell: Cell) -> bool:
    """Figure 3's scales of the claim and the base, up to half of the data and with all of it."""
    scale = cell.row.partition(" | ")[2].partition(" ")[0]
    at = cell.x or 0.0
    return study == "figure3" and (scale == "0" and at > 0.999 or scale in map(str, FULL_SCALES) and at <= 0.5)


RTE = _gains(("RoBERTa-B",), ("table3",), lambda study, column: column == "RTE")
CELLS: dict[str, Cells] = {
    "C1": _gains(ROBERTA, TABLES),
    "C2": _gains(("BART",), TABLES),
    "C3": _gains(MODELS, TABLES),
    "C4": _gains(MODELS, TABLES),
    "C5": RTE,
    "C6": _either(
        lambda study, cell: RTE(study, cell) and cell.row != "RoBERTa-B", _rows("table3", ("RoBERTa-L",), ("RTE",))
    ),
    "C7": _gains(MODELS, ("table3",), lambda study, column: column == "RTE"),
    "C8": _gains(MODELS, ("table4",), lambda study, column: column == "HellaSwag"),
    "C9": _gains(MODELS, ("table3", "table4")),
    "C10": _gains(MODELS, TABLES, _small),
    "C11": _gains(("BART",), ("table4",), lambda study, column: column in SUMMARIES["table4"]),
    "C12": _gains(("BART",), ("table5",), lambda study, column: column in SUMMARIES["table5"]),
    "C13": _gains(MODELS, ("table5",)),
    "C14": lambda study, cell: study == "table6" and bool(cell.runs) and cell.column in ROUNDS,
    "C16": _gains(MODELS, ("table3",), lambda study, column: column in GLUE),
    "C17": _gains(MODELS, TABLES, lambda study, column: column in CONCLUSION),
    "C22": _rows("table3", ("RoBERTa-B", OURS_B), ("RTE",)),
    "C23": lambda study, cell: study == "figure1",
    "C24": lambda study, cell: study == "figure1" and cell.row == "RTE",
    "C25": lambda study, cell: study == "figure1",
    "C26": lambda study, cell: study == "figure2" and cell.row != "RoBERTa-B",
    "C27": _half_or_whole,
    "C28": lambda study, cell: study == "figure3",
    "C32": _staged("RoBERTa-L"),
    "C33": _gains(MODELS, TABLES, _public),
    **{claim: _arms(claim) for claim in ABLATED},
}
