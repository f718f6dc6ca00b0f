"""Claims about curves, batching, data efficiency and ablations: right on made-up figures with known answers."""

from dataclasses import replace

import numpy as np
import pytest

from studies.claims import curves, get
from studies.claims.claim import Source
from tests.made_sources import SCALES, curve, made

DIP = [0.70, 0.66, 0.68, 0.71, 0.72, 0.73, 0.74, 0.75]  # below its base until between 16 and 22
RISE = [0.70, 0.71, 0.72, 0.73, 0.74, 0.75, 0.76, 0.77]
NAMES = ("RTE", "BoolQ", "RACE", "SQuAD", "MNLI")


def test_critical_point_for_all_but_one_dataset():
    assert get("C23").check(curve({name: RISE if name == "RTE" else DIP for name in NAMES})).verdict == "SUPPORTED"
    found = get("C23").check(curve(dict.fromkeys(NAMES, RISE)))
    assert found.verdict == "CONTRADICTED" and "0 of 5 fall below their base at first, 5 rise" in found.text
    assert get("C23").check(curve({"RTE": RISE})).verdict == "INCONCLUSIVE"  # one curve of five
    half = {name: RISE if name in ("RTE", "BoolQ") else DIP for name in NAMES}
    assert get("C23").check(curve(half)).verdict == "CONTRADICTED"


def test_monotone_curve():
    assert get("C24").check(curve({"RTE": RISE})).verdict == "SUPPORTED"
    bent = get("C24").check(curve({"RTE": [*RISE[:5], 0.70, *RISE[6:]]}))
    assert bent.verdict == "CONTRADICTED" and "28 → 34 sets" in bent.text
    assert get("C24").check(curve({"RTE": RISE[:3]})).verdict == "NOT MEASURED"
    assert get("C24").check(curve({"RTE": RISE[:6]})).verdict == "INCONCLUSIVE"  # not all scales


def test_linear_rise_past_the_critical_point():
    line = [0.60 + 0.005 * k for k in SCALES]
    assert get("C25").check(curve(dict.fromkeys(NAMES, line))).verdict == "SUPPORTED"
    assert get("C25").check(curve({"RTE": line})).verdict == "INCONCLUSIVE"
    bent = [0.60 + 0.2 * -np.expm1(-k / 6) for k in SCALES]
    assert get("C25").check(curve(dict.fromkeys(NAMES, bent))).verdict == "CONTRADICTED"
    late = [0.75, *(0.60 + 0.005 * k for k in SCALES[1:])]  # below its base up to 28 sets
    assert "rise +9" in get("C25").check(curve({"RTE": late})).text  # from the last point below on


@pytest.mark.parametrize("points", [[0.70], [0.70, 0.77], [0.70, 0.60]])
def test_the_ends_that_tables_share_with_a_curve_are_no_curve(points):
    """The base and the whole mixture are Table 3's: with these alone nothing is said of Figures 1 and 3."""
    ends = (0, 46)
    cells = {("figure1", row, f"{k} sets"): value for row in NAMES for k, value in zip(ends, points)}
    cells |= {
        ("figure3", f"{row} | {k} sets", "100 %"): value for row in ("QNLI", "CoLA") for k, value in zip(ends, points)
    }
    source = made(cells, {key: 1.0 if key[0] == "figure3" else float(key[2].split()[0]) for key in cells})
    for claim in ("C23", "C24", "C25", "C27", "C28"):
        found = get(claim).check(source)
        assert found.verdict == "NOT MEASURED", (claim, found.text)


def test_a_curve_that_ends_below_its_base_may_be_the_one_exception():
    below = [0.70, 0.66, 0.66, 0.66, 0.66, 0.66, 0.66, 0.66]
    assert get("C23").check(curve(dict.fromkeys(NAMES[:4], DIP) | {"MNLI": below})).verdict != "CONTRADICTED"
    assert get("C23").check(curve(dict.fromkeys(NAMES[:3], DIP) | dict.fromkeys(NAMES[3:], below))).verdict == (
        "CONTRADICTED"
    )


def apart(shapes, rng: np.random.Generator, by: float = 0.025) -> Source:
    """Curves whose points stand on one checkpoint each, the last on three, `by` apart, and their runs a sixth of it."""
    cells, names = {}, {}
    for row, shape in shapes.items():
        for k in SCALES:
            own = rng.normal(0, by, 3 if k == SCALES[-1] else 1) if k else np.zeros(1)
            key = ("figure1", row, f"{k} sets")
            cells[key] = (shape[SCALES.index(k)] + np.resize(own, 6) + rng.normal(0, by / 6, 6)).tolist()
            names[key] = tuple(f"{k} {i % len(own)}" for i in range(6)) if k else ()
    source = made(cells, {key: float(key[2].split()[0]) for key in cells})
    return replace(source, numbers={k: replace(n, checkpoints=names[k[:3]]) for k, n in source.numbers.items()})


@pytest.mark.parametrize("claim, row", [("C24", RISE), ("C25", RISE), ("C23", DIP)])
def test_checkpoints_that_lie_apart_seldom_contradict_what_is_true(claim, row):
    """Of one checkpoint a point, fine-tunings alone would show a bend, or a fall, in every second curve."""
    rng, shapes = np.random.default_rng(0), dict.fromkeys(NAMES, row) | ({"RTE": RISE} if claim == "C23" else {})
    found = [get(claim).check(apart(shapes, rng)).verdict for _ in range(40)]
    assert found.count("CONTRADICTED") <= 4
    near = [get(claim).check(apart(shapes, rng, 1e-4)).verdict for _ in range(5)]
    assert near == ["SUPPORTED"] * 5  # where they do not


def test_the_spread_of_checkpoints_is_added_once_for_all_points_and_narrows_nothing():
    rng = np.random.default_rng(1)
    source = apart({"RTE": RISE}, rng)
    whole = source.numbers["figure1", "RTE", "46 sets", "accuracy"]
    means = [np.mean(whole.seeds[i::3]) for i in range(3)]
    spread = curves._spread(source, "RTE", "accuracy")
    assert spread is not None and spread.error == pytest.approx(np.std(means, ddof=1)) and spread.df == 2
    points_ = [n for n in source.numbers.values() if n.x]
    plain, wide = (curves._shape(points_, 1, own) for own in (None, spread))
    x = np.array(SCALES[1:]) - np.mean(SCALES[1:])
    weights = x / (x @ x) * (SCALES[-1] - SCALES[1]) / 2  # of a least-squares slope over half the range
    assert plain is not None and wide is not None
    assert wide.error**2 - plain.error**2 == pytest.approx(spread.error**2 * np.sum(weights[:-1] ** 2))
    assert wide.df <= plain.df < 4


def test_curves_that_nobody_measured_are_not_counted_as_falling():
    text = get("C23").check(curve(dict.fromkeys(NAMES[:3], RISE))).text
    assert text.startswith("3 of 5 curves measured: 0 of 3 fall below their base at first, 3 rise")


def policies(hetero: float, others: float, checkpoints: int) -> Source:
    names = tuple(f"c{i % checkpoints}" for i in range(6))
    rows = {curves.HETEROGENEOUS: hetero, curves.BATCH: others, curves.DATASET: others}
    steps = [0.001 * i for i in range(6)]
    cells = {("figure2", row, name): [score + step for step in steps] for row, score in rows.items() for name in NAMES}
    return made(cells, checkpoints=names)


def test_batching_needs_a_margin_beyond_checkpoints():
    assert get("C26").check(policies(0.80, 0.70, 3)).verdict == "SUPPORTED"
    assert get("C26").check(policies(0.70, 0.80, 3)).verdict == "CONTRADICTED"
    alone = get("C26").check(policies(0.80, 0.70, 1))
    assert alone.verdict == "NOT TESTABLE" and "needs 3 checkpoints" in alone.text


def heatmap(base: list[float], muppet: list[float], scales: tuple[int, ...] = (34, 40)) -> Source:
    shares = (0.1, 0.4375, 1.0)
    cells = {
        ("figure3", f"{dataset} | {scale} sets", f"{100 * share:g} %"): score
        for dataset in ("QNLI", "CoLA")
        for scale, line in ((0, base), *((scale, muppet) for scale in scales))
        for share, score in zip(shares, line)
    }
    return made(cells, {key: float(key[2].split()[0]) / 100 for key in cells})


def test_data_efficiency():
    better = get("C27").check(heatmap([0.5, 0.6, 0.7], [0.6, 0.72, 0.75]))
    assert better.verdict == "SUPPORTED" and "reach 70.0 with 43.8 % of the data" in better.text
    assert get("C27").check(heatmap([0.5, 0.6, 0.7], [0.4, 0.5, 0.71])).verdict == "CONTRADICTED"


def test_half_the_data_is_half_of_what_the_whole_training_goes_through():
    """Of 5,000 rows a training of 2,400 examples sees 2,400: 43.75 % of them are 91 % of those."""
    whole = heatmap([0.5, 0.6, 0.7], [0.6, 0.72, 0.75])
    seen = {k: replace(n, seen=min(5_000 * (n.x or 0), 2_400)) for k, n in whole.numbers.items()}
    found = get("C27").check(replace(whole, numbers=seen))
    assert found.verdict == "CONTRADICTED" and "70.0 → 60.0" in found.text  # what 10 % reach
    assert "reach 70.0 with 91.1 % of the data" in found.text


def test_scale_in_the_maps():
    assert get("C28").check(heatmap([0.5, 0.6, 0.7], [0.6, 0.72, 0.75])).verdict == "NOT MEASURED"  # three scales
    shares = [round(0.1 + 0.1125 * i, 4) for i in range(9)]

    def maps(rise: float) -> Source:
        cells = {
            ("figure3", f"{dataset} | {k} sets", f"{100 * share:g} %"): 0.6 + 0.1 * share + rise * k
            for dataset in ("QNLI", "CoLA")
            for k in SCALES
            for share in shares
        }
        return made(cells, {key: float(key[2].split()[0]) / 100 for key in cells})

    assert get("C28").check(maps(0.001)).verdict == "SUPPORTED"
    noisy = maps(0.0)
    moved = {k: replace(n, value=n.value + 0.02 * ("2" in n.row)) for k, n in noisy.numbers.items()}  # 22 and 28 sets
    open_ = get("C28").check(replace(noisy, numbers=moved))
    assert open_.verdict == "INCONCLUSIVE" and "could have been told" in open_.text
    assert "three runs" not in open_.text  # of which every arm has five
    assert get("C28").check(maps(-0.001)).verdict == "CONTRADICTED"
    whole = maps(0.001)
    numbers = {k: replace(n, sets=int(n.row.split()[2]) / 2) for k, n in whole.numbers.items()}  # half of what it says
    small = get("C28").check(replace(whole, numbers=numbers))
    assert "per ten sets +1.0 " in get("C28").check(whole).text and "per ten sets +2.0 " in small.text
    assert "(0: 65.5 5: 66.5 " in small.text


ABLATED = ("RTE", "MRPC", "BoolQ", "CQA", "SQuAD")


def arms(margin: float, others: tuple[str, ...], columns: tuple[str, ...] = ABLATED, checkpoints: int = 3) -> Source:
    names = tuple(f"c{i % checkpoints}" for i in range(6))
    rows = {"": margin} | dict.fromkeys((f", {other}" for other in others), 0.0)
    cells = {
        ("ablations", f"RoBERTa-B + MUPPET{row}", column): [0.8 + gain + 0.001 * i for i in range(6)]
        for row, gain in rows.items()
        for column in columns
    }
    return made(cells, checkpoints=names)


def test_ablations_need_a_size_all_columns_and_checkpoints():
    both = ("uniform sampling", "temperature sampling")
    assert get("C35").check(arms(0.03, both)).verdict == "SUPPORTED"
    assert get("C35").check(arms(0.03, both[:1])).verdict == "INCONCLUSIVE"  # one of two alternatives
    assert get("C35").check(arms(0.03, both, ABLATED[:4])).verdict == "INCONCLUSIVE"
    four = replace(arms(0.03, both, ABLATED[:4]), declared={"ablation_columns": 4})  # all that a small profile has
    assert get("C35").check(four).verdict == "SUPPORTED" and "has no more of the 5" in get("C35").check(four).text
    three = replace(arms(0.03, both, ABLATED[:3]), declared={"ablation_columns": 4})
    assert get("C35").check(three).verdict == "INCONCLUSIVE"
    assert get("C35").check(arms(0.03, both, checkpoints=1)).verdict == "NOT TESTABLE"
    assert get("C35").check(arms(-0.02, both)).verdict == "CONTRADICTED"
    heads = ("a head per dataset",)
    assert get("C36").check(arms(0.01, heads)).verdict == "CONTRADICTED"  # a sign is not the size
    assert get("C36").check(arms(0.05, heads)).verdict == "SUPPORTED"
    assert get("C38").check(arms(0.03, ("new heads",), checkpoints=1)).verdict == "SUPPORTED"  # one checkpoint in both


def test_superset_and_parameters_are_read_from_what_is_declared():
    sets = {k: {f"t{i}" for i in range(k)} for k in SCALES[1:]}
    source = Source(name="ours", numbers={}, declared={"scale_sets": sets, "parameters": {"RTE": (10, 10)}})
    assert get("C29").check(source).verdict == "SUPPORTED"
    assert get("C22").check(source).verdict == "SUPPORTED"
    broken = replace(source, declared={"scale_sets": sets | {16: {"other"}}, "parameters": {"RTE": (10, 12)}})
    assert get("C29").check(broken).verdict == "CONTRADICTED"
    assert get("C22").check(broken).verdict == "CONTRADICTED"
