"""A small experiment on a real cluster: real code, real training of tiny models on twins, in a folder of its own."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.slurm_cluster import Cluster

ROOT = Path(__file__).resolve().parents[1]
STUDY = """
from muppet.runs import Finetune, Prefinetune, Recipe
from muppet.tasks import get
from studies.kit.study import Cell, Study

TASKS = ("rte", "cola")
LONG = Recipe(lr=1e-3, max_tokens=256, max_length=64, updates={updates}, warmup_updates=2, sub_batches=4)
SHORT = Recipe(lr=1e-3, max_tokens=256, max_length=64, updates=3, warmup_updates=1, sub_batches=2)


def study():
    parent = Prefinetune(
        model="tiny/roberta", tasks=tuple(map(get, TASKS)), recipe=LONG, seed={seed}, source="twins", train_rows={rows}
    )
    cells = []
    for row, init in (("ours", parent), ("plain", "tiny/roberta"))[:{kinds}]:
        for name in TASKS:
            task = get(name)
            runs = tuple(
                Finetune(init=init, task=task, recipe=SHORT, seed=s, source="twins", train_rows=32, evaluation_rows=16)
                for s in range({seeds})
            )
            cells.append(Cell(row=row, column=name, runs=runs, score=task.key()))
    return Study(name="ablations", title="a grid for tests", kind="table", cells=tuple(cells))
"""


@dataclass(kw_only=True)
class Grid:
    """A copy of the code with one small study, and the folder that it is run in.

    One pre-finetuning, two cells of `seeds` fine-tunings from it, and with `plain` two cells that need no parent."""

    folder: Path
    cluster: Cluster | None
    updates: int = 12  # of the pre-finetuning
    rows: int = 32
    seeds: int = 1
    plain: bool = False
    seed: int = 0
    artefact: str = "ablations"  # the small study stands in its place; another artefact is the project's own
    profile: str = "paper"  # it scales nothing
    slow: float = 0.0  # seconds that each update of the pre-finetuning takes longer; its last one waits for `go()`
    waits: bool = False  # every run waits for `go()` before it begins
    confirm: float = 0.5  # seconds before a submission looks again; what a controller that dies has kept after six
    like: Grid | None = None  # an earlier grid, whose code, tiny models and token cache are taken over
    settings: str = ""  # further lines of cluster.toml
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.work, self.code = self.folder / "work", self.folder / "code"
        self.work.mkdir(parents=True)
        for part in ("tiny", "cache") if self.like else ():
            shutil.copytree(self.like.work / "artifacts" / part, self.work / "artifacts" / part)  # type: ignore[union-attr]
        source = self.like.code if self.like else ROOT
        ignored = shutil.ignore_patterns("__pycache__")
        for part in ("muppet", "studies", "paper_tables/reference"):
            shutil.copytree(source / part, self.code / part, ignore=ignored)
        if self.artefact == "ablations":
            if not self.like:
                self.patch("studies/__init__.py", "ARTEFACTS = (", 'ARTEFACTS = ("ablations",) or (')
            text = STUDY.format(
                updates=self.updates, seeds=self.seeds, seed=self.seed, rows=self.rows, kinds=1 + self.plain
            )
            (self.code / "studies/ablations.py").write_text(text)
        sender = self.code / "studies/kit/launch/slurm/submit.py"
        sender.write_text(re.sub(r"CONFIRM_S = [\d.]+", f"CONFIRM_S = {self.confirm}", sender.read_text()))
        word = f"__import__('os').path.exists({str(self.word)!r})"
        if self.slow:
            update, last = "loss = trainer.update()\n", f"trainer.step == {self.updates - 1}"
            slow = f"            time.sleep({self.slow} * (trainer.updates == {self.updates}))\n"
            # A signal ends the wait, as it would end the update.
            hold = f"            while {last} and not caught and not {word}:\n                time.sleep(0.1)\n"
            self.patch("muppet/training/train.py", update, update + slow + hold)
        if self.waits:
            begin = "    check_parent(profile, run)\n"
            hold = f"    while not {word}:\n        __import__('time').sleep(0.1)\n"
            self.patch("studies/kit/launch/worker.py", begin, hold + begin)
        (self.work / "cluster.toml").write_text("gpus_per_node = 0\n" + self.settings)

    @property
    def word(self) -> Path:
        """The file that runs of a grid that is `slow` or `waits` look for."""
        return self.folder / "go"

    def go(self) -> None:
        """Let runs that wait go on: what a test did before, it did while they were under way, on any machine."""
        self.word.touch()

    def patch(self, name: str, old: str, new: str) -> None:
        """Change this grid's copy of a file."""
        text = (self.code / name).read_text()
        assert text.count(old) == 1, f"{name} no longer has {old!r} once"
        (self.code / name).write_text(text.replace(old, new))

    @property
    def environment(self) -> dict[str, str]:
        """Of every command of this grid."""
        base = self.cluster.env if self.cluster else dict(os.environ)
        dropped = ("MUPPET_", "PYTHONPATH", "HF_", "PYTEST_")
        kept = {k: v for k, v in base.items() if not k.startswith(dropped)}
        own = {
            "PYTHONPATH": str(self.code),
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "COLUMNS": "200",
            "PYTHONUNBUFFERED": "1",
        }
        return kept | own | {"PYTHONSAFEPATH": "1"} | self.env

    def command(self, *arguments: str) -> list[str]:
        """`python -m studies ARGUMENTS` for this grid's artefact and profile."""
        return [sys.executable, "-m", "studies", *arguments, "--profile", self.profile, "--artefact", self.artefact]

    def run(self, *arguments: str, expect: int = 0, timeout: float = 900) -> str:
        """What `python -m studies …` prints; fails the test on another exit status."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.work,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == expect, f"status {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.logs()}"
        return done.stdout + done.stderr

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """`python -m studies …`, under way."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.work,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def submit(self, *arguments: str, expect: int = 0) -> str:
        """Bring the study up to date on the cluster."""
        return self.run(self.artefact, "--launcher", "slurm", *arguments, expect=expect)

    def states(self, *arguments: str) -> dict[str, dict[str, Any]]:
        """`status --json`, by run."""
        plain = json.loads(self.run("status", "--json", *arguments))
        return {one["run"]: one for one in plain["runs"]}

    def results(self) -> dict[str, dict[str, Any]]:
        """Every result, by run."""
        found = (self.work / "results" / self.profile).glob("*/*.json")
        return {path.stem: json.loads(path.read_text()) for path in found}

    def outcome(self) -> dict[str, Any]:
        """What must not depend on how a run was launched or interrupted: scores, training, pre-finetuned weights."""
        kept: dict[str, Any] = {name: (one["scores"], one["training"]) for name, one in self.results().items()}
        for path in (self.work / "artifacts/runs").glob("*/model/*.safetensors"):
            kept[f"{path.parent.parent.name}/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
        return kept

    @property
    def parent(self) -> str:
        """The pre-finetuning's id."""
        return next(name for name in self.states() if name.startswith("prefinetune-"))

    def progress(self, run: str) -> int:
        """The step that a run last reported."""
        try:
            return int(json.loads((self.work / f"artifacts/runs/{run}/progress.json").read_text())["step"])
        except (OSError, ValueError):
            return 0

    def queue(self) -> dict[str, str]:
        """Job (or element) → state, as the scheduler has it."""
        assert self.cluster is not None
        lines = self.cluster.run("squeue", "-h", "-r", "-o", "%i %j %T", "--states=all").splitlines()
        fields = [line.split() for line in lines]
        ours = {path.name for path in (self.work / "artifacts/submissions").glob("*")}
        return {job: state for job, name, state in fields if any(one in name for one in ours)}

    def idle(self) -> bool:
        """Whether none of this grid's jobs waits, runs or is being ended."""
        active = ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED")
        return not any(state in active for state in self.queue().values())

    def until(self, condition: Callable[[], object], what: str, seconds: float = 900) -> None:
        """Wait for `condition`; fail the test, with every log, when it does not come."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"after {seconds} s it is not so that {what}\n{self.logs()}"
            time.sleep(0.2)

    def parent_is_done(self) -> None:
        """Wait for the pre-finetuning's result; the fine-tunings behind it are not of interest."""
        parent = self.parent
        self.until(lambda: parent in self.results(), "the pre-finetuning is done")

    def finish(self, runs: int, seconds: float = 900) -> None:
        """Wait until `runs` results are there and no job of this grid is left."""
        self.until(lambda: len(self.results()) >= runs, f"{runs} runs are done", seconds)
        self.until(self.idle, "no job is left", 300)

    def logs(self) -> str:
        """The ends of all job and run logs."""
        patterns = ("submissions/*/*/*_log.out", "runs/*/log.txt", "runs/*/failure.json")
        found = sorted(path for pattern in patterns for path in (self.work / "artifacts").glob(pattern))
        return "\n".join(f"== {path.name}\n{path.read_text(errors='replace')[-1500:]}" for path in found)

    def joblogs(self) -> str:
        """Everything that jobs said."""
        return "\n".join(
            p.read_text(errors="replace") for p in (self.work / "artifacts").glob("submissions/*/*/*_log.out")
        )


Make = Callable[..., Grid]


def same(one: Grid, local: Grid) -> bool:
    """Whether `one` arrived at what the local launcher did, bit for bit, in all that it ran."""
    ours, theirs = one.outcome(), local.outcome()
    assert any(name.endswith("model.safetensors") for name in ours)
    return ours == {name: theirs[name] for name in ours}
