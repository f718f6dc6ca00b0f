"""The model card's metadata: what the Hub reads of a model, from a run and its result."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from muppet import paths
from muppet.result import Result, Score
from muppet.runs import Finetune, Recipe, facts, run_id
from muppet.runtime import code
from muppet.stages.card import card
from muppet.tasks import get
from studies.kit.launch.slurm import snapshot

TASK = get("mnli")
RUN = Finetune(init="FacebookAI/roberta-base", task=TASK, recipe=Recipe(lr=1e-5, max_tokens=100, epochs=1))


def written(run: Finetune, metrics: dict[str, float]) -> ModelCard:
    """The card of `run`, read back as the Hub reads it: wrong metadata is an error."""
    split = f"{run.task.name}/{run.task.evaluation[0]}"
    result = Result(
        id=run_id(run),
        facts=facts(run),
        scores={f"{split}/{name}": Score(value=value, n=10) for name, value in metrics.items()},
        data={f"{run.task.name}/{run.task.train}": {"found": "hub"}},
        training={"updates": 3, "datasets": {run.task.name: {"examples": 10, "epochs": 1.0}}},
        cost={"tokens": 100, "device": "cpu"},
        environment={"commit": None},
    )
    return ModelCard(card(run, result), ignore_metadata_errors=False)


def test_a_card_names_base_datasets_metrics_and_licence() -> None:
    data = written(RUN, {"accuracy": 0.5}).data
    assert (data.base_model, data.datasets, data.metrics) == ("FacebookAI/roberta-base", ["nyu-mll/glue"], ["accuracy"])
    assert data.license == "other" and data.library_name == "transformers"
    (one,) = data.eval_results
    assert (one.dataset_type, one.dataset_config, one.dataset_split) == (TASK.path, TASK.config, TASK.evaluation[0])
    assert (one.task_type, one.metric_type, one.metric_value) == ("text-classification", "accuracy", 0.5)


@pytest.mark.parametrize(
    ("task", "metrics", "names"),
    [
        ("squad", {"f1": 0.8, "em": 0.7}, ["exact_match", "f1"]),
        ("cola", {"matthews": -0.1}, ["matthews_correlation"]),
        ("conll2000", {"chunk_f1": 0.9}, ["seqeval"]),
        ("xsum", {"rouge1": 0.3, "rougeLsum": 0.2}, ["rouge"]),
        ("xsum", {"evaluate:bleu": 0.3}, ["bleu"]),
    ],
)
def test_metrics_have_the_hubs_names(task: str, metrics: dict[str, float], names: list[str]) -> None:
    data = written(dataclasses.replace(RUN, task=get(task)), metrics).data
    assert data.metrics == names and [one.metric_value for one in data.eval_results] == list(metrics.values())


def test_a_folder_of_ours_hands_its_base_on_and_twins_claim_nothing(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(str(written(RUN, {})))
    (tmp_path / "heads.json").write_text("{}")
    again = written(dataclasses.replace(RUN, init=str(tmp_path)), {"accuracy": 0.5}).data
    assert again.base_model == "FacebookAI/roberta-base"
    (tmp_path / "README.md").write_text("---\nbase_model: [a\n---\n")  # a person's: no reason to lose a training
    assert written(dataclasses.replace(RUN, init=str(tmp_path)), {}).data.base_model is None
    twins = written(dataclasses.replace(RUN, source="twins"), {"accuracy": 0.5}).data
    assert (twins.base_model, twins.datasets, twins.eval_results) == (RUN.init, None, None)
    own = dataclasses.replace(TASK, path="local/own", name="own")
    assert written(dataclasses.replace(RUN, task=own), {"accuracy": 0.5}).data.eval_results is None


def test_the_hub_accepts_the_card() -> None:
    card_of_a_run = written(RUN, {"accuracy": 0.5})
    try:
        card_of_a_run.validate()
    except ValueError:
        raise
    except Exception as error:
        pytest.skip(f"the Hub's validation needs a network ({type(error).__name__})")


def commit_all(root: Path) -> str:
    """Make a repository of what lies in `root` → its commit."""
    who = ("-c", "user.name=nobody", "-c", "user.email=nobody@localhost")
    for command in (("init", "-q"), ("add", "."), (*who, "commit", "-qm", "all")):
        subprocess.run(["git", "-C", str(root), *command], check=True)
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_change_of_the_code_is_one_of_what_jobs_are_given(tmp_path, monkeypatch):
    root = tmp_path / "checkout"
    monkeypatch.setattr(paths, "ROOT", root)
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "artifacts"))
    rendered = ("paper_tables/table3.md", "paper_tables/reference/table3.csv", "studies/pages/page.js")
    names = ("muppet/record.py", "muppet/data/rows.py", "studies/decisions.toml", *rendered)
    for name in names:
        paths.write_text(root / name, "one")
    at = commit_all(root)
    for name in names:
        paths.write_text(root / name, "another")
        assert code.commit(root) == (at, name not in rendered), name
        assert (snapshot.take() / name).exists() == (name not in rendered), name
        paths.write_text(root / name, "one")


def test_code_that_was_unpacked_into_another_repository_is_not_of_its_commit(tmp_path):
    unpacked = tmp_path / "unpacked"
    (unpacked / "muppet").mkdir(parents=True)
    (unpacked / "muppet" / "record.py").write_text("one")
    commit_all(tmp_path)
    assert code.commit(unpacked) == (None, False)
    assert code.commit(unpacked)[0] != commit_all(unpacked) == code.commit(unpacked)[0]
