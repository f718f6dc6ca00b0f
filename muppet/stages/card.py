"""The model card of an exported model: what it was trained on, by which run, and what it is good for."""

from __future__ import annotations

from pathlib import Path

from muppet.result import Result
from muppet.runs import Finetune, Run
from muppet.tasks.task import Task

USE = """
## Use

```python
from transformers import AutoModel, AutoTokenizer
model, tokenizer = AutoModel.from_pretrained(FOLDER), AutoTokenizer.from_pretrained(FOLDER)
```

The heads are in `heads.safetensors`, described by `heads.json`; `muppet.model.MultiTask.load(FOLDER)` gives the model
with them, and `python -m muppet predict --model FOLDER` answers rows.

## Limits

The model inherits the biases of its base and of the datasets above, and their licences' conditions. It was scored on
nothing but what this card lists.
"""


def card(run: Run, result: Result) -> str:
    """The README.md of a saved model, with the Hub's metadata header."""
    from huggingface_hub import ModelCard, ModelCardData

    tasks, start = _tasks(run), _start(run)
    synthetic = run.source == "twins"
    metadata = ModelCardData(
        base_model=start if "/" in start and not start.startswith("tiny/") and not Path(start).exists() else None,
        datasets=None if synthetic else sorted({t.path for t in tasks if not t.path.startswith("local/")}),
        library_name="transformers",
        language="en",
        tags=["muppet", "multi-task", run.stage],
    )
    what = f"Fine-tuned on {run.task.name}" if isinstance(run, Finetune) else f"Pre-finetuned on {len(tasks)} datasets"
    recipe, training, cost = run.recipe, result.training, result.cost
    lines = [
        f"# {result.id}",
        "",
        f"{what} from `{start}`, by the reference reproduction of MUPPET (Aghajanyan et al. 2021,",
        "*Muppet: Massive Multi-task Representations with Pre-Finetuning*).",
        *_warnings(run, synthetic),
        "",
        "| dataset | family | from | found | examples | epochs | licence |",
        "|---|---|---|---|---|---|---|",
        *(_row(task, result) for task in tasks),
        "",
        f"Training: {training['updates']} updates of {recipe.sub_batches} sub-batches, learning rate {recipe.lr:g},",
        f"seed {run.seed}; {cost['tokens']} tokens on {cost['device']}. Run `{result.id}`; code commit",
        f"`{result.environment['commit'] or 'unknown'}`.",
    ]
    if result.scores:
        lines += ["", "| score | value | 95 % item bootstrap | n |", "|---|---|---|---|"]
    for key, score in result.scores.items():
        interval = "—" if score.low is None or score.high is None else f"{score.low:.4f} to {score.high:.4f}"
        lines.append(f"| {key} | {score.value:.4f} | {interval} | {score.n} |")
    text = "\n".join(lines) + "\n" + USE
    return str(ModelCard(f"---\n{metadata.to_yaml()}\n---\n\n{text}"))


def _tasks(run: Run) -> tuple[Task, ...]:
    if not isinstance(run, Finetune):
        return run.tasks
    return tuple(task for task, _ in run.train_on) if run.train_on else (run.task,)


def _start(run: Run) -> str:
    if not isinstance(run, Finetune):
        return run.model
    return run.init if isinstance(run.init, str) else run.init.model


def _warnings(run: Run, synthetic: bool) -> list[str]:
    warnings = []
    if synthetic:
        warnings.append("Trained on **synthetic twins** of the datasets: this model shows that the code runs, no more.")
    if run.train_rows is not None:
        warnings.append(f"At most {run.train_rows} rows of each dataset were used: a reduced-size run.")
    return ["", *warnings] if warnings else []


def _row(task: Task, result: Result) -> str:
    part, origin = result.training["datasets"][task.name], result.data[f"{task.name}/{task.train}"]["found"]
    where = f"`{task.path}`" + (f" ({task.config})" if task.config else "")
    licence = task.licence or "see dataset"
    return (
        f"| {task.name} | {task.family} | {where} | {origin} | {part['examples']} | {part['epochs']:.2f} | {licence} |"
    )
