"""Planning jobs without a cluster: packing, arrays, dependencies, and what is in flight."""

from __future__ import annotations

import argparse
import os
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muppet.errors import UserError
from muppet.runs import Finetune, Prefinetune, Recipe, Run, run_id
from muppet.tasks import get
from studies.kit import cost
from studies.kit.launch import slurm
from studies.kit.launch.plan import Plan
from studies.kit.launch.slurm import arrays as jobs
from studies.kit.launch.slurm import controller, limits, nodes, submissions, submit
from studies.kit.launch.slurm.cluster import Cluster, Stage
from studies.kit.launch.slurm.submissions import Sent, Submission
from studies.kit.launch.slurm.submit import Sending
from studies.kit.ledger import folder

RECIPE = Recipe(lr=1e-3, max_tokens=256, updates=20, sub_batches=2)
PARENTS = [
    Prefinetune(model=m, tasks=(get("rte"),), recipe=RECIPE, source="twins") for m in ("tiny/roberta", "tiny/bart")
]


def family(children: list[int], plain: int) -> dict[str, Run]:
    """`children[i]` fine-tunings of parent i, and `plain` ones without a parent; parents first."""
    found: list[Run] = list(PARENTS[: len(children)])
    for parent, count in zip(PARENTS, children, strict=False):
        found += [Finetune(init=parent, task=get("rte"), recipe=RECIPE, seed=s, source="twins") for s in range(count)]
    found += [
        Finetune(init="tiny/roberta", task=get("rte"), recipe=RECIPE, seed=s, source="twins") for s in range(plain)
    ]
    return {run_id(run): run for run in found}


@settings(deadline=None, max_examples=60)
@given(
    children=st.lists(st.integers(0, 40), min_size=1, max_size=2),
    plain=st.integers(0, 40),
    limit=st.integers(1, 20),
    minutes=st.sampled_from([0.0, 1.0, 30.0]),
    width=st.integers(1, 64),
    parent_done=st.booleans(),
)
def test_every_run_is_in_one_job_and_no_array_is_too_large(
    children: list[int], plain: int, limit: int, minutes: float, width: int, parent_done: bool
) -> None:
    runs = family(children, plain)
    done = {run_id(p) for p in PARENTS} if parent_done else set()
    missing = {name: run for name, run in runs.items() if name not in done}
    cluster = Cluster(gpus_per_node=0, pack_minutes=minutes, array_parallelism=width)
    arrays = jobs.arrays(jobs.pack(missing, cluster, cost.UNCALIBRATED, done=done), limit)
    placed = [name for array in arrays for job in array.jobs for name in job.ids]
    assert sorted(placed) == sorted(missing)  # each run once
    assert all(1 <= len(array.jobs) <= limit for array in arrays)
    for array in arrays:
        for job in array.jobs:
            for name in job.ids:
                up = missing[name].init if isinstance(missing[name], Finetune) else None
                waits = run_id(up) if isinstance(up, Prefinetune) and run_id(up) not in done else None
                assert array.parent == waits  # one dependency for a whole array, and the right one
        assert array.resources.minutes >= max(job.resources.minutes for job in array.jobs)
    order = [array.jobs[0].ids[0].startswith("prefinetune") for array in arrays]
    assert order == sorted(order, reverse=True)  # parents are sent before children
    if minutes == 0:
        assert all(len(job.ids) == 1 for array in arrays for job in array.jobs)


def test_packing_spares_starts_but_uses_the_width() -> None:
    runs = family([], 400)
    each = cost.seconds(next(iter(runs.values())))
    wide = jobs.pack(runs, Cluster(gpus_per_node=0, array_parallelism=8), cost.UNCALIBRATED)
    assert len(wide) <= max(1, round(400 * each / jobs.WORTHWHILE_S) + 1)
    sizes = [len(job.ids) for job in wide]
    assert max(sizes) - min(sizes) <= 1
    slow = cost.Calibration(factor={("cpu", "", ""): 1000.0}, runs=1, off=1.0)
    assert len(jobs.pack(runs, Cluster(gpus_per_node=0, pack_minutes=30), slow)) > 100


# ---------------------------------------------------------------- the record and the queue


def entry(job: str, name: str, state: str = "RUNNING", reason: str = "None", restarts: int = 0) -> controller.Entry:
    return controller.Entry(job=job, name=name, state=state, reason=reason, restarts=restarts, used="1:00", nodes="n1")


def sent(name: str, *runs: tuple[str, ...], job: str | None = "7") -> Sent:
    return Sent(name=name, runs=runs, job=job, folder="f")


def submission(number: str, *arrays: Sent) -> Submission:
    return Submission(id=number, when=0.0, profile="smoke", artefacts=("table3",), snapshot="", arrays=arrays)


def test_a_reused_job_id_is_not_taken_for_ours() -> None:
    ours = submission("1", sent("muppet-1-0", ("a",)))
    theirs = [entry("7", "someone-elses")]
    assert submissions.in_flight(submissions.dispatches([ours], theirs)) == {}


def test_an_array_whose_answer_was_never_heard_is_taken_up_by_its_name() -> None:
    ours = submission("1", sent("muppet-1-0", ("a",), ("b",), job=None))
    placed = submissions.in_flight(submissions.dispatches([ours], [entry("9_1", "muppet-1-0", "PENDING")]))
    assert set(placed) == {"b"} and placed["b"].sent.key(1) == "9_1"


def test_a_refused_job_that_the_queue_still_shows_is_not_ours() -> None:
    ours = submission("1", sent("muppet-1-0", ("a",), job=None))
    placed = submissions.dispatches([ours], [entry("9", "muppet-1-0", "FAILED", "BadConstraints")])
    assert placed["a"].entry is None and placed["a"].sent.job is None


def test_the_last_submission_counts_unless_an_earlier_one_still_runs() -> None:
    first = submission("1", sent("muppet-1-0", ("a",), job="7"))
    second = submission("2", sent("muppet-2-0", ("a",), job="8"))
    both = [entry("7", "muppet-1-0", "RUNNING"), entry("8", "muppet-2-0", "FAILED")]
    assert submissions.dispatches([first, second], both)["a"].sent.job == "7"
    assert submissions.dispatches([first, second], both[1:])["a"].sent.job == "8"


def test_records_survive_the_disk_and_a_damaged_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path))
    one = submission("1", sent("muppet-1-0", ("a", "b"), ("c",)))
    submissions.write(one)
    assert submissions.read_all("smoke") == [one] and submissions.read_all("mini") == []
    (tmp_path / "submissions/1/submission.json").write_text("{")
    with pytest.raises(UserError, match="submissions/1/submission.json"):
        submissions.read_all()


def test_a_folder_of_another_user_says_why_nothing_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path))
    (tmp_path / "submissions/1").mkdir(parents=True)
    (tmp_path / "submissions/lock").touch()
    (tmp_path / "submissions/1/submission.json").touch()

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path / "submissions/lock"))

    monkeypatch.setattr(submissions, "lease", denied)
    with pytest.raises(UserError, match=f"lock belongs to user {os.getuid()}, .*MUPPET_ARTIFACTS"), submissions.lock():
        pass
    monkeypatch.setattr(Path, "read_text", denied)
    with pytest.raises(UserError, match=f"submissions/1 belongs to user {os.getuid()}"):
        submissions.read_all()


def test_squeues_lines_are_read_with_their_spaces() -> None:
    values = ("45_3", "48", "muppet-1-0", "PENDING", "launch failed requeued held", "2", "0:00", "")
    line = "".join(value.ljust(width) for value, (_, width) in zip(values, controller.FIELDS, strict=True))
    (read,) = controller.parse_queue(line + "\n\n")
    assert (read.job, read.state, read.restarts, read.held, read.active) == ("45_3", "PENDING", 2, True, True)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (
            "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
            controller.Unreachable,
        ),
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", controller.Unreachable),
        (
            "sbatch: error: Batch job submission failed: Invalid account or account/partition combination",
            controller.Refused,
        ),
        (
            "sbatch: error: QOSMaxSubmitJob\nsbatch: error: Batch job submission failed: Job violates policy",
            controller.Refused,
        ),
    ],
)
def test_no_answer_and_no_are_told_apart(text: str, kind: type[UserError]) -> None:
    assert type(controller.failure("sbatch", text)) is kind


@pytest.mark.parametrize(
    "text",
    [
        "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates "
        "accounting/QOS policy (job submit limit, user's size and/or time limits)",
        "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates "
        "accounting/QOS policy (job submit limit, user's size and/or time limits)",
        "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\n"
        "sbatch: error: Batch job submission failed: Resource temporarily unavailable",
    ],
)
def test_a_full_queue_is_neither_a_refusal_nor_silence(text: str) -> None:
    assert type(controller.failure("sbatch", text)) is controller.Full


@given(sizes=st.lists(st.integers(1, 5), max_size=6), room=st.integers(0, 40))
def test_what_fits_is_the_beginning(sizes: list[int], room: int) -> None:
    packed = iter(jobs.pack(family([], 30), Cluster(gpus_per_node=0, pack_minutes=0), cost.UNCALIBRATED))
    arrays = []
    for size in sizes:
        own = tuple(next(packed) for _ in range(size))
        arrays.append(jobs.JobArray(jobs=own, parent=None, resources=own[0].resources))
    every = [job for array in arrays for job in array.jobs]
    assert [job for array in limits.fitting(arrays, room) for job in array.jobs] == every[:room]
    assert limits.fitting(arrays, float("inf")) == arrays


def test_a_controller_that_is_away_is_asked_again_but_a_refusal_is_final(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUPPET_PATIENCE", "30")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    tries = iter([controller.Unreachable("away"), controller.Unreachable("away"), None])

    def act() -> str:
        if (problem := next(tries)) is not None:
            raise problem
        return "7"

    said: list[str] = []
    assert controller.retrying(act, said.append) == "7" and len(said) == 2

    def refuse() -> str:
        raise controller.Refused("no")

    with pytest.raises(controller.Refused):
        controller.retrying(refuse, said.append)


def test_feeding_outlasts_a_controller_that_is_away_but_not_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from studies.kit import load
    from tests.kit import small_study

    def send(planned: Plan, settings: Cluster, *, yes: bool, code: Path) -> Sending:
        assert yes == bool(asked)  # to the whole
        asked.append(1)
        if (waiting := next(answers)) is None:
            raise controller.Unreachable("squeue: the SLURM controller does not answer")
        return Sending(submission=None, sent=(), in_flight=(), left_out={}, waiting=waiting, limit="9 jobs")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.setattr(submit, "send", send)
    monkeypatch.setattr(load, "chosen", lambda args: {"table3": small_study()})
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    asked: list[int] = []
    answers = iter([2, None, 1, None, 0, None])
    arguments = argparse.Namespace(profile="smoke", yes=False)
    assert slurm.feed(arguments) == 0 and len(asked) == 5
    assert capsys.readouterr().out.count("does not answer; looking again") == 2
    asked.clear()
    with pytest.raises(controller.Unreachable):
        slurm.feed(arguments)


def test_a_refusal_has_all_that_the_controller_and_the_site_s_plug_in_said() -> None:
    text = (
        "sbatch: error: lua: jobs of this partition name a project: #SBATCH --account=...\n"
        "sbatch: error: Batch job submission failed: Unspecified error\n"
    )
    said = "sbatch: lua: jobs of this partition name a project: #SBATCH --account=...; Unspecified error"
    assert str(controller.failure("sbatch", text)) == said


def test_a_script_asks_for_what_the_settings_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from studies.kit.launch.plan import plan
    from studies.kit.launch.slurm.emit import emit
    from tests.kit import small_study

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "artifacts"))
    large = Stage(partition="large", qos="long", gpu_type="h100", gpus_per_node=2)
    settings = Cluster(
        partition="main,high",
        wckey="muppet",
        gpu_type="a100",
        prefix="apptainer exec image.sif",
        python="/opt/python",
        srun=("--container-image=x",),
        prefinetune=large,
        finetune=Stage(gpus_per_node=1),
    )
    emit(plan({"table3": small_study()}, "smoke"), tmp_path / "scripts", settings)
    texts = {path.name: path.read_text() for path in sorted((tmp_path / "scripts").glob("*.sbatch"))}
    first, then = texts["0.sbatch"], texts["1.sbatch"]
    assert "partition=large\n" in first and "qos=long\n" in first and "gpus-per-node=h100:2\n" in first
    assert "partition=main,high\n" in then and "qos" not in then and "gpus-per-node=a100:1\n" in then
    assert re.search(r"job-name=muppet-table3-prefinetune-\d{8}-\d{6}-\w+-0\n", first)
    assert re.search(r"job-name=muppet-table3-(rte|sst2|2-datasets)-\d", then)
    for text in (first, then):
        assert "wckey=muppet\n" in text and "--export=ALL" in text and "--container-image=x" in text
        assert f"apptainer exec image.sif {tmp_path}/scripts/python -m studies" in text
    assert 'exec /opt/python "$@"' in (tmp_path / "scripts/python").read_text()
    (tmp_path / "file").touch(), (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for taken in ("scripts", "file", "link"):
        with pytest.raises(UserError, match=f"--emit-sbatch .*/{taken}: there is something already; name a new folder"):
            emit(plan({"table3": small_study()}, "smoke"), tmp_path / taken, settings)
    emit(plan({"table3": small_study()}, "smoke"), tmp_path / "bare", Cluster())
    bare = (tmp_path / "bare/0.sbatch").read_text()
    assert not re.search("partition|account|wckey|qos|constraint|exclude", bare)  # nothing that no setting names


def test_nodes_that_keep_failing_are_left_out_but_not_most_of_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path))

    def fails(node: str, error: str, *runs: str) -> None:
        monkeypatch.setenv("SLURMD_NODENAME", node)
        for run in runs:
            folder.fail(run, error)

    fails("n1", "RuntimeError: CUDA error: uncorrectable ECC error", "a", "b", "c")
    fails("n2", "CUDA error: unspecified launch failure", "a", "a", "a")  # one run alone
    fails("n3", "KeyError: 'label'", "a", "b", "c")  # not the node's doing
    fails("n4", "its process was ended by SIGBUS", "a", "b", "c", "d")
    every = {f"n{i}" for i in range(1, 9)}
    assert list(nodes.left_out(every)) == ["n4", "n1"] and "4 runs failed there" in nodes.left_out(every)["n4"]
    assert list(nodes.left_out({"n1", "n4", "n5"})) == ["n4"] and nodes.left_out({"n1"}) == {}
    monkeypatch.setattr(time, "time", lambda: 1e12)
    assert nodes.left_out(every) == {}


def test_fixed_settings_of_one_stage_leave_the_other_alone() -> None:
    packed = jobs.pack(family([3], 0), Cluster(gpus_per_node=0, prefinetune=Stage(nodes=2)), cost.UNCALIBRATED)
    assert {job.resources.nodes for job in packed if job.ids[0].startswith("pre")} == {2}
    assert {job.resources.nodes for job in packed if job.ids[0].startswith("fine")} == {1}
