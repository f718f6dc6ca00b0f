"""`$MUPPET_HUB`: a folder in the Hub's layout, `<namespace>/<name>/`, read without the Hub.

A dataset folder names its configurations and their files in the `configs:` header of its README, as on the Hub; one
without the header is read by the usual names (`<config>/<split>.parquet`, `<config>/<split>-*.parquet`, `data/…`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from muppet.data.files import KINDS
from muppet.errors import UserError
from muppet.runtime import asked
from muppet.tasks.task import Task


def folder(path: str) -> Path | None:
    """The mirror's folder of the dataset `path`, if there is a mirror and it has one, or `path` itself."""
    root = asked.folder("MUPPET_HUB")
    places = [root / path] if root is not None else []
    return next((place for place in (*places, Path(path)) if place.is_dir()), None)


def files(path: str, config: str | None, split: str) -> list[Path]:
    """The files of one split, in order; an empty list when the mirror does not hold it."""
    where = folder(path)
    if where is None:
        return []
    declared = configs(where)
    if not declared:
        return _by_name(where, config, split)
    name = config or ("default" if "default" in declared else next(iter(declared)))
    patterns = declared.get(name, {}).get(split, [])
    matched: list[Path] = []
    for pattern in patterns:
        try:
            found = sorted(where.glob(pattern))
        except (ValueError, IndexError) as error:  # "" and ".", "**.csv"
            raise UserError(f"{where}/README.md names {pattern!r} for {name}/{split}: {error}; name files") from None
        if not found:
            raise UserError(
                f"{where}/README.md names {pattern} for {name}/{split}, which is not there: the mirror is damaged"
            )
        matched += found
    return matched


def has_train_rows(task: Task) -> bool:
    """Whether the mirror holds training rows of the task, be it by a carved configuration."""
    return task.train is not None and (bool(files(task.path, task.config, task.train)) or carved(task))


def carved(task: Task) -> bool:
    """Whether the mirror stands in for a missing train split with a configuration that re-divides labelled rows.

    All splits of the task are then read from it, so that its training rows are never evaluated on.
    """
    return (
        task.carved is not None
        and task.train is not None
        and not files(task.path, task.config, task.train)
        and bool(files(task.path, task.carved, task.train))
    )


def configs(where: Path) -> dict[str, dict[str, list[str]]]:
    """Configuration → split → file patterns, from the README's header; empty without one."""
    readme = where / "README.md"
    if not readme.is_file():
        return {}
    return _header(readme, readme.stat().st_mtime_ns)


@lru_cache(maxsize=None)
def _header(readme: Path, _changed: int) -> dict[str, dict[str, list[str]]]:
    import yaml

    try:
        match = re.match(r"---\s*\n(.*?)\n---", readme.read_text(encoding="utf-8"), re.DOTALL)
        header: Any = yaml.safe_load(match.group(1)) if match else None
        return _declared(header.get("configs") or [] if isinstance(header, dict) else [])
    except yaml.YAMLError as error:
        raise UserError(f"{readme}: its header is not YAML ({str(error).splitlines()[0]}); fix or remove it") from None
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise UserError(
            f"{readme}: its header's `configs` cannot be read ({type(error).__name__}: {error}); write a list of"
            " config_name and data_files, each of split and path in this folder, or remove it"
        ) from None


def _declared(entries: Any) -> dict[str, dict[str, list[str]]]:
    declared: dict[str, dict[str, list[str]]] = {}
    for entry in entries:
        splits = declared.setdefault(str(entry.get("config_name", "default")), {})
        data = entry.get("data_files", [])
        for item in [data] if isinstance(data, str) else data:  # files without a split are `train`'s
            split, pattern = ("train", item) if isinstance(item, str) else (str(item["split"]), item["path"])
            patterns = [pattern] if isinstance(pattern, str) else pattern
            if outside := [one for one in patterns if one.startswith("/")]:
                raise ValueError(f"{outside[0]} is not in this folder")
            splits.setdefault(split, []).extend(patterns)
    return declared


def _by_name(where: Path, config: str | None, split: str) -> list[Path]:
    for place in (where / config if config else where, where / "data", where):
        patterns = [form + suffix for suffix in KINDS for form in (split, f"{split}-*", f"{split}/*")]
        found = [shards for pattern in patterns if (shards := sorted(place.glob(pattern)))]
        if len(found) > 1:
            raise UserError(
                f"{place}: {found[0][0].name} and {found[1][0].name} both hold {split!r} by their names; keep the files"
                " of one kind, or name them in the `configs:` header of a README.md"
            )
        if found:
            return found[0]
    return []
