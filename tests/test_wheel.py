"""What `pip install .` installs: every file that the code reads, and the command."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built without a network from a copy, so that nothing is left in the checkout."""
    for needed in ("pip", "setuptools"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed: no wheel can be built offline")
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("muppet", "studies"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "out", "."]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = (source / "out").glob("*.whl")
    return built


def test_the_wheel_holds_every_file_and_the_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        (points,) = (archive.read(name).decode() for name in held if name.endswith("entry_points.txt"))
    files = {
        path.relative_to(ROOT).as_posix()
        for room in ("muppet", "studies")
        for path in (ROOT / room).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {"studies/decisions.toml", "studies/pages/report/page.html.j2"} <= files
    assert files == {name for name in held if ".dist-info/" not in name}
    assert "muppet = muppet.__main__:main" in points


def test_an_installed_copy_reads_its_own_files(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = """
import muppet
from importlib.resources import files
from studies.kit import decisions
decisions.load()
for name in ("page.html.j2", "page.js", "style.css"):
    files("studies.pages.report").joinpath(name).read_text()
print(muppet.__file__)
"""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    read, table = (
        subprocess.run([sys.executable, "-P", *given], cwd=tmp_path, env=environment, capture_output=True, text=True)
        for given in (("-c", code), ("-m", "studies", "table3"))
    )
    assert read.returncode == 0 and str(tmp_path) in read.stdout, read.stderr
    assert table.returncode == 2 and "the studies run in a checkout of the repository" in table.stderr
    assert not (tmp_path / "results").exists()
