"""Collecting: strict about every file, blind to none, and the same from the cache."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest

from muppet import paths, result
from muppet.runs import run_id
from studies.kit.launch import status
from studies.kit.launch.plan import plan
from studies.kit.ledger import folder as records
from studies.kit.ledger import results
from studies.kit.ledger.cells import cells_frame
from tests.kit import PARENT, child, finish, small_study

pytestmark = pytest.mark.usefixtures("empty_folder")


def test_a_row_per_score_and_the_prefinetuning_counts_as_done() -> None:
    finish(PARENT)
    finish(child(), {"rte/validation/accuracy": 0.5, "rte/held_out/accuracy": 0.4})
    frame = results.read_all("smoke").frame
    frame = frame[frame["key"] != ""]
    assert frame[["run", "key", "value"]].values.tolist() == [
        [run_id(child()), "rte/held_out/accuracy", 0.4],
        [run_id(child()), "rte/validation/accuracy", 0.5],
    ]
    assert results.read_all("smoke").done == {run_id(PARENT), run_id(child())}


def spoil_truncated(text: str) -> str:
    return text[: len(text) // 2]


def spoil_edited(text: str) -> str:
    return text.replace('"value": 0.5', '"value": 0.95')


def spoil_schema(text: str) -> str:
    return text.replace('"schema": 2', '"schema": 99')


def spoil_percent(text: str) -> str:
    """78.7 for 0.787, with a right checksum."""
    plain = json.loads(text)
    del plain["checksum"]
    plain["scores"]["rte/validation/accuracy"]["value"] = 78.7
    return json.dumps(plain | {"checksum": result.digest(plain)})


def spoil_facts(text: str) -> str:
    """Facts of another run, with a right checksum."""
    plain = json.loads(text)
    del plain["checksum"]
    plain["facts"]["recipe"]["lr"] = 0.123
    return json.dumps(plain | {"checksum": result.digest(plain)})


def spoil_score(**fields: object):
    """One field of the score changed, with a right checksum."""

    def spoil(text: str) -> str:
        plain = json.loads(text)
        del plain["checksum"]
        plain["scores"]["rte/validation/accuracy"] |= fields
        return json.dumps(plain | {"checksum": result.digest(plain)})

    return spoil


def spoil_field(**fields: object):
    """Whole fields changed, or some of their own where both are objects, with a right checksum."""

    def spoil(text: str) -> str:
        plain = json.loads(text)
        del plain["checksum"]
        for name, value in fields.items():
            plain[name] = plain[name] | value if isinstance(value, dict) else value
        return json.dumps(plain | {"checksum": result.digest(plain)})

    return spoil


def spoil_key(text: str) -> str:
    """The score of another task, with a right checksum."""
    plain = json.loads(text.replace("rte/validation/accuracy", "sst2/validation/accuracy"))
    del plain["checksum"]
    return json.dumps(plain | {"checksum": result.digest(plain)})


def spoil_twice(text: str) -> str:
    return text.replace('"value": 0.5', '"value": 0.95, "value": 0.5')


def spoil_empty(text: str) -> str:
    return ""


def spoil_list(text: str) -> str:
    return "[1, 2]"


@pytest.mark.parametrize(
    "spoil, why",
    [
        (spoil_truncated, "not a whole result file"),
        (spoil_edited, "the file was edited"),
        (spoil_schema, "`schema`"),
        (spoil_percent, "not a fraction of 1"),
        (spoil_facts, "not the hash of the facts"),
        (spoil_score(n=-200), "has -200 for `n`"),
        (spoil_score(n=True), "has True for `n`"),
        (spoil_score(n=0), "has 0 for `n`"),
        (spoil_score(value="0.5"), "has '0.5' for `value`, not a number"),
        (spoil_score(value=True), "has True for `value`, not a number"),
        (spoil_score(value=float("nan")), "not a fraction of 1"),
        (spoil_score(value=None), "has None for `value`"),
        (spoil_score(low=[0.1]), "has [0.1] for `low`"),
        (spoil_score(high=55.0), "is `high` 55.0, not a fraction"),
        (spoil_score(value=0.7), "is 0.7, outside its interval from 0.45 to 0.55"),
        (spoil_score(items=result.pack_items([1, 0] * 99)), "has `n` 200 and 198 items"),
        (spoil_score(items=result.pack_items([1, 0, 0, 0] * 50)), "its items' mean is 0.2500"),
        (spoil_score(items=3), "has damaged `items`"),
        (spoil_score(lucky=3), "fields `scores` and `curve`: "),
        (spoil_score(value=10**400), "not a fraction of 1"),
        (spoil_field(cost={"seconds": "fast"}), "`cost.seconds`"),
        (spoil_field(cost={"seconds": float("inf")}), "`cost.seconds`"),
        (spoil_field(cost={"seconds": -1.0}), "`cost.seconds`"),
        (spoil_field(cost={"processes": "many"}), "`cost.processes`"),
        (spoil_field(cost=[1]), "`cost`"),
        (spoil_field(training=None), "`training`"),
        (spoil_field(training={"start": "abc"}), "`training.start`"),
        (spoil_field(training={"trivial": {"rte/validation/accuracy": "x"}}), "`training.trivial.rte/"),
        (spoil_field(environment=None), "`environment`"),
        (spoil_field(curve=[{"update": 1, "judged": None, "scores": {}}]), "`curve.0.judged`"),
        (spoil_key, "score `sst2/validation/accuracy` is of a task that this run does not score"),
        (spoil_twice, "'value' stands twice in an object"),
        (spoil_empty, "not a whole result file"),
        (spoil_list, "not a whole result file"),
    ],
)
def test_a_bad_file_is_refused_by_name_and_the_rest_goes_on(spoil, why: str) -> None:
    bad, good = finish(child(), 0.5), finish(child(seed=1), 0.6)
    bad.write_text(spoil(bad.read_text()))
    for _ in range(2):  # read, then from the cache
        found = results.read_all("smoke")
        assert found.done == {run_id(child(seed=1))}
        ((path, message),) = found.refused.items()
        assert path == str(bad) and str(bad) in message and why in message
    assert good.exists()


def test_a_result_that_lacks_a_score_is_refused_by_plan_status_and_table_alike(capsys) -> None:
    """Its checksum is right; it counted as done, while its cell stayed pending."""
    study, run = small_study(), child()
    whole = json.loads(finish(run).read_text())
    for field in ("scores", "curve"):
        plain = {name: value for name, value in whole.items() if name != "checksum"}
        plain |= {"scores": {}} if field == "scores" else {"curve": [{"update": 1, "judged": 0.5, "scores": {}}]}
        path = records.result_path("smoke", run)
        path.write_text(json.dumps(plain | {"checksum": result.digest(plain)}))
        why = f"{path}: score `rte/validation/accuracy` is missing, which this run declares; delete it and run again"
        planned = plan({study.name: study}, "smoke")
        assert planned.states[run_id(run)] == "refused" and planned.failures[run_id(run)]["error"] == why
        told = status.look(study.runs(), "smoke").states[run_id(run)]
        assert (told.state, told.why) == ("failed", why)
        frame = cells_frame(study, "smoke")
        assert frame.loc[frame["picked"].map(len) > 0].empty and "refused" in set(frame["state"])


def test_a_link_to_nothing_is_no_result() -> None:
    path = finish(child(), 0.5)
    path.with_name("finetune-gone.json").symlink_to("nowhere")
    assert results.read_all("smoke").done == {run_id(child())} and not results.read_all("smoke").refused


def test_a_link_to_itself_is_no_result() -> None:
    path = finish(child(), 0.5)
    path.with_name("finetune-round.json").symlink_to("finetune-round.json")
    assert results.read_all("smoke").done == {run_id(child())} and not results.read_all("smoke").refused


@pytest.mark.parametrize("place", ["finetune/ab", "prefinetune"])
def test_a_second_result_of_a_run_changes_no_number(place: str) -> None:
    path = finish(child(), 0.5)
    other = Path("results/smoke", place if place != "finetune/ab" else f"finetune/{path.stem[-2:]}", path.name)
    first = path.read_bytes()
    finish(child(), 0.9)
    other.parent.mkdir(parents=True, exist_ok=True)
    path.replace(other)
    path.write_bytes(first)
    found = results.read_all("smoke")
    assert found.frame["value"].tolist() == [0.5]
    assert f"{other}: a launch looks for this result in {path}" in found.refused[str(other)]
    path.unlink()
    found = results.read_all("smoke")
    assert found.frame["value"].tolist() == ([0.9] if place == "finetune/ab" else [])
    path.write_bytes(first)
    assert results.read_all("smoke").frame["value"].tolist() == [0.5]


def test_a_shard_is_found_without_its_mark() -> None:
    path = finish(child(), 0.5)
    deeper = path.parent / path.stem[-2:] / path.name
    deeper.parent.mkdir()
    path.rename(deeper)
    assert records.result_path("smoke", child()) == deeper and results.read_all("smoke").done == {run_id(child())}


def test_what_could_not_be_read_is_read_once_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    path = finish(child(), 0.5)

    def denied(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(results, "read", denied)
        (why,) = results.read_all("smoke").refused.values()
        assert why.startswith(f"{path}: cannot be read (Permission denied)")
    assert results.read_all("smoke").done == {run_id(child())} and not results.read_all("smoke").refused


def test_a_renamed_file_is_refused() -> None:
    path = finish(child(), 0.5)
    path.rename(path.with_name("finetune-other-0123456789ab.json"))
    (message,) = results.read_all("smoke").refused.values()
    assert f"`id` is {run_id(child())}, not the file's name: a renamed copy" in message


def test_the_cache_gives_what_the_files_gave_and_follows_every_change() -> None:
    paths = [finish(child(seed=seed), 0.1 * seed) for seed in range(5)]
    first = results.read_all("smoke").frame
    pd.testing.assert_frame_equal(results.read_all("smoke").frame, first)
    paths[0].unlink()
    finish(child(seed=1), 0.9)
    finish(child(seed=7), 0.7)
    after = results.read_all("smoke").frame.set_index("run")["value"]
    expected = {1: 0.9, 2: 0.2, 3: 0.3, 4: 0.4, 7: 0.7}
    assert after.to_dict() == pytest.approx({run_id(child(seed=s)): v for s, v in expected.items()})


def test_a_broken_or_foreign_cache_is_read_past(tmp_path) -> None:
    finish(child(), 0.5)
    results.read_all("smoke")
    (cache,) = (tmp_path / "artifacts" / "cache").glob("collected-smoke.json")
    whole = cache.read_text()
    for damaged in ("no cache", whole[:-9], whole.replace("0.5", '"x"'), whole.replace("0.5", "0.9")):
        cache.write_text(damaged)
        assert results.read_all("smoke").frame["value"].tolist() == [0.5]


def test_a_cache_of_other_code_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    finish(child(), 0.5)
    results.read_all("smoke")
    changed = Path("changed.py")
    changed.write_text("# stricter")
    monkeypatch.setattr(result, "__file__", str(changed))
    monkeypatch.setattr(results, "read", lambda path: (_ for _ in ()).throw(result.ResultError("now refused")))
    assert set(results.read_all("smoke").refused.values()) == {"now refused"}


def test_full_folders_are_sharded_and_what_lay_there_is_still_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MANY", 6)
    runs = small_study(seeds=4).runs()
    early, late = list(runs)[:4], list(runs)[4:]
    for name in early:
        finish(runs[name])
        records.fail(name, "tried")
    records.make_room("smoke", early)
    assert not list(Path.cwd().rglob(paths.SHARDED))
    records.make_room("smoke", late)
    for name in late:
        path = finish(runs[name])
        assert path.parent.name == name[-2:] and path.parent.parent.name == "finetune"
        records.fail(name, "tried")
        assert paths.run_dir(name).parent.name == name[-2:]
    assert results.read_all("smoke").done == set(runs) == records.begun() == set(records.failures(runs))
    assert all(records.result_path("smoke", name).exists() for name in runs)


def test_a_cache_is_not_read_from_another_folder(tmp_path, monkeypatch) -> None:
    first = finish(child(), n=200).stat()
    results.read_all("smoke")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    second = finish(child(), n=300)  # another result of the same path, size and time
    os.utime(second, ns=(first.st_atime_ns, first.st_mtime_ns))
    assert second.stat().st_size == first.st_size and results.read_all("smoke").frame["n"].tolist() == [300]


def test_a_read_only_cache_folder_costs_nothing_but_time(tmp_path, monkeypatch) -> None:
    finish(child(), 0.5)
    monkeypatch.setattr(os, "replace", lambda *a: (_ for _ in ()).throw(OSError("read-only")))
    assert len(results.read_all("smoke").frame) == 1


def test_profiles_are_kept_apart() -> None:
    finish(child(), 0.5, profile="mini")
    assert results.read_all("smoke").frame.empty and len(results.read_all("mini").frame) == 1
    assert set(cells_frame(small_study(), "smoke")["state"]) == {"pending"}
