"""What is committed equals a fresh render: no table, figure or page is edited by hand or left behind by the code."""

import os
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from studies.__main__ import main
from studies.kit.decisions import OVERRIDE

ROOT = Path(__file__).resolve().parents[1]
VIEWS = ("table1", "decisions", "claims", "report", "reproduction")


def tracked() -> list[str]:
    """Rendered files in git: all of paper_tables and figures but the transcribed reference."""
    try:
        command = ["git", "-C", str(ROOT), "ls-files", "paper_tables", "figures"]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [name for name in listed if not name.startswith("paper_tables/reference/") and Path(name).suffix]


def locked(package: str) -> bool:
    """Whether the installed version is the lock's: another one may draw other pixels."""
    return f"{package}=={version(package)}".lower() in (ROOT / "requirements.lock").read_text(encoding="utf-8").lower()


def difference(committed: bytes, fresh: bytes) -> str:
    """Where two files part, and what follows there in each."""
    place = len(os.path.commonprefix([committed, fresh]))
    around = slice(max(0, place - 60), place + 60)
    return f"from byte {place}: {committed[around]!r}, anew {fresh[around]!r}"


def test_committed_artefacts_equal_a_fresh_render(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name for name in tracked() if not name.endswith("README.md")]
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(OVERRIDE, raising=False)
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "artifacts"))
    if (ROOT / "results").is_dir():
        shutil.copytree(ROOT / "results", "results", ignore=shutil.ignore_patterns("smoke"))
    for view in VIEWS:
        assert main([view, "--profile", "paper"]) == 0
    for profile in sorted({Path(name).parts[1] for name in names if len(Path(name).parts) > 2}):
        assert main(["render", "--profile", profile]) == 0
    pixels = locked("matplotlib") and locked("seaborn") and locked("numpy")
    compared = [name for name in names if pixels or Path(name).suffix not in (".png", ".pdf", ".html")]
    fresh = {name: Path(name).read_bytes() if Path(name).is_file() else b"" for name in compared}
    stale = [name for name in compared if fresh[name] != (ROOT / name).read_bytes()]
    seen = {name: difference((ROOT / name).read_bytes(), fresh[name]) for name in stale}
    assert not stale, f"rendered anew these differ: {seen}; run `make render`, `make report`, `make reproduction`"
    assert {"paper_tables/claims.md", "paper_tables/decisions.md", "paper_tables/table1.md"} <= set(compared)
