"""The value that an artefact is: cells, globs over them, runs shared and in order."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muppet.errors import UserError
from muppet.runs import run_id
from studies.kit import load
from studies.kit.study import Cell, check
from tests.kit import PARENT, child, small_study


def test_a_glob_keeps_the_cells_it_matches_whatever_the_case() -> None:
    study = small_study()
    assert [cell.key for cell in study.only("*muppet/rte").cells] == ["RoBERTa-B + MUPPET/RTE"]
    assert study.only(None) is study and study.only("") is study


def test_a_glob_that_matches_nothing_names_the_nearest_cell() -> None:
    with pytest.raises(UserError, match="did you mean 'RoBERTa-B/RTE'"):
        small_study().only("RoBERTa-B/RTEE")


@given(st.sampled_from(small_study().cells))
def test_every_cell_is_reached_by_its_own_key(cell: Cell) -> None:
    assert cell in small_study().only(cell.key).cells


def test_runs_stand_once_and_parents_first() -> None:
    runs = list(small_study().runs())
    assert runs[0] == run_id(PARENT) and len(runs) == len(set(runs)) == 9


def test_two_cells_in_one_place_are_refused() -> None:
    study = small_study()
    with pytest.raises(UserError, match=r"table3\.py declares RoBERTa-B/RTE \(accuracy\) twice"):
        check(replace(study, cells=(*study.cells, study.cells[0])))


def test_rows_and_columns_keep_their_order() -> None:
    assert small_study().rows == ("RoBERTa-B", "RoBERTa-B + MUPPET") and small_study().columns == ("RTE", "SST-2")


def test_studies_share_runs() -> None:
    one, other = small_study(), replace(small_study(), name="table4")
    assert load.runs([one, other]) == one.runs()


def test_an_unknown_artefact_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'table3'"):
        load.load_studies("smoke", ["tabel3"])


def test_a_study_on_a_run_that_the_profile_leaves_out() -> None:
    cell = Cell(row="a", column="b", runs=(replace(child(), seed=4, init="FacebookAI/roberta-base"),))
    scaled = load._scaled_cell(cell, load.get("smoke"), {})
    assert (scaled.runs, scaled.why) == ((), load.ABSENT)


def test_rows_held_out_belong_to_the_honest_protocol_alone() -> None:
    study = small_study()
    apart = tuple(replace(run, held_out=0.1) for run in study.cells[0].runs)
    check(replace(study, cells=(replace(study.cells[0], honest=apart),)))
    with pytest.raises(UserError, match="table3.py: RoBERTa-B/RTE holds rows out under protocol paper; `held_out`"):
        check(replace(study, cells=(replace(study.cells[0], runs=apart),)))
    with pytest.raises(UserError, match="RoBERTa-B/RTE holds no rows out under protocol honest"):
        check(replace(study, cells=(replace(study.cells[0], honest=study.cells[0].runs),)))
