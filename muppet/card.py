"""The model card of an exported model: what it was trained on, by which run, and what it is good for."""

from __future__ import annotations

from muppet.result import Result
from muppet.runs import Finetune, Run


def card(run: Run, result: Result) -> str:
    """The README.md of a saved model, with the Hub's metadata header."""
    from huggingface_hub import ModelCard, ModelCardData

    trained = [run.task] if isinstance(run, Finetune) else list(run.tasks)
    if isinstance(run, Finetune) and run.train_on:
        trained = [task for task, _ in run.train_on]
    base = run.model if not isinstance(run, Finetune) else run.init if isinstance(run.init, str) else run.init.model
    rows = []
    for task in trained:
        part = result.training["datasets"][task.name]
        found = result.data[f"{task.name}/{task.train}"]["found"]
        where = f"`{task.path}`" + (f" ({task.config})" if task.config else "")
        rows.append(
            f"| {task.name} | {task.family} | {where} | {found} | {part['examples']} | {part['epochs']:.2f} |"
            f" {task.licence or 'see dataset'} |"
        )
    synthetic = run.source == "twins"
    capped = run.train_rows is not None
    warnings = []
    if synthetic:
        warnings.append("The training rows are **synthetic twins** of the datasets: this model shows that the code runs, no more.")
    if capped:
        warnings.append(f"At most {run.train_rows} rows of each dataset were used; this is a reduced-size run.")
    scores = [
        f"| {key} | {score.value:.4f} | {score.low:.4f} to {score.high:.4f} | {score.n} |"
        for key, score in result.scores.items()
        if score.low is not None and score.high is not None
    ]
    data = ModelCardData(
        base_model=base if "/" in base and not base.startswith(("tiny/", "/", ".")) else None,
        datasets=sorted({task.path for task in trained if not task.path.startswith("local/")}) if not synthetic else None,
        library_name="transformers",
        language="en",
        tags=["muppet", "multi-task", run.stage],
    )
    text = f"""# {result.id}

{"Pre-finetuned on " + str(len(trained)) + " datasets at once" if not isinstance(run, Finetune) else "Fine-tuned on " + run.task.name} from `{base}`,
by the reference reproduction of MUPPET (Aghajanyan et al. 2021, *Massive Multi-task Representations with Pre-Finetuning*).
{" ".join(warnings)}

| dataset | family | from | found | examples | epochs | licence |
|---|---|---|---|---|---|---|
{chr(10).join(rows)}

Training: {result.training["updates"]} updates of {run.recipe.sub_batches} sub-batches, learning rate {run.recipe.lr:g}, seed {run.seed};
{result.cost["tokens"]} tokens on {result.cost["device"]}. Run `{result.id}`; code commit `{result.environment["commit"] or "unknown"}`.
"""
    if scores:
        text += "\n| score | value | 95 % item bootstrap | n |\n|---|---|---|---|\n" + "\n".join(scores) + "\n"
    text += """
## Use

```python
from transformers import AutoModel, AutoTokenizer
model, tokenizer = AutoModel.from_pretrained(FOLDER), AutoTokenizer.from_pretrained(FOLDER)
```

The heads are in `heads.safetensors`, described by `heads.json`; `muppet.model.MultiTask.load(FOLDER)` gives model and heads.

## Limits

The model inherits the biases of its base and of the datasets above, and their licences' conditions. It was scored on
nothing but what this card lists.
"""
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}"))
