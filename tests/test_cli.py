"""`python -m muppet` for a person with a model of their own: train, predict, export, and what a mistake gets."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from muppet.__main__ import main
from muppet.errors import exit_status
from tests.core import artifacts, shared_artifacts  # noqa: F401

pytestmark = pytest.mark.usefixtures("artifacts")
SMALL = ("--twins", "--rows", "24", "--max-length", "64", "--lr", "1e-3")
TASKS = "mnli,copa,squad_v2,stsb,aeslc,conll2000,ptb_sample_parsing"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def pretrained(home: Path) -> Path:
    """A pre-finetuned tiny BART, made once."""
    out = home / "pre"
    if not out.exists():
        given = ("prefinetune", "--model", "tiny/bart", "--tasks", TASKS, "--out", str(out), "--updates", "1")
        assert main([*given, "--max-tokens", "512", *SMALL]) == 0
    return out


def test_help_needs_no_torch():
    for command in ((), ("prefinetune",), ("finetune",), ("predict",), ("export",), ("data",), ("data", "check")):
        code = (
            "import sys\nfrom muppet.__main__ import main\n"
            f"try:\n    main({[*command, '--help']!r})\nexcept SystemExit as end:\n    assert end.code == 0\n"
            "assert not {'torch', 'transformers', 'datasets', 'numpy'} & set(sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0 and "usage: python -m muppet" in done.stdout, done.stderr


def test_a_pretrained_folder_has_model_heads_card_and_result(pretrained):
    names = {place.name for place in pretrained.iterdir()}
    assert {
        "config.json",
        "model.safetensors",
        "heads.json",
        "heads.safetensors",
        "README.md",
        "tokenizer.json",
    } <= names
    heads = {spec["key"]: spec["family"] for spec in json.loads((pretrained / "heads.json").read_text())["heads"]}
    assert heads == {
        "mnli": "classification",
        "commonsense": "commonsense",
        "span": "span",
        "stsb": "regression",
        "conll2000": "tagging",
        "ptb_sample_parsing": "parsing",
    }
    from muppet.result import read

    (file,) = pretrained.glob("prefinetune-*.json")
    result = read(file)
    assert result.training["updates"] == 1 and set(result.training["datasets"]) == set(TASKS.split(","))
    assert result.cost["tokens"] > 0 and result.data["mnli/train"]["found"] == "twins"
    from huggingface_hub import ModelCard

    card = ModelCard.load(pretrained / "README.md")
    assert "synthetic twins" in card.text and "| copa | commonsense |" in card.text and result.id in card.text
    assert card.data.tags == ["muppet", "multi-task", "prefinetune"]


@pytest.mark.parametrize(
    ("task", "row", "keys"),
    [
        ("mnli", {"text": "a b", "pair": "c"}, {"label", "scores"}),
        ("copa", {"context": "c", "question": "a b", "choices": ["c d", "e"]}, {"choice", "scores"}),
        ("squad_v2", {"question": "who is it ?", "context": "It was Bob who came ."}, {"answer", "no_answer_margin"}),
        ("stsb", {"text": "a b", "pair": "c d"}, {"score"}),
        ("aeslc", {"source": "hello there, we meet on monday"}, {"summary"}),
        ("conll2000", {"tokens": ["The", "cat", "sat", "."]}, {"tags"}),
        ("ptb_sample_parsing", {"tokens": ["The", "(", "cat", ")"]}, {"tree"}),
    ],
)
def test_finetune_then_predict_every_family(pretrained, home, capsys, monkeypatch, task, row, keys):
    out = home / task
    given = ["finetune", "--model", str(pretrained), "--task", task, "--out", str(out), "--epochs", "1", *SMALL]
    assert main(given + (["--reuse-head"] if task in ("copa", "squad_v2") else [])) == 0
    assert "95 % item bootstrap" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(((json.dumps(row) + "\n") * 2).encode())))
    assert main(["predict", "--model", str(out)]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == second and set(first) == keys
    if task == "mnli":
        assert first["label"] in ("entailment", "neutral", "contradiction")
        assert sum(first["scores"].values()) == pytest.approx(1, abs=1e-3)
    if task == "squad_v2":
        assert first["answer"] and first["answer"] in row["context"]
    if task == "conll2000":
        assert len(first["tags"]) == 4
    if task == "ptb_sample_parsing":
        assert "-LRB-" in first["tree"] and first["tree"].startswith("(TOP ")


def test_each_dataset_has_its_losses_and_a_score_its_trivial_answer(home, tmp_path, capsys):
    given = ["--model", "tiny/roberta", *SMALL]
    sized = ["--updates", "4", "--sub-batches", "2", "--max-tokens", "256"]
    assert main(["prefinetune", "--tasks", "rte,cola", "--out", str(tmp_path / "pre"), *sized, *given]) == 0
    (file,) = (tmp_path / "pre").glob("prefinetune-*.json")
    training = json.loads(file.read_text())["training"]
    said = capsys.readouterr().out
    for name, seen in training["datasets"].items():
        (line,) = (line for line in said.splitlines() if f" {name} " in line)
        assert f"{seen['epochs']:.2f}" in line
        assert all(f"{seen[k]:.3f}" in line for k in ("first_loss", "last_loss") if seen[k] is not None)
    assert main(["finetune", "--task", "rte", "--out", str(tmp_path / "fine"), "--epochs", "1", *given]) == 0
    (file,) = (tmp_path / "fine").glob("finetune-*.json")
    trivial = json.loads(file.read_text())["training"]["trivial"]["rte/validation/accuracy"]
    assert f"without learning {100 * trivial:.1f}" in capsys.readouterr().out


def test_a_score_without_an_interval_is_printed_without_one():
    from muppet.cli.train import _in_words
    from muppet.result import Score

    assert _in_words(Score(value=0.5, n=4, low=0.25, high=0.75), 0.4) == (
        "50.0 (95 % item bootstrap 25.0 to 75.0, n = 4; without learning 40.0)"
    )
    assert _in_words(Score(value=0.5, n=4), None) == "50.0 (n = 4)"  # a metric of the Hub


def test_a_batch_is_so_many_examples_however_long(tmp_path, capsys):
    """Case 7 of a public thread: a question of RACE is four rows, and 32 of 256 questions still make 8 updates."""
    given = ["--model", "tiny/roberta", "--task", "race", "--rows", "256", "--epochs", "1", "--batch", "32", "--twins"]
    assert main(["finetune", "--out", str(tmp_path / "out"), *given]) == 0
    (file,) = (tmp_path / "out").glob("finetune-*.json")
    kept = json.loads(file.read_text())
    assert kept["training"]["updates"] == 8 and kept["training"]["datasets"]["race"]["epochs"] == 1.0
    assert kept["facts"]["recipe"]["loss_scaling"] == "none"


def test_export_copies_what_loads(pretrained, tmp_path, capsys):
    assert main(["export", str(pretrained), "--out", str(tmp_path / "out")]) == 0
    assert "bart, heads: commonsense, conll2000" in capsys.readouterr().out
    for name in ("model.safetensors", "heads.safetensors", "README.md"):
        assert (tmp_path / "out" / name).read_bytes() == (pretrained / name).read_bytes()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["finetune", "--model", "tiny/roberta", "--task", "mnly", "--out", "x"], "did you mean 'mnli'"),
        (
            ["finetune", "--model", "tiny/robert", "--task", "mnli", "--out", "x", "--twins"],
            "did you mean 'tiny/roberta'",
        ),
        (["finetune", "--model", "tiny/roberta", "--task", "aeslc", "--out", "x", "--twins"], "has no decoder"),
        (
            ["finetune", "--model", "tiny/roberta", "--task", "mnli", "--out", "x", "--twins", "--reuse-head"],
            "no head for mnli",
        ),
        (
            ["finetune", "--model", "tiny/roberta", "--task", "mnli", "--out", "x", "--max-length", "9999"],
            "512 positions",
        ),
        (["prefinetune", "--model", "tiny/roberta", "--tasks", "rte,rte", "--out", "x", "--twins"], "twice: rte"),
        (
            ["prefinetune", "--model", "tiny/roberta", "--tasks", "copa", "--out", "x", "--twins", "--max-tokens", "8"],
            "copa: one example takes",
        ),
        (
            ["predict", "--model", "no/such", "rows.jsonl"],
            "error: rows.jsonl: cannot be read (No such file or directory); ",
        ),
        (["finetune", "--model", "tiny/roberta", "--task", "rte", "--out", "/", "--overwrite"], "--out /"),
        (["export", "prefinetune-nosuch-1", "--out", "x"], "unknown finished run with a model"),
        (["prefinetune", "--model", "tiny/roberta", "--tasks", "mine.py", "--out", "x"], "mine.py: no such file"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(tmp_path, monkeypatch, capsys, given, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"text": "a"}')))
    assert main(given) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and message in errors[0]
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(("option", "value"), [("--seed", str(2**32)), ("--epochs", "1e300"), ("--lr", "inf")])
def test_a_number_that_would_overflow_is_refused_by_name(capsys, option, value):
    with pytest.raises(SystemExit) as end:
        main(["finetune", "--model", "m", "--task", "rte", "--out", "x", option, value])
    assert end.value.code == 2
    assert f"{option}: invalid" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["0", "-1", "abc", "9" * 30])
def test_a_number_that_is_none_is_refused_by_name(capsys, value):
    with pytest.raises(SystemExit) as end:
        main(["prefinetune", "--model", "m", "--tasks", "rte", "--out", "x", "--updates", value])
    assert end.value.code == 2
    assert f"--updates: invalid positive int value: '{value}'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": ', "line 1: not JSON"),
        ("[1]", "line 1: list, not a JSON object"),
        ("", "no rows"),
        ('{"pair": "c"}', "rows.jsonl line 1: no 'text', which classification rows of this head need"),
    ],
)
def test_rows_that_are_none_are_named(home, pretrained, tmp_path, capsys, line, message):
    (tmp_path / "rows.jsonl").write_text(line)
    assert main(["predict", "--model", str(pretrained), "--head", "mnli", str(tmp_path / "rows.jsonl")]) == 2
    assert message in capsys.readouterr().err


def test_the_other_processes_of_a_run_print_and_write_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    for stage in ("finetune", "prefinetune"):  # what they would say is the first one's to say
        monkeypatch.setattr(f"muppet.stages.{stage}.{stage}", lambda *_, **__: None)
    given = ["--model", "tiny/roberta", "--out", str(tmp_path / "out"), *SMALL]
    assert main(["finetune", "--task", "rte", *given]) == main(["prefinetune", "--tasks", "rte", *given]) == 0
    assert capsys.readouterr().out == "" and not (tmp_path / "out").exists()


def test_what_a_terminal_cannot_show_is_escaped(monkeypatch):
    latin = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr("sys.stdout", latin)
    assert main(["data", "list", "rte"]) == 0 and exit_status(lambda: print("\u2013") or 0) == 0
    latin.flush()
    assert latin.buffer.getvalue().endswith(b"\\u2013\n")


def test_ctrl_c_is_a_status_and_no_traceback(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("muppet.cli.data.places", interrupted)
    assert main(["data", "check", "rte"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_folder_with_something_else_in_it_is_never_written_over(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["finetune", "--model", "tiny/roberta", "--task", "rte", "--out", str(tmp_path), "--twins"]) == 2
    assert "is no model folder of this program" in capsys.readouterr().err
    assert [place.name for place in tmp_path.iterdir()] == ["notes.txt"]


def test_a_shared_head_asks_of_a_row_what_all_of_its_datasets_had(tmp_path, capsys):
    """RACE has a context and a question, CommonsenseQA a question alone, HellaSwag a context alone."""
    given = ["prefinetune", "--model", "tiny/roberta", "--tasks", "race,commonsense_qa,hellaswag", "--updates", "1"]
    out = ["--out", str(tmp_path / "out")]
    assert main([*given, *out, *SMALL]) == 0
    capsys.readouterr()
    rows = [{"context": "a b ."}, {"question": "c ?"}, {"context": "a b .", "question": "c ?"}, {}]
    lines = [json.dumps(row | {"choices": ["x", "y z"]}) + "\n" for row in rows]
    (tmp_path / "rows.jsonl").write_text("".join(lines[:3]))
    assert main(["predict", "--model", out[1], str(tmp_path / "rows.jsonl")]) == 0
    together = capsys.readouterr().out.splitlines()
    for line, answer in zip(lines[:3], together, strict=True):  # each by itself says the same
        (tmp_path / "rows.jsonl").write_text(line)
        assert main(["predict", "--model", out[1], str(tmp_path / "rows.jsonl")]) == 0
        assert json.loads(capsys.readouterr().out)["scores"] == pytest.approx(json.loads(answer)["scores"], abs=1e-3)
    (tmp_path / "rows.jsonl").write_text(lines[3])
    assert main(["predict", "--model", out[1], str(tmp_path / "rows.jsonl")]) == 2
    assert "rows.jsonl line 1: missing text" in capsys.readouterr().err


def test_the_head_is_asked_for_when_there_are_several(pretrained, tmp_path, capsys):
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}')
    assert main(["predict", "--model", str(pretrained), str(tmp_path / "rows.jsonl")]) == 2
    said = capsys.readouterr().err
    assert "7 heads; name one with --head: commonsense, conll2000" in said and "summarization" in said
    (tmp_path / "texts.jsonl").write_text('{"source": "a b c ."}')
    assert main(["predict", "--model", str(pretrained), "--head", "summarization", str(tmp_path / "texts.jsonl")]) == 0
    assert json.loads(capsys.readouterr().out).keys() == {"summary"}
    assert main(["predict", "--model", str(pretrained), "--head", "mnly", str(tmp_path / "rows.jsonl")]) == 2
    assert "did you mean 'mnli'" in capsys.readouterr().err
    for more in ((), ("--head", "mnli")):
        assert main(["predict", "--model", "tiny/roberta", *more, str(tmp_path / "rows.jsonl")]) == 2
        assert "tiny/roberta has no head to answer with; give a folder that finetune" in capsys.readouterr().err


def test_tasks_of_ones_own_come_from_a_file(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(
        "from dataclasses import replace\nfrom muppet import tasks\n"
        "RTE = replace(tasks.get('rte'), metrics=('accuracy',))\n"
    )
    given = ["finetune", "--model", "tiny/roberta", "--task", str(tmp_path / "mine.py"), "--out", str(tmp_path / "out")]
    assert main([*given, "--epochs", "1", *SMALL]) == 0
    assert "rte/validation/accuracy" in capsys.readouterr().out
