"""What a search gains: the unbiased estimator, and the two protocols on runs whose answer is known."""

import itertools
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studies.kit.ledger import results
from studies.kit.ledger.cells import PROTOCOLS, cells_frame
from studies.pages import optimism
from tests.kit import child, finish, small_study

LRS = (1e-3, 2e-3, 3e-3)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7), st.integers(1, 7))
def test_the_expected_best_is_the_mean_over_every_subset(scores, budget):
    if budget > len(scores):
        with pytest.raises(ValueError, match="budget"):
            optimism.expected_best(scores, budget)
    else:
        subsets = [max(subset) for subset in itertools.combinations(scores, budget)]
        assert optimism.expected_best(scores, budget) == pytest.approx(fmean(subsets))


def test_the_papers_protocol_minus_the_honest_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "artifacts"))
    study = small_study(seeds=1, lrs=LRS)
    for lr, (shown, held_out) in zip(LRS, ((0.70, 0.6), (0.75, 0.5), (0.60, 0.4)), strict=True):
        scores = {"rte/validation/accuracy": shown, "rte/held_out/accuracy": held_out}
        finish(child(init="tiny/roberta", seed=0, lr=lr), scores)
    collected = results.read_all("smoke")
    frames = {study.name: cells_frame(study, "smoke", collected, PROTOCOLS)}
    assert optimism.differences(frames[study.name]) == {("RoBERTa-B", "RTE", "accuracy"): pytest.approx(0.05)}
    text = "\n".join(optimism.section({study.name: study}, frames, collected))
    # One of three points: 68.3 on average; two: (75 + 75 + 70) / 3, the mean of the pairs' maxima.
    row = next(line for line in text.splitlines() if line.startswith("| RoBERTa-B / RTE"))
    assert [cell.strip() for cell in row.split("|")[2:-1]] == ["+5.0", "68.3", "73.3"]
    assert "+5.0 points on average over 1 cells." in text


def test_without_a_search_it_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "artifacts"))
    study, collected = small_study(), results.read_all("smoke")
    frames = {study.name: cells_frame(study, "smoke", collected, PROTOCOLS)}
    assert "No measured cell has a search" in "\n".join(optimism.section({study.name: study}, frames, collected))
