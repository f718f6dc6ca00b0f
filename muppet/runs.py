"""A run is a value: all that one job does. Its identity is the hash of its facts.

Rules of identity: every field counts unless its metadata says `identity=False`; a field that is `None` is not hashed,
so a new knob whose `None` means "as before" keeps the old ids; a child carries its parent's id, which hashes the
parent's facts.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

from muppet.content import content, is_own
from muppet.errors import UserError
from muppet.tasks.task import Task
from muppet.values import check_bounds, check_fields, hash_once

# Part of every run's id. Raise it with any change to the code after which a declared run would end in other weights:
# what is drawn and in which order, dropout's random stream, a loss, the optimiser, the layout of rows. Rounding alone
# (another grouping of the same sums) does not count. tests/test_numerics.py recomputes a small run, so that none passes
# unseen; results of an older version stay what they were, under ids that nothing declares any more.
NUMERICS = 3

Order = Literal["heterogeneous", "batch_homogeneous", "dataset_homogeneous"]
Source = Literal["hub", "twins"]
SEEDS = 2**32  # a seed is below: products of it stay within 64 bits
TWIN_ROWS = 2000  # rows of a twin's split when no cap shortens it


@dataclass(frozen=True, kw_only=True)
class R3F:
    """The regulariser of Aghajanyan et al. 2020 (paper §3.2): symmetric KL between clean and noised embeddings."""

    noise: Literal["uniform", "normal"] = "uniform"
    eps: float = 1e-5  # half-width of the uniform noise, or standard deviation of the normal noise
    weight: float = 1.0  # lambda
    detach: bool = True  # the noised embeddings carry no gradient to the embedding table
    fresh_dropout: bool = True  # the noised rows draw their own dropout masks
    fp32_noise: bool = True
    token_kl: Literal["mean", "sum"] = "mean"  # of the divergences of one example's decisions
    summaries: R3F | None = None  # how summaries are regularised, when otherwise than the rest (P27)

    def __post_init__(self) -> None:
        check_fields(self)
        check_bounds(self, "eps weight", "0 or more", lambda value: value >= 0)


COUNTED = "max_tokens max_examples updates epochs max_length sub_batches clip_norm adam_eps"  # of a recipe
DROPPED = "dropout attention_dropout activation_dropout"


@hash_once
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The hyper-parameters of one stage (paper Tables 7 and 8; §4 for fine-tuning)."""

    lr: float
    # A sub-batch is cut by exactly one of the two. Tokens: padded, a ranking example sized by its longest choice (P55).
    # Examples: so many, whatever their length; memory is bounded by forwards (muppet.training.forwards).
    max_tokens: int | None = None
    max_examples: int | None = None
    updates: int | None = None  # exactly one of `updates` and `epochs`
    epochs: float | None = None
    warmup_updates: int | None = None  # at most one of the two
    warmup_share: float | None = None
    optimizer: Literal["adam", "sgd"] = "adam"
    adam_betas: tuple[float, float] = (0.9, 0.999)
    adam_eps: float = 1e-8
    weight_decay: float = 0.01
    decoupled: bool = True  # decay applied to the weights (AdamW) rather than added to the gradient
    schedule: Literal["polynomial", "constant"] = "polynomial"  # power 1, to zero
    clip_norm: float | None = None
    dropout: float | None = None  # None: the model's own
    attention_dropout: float | None = None
    activation_dropout: float | None = None  # after the activation of feed-forward layers, where the model has it
    max_length: int = 512  # tokens of one row
    sub_batches: int = 64  # of one update, whatever the number of processes (paper §3.2: 64 workers)
    batching: Order = "heterogeneous"
    sampling: Literal["uniform", "temperature"] | None = None  # None: natural sizes (paper §3.4)
    temperature: float | None = None
    loss_scaling: Literal["log_n", "none", "inverse_loss", "dataset_size"] = "log_n"  # paper §3.3, Eq. 1
    averaging: Literal["example", "sub_batch", "token"] = "example"  # what an update's loss is the mean of (P25)
    label_smoothing: float | None = None  # summarization only (paper Table 2)
    heads: Literal["shared", "per_dataset"] = "shared"  # of the commonsense and span families (paper §3.5)
    unused_heads: Literal["skip", "zero"] = "skip"
    r3f: R3F | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        check_bounds(self, COUNTED, "a number above 0", lambda value: value > 0)
        check_bounds(self, "lr warmup_updates weight_decay", "0 or more", lambda value: value >= 0)
        check_bounds(self, "warmup_share label_smoothing", "a share from 0 to 1", lambda value: 0 <= value <= 1)
        check_bounds(self, "temperature", "0.1 or more", lambda value: value >= 0.1)  # a power of 10 of sizes, at most
        check_bounds(self, DROPPED, "a share from 0 to below 1", lambda value: 0 <= value < 1)
        check_bounds(self, "adam_betas", "two from 0 to below 1", lambda betas: all(0 <= beta < 1 for beta in betas))
        if (self.max_tokens is None) == (self.max_examples is None):
            raise UserError("a recipe takes exactly one of `max_tokens` and `max_examples`")
        if (self.updates is None) == (self.epochs is None):
            raise UserError("a recipe takes exactly one of `updates` and `epochs`")
        if self.warmup_updates is not None and self.warmup_share is not None:
            raise UserError("a recipe takes at most one of `warmup_updates` and `warmup_share`")
        if (self.sampling == "temperature") != (self.temperature is not None):
            raise UserError("`temperature` goes with `sampling='temperature'`")


@hash_once
@dataclass(frozen=True, kw_only=True)
class Prefinetune:
    """One pre-finetuning: a pre-trained model trained on many tasks at once."""

    model: str  # a hub id, a folder, or `tiny/…` (muppet.synthetic.models)
    tasks: tuple[Task, ...]
    recipe: Recipe
    seed: int = 0
    source: Source = "hub"
    train_rows: int | None = None  # cap per dataset; None: all, and the dataset must then be whole
    caps: tuple[tuple[str, int], ...] | None = None  # a lower cap of single datasets, by name
    model_digest: str | None = None  # of the files, when `model` is a folder: with other files it is another run

    stage = "prefinetune"
    scored: ClassVar[tuple[Task, ...]] = ()  # on nothing: its heads are scored by fine-tuning

    @property
    def trained(self) -> tuple[tuple[Task, int], ...]:
        """(task, weight) of what is trained on."""
        return tuple((task, 1) for task in self.tasks)

    @property
    def label(self) -> str:
        """The readable part of the id."""
        return f"{_slug(self.model)}-{len(self.tasks)}sets"

    def cap(self, task: Task) -> int | None:
        """The most rows that are taken of `task`."""
        caps = (self.train_rows, dict(self.caps or ()).get(task.name))
        return min((cap for cap in caps if cap is not None), default=None)


@hash_once
@dataclass(frozen=True, kw_only=True)
class Finetune:
    """One fine-tuning and its evaluation: one point of a search, one seed."""

    init: str | Prefinetune  # a model as `Prefinetune.model`, or the pre-finetuning to start from
    task: Task
    recipe: Recipe
    seed: int = 0
    reuse_head: bool = False  # start from the head of pre-finetuning (paper §4)
    fraction: float | None = None  # of the training rows; nested subsets within one `draw` (paper §5.3)
    draw: int | None = None
    held_out: float | None = None  # share of the training rows set aside, and scored as split `held_out`
    evaluations: int | None = None  # at equal distances, the last at the end; the best is kept (None: at the end alone)
    train_on: tuple[tuple[Task, int], ...] | None = None  # (task, weight) when other than `task` alone (paper Table 6)
    evaluate_on: tuple[Task, ...] | None = None  # further tasks scored with the same head
    source: Source = "hub"
    train_rows: int | None = None
    evaluation_rows: int | None = None
    model_digest: str | None = None  # as `Prefinetune.model_digest`, of `init`

    stage = "finetune"

    @property
    def trained(self) -> tuple[tuple[Task, int], ...]:
        """(task, weight) of what is trained on."""
        return self.train_on or ((self.task, 1),)

    @property
    def scored(self) -> tuple[Task, ...]:
        """The tasks that are scored."""
        return self.task, *(self.evaluate_on or ())

    @property
    def label(self) -> str:
        """The readable part of the id."""
        start = self.init if isinstance(self.init, str) else "muppet-" + self.init.label
        return f"{_slug(start)}-{_slug(self.task.name)}"


Run = Prefinetune | Finetune


def check_run(run: Run) -> None:
    """Raise UserError for the first field that cannot be. It is asked where a run is done, not where one is declared:
    studies declare tens of thousands."""
    check_fields(run)
    check_bounds(run, "seed", f"a whole number from 0 to {SEEDS - 1:,}", lambda value: 0 <= value < SEEDS)
    check_bounds(run, "train_rows", "1 or more", lambda value: value > 0)
    if isinstance(run, Prefinetune):
        return
    check_bounds(run, "fraction", "a share above 0, at most 1", lambda value: 0 < value <= 1)
    check_bounds(run, "held_out", "a share above 0 and below 1", lambda value: 0 < value < 1)
    check_bounds(run, "draw", "a whole number from 0", lambda value: value >= 0)
    check_bounds(run, "evaluations evaluation_rows", "1 or more", lambda value: value > 0)
    for task, weight in run.trained:
        if weight < 1:
            raise UserError(
                f"{task.name} has weight {weight} in `train_on`; a weight is a whole number of passes, 1 or more"
            )
    trained, scored = [task.name for task, _ in run.trained], run.scored
    places = [f"{task.name}/{split}" for task in scored for split in task.evaluation]
    for names in (trained, places):
        if len(set(names)) < len(names):
            raise UserError(f"`train_on`, and `task` with `evaluate_on`, name each once, and not {', '.join(names)}")
    if run.held_out is not None and run.task.name not in trained:
        raise UserError(f"`held_out` is a share of {run.task.name}'s training rows, which `train_on` does not hold")
    if unscored := [task.name for task in scored if not task.evaluation and (task != run.task or run.held_out is None)]:
        raise UserError(f"{unscored[0]}: there is nothing to score it on; give it an `evaluation` split")
    if run.recipe.updates is not None:
        check_evaluations(run, run.recipe.updates)


def check_evaluations(run: Finetune, updates: int) -> None:
    """Raise UserError when a training has fewer updates than evaluations."""
    if (run.evaluations or 1) > updates:
        raise UserError(
            f"{run.task.name}: {run.evaluations} evaluations of a training of {updates} updates;"
            " lower `evaluations`, or train longer"
        )


def facts(value: Any) -> Any:
    """`value` as plain JSON data: what its identity hashes, and what a result keeps of it."""
    if isinstance(value, (Prefinetune, Finetune)):
        return {"stage": value.stage, "numerics": NUMERICS} | _fields(value)
    return _plain(value)


def _fields(value: Any) -> dict[str, Any]:
    cls: Any = type(value)
    pairs = ((name, getattr(value, name)) for name in _names(cls))
    return {name: _plain(item) for name, item in pairs if item is not None}


@lru_cache(maxsize=None)
def _names(cls: Any) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(cls) if f.metadata.get("identity", True))


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)  # 10 and 10.0 are equal values, so they are one fact
    if isinstance(value, (str, int, float)):
        return value
    if isinstance(value, Prefinetune):
        return {"run": run_id(value)}
    if callable(value):
        return content(value)
    if dataclasses.is_dataclass(value):
        return _fields(value)
    if isinstance(value, (tuple, list)):  # (True,) equals (1,), and what is equal is one fact and one cached text
        return [int(item) if isinstance(item, bool) else _plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    assert value is None, type(value)
    return value


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(plain: Any) -> str:
    """SHA-256, in hexadecimal, of plain JSON data in canonical form."""
    return _sha256(_CANONICAL.encode(plain))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def run_id(run: Run) -> str:
    """`stage-label-hash`: readable, unique, and stable as long as the run's facts are."""
    return f"{run.stage}-{run.label}-{digest(facts(run))[:12]}" if _reads_its_own_way(run) else _known_id(run)


@lru_cache(maxsize=None)
def _known_id(run: Run) -> str:
    return f"{run.stage}-{run.label}-{_sha256(_canonical(run))[:12]}"


@lru_cache(maxsize=None)
def _reads_its_own_way(run: Run) -> bool:
    """Whether rows are read by a function of one's own: what that holds, a notebook may change at any time."""
    tasks, before = (*run.scored, *(task for task, _ in run.trained)), parent(run)
    own = any(task.rows is not None and is_own(task.rows) for task in tasks)
    return own or (before is not None and _reads_its_own_way(before))


def _canonical(run: Run) -> str:
    """The canonical form of `facts(run)`, put together from parts that thousands of runs share."""
    cls: Any = type(run)
    texts = {name: _text(value) for name in _names(cls) if (value := getattr(run, name)) is not None}
    texts |= {"stage": _text(run.stage), "numerics": _text(NUMERICS)}
    return "{" + ",".join(f'"{name}":{texts[name]}' for name in sorted(texts)) + "}"


@lru_cache(maxsize=None, typed=True)  # 1 and True are equal, their texts are not
def _text(value: Any) -> str:
    return _CANONICAL.encode(_plain(value))


def parent(run: Run) -> Prefinetune | None:
    """The pre-finetuning that `run` starts from, if any."""
    return run.init if isinstance(run, Finetune) and isinstance(run.init, Prefinetune) else None


def base_model(run: Run) -> str:
    """The model that `run`, or the pre-finetuning that it starts from, begins with: a hub id or a folder."""
    first = run.init if isinstance(run, Finetune) else run
    return first if isinstance(first, str) else first.model


@lru_cache(maxsize=None)
def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.rstrip("/").rsplit("/", 1)[-1].lower()).strip("-")
