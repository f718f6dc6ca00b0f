"""The rooms' doors: who may import whom, and that planning, rendering and asking for help load nothing heavy."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
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
# The only modules that reach for private names of libraries; `os._exit` is documented, whatever its name.
REACHES_IN = {
    "studies.kit.launch.slurm.sbatch",
    "muppet.model.attention",
    "muppet.model.encoder",
    "muppet.stages.record",
}
DOCUMENTED = {"_exit"}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for room in ("muppet", "studies")
    for path in sorted((ROOT / room).rglob("*.py"))
}
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


def test_no_import_of_the_method_climbs_a_floor_not_even_for_types_alone() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (c["layers"] for c in contracts if c["type"] == "layers" and c.get("containers") == ["muppet"])
    floor = {room.strip(): -depth for depth, rooms in enumerate(layers) for room in rooms.split("|")}
    for name, path in MODULES.items():
        for target in imported(path):
            if name.startswith("muppet.") and target.startswith("muppet."):
                own, other = name.split(".")[1], target.split(".")[1]
                assert own == other or floor[other] < floor[own], f"{name} imports {target}"


@pytest.mark.parametrize("name", MODULES)
def test_private_names_stay_at_home(name: str) -> None:
    """No module imports or looks up what begins with `_` elsewhere, except four that must reach into a library."""
    tree = ast.parse(MODULES[name].read_text())
    if name not in REACHES_IN:
        assert not {private for private in looked_up(tree) if private not in defined(tree) | DOCUMENTED}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in ("muppet", "studies", "benchmarks"):
            assert not any(alias.name.startswith("_") for alias in node.names), ast.unparse(node)


def looked_up(tree: ast.AST) -> Iterator[str]:
    """The private names that a module imports, or takes from an object other than `self`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names if private(alias.name))
        elif isinstance(node, ast.Attribute) and private(node.attr) and ast.unparse(node.value) not in ("self", "cls"):
            yield node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "hasattr"):
            if isinstance(node.args[1], ast.Constant) and private(str(node.args[1].value)):
                yield str(node.args[1].value)


def test_private_names_are_seen() -> None:
    text = "from a import _b, c\nc._d = self._e\ngetattr(c, '_f', None)\nc.__doc__"
    assert set(looked_up(ast.parse(text))) == {"_b", "_d", "_f"}


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def defined(tree: ast.AST) -> set[str]:
    """The functions, classes, methods and attributes of `self` that a module defines."""
    names = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    targets = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store))
    return names | {node.attr for node in targets if ast.unparse(node.value) == "self"}


def test_the_method_never_imports_the_study() -> None:
    for path in (ROOT / "muppet").rglob("*.py"):
        assert not any(name.split(".")[0] == "studies" for name in imported(path)), path


@pytest.mark.parametrize("path", [p for p in ARTEFACTS if p.stem != "table1"], ids=lambda p: p.stem)
def test_an_artefact_s_file_is_made_of_values_alone(path: Path) -> None:
    for name in imported(path):
        assert any(name == door or name.startswith(door + ".") for door in ALLOWED), f"{path.name} imports {name}"


def imported(path: Path) -> set[str]:
    """The modules that a file imports anywhere in it; `from muppet import paths` imports `muppet.paths`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module in ("muppet", "studies"):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names
