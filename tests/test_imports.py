"""The rooms' doors: who may import whom, and that planning, rendering and asking for help load nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "transformers", "datasets")
# What an artefact's file is made of.
ALLOWED = (
    "muppet.runs",
    "muppet.tasks",
    "studies.kit.study",
    "studies.kit.decisions",
    "studies.recipes",
    "studies.ablations",
    "dataclasses",
    "__future__",
    "itertools",
    "random",
    "functools",
    "collections",
    "typing",
)
ARTEFACTS = [p for p in sorted((ROOT / "studies").glob("*.py")) if p.stem.startswith(("table", "figure", "ablat"))]


def loaded(code: str, cwd: Path) -> set[str]:
    """The heavy modules that are loaded after `code`."""
    tail = f"\nimport sys; print('LOADED', *[m for m in {HEAVY!r} if m in sys.modules])"
    env = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "MUPPET_ARTIFACTS": str(cwd / "artifacts")}
    run = subprocess.run(
        [sys.executable, "-c", code + tail], capture_output=True, text=True, cwd=cwd, env=env, check=False
    )
    assert run.returncode == 0, run.stderr
    return set(run.stdout.rsplit("LOADED", 1)[1].split())


@pytest.mark.parametrize(
    "command",
    ["'--help'", "'table3', '--no-run'", "'plan', '--artefact', 'table3'", "'table3', '--profile', 'mini', '--no-run'"],
)
def test_commands_that_run_nothing_load_nothing_heavy(command: str, tmp_path: Path) -> None:
    code = f"""
from studies.__main__ import main
try:
    assert main([{command}]) == 0
except SystemExit as end:
    assert end.code == 0
"""
    assert loaded(code, tmp_path) == set()


def test_values_load_nothing_heavy(tmp_path: Path) -> None:
    assert loaded("import muppet.runs, muppet.tasks, muppet.result, muppet.synthetic.twins", tmp_path) == set()


def test_the_method_never_imports_the_study() -> None:
    for path in (ROOT / "muppet").rglob("*.py"):
        assert not any(name.split(".")[0] == "studies" for name in imported(path)), path


@pytest.mark.parametrize("path", [p for p in ARTEFACTS if p.stem != "table1"], ids=lambda p: p.stem)
def test_an_artefact_s_file_is_made_of_values_alone(path: Path) -> None:
    for name in imported(path):
        assert any(name == door or name.startswith(door + ".") for door in ALLOWED), f"{path.name} imports {name}"


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found
