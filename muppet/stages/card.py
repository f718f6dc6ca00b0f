"""The model card of an exported model: what it was trained on, by which run, and what it is good for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from muppet.families import official
from muppet.result import Result
from muppet.runs import Finetune, Run, base_model
from muppet.tasks.task import Task

USE = """
## Use

```python
from transformers import AutoModel, AutoTokenizer
model, tokenizer = AutoModel.from_pretrained(FOLDER), AutoTokenizer.from_pretrained(FOLDER)
```

The heads are in `heads.safetensors`, described by `heads.json`; `muppet.model.MultiTask.load(FOLDER)` gives the model
with them, and `muppet predict --model FOLDER` (or `python -m muppet …`) answers rows.

## Limits

The model inherits the biases of its base and of the datasets above, and their licences' conditions. It was scored on
nothing but what this card lists.
"""


HUB_TASKS: dict[str, str] = {
    **dict.fromkeys(("classification", "regression"), "text-classification"),
    **dict.fromkeys(("tagging", "parsing"), "token-classification"),
    **{"commonsense": "multiple-choice", "span": "question-answering", "summarization": "summarization"},
}
HUB_METRICS = dict(matthews="matthews_correlation", pearson="pearsonr", spearman="spearmanr", token_accuracy="accuracy")
HUB_METRICS |= dict.fromkeys(("chunk_f1", "chunk_f1_strict"), "seqeval")


def card(run: Run, result: Result) -> str:
    """The README.md of a saved model, with the Hub's metadata header."""
    from huggingface_hub import ModelCard

    tasks, start = tuple(task for task, _ in run.trained), base_model(run)
    what = f"Fine-tuned on {run.task.name}" if isinstance(run, Finetune) else f"Pre-finetuned on {len(tasks)} datasets"
    recipe, training, cost = run.recipe, result.training, result.cost
    lines = [
        f"# {result.id}",
        "",
        f"{what} from `{start}`, by the reference reproduction of MUPPET (Aghajanyan et al. 2021,",
        "*Muppet: Massive Multi-task Representations with Pre-Finetuning*).",
        *_warnings(run),
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
    metadata = _metadata(run, result, start, () if run.source == "twins" else tasks)
    return str(ModelCard(f"---\n{metadata.to_yaml()}\n---\n\n{text}", ignore_metadata_errors=False))


def _metadata(run: Run, result: Result, start: str, tasks: tuple[Task, ...]) -> Any:
    """What the Hub reads of a card: base model, datasets, licence, and each score as a result on its dataset.

    Nothing is said of the Hub's datasets where twins stood in for them (`tasks` is empty then).
    """
    from huggingface_hub import EvalResult, ModelCardData

    scored = {task.name: task for task in run.scored}
    results, metrics = [], []
    for key, score in result.scores.items():
        name, split, metric = key.split("/", 2)
        measure = official(scored[name], metric)
        metrics.append(_hub_metric(measure))
        if tasks and _on_hub(scored[name].path):
            results.append(
                EvalResult(
                    task_type=HUB_TASKS[scored[name].family],
                    dataset_type=scored[name].path,
                    dataset_name=name,
                    dataset_config=scored[name].config,
                    dataset_split=split,
                    dataset_revision=scored[name].revision,
                    metric_type=_hub_metric(measure),
                    metric_name=measure,
                    metric_value=score.value,
                )
            )
    return ModelCardData(
        base_model=_base(start),
        datasets=sorted({task.path for task in tasks if _on_hub(task.path)}) or None,
        metrics=sorted(set(metrics)) or None,
        license="other",  # the base's and the datasets' conditions apply; the card's table has the latter
        license_name="of-the-base-model-and-the-datasets",
        library_name="transformers",
        language="en",
        tags=["muppet", "multi-task", run.stage],
        model_name=result.id if results else None,
        eval_results=results or None,
        ignore_metadata_errors=False,
    )


def _on_hub(path: str) -> bool:
    return path.count("/") == 1 and not path.startswith(("local/", "tiny/")) and not Path(path).exists()


def _base(start: str) -> str | None:
    """The Hub's model that training began with: `start`, or the one that the card of a folder of ours names."""
    from huggingface_hub import ModelCard

    if (Path(start) / "heads.json").is_file() and (Path(start) / "README.md").is_file():
        try:
            return ModelCard.load(Path(start) / "README.md").data.base_model
        except Exception:  # a person may have written in it: no reason to lose a training
            return None
    return start if _on_hub(start) else None


def _hub_metric(measure: str) -> str:
    """The Hub's name of a metric of ours."""
    if measure.startswith("evaluate:"):
        return measure.split(":")[1].rstrip("/").rsplit("/", 1)[-1]
    if measure.startswith("rouge"):
        return "rouge"
    return HUB_METRICS.get(measure) or {"em": "exact_match", "f1": "f1"}.get(measure.rsplit("_", 1)[-1], measure)


def _warnings(run: Run) -> list[str]:
    warnings = []
    if run.source == "twins":
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
