"""What the kit's tests share: a small study and results for its runs, written as a real run writes them."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from muppet import paths, result
from muppet.runs import Finetune, Prefinetune, Recipe, Run, facts, run_id
from muppet.tasks import get
from studies.kit.ledger.folder import result_path
from studies.kit.study import Cell, Study

RECIPE = Recipe(lr=1e-3, max_tokens=256, max_length=64, updates=3, sub_batches=2)
PARENT = Prefinetune(
    model="tiny/roberta", tasks=(get("rte"), get("cola")), recipe=RECIPE, source="twins", train_rows=32
)


def child(init: str | Prefinetune = PARENT, task: str = "rte", seed: int = 0, lr: float = 1e-3) -> Finetune:
    """A fine-tuning that takes a second."""
    recipe = Recipe(lr=lr, max_tokens=256, max_length=64, updates=3, sub_batches=1)
    return Finetune(
        init=init, task=get(task), recipe=recipe, seed=seed, source="twins", train_rows=32, evaluation_rows=16
    )


def small_study(seeds: int = 2, lrs: Sequence[float] = (1e-3,)) -> Study:
    """Plain and pre-finetuned rows over two columns of Table 3."""
    cells = [
        Cell(
            row=row,
            column=column,
            score=get(task).key(),
            select=get(task).key("held_out"),
            runs=tuple(child(init, task, seed, lr) for lr in lrs for seed in range(seeds)),
        )
        for row, init in (("RoBERTa-B", "tiny/roberta"), ("RoBERTa-B + MUPPET", PARENT))
        for column, task in (("RTE", "rte"), ("SST-2", "sst2"))
    ]
    base = {"RoBERTa-B + MUPPET": "RoBERTa-B"}
    return Study(name="table3", title="A small table", kind="table", cells=tuple(cells), base=base, reference=3)


def finish(
    run: Run, value: float | dict[str, float] = 0.5, *, profile: str = "smoke", n: int = 200, **more: Any
) -> Path:
    """Write the result of `run` as if it had been done; see `result_of`."""
    path = result_path(profile, run)
    result.write(result_of(run, value, n=n, **more), path)
    if isinstance(run, Prefinetune):
        (paths.model_dir(run_id(run))).mkdir(parents=True, exist_ok=True)
        (paths.model_dir(run_id(run)) / "config.json").write_text("{}")
    return path


def result_of(run: Run, value: float | dict[str, float] = 0.5, *, n: int = 200, **more: Any) -> result.Result:
    """The result of `run` as if it had been done: one value for its evaluation score, or values by key."""
    keys = {} if isinstance(run, Prefinetune) else {run.task.key(): value} if isinstance(value, float) else value
    keys = dict.fromkeys(sorted(result.due(facts(run)) - keys.keys()), 0.5) | keys
    scores = {
        key: result.Score(value=v, n=n, low=max(0.0, v - 0.05), high=min(1.0, v + 0.05)) for key, v in keys.items()
    }
    return result.Result(
        id=run_id(run),
        facts=facts(run),
        scores=scores,
        data={},
        training=more.get("training", {}),
        cost={"seconds": 2.0, "device": "cpu", "processes": 1} | more.get("cost", {}),
        environment=more.get("environment", {}),
    )


# ---------------------------------------------------------------- runners for tests/test_local.py; see local.RUNNER


def _known(name: str) -> Run:
    return small_study().runs()[name]


def instant(profile: str, ids: Sequence[str], progress: Any = None) -> dict[str, str]:
    """Leave a result at once, and the process's id in the run's folder."""
    for name in ids:
        paths.run_dir(name).mkdir(parents=True, exist_ok=True)
        (paths.run_dir(name) / "pid").write_text(str(os.getpid()))
        progress({"run": name, "step": 1, "steps": 2, "loss": 0.5, "tokens_per_second": 10.0})
        finish(_known(name), 0.6, profile=profile)
    return dict.fromkeys(ids, "done")


def again(profile: str, ids: Sequence[str], progress: Any = None) -> dict[str, str]:
    """As `instant`; a pre-finetuning that has a result leaves a model of other weights, as `worker.execute` does."""
    from studies.kit.ledger import folder

    for name in ids:
        if not result_path(profile, name).exists():
            instant(profile, [name], progress)
            continue
        result.write(result_of(_known(name), training={"weights": "new"}), folder.again(name))
        (paths.model_dir(name) / "config.json").write_text("{}")
    return dict.fromkeys(ids, "done")


def instant_for_an_age(profile: str, ids: Sequence[str], progress: Any = None) -> dict[str, str]:
    """As `instant`, but the results say that the runs took months."""
    for name in ids:
        finish(_known(name), 0.6, profile=profile, cost={"seconds": 1e7})
    return dict.fromkeys(ids, "done")


def dying(profile: str, ids: Sequence[str], progress: Any = None) -> dict[str, str]:
    """As `instant`, but the plain run on SST-2 of seed 0 is killed as by the kernel, that of seed 1 crashes."""
    for name in ids:
        run = _known(name)
        if isinstance(run, Finetune) and run.task.name == "sst2" and isinstance(run.init, str):
            print("about to die", flush=True)
            os.kill(os.getpid(), (9, 11)[run.seed])
    return instant(profile, ids, progress)


def failing_parent(profile: str, ids: Sequence[str], progress: Any = None) -> dict[str, str]:
    """As `instant`, but the pre-finetuning fails."""
    from studies.kit.ledger import folder

    for name in ids:
        if name.startswith("prefinetune"):
            folder.fail(name, ValueError("no such tokenizer"))
            return {name: "failed"}
    return instant(profile, ids, progress)


def endless(profile: str, ids: Sequence[str], progress: Any = None) -> dict[str, str]:
    """Do the first plain run; any other goes on until it is told to stop, and then says that it checkpointed."""
    import signal

    from muppet.errors import Stopped

    def stop(*_: object) -> None:
        raise Stopped(ids[0])

    run = _known(ids[0])
    if isinstance(run, Finetune) and run.task.name == "rte" and isinstance(run.init, str) and run.seed == 0:
        return instant(profile, ids, progress)
    signal.signal(signal.SIGTERM, stop)
    paths.run_dir(ids[0]).mkdir(parents=True, exist_ok=True)
    (paths.run_dir(ids[0]) / "began").write_text("")
    try:
        while True:
            time.sleep(0.05)
    except Stopped:
        (paths.run_dir(ids[0]) / "checkpointed").write_text("")
        raise


def stopped_once(profile: str, ids: Sequence[str], progress: Any = None) -> dict[str, str]:
    """As `instant`, but the pre-finetuning is stopped by somebody the first time."""
    from muppet.errors import Stopped

    mark = paths.run_dir(ids[0]) / "stopped"
    if ids[0].startswith("prefinetune") and not mark.exists():
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text("")
        raise Stopped(ids[0])
    return instant(profile, ids, progress)
