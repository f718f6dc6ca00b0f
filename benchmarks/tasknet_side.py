"""tasknet beside this project, on the same rows: the classification sets of the mixture, 32 rows of one task at a time.

tasknet needs an environment of its own (`python -m venv …` and `pip install tasknet` there), whose Python `TASKNET_PYTHON`
names; it is started with this file, so that nothing but the standard library is imported up here. The two take turns: the
other side waits for a line before each of its updates.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from muppet.runs import Recipe

UPDATES = 4  # of tasknet, in one turn


def beside(rounds: int, layers: int, recipe: Recipe, rows: int = 500) -> str:
    """One line: tasknet's real tokens per CPU second, and its CPU time per real token over this project's."""
    python = os.environ.get("TASKNET_PYTHON")
    if not python:
        return "tasknet was not measured: set TASKNET_PYTHON to the Python of an environment that has it"
    from benchmarks.mixture import minilm, mixture, source, trainer
    from benchmarks.policies import ROWS_PER_BATCH
    from muppet import tasks
    from muppet.runtime.device import Device

    model = minilm(layers)
    names = [name for name in tasks.SETS["small_mixture"] if tasks.get(name).family == "classification"]
    with tempfile.TemporaryDirectory(prefix="muppet-tasknet-") as folder:
        here = Path(folder)
        mixed = mixture(model, recipe, names, rows, twins=True)
        for part in mixed.parts:
            origin = "twins" if part.encoded.found == "twins" else source()
            lines = "".join(json.dumps(row) + "\n" for row in _texts(part.encoded.task, origin, rows))
            (here / f"{part.name}.jsonl").write_text(lines, encoding="utf-8")
        model.save(here / "model", "")
        ours = trainer(model, mixed, recipe, Device(packed=True))
        command = [python, "-P", __file__, folder, str(recipe.max_length), str(ROWS_PER_BATCH)]
        env = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
        with (here / "log.txt").open("w+") as log:
            pipe = subprocess.PIPE
            try:
                child = subprocess.Popen(command, env=env, cwd=folder, text=True, stdin=pipe, stdout=pipe, stderr=log)
            except OSError as error:
                return f"tasknet failed: TASKNET_PYTHON={python}: {error.strerror}"
            try:
                spent = _turns(child, ours, rounds)
            finally:
                child.kill()
                child.wait()
            if spent is None:
                log.seek(0)
                return f"tasknet failed: {(log.read().strip().splitlines() or ['it said nothing'])[-1][:300]}"
    speed = {name: spent[name, "tokens"] / spent[name, "cpu"] for name in ("tasknet", "ours")}
    return (
        f"tasknet, {ROWS_PER_BATCH} rows of one task a batch, on the {len(mixed.parts)} classification sets alone: "
        f"{speed['tasknet']:,.0f} real tokens per CPU second, {speed['ours'] / speed['tasknet']:.2f} × the CPU time of this project"
    )


def _turns(child: Any, ours: Any, rounds: int) -> Counter[tuple[str, str]] | None:
    """Sums of CPU seconds and real tokens of both, which take turns; the first turn is to warm up. None: the other side
    ended before its time."""
    from benchmarks.common import clocked

    spent: Counter[tuple[str, str]] = Counter()
    for number in range(rounds + 1):
        before = ours.meter.counts["real_tokens"]
        cpu = clocked(ours.update).cpu
        found = {("ours", "cpu"): cpu, ("ours", "tokens"): ours.meter.counts["real_tokens"] - before}
        for _ in range(UPDATES):
            try:
                child.stdin.write("go\n")
                child.stdin.flush()
                line = child.stdout.readline()
            except BrokenPipeError:
                line = ""
            if not line:
                return None
            for key, value in json.loads(line).items():
                found["tasknet", key] = found.get(("tasknet", key), 0.0) + value
        if number:
            spent.update(found)
    return spent


def _texts(task: Any, origin: Any, rows: int) -> Iterator[dict[str, Any]]:
    """The same rows as text."""
    from muppet.data.sources import load_rows
    from muppet.families import examples

    kept = load_rows(task, task.train, source=origin, cap=rows).rows
    for example in examples(task, task.train, kept, Counter()):
        yield {"s1": example["text"], "s2": example["pair"] or "", "label": example["label"]}


# ---------------------------------------------------------------- the other side, in tasknet's environment


def main(folder: Path, max_length: int, rows_per_batch: int) -> None:
    """Train with tasknet; before each update wait for a line, after it print its CPU seconds and real tokens."""
    out, sys.stdout = sys.stdout, sys.stderr  # whatever the libraries print
    import evaluate

    evaluate.load = lambda *given, **more: None  # tasknet fetches a metric when it is imported; none is needed here
    import tasknet
    import torch
    import transformers
    from datasets import Dataset, DatasetDict

    torch.set_num_threads(1)
    chosen = []
    for file in sorted(folder.glob("*.jsonl")):
        rows = Dataset.from_list([json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()])
        second = "s2" if any(rows["s2"]) else "none"
        splits = DatasetDict(
            {name: rows if name == "train" else rows.select([0]) for name in ("train", "validation", "test")}
        )
        chosen.append(tasknet.Classification(dataset=splits, name=file.stem, s1="s1", s2=second, y="label"))
    settings = {
        "model_name": str(folder / "model"),
        "max_length": max_length,
        "batched": True,
        "max_steps": 100_000,
        "report_to": [],
        "per_device_train_batch_size": rows_per_batch,
        "learning_rate": 1e-5,
        "use_cpu": True,
        "eval_strategy": "no",
        "logging_strategy": "no",
        "save_strategy": "no",
        "disable_tqdm": True,
        "output_dir": str(folder / "out"),
        "max_grad_norm": 0.0,
    }
    model, trainer = tasknet.Model_Trainer(chosen, settings)
    plain, seen = model.forward, []

    def forward(task: Any, **batch: Any) -> Any:
        seen.append(int(batch["attention_mask"].sum()))
        return plain(task, **batch)

    model.forward = forward

    class Turns(transformers.TrainerCallback):
        before = time.process_time()

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            sys.stdin.readline()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.before, spent = time.process_time(), time.process_time() - self.before  # with the batch's collating
            print(json.dumps({"cpu": spent, "tokens": seen.pop()}), file=out, flush=True)

    trainer.add_callback(Turns())
    trainer.train()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
