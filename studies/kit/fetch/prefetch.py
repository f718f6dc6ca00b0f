"""`make prefetch`: models, datasets and the token cache fetched on the login node, for jobs that see no network.

Everything lands in artifacts/prefetch, a mirror in the Hub's layout (`<namespace>/<name>/<config>/<split>.parquet`,
`models/<name>/`), with a manifest per profile that names every file and its digest. Jobs read it as their
`$MUPPET_HUB`. What is there already, with the right digest, is not fetched again.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from muppet import paths
from muppet.data import mirror
from muppet.errors import UserError, brief
from muppet.paths import write_text
from muppet.runs import Run
from studies.kit.fetch.needs import PACKAGED, Split, as_mirror, configs, folder, manifest, models, splits
from studies.kit.load import chosen
from studies.kit.load import runs as runs_of

MODEL_FILES = ("*.json", "*.txt", "*.model", "model*.safetensors")


def main(args: argparse.Namespace) -> int:
    """`make prefetch`: fetch what the runs of the chosen artefacts read; go on where an earlier try stopped."""
    runs = list(runs_of(chosen(args).values()).values())
    return fetch(runs, args.profile)


def fetch(runs: Iterable[Run], profile: str) -> int:
    """Fetch models, then splits, then build the token cache → 1 when something could not be had (each is named)."""
    from rich.progress import track

    runs = list(runs)
    wanted, needed = models(runs), splits(runs)
    if not wanted and not needed:
        print(f"PROFILE={profile} needs nothing from outside: tiny models and synthetic twins are made on the spot")
        return 0
    known = manifest(profile)
    files: dict[str, tuple[int, str]] = {}
    problems: list[str] = []
    for name in track(wanted, "models"):
        _attempt(problems, f"model {name}", _fetch_model, name, files, known)
    distinct = {(one.task.path, one.task.config, one.stored): one for one in needed}
    for one in track(list(distinct.values()), "datasets"):
        _attempt(problems, f"dataset {one.label}", _fetch_split, one, files, known)
        _write(
            profile, files | {k: v for k, v in known.items() if k not in files}
        )  # an interrupted fetch keeps what it has
    _write(profile, files)
    if not problems:
        with as_mirror(profile):
            for one in track(needed, "token cache"):
                _attempt(problems, f"tokens of {one.label}", _encode, one)
    total = sum(size for size, _ in files.values())
    print(f"{len(files)} files, {total / 1e9:.2f} GB in {folder()}, digests in manifest-{profile}.json")
    for problem in problems:
        print(f"not fetched: {problem}")
    return 1 if problems else 0


def _attempt(problems: list[str], what: str, action: Any, *arguments: Any) -> None:
    try:
        action(*arguments)
    except UserError as error:
        problems.append(f"{what}: {error}" if what not in str(error) else str(error))


def _write(profile: str, files: Mapping[str, tuple[int, str]]) -> None:
    text = json.dumps({"profile": profile, "files": files}, indent=1, sort_keys=True) + "\n"
    write_text(folder() / f"manifest-{profile}.json", text)


def _fetch_model(name: str, files: dict[str, tuple[int, str]], known: Mapping[str, tuple[int, str]]) -> None:
    target = folder() / "models" / name
    have = {k: v for k, v in known.items() if k.startswith(f"models/{name}/")}
    if have and all(digest_of(folder() / k) == v for k, v in have.items()):
        files |= have
        return
    root = paths.mirror()
    packaged = PACKAGED.get(name)
    if Path(name).is_dir():
        return  # the user's own folder, read where it lies
    if root and (root / "models" / name / "config.json").is_file():
        _copy_tree(root / "models" / name, target)
    elif packaged and importlib.util.find_spec(packaged):
        _copy_tree(Path(importlib.import_module(packaged).get_model_path()), target)
    else:
        import huggingface_hub

        try:
            huggingface_hub.snapshot_download(name, local_dir=target, allow_patterns=list(MODEL_FILES))
        except Exception as error:  # the client raises many kinds; all mean that the model cannot be had
            raise UserError(f"model {name}: {brief(error)}") from None
        shutil.rmtree(target / ".cache", ignore_errors=True)
    if not (target / "config.json").is_file():
        raise UserError(f"model {name}: what was fetched has no config.json")
    for path in sorted(target.rglob("*")):
        if path.is_file():
            files[str(path.relative_to(folder()))] = digest_of(path)


def _copy_tree(source: Path, target: Path) -> None:
    for path in source.rglob("*"):
        if path.is_file() and any(path.match(pattern) for pattern in MODEL_FILES):
            _copy(path, target / path.relative_to(source))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".")
    os.close(handle)
    shutil.copyfile(source, temporary)
    os.chmod(temporary, 0o644)
    os.replace(temporary, target)


def _fetch_split(one: Split, files: dict[str, tuple[int, str]], known: Mapping[str, tuple[int, str]]) -> None:
    task = one.task
    if task.path.startswith("local/ptb"):
        return
    if (paths.mirror() or folder()).resolve() != folder().resolve():
        for config in configs(task):
            for number, source in enumerate(listed := mirror.files(task.path, config, one.stored)):
                shard = "" if len(listed) == 1 else f"-{number:05d}-of-{len(listed):05d}"
                target = folder() / task.path / (config or "") / f"{one.stored}{shard}.parquet"
                key = str(target.relative_to(folder()))
                if key not in known or digest_of(target) != known[key]:
                    _copy(source, target)
                files[key] = digest_of(target)
        if _listed(files, one):
            return
    target = folder() / task.path / (task.config or "") / f"{one.stored}.parquet"
    name = str(target.relative_to(folder()))
    if name in known and digest_of(target) == known[name]:
        files[name] = known[name]
        return
    import pyarrow.parquet

    from muppet.data.sources import read_split

    table, _, _ = read_split(task, one.stored)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    pyarrow.parquet.write_table(table, temporary)
    os.replace(temporary, target)
    files[name] = digest_of(target)


def _listed(files: Mapping[str, object], one: Split) -> bool:
    """Whether some file of the split is in `files`."""
    starts = [str(Path(one.task.path) / (config or "") / one.stored) for config in configs(one.task)]
    return any(name.startswith(tuple(f"{start}{end}" for start in starts for end in (".", "-"))) for name in files)


def digest_of(path: Path) -> tuple[int, str]:
    """Bytes and SHA-256 of a file, as a manifest has them; -1 and nothing where it cannot be read."""
    try:
        return path.stat().st_size, paths.file_digest(path)
    except OSError:
        return -1, ""


def _encode(one: Split) -> None:
    """Build the split's token cache as a job will open it."""
    from muppet.data.cache import encode

    encode(
        one.task, one.split, _tokenizer(one.model), max_length=one.max_length, cap=one.cap, evaluation=one.evaluation
    )


@lru_cache(maxsize=None)
def _tokenizer(model: str) -> Any:
    import transformers

    from muppet.model.pretrained import find

    return transformers.AutoTokenizer.from_pretrained(find(model))
