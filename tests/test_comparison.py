"""The statistics page from results on disk, with items and seeds whose answer is known."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student

from muppet import result
from muppet.runs import facts, run_id
from studies.claims import get
from studies.claims.claim import Pair, Source
from studies.claims.effects import effect
from studies.claims.sources import measured, paired_error
from studies.kit import decisions, load, profiles
from studies.kit.ledger import results
from studies.kit.ledger.cells import cells_frame
from studies.kit.ledger.folder import result_path
from studies.kit.load import load_studies
from studies.pages import statistics

N = 200
RIGHT = {"RoBERTa-B": 120, "RoBERTa-B + MUPPET": 150}  # of the first items; MUPPET gets those and 30 more


@pytest.fixture
def table3(tmp_path, monkeypatch):
    """Mini results for RTE of both rows, three seeds, and for SST-2 of the base alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.delenv(decisions.OVERRIDE, raising=False)
    monkeypatch.setattr(profiles, "MINI_SEEDS", 3)
    monkeypatch.setattr(load, "_load", load._load.__wrapped__)  # which would give what a test before has loaded
    study = load_studies("mini", ["table3"])["table3"]
    for cell in study.cells:
        if cell.row in RIGHT and (cell.column == "RTE" or (cell.row, cell.column) == ("RoBERTa-B", "SST-2")):
            for run in cell.runs:
                right = RIGHT[cell.row] + 2 * run.seed
                items = [1.0] * right + [0.0] * (N - right)
                score = result.Score(value=right / N, n=N, items=result.pack_items(items))
                kept = result.Result(
                    id=run_id(run),
                    facts=facts(run),
                    scores={cell.score: score},
                    data={},
                    training={},
                    cost={},
                    environment={},
                )
                result.write(kept, result_path("mini", run))
    return study


def test_a_known_difference(table3, tmp_path):
    path = statistics.write({"table3": table3}, "mini", results.read_all("mini"))
    text = path.read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| RoBERTa")
    ]
    assert len(rows) == 1  # SST-2 has no MUPPET result
    row, column, gain, interval, shows, p, adjusted = rows[0]
    assert (row, column, gain, shows) == ("RoBERTa-B + MUPPET", "RTE", "**+15.0**", "UP")
    # 30 of 200 items are gained by each run, and each side's runs differ by 2 of 200.
    means = [np.mean([np.arange(N) < right + 2 * seed for seed in range(3)], axis=0) for right in RIGHT.values()]
    items, runs = np.std(means[1] - means[0], ddof=1) / math.sqrt(N), math.sqrt(2 * 0.01**2 / 3)
    df = (items**2 + runs**2) ** 2 / (2 * (0.01**2 / 3) ** 2 / 2)
    half = 100 * float(student.ppf(0.975, df)) * math.hypot(items, runs)
    low, high = (float(bound) for bound in interval.strip("[]").split(", "))
    assert low == pytest.approx(15 - half, abs=0.02) and high == pytest.approx(15 + half, abs=0.02)
    assert p == adjusted == "< 0.001"
    family = next(line for line in text.splitlines() if line.startswith("| sentence prediction"))
    plain, muppet = ((right + 2) / N * 100 for right in (RIGHT["RoBERTa-B"], RIGHT["RoBERTa-B + MUPPET"]))
    assert f"{plain:.1f} [" in family and f"{muppet:.1f} [" in family and "100 % [100, 100]" in family


def test_without_items_the_examples_are_not_paired(table3):
    collected = results.read_all("mini")
    frame = cells_frame(table3, "mini", collected)
    plain = Source(name="ours", numbers={})
    (alone,) = statistics.gains(table3, frame, plain)
    (paired,) = statistics.gains(table3, frame, replace(plain, paired_error=paired_error(collected)))
    assert alone.effect.gain == paired.effect.gain == pytest.approx(0.15)
    assert alone.effect.estimate.error > 1.3 * paired.effect.estimate.error


@pytest.mark.parametrize(("protocol", "gained"), [("paper", 30), ("last", 10), ("honest", 10)])
def test_examples_are_paired_by_the_weights_that_the_protocol_reads(table3, monkeypatch, protocol, gained):
    """Best weights in the middle, where MUPPET gets 30 examples more; at the end it gets other 20 more and loses 10."""
    monkeypatch.setenv(decisions.OVERRIDE, f"protocol={protocol}")
    ends = {"RoBERTa-B": range(0, 120), "RoBERTa-B + MUPPET": [*range(10, 120), *range(130, 150)]}
    for cell in table3.cells:
        for run in cell.runs if cell.row in RIGHT and cell.column == "RTE" else ():
            path = result_path("mini", run)
            best = result.read(path)
            items = [float(i in ends[cell.row]) for i in range(N)]
            last = result.Score(value=sum(items) / N, n=N, items=result.pack_items(items))
            points = [result.Point(update=1, judged=0.9, scores=result.without_items(best.scores))]
            points.append(result.Point(update=2, judged=0.8, scores={cell.score: last}))
            result.write(replace(best, curve=points), path)
    collected = results.read_all("mini")
    frame = cells_frame(table3, "mini", collected)
    source = Source(name="ours", numbers={}, paired_error=paired_error(collected))
    (gain,) = statistics.gains(table3, frame, source)
    assert gain.effect.gain == pytest.approx(gained / N)
    if protocol != "paper":  # runs that end alike have no spread: the error is the examples' alone
        differences = np.isin(np.arange(N), ends["RoBERTa-B + MUPPET"]) * 1.0 - np.isin(np.arange(N), ends["RoBERTa-B"])
        assert gain.effect.estimate.error == pytest.approx(np.std(differences, ddof=1) / math.sqrt(N))


def test_two_runs_list_their_scores(table3, tmp_path):
    for path in (tmp_path / "results" / "mini" / "finetune").iterdir():
        if json.loads(path.read_text())["facts"]["seed"] == 2:
            path.unlink()
    text = statistics.write({"table3": table3}, "mini", results.read_all("mini")).read_text(encoding="utf-8")
    (row,) = [line for line in text.splitlines() if line.startswith("| RoBERTa")]
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells[2:] == ["+15.0", "75.0 76.0 against 60.0 61.0", "UNDECIDED", "", ""]


def test_nothing_measured_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "artifacts"))
    studies = load_studies("smoke", ["table3"])
    text = statistics.write(studies, "smoke", results.read_all("smoke")).read_text(encoding="utf-8")
    assert "Nothing is measured yet." in text


def test_the_declared_checkpoints_decide_figure_2_and_the_ablations(tmp_path, monkeypatch):
    """Results of the published points as declared: five runs an arm, from three checkpoints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.delenv(decisions.OVERRIDE, raising=False)
    rng = np.random.default_rng(0)
    drawn: dict[tuple[str, str], list[list[float]]] = {}  # row, column → scores by checkpoint
    for study in load_studies("paper", ["figure2", "ablations"]).values():
        for cell in study.cells:
            if cell.row not in ("BART", "RoBERTa-B", "RoBERTa-L"):
                ahead = cell.row in ("Batch Heterogeneous", "RoBERTa-B + MUPPET", "BART + MUPPET")
                own = drawn.setdefault((cell.row, cell.column), [[], [], []])
                checkpoint = rng.normal(0, 0.002, 3)
                for run in filter(profiles.published, cell.runs):
                    value = 0.7 + 0.1 * ahead + checkpoint[run.init.seed] + rng.normal(0, 0.001)
                    own[run.init.seed].append(value)
                    score = result.Score(value=value, n=N, low=value - 0.002, high=value + 0.002)
                    scores = dict.fromkeys((cell.score, cell.judge, *result.due(facts(run))), score)
                    kept = result.Result(
                        id=run_id(run), facts=facts(run), scores=scores,
                        data={}, training={"parameters": 1}, cost={}, environment={},
                    )  # fmt: skip
                    result.write(kept, result_path("paper", run))
    ours = measured("paper")[1]
    found = {claim: get(claim).check(ours).verdict for claim in ("C26", "C34", "C35", "C36", "C37", "C38")}
    assert found == dict.fromkeys(found, "SUPPORTED")
    # What is repeated is the checkpoint: the spread of the means of its runs holds both levels.
    rows = ("RoBERTa-B + MUPPET, uniform sampling", "RoBERTa-B + MUPPET")
    lower, upper = (ours.numbers["ablations", row, "RTE", "accuracy"] for row in rows)
    estimate = effect(ours, [Pair(base=lower, muppet=upper)], "").estimate
    runs = [np.var([np.mean(group) for group in drawn[row, "RTE"]], ddof=1) / 3 for row in rows]
    items = 2 * (0.002 / 1.959964) ** 2
    assert estimate.error == pytest.approx(math.sqrt(sum(runs) + items), rel=1e-4)
    assert estimate.df == pytest.approx((sum(runs) + items) ** 2 / sum(part**2 / 2 for part in runs), rel=1e-4)
