"""A flipped option gives other ids to exactly the runs it touches, other scores to exactly the cells it re-reads."""

import importlib
from collections.abc import Callable, Iterator

import pytest

from muppet.runs import Finetune, Prefinetune, Run, parent, run_id
from muppet.tasks import get
from studies import ARTEFACTS, recipes
from studies.kit import decisions
from studies.kit.study import Cell

MODULES = [importlib.import_module(f"studies.{name}") for name in ARTEFACTS]  # before anything is patched
Cells = dict[tuple[str, str, str, str], Cell]
ORDERED = {"figure1", "figure2", "figure3"}  # whose mixtures are prefixes of the scale order
FIVE = ("rte", "boolq", "race", "squad", "mnli")


def declared() -> Cells:
    """Every cell of every study under the options in force; one point and one seed of each search say enough."""
    studies = [module.study() for module in MODULES]
    return {(s.name, c.row, c.column, c.metric): c for s in studies for c in s.cells}


def ids(cells: Cells) -> dict[str, Run]:
    """Runs by id, their pre-finetunings too."""
    runs = [run for cell in cells.values() for run in cell.runs]
    parents = [parent(run) for run in runs]
    return {run_id(run): run for run in (*runs, *parents) if run}


@pytest.fixture
def flip(monkeypatch) -> Iterator[Callable[[str], Cells]]:
    monkeypatch.setattr(recipes, "SEEDS", range(1))
    monkeypatch.setattr(recipes, "PRE_SEEDS", range(1))
    monkeypatch.setattr(recipes, "EPSILONS", recipes.EPSILONS[:1])
    monkeypatch.setattr(recipes, "DROPOUTS", recipes.DROPOUTS[:1])
    monkeypatch.setattr(recipes, "SEARCH", {family: rates[:1] for family, rates in recipes.SEARCH.items()})

    def under(override: str) -> Cells:
        monkeypatch.setenv(decisions.OVERRIDE, override)
        return declared()

    recipes.search.cache_clear()  # what was searched in full
    yield under
    recipes.search.cache_clear()  # and what was not


def stage(run: Run) -> Prefinetune | None:
    """The pre-finetuning that a run is or starts from, when it is the paper's: a single MNLI stage is fine-tuning."""
    found = run if isinstance(run, Prefinetune) else parent(run)
    return found if found and len(found.tasks) > 1 else None


def by_stage(test: Callable[[Prefinetune], bool]) -> Callable[[Run], bool]:
    return lambda run: (found := stage(run)) is not None and test(found)


def ordered(found: Prefinetune) -> bool:
    """Whether the mixture is a prefix of the scale order, and not the catalogue's (all, or all but the unseen)."""
    return tuple(task.name for task in found.tasks[:5]) == FIVE


def learnt(run: Run) -> bool:
    """Whether a head for the run's task was pre-finetuned."""
    return isinstance(run, Finetune) and run.task in (start.tasks if (start := parent(run)) else ())


TOUCHED: dict[str, Callable[[Run], bool]] = {
    "mnli=twice": by_stage(lambda found: not ordered(found)),
    "averaging=sub_batch": by_stage(lambda found: True),
    "optimizer=sgd": by_stage(lambda found: True),
    "unused_heads=zero": by_stage(lambda found: True),
    "heads=per_dataset": by_stage(lambda found: found.recipe.heads == "shared"),
    "r3f=both": by_stage(lambda found: recipes.kind(found.model) == "roberta" and found.recipe.r3f is None),
    "r3f=none": by_stage(lambda found: recipes.kind(found.model) == "bart" and found.recipe.r3f is not None),
    "reuse_head=never": lambda run: isinstance(run, Finetune) and run.reuse_head,
    "reuse_head=always": lambda run: learnt(run) and not run.reuse_head,
    "hyperpartisan=longformer": lambda run: isinstance(run, Finetune) and run.task.name == "hyperpartisan",
    "scale_order=1": by_stage(ordered),
}
# Runs that bear the flipped answer already, as an ablation's arm, keep their id.
ARMS = {
    "mnli=twice": "MNLI twice",
    "heads=per_dataset": "a head per dataset",
    "r3f=both": "with R3F",
    "r3f=none": "no R3F",
    "reuse_head=never": "new heads",
    "reuse_head=always": "new heads",
}
RESCORED: dict[str, Callable[[tuple[str, str, str, str], Cell], bool]] = {
    "squad=v1.1-f1": lambda key, cell: cell.score == "squad/validation/em" and "SQuAD 1.1" not in key[2],
    "rouge=rougeL": lambda key, cell: key[3] == "RL" and bool(cell.runs),
    "anli_split=test": lambda key, cell: key[0] == "table6" and bool(cell.runs),
}


def test_every_other_answer_of_every_option_is_tested():
    tested = {
        *TOUCHED,
        *RESCORED,
        "squad=v2.0-em",
        "squad=v2.0-f1",
        "figure1_first=stsb",
        "r3f=roberta",
        "protocol=honest",
        "protocol=last",
        "mini_model=pretrained_only",  # tests/test_profiles.py
    }
    tested |= {"scale_third_task=wnli", "scale_third_task=stsb", "scale_last=include_all"}
    for option in decisions.load().options.values():
        for choice in (c for c in option.choices if c != option.take):
            assert f"{option.name}={choice}" in tested
        assert option.choices or f"{option.name}=1" in tested


@pytest.mark.parametrize("override", TOUCHED)
def test_ids_change_of_the_touched_runs_alone(flip, override):
    before, after = flip(""), flip(override)
    arm = ARMS.get(override, "\0")
    kept = ids({key: cell for key, cell in before.items() if key[1].endswith(arm)})
    touched = {name for name, run in ids(before).items() if TOUCHED[override](run)} - (set(kept) & set(ids(after)))
    assert touched
    assert set(ids(before)) - set(ids(after)) == touched
    assert all(before[key].score == after[key].score for key in before.keys() & after.keys())


def test_r3f_for_roberta_instead_of_bart_touches_both(flip):
    gone = set(ids(flip(""))) - set(ids(flip("r3f=roberta")))
    assert gone == (set(ids(flip(""))) - set(ids(flip("r3f=both")))) | (set(ids(flip(""))) - set(ids(flip("r3f=none"))))


@pytest.mark.parametrize("override", RESCORED)
def test_a_question_of_scoring_changes_no_run(flip, override):
    before, after = flip(""), flip(override)
    assert set(ids(before)) == set(ids(after))
    moved = {key for key, cell in before.items() if key not in after or after[key].score != cell.score}
    assert moved and moved == {key for key, cell in before.items() if RESCORED[override](key, cell)}


@pytest.mark.parametrize("override", ["squad=v2.0-em", "squad=v2.0-f1"])
def test_another_version_of_squad_touches_the_cells_of_squad_alone(flip, override):
    before, after = flip(""), flip(override)
    gone = set(ids(before)) - set(ids(after))
    assert gone  # the scale curve's, which stand in no column of both versions
    runs = ids(before)
    assert {run.task.name for name, run in runs.items() if name in gone if isinstance(run, Finetune)} == {"squad"}
    assert all(isinstance(runs[name], Finetune) for name in gone)  # no mixture changes
    changed: set[str] = {
        key[2] if key[0] != "figure1" else key[1]
        for key in before
        if key in after and before[key].runs != after[key].runs
    }
    assert changed == {"SQuAD"}


def test_sts_b_in_figure_1_touches_that_curve_alone(flip):
    before, after = flip(""), flip("figure1_first=stsb")
    assert {key for key in before if key not in after} == {
        key for key in before if key[0] == "figure1" and key[1] == "RTE" or key[0] == "figure2" and key[2] == "RTE"
    }
    assert all(before[key].runs == after[key].runs for key in before if key in after)


@pytest.mark.parametrize("third", ["wnli", "stsb"])
def test_a_third_unseen_task_adds_a_map_and_stays_out_of_the_mixtures(flip, third):
    before, after = flip(""), flip(f"scale_third_task={third}")
    added = {key for key in after if key not in before and key[1].startswith(("WNLI", "STS-B"))}
    assert added and {key[0] for key in added} == {"figure3"}
    mixtures = {found for key in added if (found := parent(after[key].runs[0]))}
    assert mixtures and all(third not in {task.name for task in found.tasks} for found in mixtures)
    kept = ids(after)
    gone = {name: run for name, run in ids(before).items() if name not in kept}
    starts = {run_id(found): found for run in gone.values() if (found := stage(run))}
    assert len(starts) > 0 if third == "wnli" else not starts  # STS-B is in no mixture
    assert all(get(third) in found.tasks or ordered(found) for found in starts.values())


def test_the_last_point_of_figure_3_can_hold_everything(flip):
    before, after = flip(""), flip("scale_last=include_all")
    moved = {key for key in {*before, *after} if before.get(key) != after.get(key)}
    assert moved and {key[0] for key in moved} == {"figure3"}
    gained = [
        {task.name for task in found.tasks} for key in moved if key in after if (found := stage(after[key].runs[0]))
    ]
    assert gained and all(names >= {"qnli", "cola"} for names in gained)


@pytest.mark.parametrize("protocol", ["honest", "last"])
def test_the_protocol_declares_no_other_run_only_other_ones_are_done(flip, protocol):
    assert flip("") == flip(f"protocol={protocol}")


@pytest.mark.parametrize("order", [0, 1, 7])
def test_the_five_evaluation_sets_are_in_the_first_ten_of_any_order(flip, order):
    cells = flip(f"scale_order={order}")
    first = {parent(cell.runs[0]) for key, cell in cells.items() if key[0] == "figure1" and cell.x == 10}
    assert len(first) == 1
    assert {task.name for found in first if found for task in found.tasks} >= set(FIVE)
