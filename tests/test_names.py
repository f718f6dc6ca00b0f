"""Names on the command line become Tasks: the catalogue's, a set's, `here`, and those of a file of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from muppet.cli import data
from muppet.cli.names import named, single, tasks
from muppet.errors import Absent, UserError, unknown
from muppet.tasks import SETS, get
from tests.test_data import put, rte

MINE = "from dataclasses import replace\nfrom muppet import tasks\nRTE = replace(tasks.get('rte'), name='mine')\n"


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MUPPET_HUB", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hub").mkdir()
    return tmp_path / "hub"


def test_a_task_a_set_and_several_names_without_repeats():
    assert named("rte") == (get("rte"),)
    assert [task.name for task in named("unique_45")] == list(SETS["unique_45"])
    assert tasks(["rte", "small_mixture", "rte"])[0] == get("rte")
    assert len(tasks(["rte", "small_mixture"])) == len(SETS["small_mixture"])


def test_here_is_what_the_mirror_can_train_on(hub):
    with pytest.raises(Absent, match="set MUPPET_HUB"):
        named("here")
    put(hub, "nyu-mll/glue", "rte", train=rte(3))
    put(hub, "rajpurkar/squad", "plain_text", validation=[{"id": "1"}])
    put(hub, "EdinburghNLP/xsum", "default", train=[{"document": "d", "summary": "s"}])
    assert named("here") == (get("rte"),)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnly", "did you mean 'mnli'"),
        ("hera", "did you mean 'here'"),
        ("none.py", "none.py: no such file"),
        ("empty.py", "empty.py defines no Task; assign a muppet.tasks.Task"),
    ],
)
def test_a_name_of_nothing_says_so(tmp_path, name, message):
    (tmp_path / "empty.py").write_text("x = 1\n")
    with pytest.raises(UserError, match=message):
        named(name)


def test_of_thousands_of_names_a_few_are_given_and_of_a_handful_all():
    many = [f"finetune-roberta-large-{k:012x}" for k in range(5000)]
    said = str(unknown("run", "0f3-nowhere", many))
    count, _, listed = said.partition(", such as ")
    assert count == "unknown run '0f3-nowhere': there are 5,000"
    assert len(names := listed.split(", ")) == 3 and {*names} <= {*many}
    assert str(unknown("arm", "q", ("b", "a"))) == "unknown arm 'q': choose one of: a, b"


def test_where_one_is_wanted_several_are_refused():
    with pytest.raises(UserError, match="^--task small_mixture names 22 datasets; fine-tuning takes one$"):
        single("small_mixture", "--task", "fine-tuning")


def test_every_data_command_takes_a_file_of_ones_own(hub, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(MINE)
    put(hub, "nyu-mll/glue", "rte", train=rte(3), validation=rte(2))
    for command in (["check", "mine.py"], ["list", "mine.py"], ["show", "mine.py", "--rows", "2"]):
        assert data.main(command) == 0
        assert "mine" in capsys.readouterr().out
    assert data.main(["overlap", "--evaluation", "rte", "--train", "mine.py"]) == 0
    assert "1 evaluation splits × 1 training sets" in capsys.readouterr().out
