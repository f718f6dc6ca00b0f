"""A cluster's settings, one small file read strictly (see cluster.example.toml), and the resources of a job."""

from __future__ import annotations

import dataclasses
import os
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from muppet.errors import UserError, unknown
from muppet.runs import Run
from studies.kit import cost

FILE = "cluster.toml"
STARTUP_S = 20.0  # of a job: interpreter, imports, model and data opened
FROM_SBATCH = ("partition", "account", "wckey", "qos", "constraint")
EARLY_S = 60  # by which SLURM may send its warning too early
SHORTEST_MIN = 10  # of a job's time limit
SLACK = 2.0  # time limit over estimate; a job that hits its limit checkpoints and goes on, so this need not be generous


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What the user fixes for one stage; None: the run's own recipe and its estimated cost decide."""

    nodes: int | None = None
    tasks_per_node: int | None = None  # processes, one per GPU where there are GPUs
    gpus_per_node: int | None = None
    cpus_per_task: int | None = None
    memory_gb: float | None = None  # of one node
    minutes: int | None = None  # time limit
    partition: str | None = None  # instead of the cluster's, as are the following
    qos: str | None = None
    constraint: str | None = None
    gpu_type: str | None = None


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The settings of `cluster.toml`."""

    partition: str | None = None  # one or several (`main,high`); None: the cluster's default
    account: str | None = None
    wckey: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gpu_type: str | None = None  # as in gpus-per-node=a100:8
    exclude: str | None = None  # nodes never to use
    array_parallelism: int = 256  # jobs of one array that run at once
    setup: tuple[str, ...] = ()  # shell lines before each job: modules, conda, proxies
    prefix: str | None = None  # what Python is started by: `apptainer exec --nv image.sif`
    python: str | None = None  # the interpreter, where that of the submission is not there; None: the same
    srun: tuple[str, ...] = ()  # further options of srun: `--container-image=…` for pyxis
    gpus_per_node: int = 8  # that a node has; 0: a cluster without GPUs
    cpus_per_gpu: int = 8
    signal_s: int = 120  # before its time limit a job gets USR2 and checkpoints
    ask_above_hours: float = 24.0  # estimated GPU-hours (core-hours without GPUs) above which YES=1 is asked for
    pack_minutes: float = 30  # short fine-tunings share a job of about so long
    max_jobs: int | None = None  # jobs of ours, waiting or running; None: as many as the scheduler's limits allow
    max_array: int | None = None  # None: ask the scheduler (MaxArraySize)
    sealed: bool = True  # jobs never reach for the network; what they need is checked at submission
    prefinetune: Stage = field(default_factory=Stage)
    finetune: Stage = field(default_factory=Stage)
    sbatch: dict[str, str] = field(default_factory=dict)  # further sbatch options, as written

    def stage(self, name: str) -> Stage:
        """What is fixed for the stage called `name`, or for that of the run whose id is `name`."""
        return self.prefinetune if name.startswith("prefinetune") else self.finetune

    def of(self, name: str, setting: str) -> str | None:
        """A setting that a stage may have for itself, such as `partition`, for the stage of run (or stage) `name`."""
        value: str | None = getattr(self.stage(name), setting) or getattr(self, setting)
        return value


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one job asks for. `memory_gb` is of one node."""

    nodes: int
    tasks_per_node: int
    gpus_per_node: int
    cpus_per_task: int
    memory_gb: float
    minutes: int

    @property
    def processes(self) -> int:
        """Tasks over all nodes."""
        return self.nodes * self.tasks_per_node

    def __str__(self) -> str:
        gpus = f" × {self.gpus_per_node} GPU" if self.gpus_per_node else ""
        nodes = f"{self.nodes} node{'s' * (self.nodes > 1)}"
        tasks = f"{self.tasks_per_node} task{'s' * (self.tasks_per_node > 1)}"
        return f"{nodes}{gpus} × {tasks} × {self.cpus_per_task} CPU, {self.memory_gb:g} GB, {self.minutes} min"


def read(path: Path | None = None) -> Cluster:
    """The settings in `path`, by default `$MUPPET_CLUSTER` or ./cluster.toml; without a file, the defaults.

    What the file leaves open of FROM_SBATCH is taken from sbatch's own variables, such as `$SBATCH_ACCOUNT`.
    Raises UserError that names the file, the key and the nearest valid one.
    """
    named = path or (Path(os.environ["MUPPET_CLUSTER"]) if os.environ.get("MUPPET_CLUSTER") else None)
    file = named or Path(FILE)
    if not file.is_file():
        if named or file.exists():
            raise UserError(f"{file}: no such file; copy cluster.example.toml there and fill it in")
        return _filled(Cluster())
    try:
        plain = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: not TOML: {error}") from None
    for name in ("prefinetune", "finetune"):
        if name in plain:
            plain[name] = _fill(Stage, plain[name], f"{file}: [{name}]")
    cluster: Cluster = _fill(Cluster, plain, str(file))
    for key, value in cluster.sbatch.items():
        if not isinstance(value, (str, int, bool)):
            raise UserError(f"{file}: [sbatch] {key}: expected text, a number or true, found {value!r}")
    return _filled(cluster)


def _filled(cluster: Cluster) -> Cluster:
    given = {name: os.environ.get(f"SBATCH_{name.upper()}") for name in FROM_SBATCH if getattr(cluster, name) is None}
    return replace(cluster, **{name: value for name, value in given.items() if value})  # type: ignore[arg-type]


def _fill(kind: type, plain: Any, where: str) -> Any:
    """An instance of the dataclass `kind` from TOML data, every key known and every value of its field's type."""
    if not isinstance(plain, dict):
        raise UserError(f"{where} is a table of settings; found {plain!r}")
    fields = {f.name: f for f in dataclasses.fields(kind)}
    values: dict[str, Any] = {}
    for key, value in plain.items():
        if key not in fields:
            raise UserError(f"{where}: {unknown('key', key, fields)}")
        values[key] = _checked(str(fields[key].type), value, f"{where}: {key}")
    return kind(**values)


def _checked(declared: str, value: Any, where: str) -> Any:
    optional, kind = declared.endswith(" | None"), declared.removesuffix(" | None")
    if kind in ("Stage", "dict[str, str]"):
        if isinstance(value, dict) or dataclasses.is_dataclass(value):
            return value
    elif kind == "tuple[str, ...]":
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
    elif kind == "bool" or isinstance(value, bool):
        if kind == "bool" and isinstance(value, bool):
            return value
    elif kind in ("int", "float"):
        lowest = 0 if where.endswith("gpus_per_node") else 1 if kind == "int" else 0.0
        if isinstance(value, int) or (kind == "float" and isinstance(value, float)):
            if value < lowest:
                raise UserError(f"{where} is {value}, it must be at least {lowest:g}")
            return value
    elif kind == "str" and isinstance(value, str):
        if value or optional:
            return value or None
    words = dict(int="a whole number", float="a number", bool="true or false", str="text")
    words["tuple[str, ...]"] = "a list of texts"
    raise UserError(f"{where} takes {words.get(kind, 'a table')}, found {value!r}")


def resources(run: Run, cluster: Cluster, *, seconds: float | None = None) -> Resources:
    """What a job for `run` asks for: the recipe and the model's size decide, `cluster.toml` overrides.

    `seconds`: the job's estimated wall time on one process, when it holds more than this one run.
    """
    stage = cluster.stage(run.stage)
    size = cost.model_size(run)
    accelerated = cluster.gpus_per_node > 0 and cost.wants_gpu(run)
    wide = accelerated and run.stage == "prefinetune"
    wanted = min(run.recipe.sub_batches, cost.WIDTH.get(size.name, 1)) if wide else 1
    per_node = min(wanted, cluster.gpus_per_node) if accelerated else 0
    per_node = per_node if stage.gpus_per_node is None else stage.gpus_per_node
    tasks = stage.tasks_per_node or max(1, per_node)
    nodes = stage.nodes or max(1, -(-wanted // max(1, tasks)))
    if nodes * tasks > run.recipe.sub_batches:
        raise UserError(
            f"{FILE}: [{run.stage}] asks for {nodes} × {tasks} tasks, but an update of this recipe has only "
            f"{run.recipe.sub_batches} sub-batches to share out"
        )
    cpus = stage.cpus_per_task or (cluster.cpus_per_gpu if per_node else 1)
    estimate = (seconds if seconds is not None else cost.seconds(run)) / (nodes * tasks)
    minutes = stage.minutes or max(SHORTEST_MIN, round(SLACK * (estimate + STARTUP_S) / 60) + 1)
    if 60 * minutes <= cluster.signal_s + EARLY_S:
        raise UserError(
            f"{FILE}: signal_s = {cluster.signal_s} and SLURM's earliness ({EARLY_S} s) leave nothing of the {minutes} "
            f"min of a {run.stage} job; lower it, or raise `minutes`"
        )
    memory = stage.memory_gb or round(2 + tasks * cost.memory_gb(run), 1)
    return Resources(
        nodes=nodes, tasks_per_node=tasks, gpus_per_node=per_node, cpus_per_task=cpus, memory_gb=memory, minutes=minutes
    )


def within(resources: Resources, limit_minutes: int | None, *, fixed: bool, partition: str) -> Resources:
    """`resources` with a time limit that the partition allows: an estimate is cut (the job will checkpoint and go on),
    a limit that the user fixed is refused."""
    if limit_minutes is None or resources.minutes <= limit_minutes:
        return resources
    if fixed:
        raise UserError(
            f"{FILE}: minutes = {resources.minutes}, but partition {partition!r} allows {limit_minutes}; lower it "
            "(jobs go on from their checkpoint after the limit)"
        )
    return replace(resources, minutes=limit_minutes)


def parse_minutes(text: str) -> int | None:
    """SLURM's `[days-]hours:minutes:seconds` in minutes; None for no limit."""
    if text.strip().lower() in ("infinite", "unlimited", "n/a", ""):
        return None
    days, _, clock = text.strip().rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if days:
        return int(days) * 1440 + parts[0] * 60 + (parts[1] if len(parts) > 1 else 0)
    return parts[0] * 60 + parts[1] if len(parts) == 3 else parts[0]
