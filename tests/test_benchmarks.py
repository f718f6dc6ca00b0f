"""The benchmarks compare what they say they compare. No time is asserted here."""

from __future__ import annotations

import json
import math
import re
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import (
    batching,
    collect,
    common,
    grid,
    page,
    policies,
    scaling,
    smoke,
    startup,
    step,
    tasknet_side,
)
from benchmarks.common import Bar, Clock, Report
from benchmarks.mixture import Mixture, lengths, mixture, recorded
from muppet import tasks
from muppet.errors import UserError
from muppet.families.encoded import Part
from muppet.model.batch import make_batch
from muppet.model.multitask import MultiTask
from muppet.runtime.rank import Processes
from muppet.training.forwards import unit_weights
from studies.kit.launch.slurm import arrays, cluster
from tests.core import SMALL, artifacts, encoded, shared_artifacts  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("sst2", "commonsense_qa", "squad")


@pytest.fixture
def mixed(artifacts) -> tuple[MultiTask, Mixture]:  # noqa: F811
    """A tiny BERT and rows of the recorded real lengths: there is no mirror here."""
    model = MultiTask.load("tiny/bert")
    return model, mixture(model, SMALL, NAMES, rows=60)


@pytest.mark.parametrize("per_job", [1, 3, 10])
def test_a_job_of_the_grid_holds_as_many_runs_as_asked(tmp_path, monkeypatch, per_job):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cluster.toml").write_text(grid.SETTINGS.format(minutes=arrays.WORTHWHILE_S / 60))
    runs = grid.declare(40)
    packed = arrays.pack(runs, cluster.read(), grid.packing(next(iter(runs.values())), per_job))
    assert len(packed) == math.ceil(40 / per_job) and max(len(job.ids) for job in packed) == per_job


# ---------------------------------------------------------------- reports and the command


def test_a_report_says_what_was_met_missed_and_not_measurable(tmp_path):
    bars = [
        Bar(what="a", bar=2.0, measured=2.5),
        Bar(what="b", bar=1.0, measured=3.0, at_least=False),
        Bar(what="c", bar=1.0, measured=None, why="no such instructions"),
    ]
    report = Report(
        name="x", rows=[{"way": "ours", "s": 0.123456}, {"way": "theirs", "s": None}], settings={}, bars=bars
    )
    assert [bar.met for bar in bars] == [True, False, None]
    text = report.text()
    assert "2.5 (≥ 2): met" in text and "3 (≤ 1): MISSED" in text and "not measured (no such instructions)" in text
    kept = json.loads(report.write(tmp_path).read_text())
    assert kept["rows"][0] == {"way": "ours", "s": 0.1235} and kept["bars"][2]["met"] is None
    assert {"machine", "versions", "commit"} <= kept.keys() and kept["machine"]["cores"]
    assert socket.gethostname() not in json.dumps(kept)


def test_every_round_starts_with_another_variant():
    called: list[str] = []
    found = common.interleave({name: lambda name=name: called.append(name) for name in "abc"}, 4)
    assert "".join(called) == "abcbcacababc" and {len(clocks) for clocks in found.values()} == {4}
    ours, theirs = [Clock(cpu=1, wall=9), Clock(cpu=2, wall=9)], [Clock(cpu=3, wall=1), Clock(cpu=4, wall=1)]
    assert common.ratio(ours, theirs) == 2.5  # median of 3 and 2


def test_an_unknown_benchmark_is_named_with_the_nearest():
    with pytest.raises(UserError, match="did you mean 'balance'"):
        command.run(["ballance"])


def test_the_committed_page_is_what_the_committed_results_say():
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.rendered(text) == text, "run `python -m benchmarks --readme`"
    assert set(page.REGION.findall(text)) == {"bars", "grid", *command.NAMES}


def test_the_page_holds_the_numbers_and_names_what_was_not_measured(tmp_path):
    bar = Bar(what="faster", bar=2.0, measured=1.5)
    Report(name="step", rows=[{"way": "ours", "s": 0.25}], settings={"rounds": 5}, bars=[bar]).write(tmp_path)
    text = (
        "kept\n<!-- bars -->\nold\n<!-- /bars -->\nalso\n<!-- step -->\n<!-- /step -->\n<!-- gpu -->\n<!-- /gpu -->\n"
    )
    made = page.rendered(text, tmp_path)
    assert (
        made == page.rendered(made, tmp_path) and made.startswith("kept\n") and "\nalso\n" in made and "old" not in made
    )
    assert re.search(r"\| ours +\| 0.25", made) and re.search(r"faster +\| ≥ 2 +\| 1.5 +\| MISSED", made)
    assert "`make bench ONLY=gpu`" in made and "rounds 5" in made
    with pytest.raises(UserError, match="make bench"):
        page.rendered(text, tmp_path / "none")


# ---------------------------------------------------------------- what is compared


def test_every_policy_holds_every_example_once_within_its_budget(mixed):
    for part in mixed[1].parts:
        for policy in (policies.fixed, policies.grouped, policies.fairseq, policies.budget, policies.buckets):
            batches = policy(part, SMALL)
            assert sorted(u for batch in batches for u in batch.units.tolist()) == part.units.tolist(), policy
            for batch in batches:
                length, rows = (values[batch.units] for values in part.encoded.cost())
                assert (batch.rows, batch.length) == (rows.sum(), length.max())
                if policy in (policies.fixed, policies.grouped):
                    assert len(batch.units) <= policies.examples(part)
                elif policy is not policies.budget:  # sized by the longest option alone
                    assert len(batch.units) * batch.length <= SMALL.max_tokens
                    assert policy is policies.buckets or len(batch.units) <= 32
                else:
                    assert batch.tokens <= SMALL.max_tokens


def test_draws_follow_the_full_size_mixture_and_its_tokens():
    data = [
        Part(encoded=encoded([[10]] * 30, "rte"), units=np.arange(30)),
        Part(encoded=encoded([[40]] * 10), units=np.arange(10)),
    ]
    cut = [policies.fixed(part, SMALL) for part in data]
    shares = np.array([0.75, 0.25])
    batches, mass = policies.draws(data, cut, shares, "tokens")
    by_part = np.bincount([batch.part for batch in batches], weights=mass)
    assert by_part == pytest.approx([0.75 * 10 / 17.5, 0.25 * 40 / 17.5])
    picked = policies.systematic(mass, 1000, 0.3)
    assert np.bincount(picked, minlength=len(mass)) / 1000 == pytest.approx(mass, abs=0.002)
    assert policies.real_tokens(data[1], np.array([0, 3])) == 80


def test_real_share_is_counted_over_the_whole_mixture(mixed):
    model, made = mixed
    drawn = batching.Drawn(made, policies.fixed, SMALL)
    tokens = padded = 0.0
    for part, share in zip(made.parts, made.shares(), strict=True):
        passes = share / part.encoded.n_examples
        for batch in policies.fixed(part, SMALL):
            tokens += passes * policies.real_tokens(part, batch.units)
            padded += passes * batch.tokens
    assert drawn.share() == pytest.approx(tokens / padded)
    assert drawn.share(longest=512) < drawn.share() < 1


def test_recorded_lengths_are_kept():
    kept = lengths()["commonsense_qa"]
    made = recorded(tasks.get("commonsense_qa"), len(kept), 512, 900)
    rows = np.diff(made.offsets)
    assert [rows[a:b].tolist() for a, b in zip(made.unit_rows[:-1], made.unit_rows[1:], strict=True)] == kept


def test_transformers_trainer_computes_the_loss_that_this_project_computes(mixed):
    model, made = mixed
    model.eval()
    drawn = batching.Drawn(made, policies.fixed, SMALL)
    theirs = batching.Theirs(model, made, drawn)
    try:
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        theirs.turn()
        assert any(not torch.equal(p, before[name]) for name, p in model.named_parameters())  # it does train
    finally:
        theirs.close()
    assert not theirs.thread.is_alive()
    model.load_state_dict(before, strict=False)
    model.eval()
    wrapped = batching.TheirModel(model, made)
    for index, part in enumerate(made.parts):
        units = part.units[:4]
        batch = make_batch(made.parts, made.specs, [(index, units)], model.pad, torch.device("cpu"))
        (losses,) = model(batch, made.specs)
        mask = (torch.arange(batch.ids.shape[1]) < batch.lengths[:, None]).long()
        loss = wrapped(batch.ids, mask, batch.second, index, units)["loss"]
        assert float(loss.detach()) == pytest.approx(
            float((losses.loss / losses.n.float().log()).mean().detach()), rel=1e-5
        )


@pytest.mark.parametrize("count", [1, 2])
def test_the_other_trainers_time_is_set_against_the_batches_it_was_fed(count, mixed, monkeypatch):
    model, made = mixed
    drawn, fed = batching.Drawn(made, policies.fixed, SMALL, count), []
    forward = batching.TheirModel.forward

    def seen(self, **inputs):
        fed.append(tuple(inputs["input_ids"].shape))
        return forward(self, **inputs)

    monkeypatch.setattr(batching, "TheirModel", type("Seen", (batching.TheirModel,), {"forward": seen}))
    theirs = batching.Theirs(model, made, drawn)
    try:
        for turn in range(4):
            fed.clear()
            theirs.turn()
            assert fed == [(drawn.batches[i].rows, drawn.batches[i].length) for i in drawn.last]
            assert drawn.last.tolist() == drawn.chosen(turn).tolist() and len(fed) == count
    finally:
        theirs.close()


def test_tasknet_that_is_not_there_is_named(artifacts, monkeypatch):  # noqa: F811
    monkeypatch.delenv("TASKNET_PYTHON", raising=False)
    assert "not measured: set TASKNET_PYTHON" in tasknet_side.beside(1, 1, SMALL)
    monkeypatch.setenv("TASKNET_PYTHON", sys.executable)
    monkeypatch.setattr("benchmarks.mixture.minilm", lambda layers: MultiTask.load("tiny/bert"))
    assert re.match("tasknet failed: .*No module named 'tasknet'", tasknet_side.beside(1, 1, SMALL, rows=8))
    monkeypatch.setenv("TASKNET_PYTHON", "/no/such/python")
    assert "TASKNET_PYTHON=/no/such/python: No such file" in tasknet_side.beside(1, 1, SMALL, rows=8)


def test_cost_is_that_of_the_whole_mixture(mixed):
    """At a constant FLOP/s, whatever was drawn: all work over all real tokens of the full-size mixture."""
    model, made = mixed
    drawn = batching.Drawn(made, policies.fixed, SMALL)
    for flops in (drawn.flops(model, True), drawn.flops(model, False), drawn.flops(model, False, 64)):
        speed, work, real = 1e9, 0.0, 0.0
        for part, share in zip(made.parts, made.shares(), strict=True):
            passes = share / part.encoded.n_examples
            for batch, n in zip(drawn.batches, flops, strict=True):
                if batch.part == made.parts.index(part):
                    work += passes * n
                    real += passes * policies.real_tokens(part, batch.units)
        for number in range(3):
            drawn.update(number)
            assert drawn.cost(flops[drawn.last].sum() / speed, flops) == pytest.approx(work / real / speed)


def test_our_collated_rows_are_those_of_the_tokenizer(mixed):
    model, made = mixed
    for index, part in enumerate(made.parts):
        encoded_, units = part.encoded, part.units[[5, 2, 9]]
        batch = make_batch(made.parts, made.specs, [(index, units)], model.pad, torch.device("cpu"))
        rows = [r for u in units for r in range(encoded_.unit_rows[u], encoded_.unit_rows[u + 1])]
        plain = [encoded_.tokens[encoded_.offsets[r] : encoded_.offsets[r + 1]].tolist() for r in rows]
        theirs = model.tokenizer.pad({"input_ids": plain}, return_tensors="pt")
        assert torch.equal(batch.ids, theirs["input_ids"])
        assert torch.equal(batch.lengths, theirs["attention_mask"].sum(dim=1))


def test_separate_passes_are_one_forward_per_sub_batch(mixed, monkeypatch):
    model, made = mixed
    way = step.Separate(model, made.parts, made.specs, SMALL, 0, step.SEPARATE, Processes())
    batches = way.sampler.update(0)
    forwards = way._forwards(batches, unit_weights(batches, "sub_batch", way.parts))
    assert [len(pieces) for pieces in forwards] == [1] * SMALL.sub_batches


def test_gradients_of_all_ways_agree(artifacts, monkeypatch):  # noqa: F811
    monkeypatch.setattr(step, "minilm", lambda layers: MultiTask.load("tiny/roberta", dropout=0.1))
    apart = step.gradients(2, ("sst2", "copa"), SMALL)
    assert apart.keys() == {"one update, packed", "one update, padded", "64 separate passes"}
    assert max(apart.values()) < 1e-5


def test_results_made_for_collecting_are_trusted():
    with collect.scratch():
        collect.make(3)
        collect.make(2, start=3)
        collect.collect(5)
        with pytest.raises(AssertionError):
            collect.collect(6)


def test_an_enlarged_dataset_is_its_rows_again_and_again(artifacts):  # noqa: F811
    part = Part(encoded=recorded(tasks.get("copa"), 7, 64, 900), units=np.arange(7))
    larger = scaling.enlarged(part, 21).encoded
    assert larger.n_examples == 21 and len(larger.unit_rows) == 22 and isinstance(larger.tokens, np.memmap)
    for unit in range(21):
        ours = make_batch([part], [_spec()], [(0, np.array([unit % 7]))], 0, torch.device("cpu"))
        again = make_batch(
            [Part(encoded=larger, units=np.arange(21))], [_spec()], [(0, np.array([unit]))], 0, torch.device("cpu")
        )
        assert torch.equal(ours.ids, again.ids) and torch.equal(ours.lengths, again.lengths)


def _spec():
    from muppet.families.spec import HeadSpec

    return HeadSpec(key="commonsense", family="commonsense", outputs=1)


def test_startup_sees_heavy_imports(tmp_path):
    _, _, said = startup.call(["-c", startup.LIGHT, "muppet", "--help"], tmp_path)
    assert said.strip().endswith("heavy imports:")
    (tmp_path / "heavy.py").write_text("import datasets")
    _, _, said = startup.call(["-c", "import sys; sys.path.insert(0, '')\n" + startup.LIGHT, "heavy"], tmp_path)
    assert "datasets" in said.rsplit("heavy imports:", 1)[-1]
    with pytest.raises(UserError, match="no-such-flag"):
        startup.call(["-m", "muppet", "--no-such-flag"], tmp_path)


def test_smoke_s_seconds_are_shared_out():
    """One cell: what is in an empty folder's launch, and nothing of it twice."""
    report = smoke.measure("RoBERTa-B/MNLI")
    whole, *parts, products = [row["CPU s"] for row in report.rows]
    assert report.settings["runs"] == 1 and whole == pytest.approx(sum(parts))
    assert 0 < products < parts[0] < whole / 2 and report.bars[0].measured == whole
