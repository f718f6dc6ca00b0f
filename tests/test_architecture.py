"""docs/architecture.md says what is so: the files it names exist, and its rooms are the contracts' rooms, in order."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


def test_every_file_that_the_page_names_exists() -> None:
    named = {text for text in re.findall(r"`([\w./<>]+)`", PAGE) if "/" in text and "<" not in text}
    assert len(named) > 30
    for text in named | {"Makefile"}:
        assert (ROOT / text).exists() or (ROOT / "studies" / "kit" / text).exists(), text


def rooms(package: str) -> list[str]:
    """The rooms of a package's table, top to bottom."""
    table = PAGE.split(f"**`{package}/`**")[1].split("\n\n")[1]
    first = [line.split("|")[1] for line in table.splitlines()[2:]]
    return [name for cell in first for name in re.findall(r"`(\w+)`", cell)]


def floors(name: str) -> dict[str, int]:
    """Room → its floor, 0 on top, of the contract called so."""
    (layers,) = (contract["layers"] for contract in CONTRACTS if contract["name"] == name)
    parts = ((room.strip().rsplit(".")[-1], depth) for depth, layer in enumerate(layers) for room in layer.split("|"))
    return dict(parts)


def test_the_rooms_of_the_method_are_all_there_and_in_the_contract_s_order() -> None:
    floor, named = floors("The method's rooms, top to bottom"), rooms("muppet")
    inside = {path.stem for path in (ROOT / "muppet").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert set(named) == set(floor) == inside - {"__init__", "__pycache__"}
    assert [floor[name] for name in named] == sorted(floor.values())


def test_the_rooms_of_the_study_are_in_the_contract_s_order() -> None:
    floor, named = floors("The study's rooms, top to bottom"), rooms("studies")
    assert [floor[name] for name in named] == sorted(floor[name] for name in named)
    assert {floor[name] for name in named} == set(floor.values())


def test_the_house_stays_small_at_its_doors() -> None:
    for package, most in (("muppet", 20), ("studies/kit", 12)):
        entries = [path.name for path in (ROOT / package).iterdir() if path.name != "__pycache__"]
        assert len(entries) <= most, f"{package} has {len(entries)} entries"
