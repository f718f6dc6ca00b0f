"""Runs with one's own data: refused before the first step or right to the end, and the next time the same."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from muppet import tasks
from muppet.__main__ import main
from muppet.errors import UserError
from muppet.stages import opening
from muppet.synthetic import models
from muppet.tasks import Task
from tests.core import artifacts, finish, launch, recipe, shared_artifacts  # noqa: F401
from tests.own_files import SMALL, one_error, put, text_rows, trained_examples

pytestmark = pytest.mark.usefixtures("artifacts")


# Files of one's own ---------------------------------------------------------------------------------------------------


def test_a_csv_is_trained_on_predicted_and_other_rows_are_another_run(tmp_path, capsys):
    rows = [*text_rows(39), {"text": "word " * 100, "label": "yes"}, {"text": "", "label": "no"}]
    train, dev = put(tmp_path / "train.csv", rows), put(tmp_path / "dev.csv", text_rows(8))
    given = ["finetune", "--model", "tiny/roberta", "--train-file", str(train), "--eval-file", str(dev)]
    small = [*SMALL[2:], "--out", str(tmp_path / "out")]
    assert main([*given, *small]) == 0
    said = capsys.readouterr().out
    assert "own-train/validation/accuracy" in said and "own-train/train: 1 of 41 rows left out: missing text" in said
    assert "own-train/train: 1 rows cut; rows hold 64 tokens (--max-length)" in said and "validation: 1 " not in said
    first = trained_examples(tmp_path / "out")
    assert first["training"]["datasets"]["own-train"]["examples"] == 40
    put(train, text_rows(10))
    assert main([*given, *small]) == 2
    assert "give --overwrite" in one_error(capsys)
    assert main([*given, *small, "--overwrite"]) == 0
    again = trained_examples(tmp_path / "out")
    assert again["training"]["datasets"]["own-train"]["examples"] == 10 and again["id"] != first["id"]
    capsys.readouterr()
    assert main(["predict", "--model", str(tmp_path / "out"), str(dev), "--to", "csv"]) == 0
    answers = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert len(answers) == 8 and all(answer["label"] in ("no", "yes") for answer in answers)


@pytest.mark.parametrize(
    ("row", "asked"),
    [
        (lambda i: {"text": f"a {i}", "label": (1, 2, "\u597d")[i % 3]}, {"text": "a"}),
        (lambda i: {"text": f"a {i}", "label": 1 + i % 2}, {"text": "a"}),
        (lambda i: {"tokens": ["a", "b"], "tags": [1, 2]}, {"tokens": ["a", "b"]}),
    ],
)
def test_classes_that_are_called_by_numbers_are_predicted(tmp_path, monkeypatch, capsys, row, asked):
    """On a terminal of another encoding too: what is predicted is read as rows are, in UTF-8."""
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row(i)) + "\n" for i in range(12)))
    (tmp_path / "new.jsonl").write_text(json.dumps(asked))
    file, out = str(tmp_path / "train.jsonl"), str(tmp_path / "out")
    given = ["finetune", "--model", "tiny/roberta", "--train-file", file, "--eval-file", file, *SMALL]
    assert main([*given, "--out", out]) == 0
    assert "validation: holds the same rows as own-train/train" in capsys.readouterr().out
    latin = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr("sys.stdout", latin)
    assert main(["predict", "--model", out, str(tmp_path / "new.jsonl")]) == 0
    latin.flush()
    said = json.loads(latin.buffer.getvalue().decode())
    assert set(said.get("tags", [said.get("label")])) <= {"1", "2", "\u597d"}


@pytest.mark.parametrize(
    ("labels", "more", "said"),
    [
        ([0.5, 1.5, 0.5], [], "validation/pearson: not defined, as one side is constant: 0.0"),
        (["real", "fake", "real"], ["--metrics", "f1"], "validation/f1: of 'real': "),
    ],
)
def test_a_score_says_what_it_is_of(tmp_path, capsys, labels, more, said):
    train = put(tmp_path / "train.csv", [{"text": "a", "label": label} for label in labels])
    dev = put(tmp_path / "dev.csv", [{"text": "a", "label": labels[0]}])
    given = ["finetune", "--model", "tiny/roberta", "--train-file", str(train), "--eval-file", str(dev), *SMALL, *more]
    assert main([*given, "--out", str(tmp_path / "out")]) == 0
    assert said in capsys.readouterr().out


def test_a_file_joins_a_mixture_and_each_family_is_told_by_its_roles(tmp_path, capsys):
    ranked = [{"q": "?", "a": "x y", "b": "z", "right": k % 2} for k in range(24)]
    file = put(tmp_path / "ranked.csv", ranked)
    given = ["prefinetune", "--model", "tiny/roberta", "--tasks", "rte", "--twins", "--train-file", str(file)]
    more = ["--question", "q", "--choices", "a,b", "--label", "right", "--updates", "1", *SMALL[:6]]
    assert main([*given, *more, "--out", str(tmp_path / "out")]) == 0
    heads = {spec["key"] for spec in json.loads((tmp_path / "out" / "heads.json").read_text())["heads"]}
    assert heads == {"rte", "commonsense"}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--label", "labl"], "train.csv has no such column; it has text, label"),
        (["--metrics", "acuracy"], "did you mean 'accuracy'"),
        (["--eval-file", "none.csv"], "none.csv: no such file"),
        (["--eval-file", "empty.csv"], "empty.csv: no rows"),
        (["--eval-file", "odd.csv"], "label 'maybe'"),
        (["--eval-file", "unlabelled.csv"], "not one example"),
        (["--metrics", "pearson"], "'pearson' measures no classification task; choose of accuracy, f1"),
        (["--out", "train.csv/out"], "nothing can be written into"),
        (["--out", "/proc/out"], "nothing can be written into /proc"),  # not even by root
        (["--task", "rte"], "give --task or --train-file"),
        (["--family", "span"], "`columns` names no 'question', which span rows need"),
        (["--train-file", "semi.csv"], "which column is the answer? give --label"),
        (["--name", "rte"], "the name of a dataset of the catalogue"),
        (["--max-length", "600"], "512 positions"),
        (["--train-file", "flat.csv"], "the label of all 3 training rows is 0.5; give others too"),
        (["--train-file", "spaced.csv"], "holds 'no' and 'no ', which spaces alone tell apart; write them alike"),
        (["--train-file", "stars.csv"], "from0.csv row 1: label '0' is none of the classes 1, 2"),
        (["--model", "tiny/bart", "--train-file", "other.csv", "--eval-file", "other.csv"], "reads the letters a to z"),
    ],
)
def test_what_cannot_be_is_said_before_the_first_step(tmp_path, monkeypatch, capsys, never_trained, more, message):
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "train.csv", text_rows(8))
    put(tmp_path / "odd.csv", [{"text": "a", "label": "maybe"}])
    put(tmp_path / "spaced.csv", [{"text": "a", "label": label} for label in ("no ", "no", "yes")])
    put(tmp_path / "flat.csv", [{"text": "a", "label": 0.5}] * 3)
    put(tmp_path / "stars.csv", [{"text": "a", "label": label} for label in (2, 1, 2)])
    put(tmp_path / "from0.csv", [{"text": "a", "label": label} for label in (1, 0)])
    put(tmp_path / "other.csv", [{"source": "Мы идём в парк.", "target": "В парк!"}] * 2)
    if "--train-file" in more:
        more = ["--eval-file", "from0.csv", *more]
    put(tmp_path / "unlabelled.csv", [{"text": "a", "label": ""}])
    (tmp_path / "semi.csv").write_text("text;label\na;b\n")
    (tmp_path / "empty.csv").write_text("text,label\n")
    given = ["finetune", "--model", "tiny/roberta", "--train-file", "train.csv", "--eval-file", "train.csv"]
    assert main([*given, "--out", "out", *SMALL, *more]) == 2
    assert message in one_error(capsys)
    assert not (tmp_path / "out").exists()


# Tasks of one's own ---------------------------------------------------------------------------------------------------

GOOD = 'name="mine", family="classification", path="local/mine", columns=(("text", "t"), ("label", "l"))'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = (", "mine.py line 1: SyntaxError"),
        ("\nimport nothing_like_it", "mine.py line 2: ModuleNotFoundError"),
        ("raise SystemExit(3)", "mine.py line 1: SystemExit"),
        (f'T = Task({GOOD}, klasses=("a", "b"))', "mine.py line 2: TypeError"),
        (f'T = Task({GOOD}, classes=["a", "b"])', "`classes` of Task is ['a', 'b']; give tuple[str, ...] | None"),
        (f'T = Task({GOOD}, classes=("a",))', "declares the names of two classes or more"),
        (f'T = Task({GOOD}, classes=("a", "b", "a"))', "`classes` holds 'a' twice"),
        (
            f'T = Task({GOOD}, classes=("a", "b"), evaluation="dev")',
            "`evaluation` of Task is 'dev'; give tuple[str, ...], as ('dev',)",
        ),
        (f"T = Task({GOOD.replace('classification', 'clasification')})", "did you mean 'classification'"),
        (f'T = Task({GOOD.replace("label", "labl")}, classes=("a", "b"))', "did you mean 'label'"),
        (f'T = Task({GOOD.replace("mine", "my/task", 1)}, classes=("a", "b"))', "`name` is part of file names"),
        (f'T = Task({GOOD}, classes=("a", "b"), metrics=("acuracy",))', "did you mean 'accuracy'"),
        (f'T = Task({GOOD}, classes=("a", "b"), metrics=(1,))', "`metrics` of Task is (1,); give tuple[str, ...]"),
        (f'T = Task({GOOD}, classes=("a", "b"), train=1)', "`train` of Task is 1; give str | None"),
        (f'T = Task({GOOD}, classes=("a", "b"), no_answer="no")', "`no_answer` of Task is 'no'; give bool | None"),
        (
            f'T = Task({GOOD}, classes=("a", "b"), hub="glue")',
            "`hub` of Task is 'glue'; give tuple[str, str, str] | None",
        ),
        (f'T = Task({GOOD}, classes=("a", "b"), train_rows="9")', "`train_rows` of Task is '9'; give int | None"),
        (f'T = Task({GOOD}, classes=("a", "b"), rows=1)', "`rows` is 1; give a function of one row"),
        (f'T = Task({GOOD}, classes=("a", "b"), missing=([1],))', "a field holds what cannot be compared (unhashable"),
        (
            f'T = Task({GOOD}, classes=("a", "b"), generation=2)',
            "`generation` of Task is 2; give muppet.tasks.task.Generat",
        ),
        (
            f'import muppet.tasks.task as t\nT = Task({GOOD}, classes=("a", "b"), generation=t.Generation(beams="4"))',
            "`beams` of Generation is '4'; give int",
        ),
        (
            f'T = Task({GOOD}, classes=("a", "b"), partition=(("train", ([],)),))',
            "give tuple[tuple[str, tuple[int, ...]], ...]",
        ),
        (f'T = Task({GOOD.replace("mine", "m" * 300, 1)}, classes=("a", "b"))', "give at most 100 letters"),
        (f"""T = Task({GOOD.replace('"t"', "3")}, classes=("a", "b"))""", "give tuple[tuple[str, str], ...]"),
        (
            f"""T = Task({GOOD.replace('("label"', '("text"')}, classes=("a", "b"))""",
            "`columns` says twice what 'text' is",
        ),
        (f'T = Task({GOOD}, classes=("a", "b"), partition=(("train", (10,)),))', "its tenths are 0 to 9"),
        (f'T = Task({GOOD.replace("mine", "items", 1)}, classes=("a", "b"))', "cannot be called 'items'"),
        (f'T = Task({GOOD}, classes=("a", "b"), train=None, evaluation=())', "neither a `train` nor an `evaluation`"),
        (f'T = Task({GOOD}, classes=("a", "b\\ud83d"))', "`classes` holds half of a surrogate pair"),
        (
            f'T = Task({GOOD}, classes=("a", "b"), files=(("train", "no.csv"),))',
            "split 'validation' is none of its files",
        ),
    ],
)
def test_a_mistake_in_a_tasks_file_is_one_line(tmp_path, monkeypatch, capsys, never_trained, text, message):
    monkeypatch.chdir(tmp_path)
    start = "from muppet.tasks import Task\n" if "Task(" in text else ""
    (tmp_path / "mine.py").write_text(start + text + "\n")
    assert main(["finetune", "--model", "tiny/roberta", "--task", "mine.py", "--twins", "--out", "out", *SMALL]) == 2
    assert message in one_error(capsys)


def test_the_tasks_file_of_the_docs_is_checked_shown_and_trained(tmp_path, monkeypatch, capsys):
    text = (Path(__file__).parents[1] / "docs" / "own-task.md").read_text()
    program = next(block for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL) if "Task(" in block)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(program)
    queues = ("billing", "bug", "question", "unknown")
    lines = [json.dumps({"subject": f"s {i}", "body": "some text", "queue": queues[i % 4]}) for i in range(40)]
    for name in ("train.jsonl", "dev.jsonl"):
        (tmp_path / name).write_text("\n".join(lines))
    small = ["--epochs", "1", "--max-length", "32"]
    for command in re.findall(r"^muppet (.*mine\.py.*)$", text, flags=re.MULTILINE):
        given = command.split()
        assert main(given + (small if given[0] == "finetune" else [])) == 0, command
    said = capsys.readouterr().out
    assert "as declared" in said and "→ bug" in said and "tickets/validation/macro_f1" in said
    assert "tickets/train: 10 of 40 rows left out: no label" in said
    (tmp_path / "train.jsonl").unlink()
    assert main(["finetune", "--model", "tiny/roberta", "--task", "mine.py", "--out", "again", *small]) == 2
    assert "train.jsonl: no such file" in one_error(capsys)


def test_two_tasks_never_train_one_head_unseen():
    rte = replace(tasks.get("rte"), name="my.set")
    other = replace(tasks.get("mnli"), name="my_set")
    with pytest.raises(UserError, match="'my.set' and 'my_set' would train one head, 'my_set'"):
        opening.check_heads((rte, other), "shared")
    with pytest.raises(UserError, match="'squad' and 'span' would train one head"):
        opening.check_heads((tasks.get("squad"), replace(rte, name="span")), "shared")
    opening.check_heads((tasks.get("squad"), tasks.get("squad_v2"), tasks.get("race"), rte), "shared")
    opening.check_heads((tasks.get("squad"), replace(rte, name="span")), "per_dataset")


# Signals and processes ------------------------------------------------------------------------------------------------


def test_a_process_that_meets_no_other_says_so(tmp_path, monkeypatch, capsys):
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "0")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    given = ["finetune", "--model", "tiny/roberta", "--task", "rte", "--twins", *SMALL, "--out", str(tmp_path / "out")]
    assert main(given) == 2
    said = one_error(capsys)
    assert "process 0 of 2 cannot meet the others" in said and "MASTER_ADDR" in said and "unset RANK" in said


def test_ctrl_c_leaves_a_checkpoint_and_the_same_command_goes_on(tmp_path):
    given = ["finetune", "--model", "tiny/roberta", "--task", "rte", "--twins", "--rows", "400", "--max-length", "64"]
    command = [
        sys.executable,
        "-m",
        "muppet",
        *given,
        "--epochs",
        "400",
        "--batch",
        "8",
        "--out",
        str(tmp_path / "out"),
    ]
    environment = {**os.environ, "MUPPET_ARTIFACTS": str(tmp_path / "a"), "OMP_NUM_THREADS": "1"}
    started = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 300
        while not list(tmp_path.glob("a/runs/*/progress.json")) and time.monotonic() < deadline:
            time.sleep(0.1)
        started.send_signal(signal.SIGINT)
        _, errors = started.communicate(timeout=120)
    finally:
        started.kill()
    assert started.returncode == 130 and "stopped after update" in errors and "Traceback" not in errors, errors[-1500:]
    (saved,) = tmp_path.glob("a/runs/*/checkpoint/step-*")
    assert int(saved.name.removeprefix("step-")) > 0


def test_two_processes_may_be_the_first_to_need_a_tiny_model(tmp_path, monkeypatch):
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "a"))
    for code, _, errors in finish(launch(2, "rte", "tiny/bert", str(tmp_path / "out.pt"), "updates=1"), timeout=300):
        assert code == 0, errors[-1500:]
    (built,) = tmp_path.glob("a/tiny/*/bert")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {file.name for file in built.iterdir()}


def test_whoever_builds_builds_the_whole(tmp_path, monkeypatch):
    """transformers saves in the first of a run's processes alone; another may be the one that builds."""
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path))
    monkeypatch.setattr("transformers.PreTrainedModel.should_save_on_this_rank", lambda *_: False)
    assert {"config.json", "model.safetensors"} <= {file.name for file in models.folder("tiny/bert").iterdir()}


def test_a_task_is_a_value_of_the_catalogue_or_checked():
    from muppet.families.check import check

    for task in tasks.ALL.values():
        check(task)
    with pytest.raises(UserError, match="task 'x': `columns` names no 'context', which span rows need"):
        check(Task(name="x", family="span", path="a", columns=(("question", "q"),)))
