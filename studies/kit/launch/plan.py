"""What there is to do: which runs of which artefacts have results, which are missing, and what these cost. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

from muppet.runs import Prefinetune, Run, parent, run_id
from studies.kit import cost
from studies.kit.ledger import folder
from studies.kit.ledger.results import Collected, read_all
from studies.kit.load import runs as runs_of
from studies.kit.study import Study

State = Literal["done", "running", "missing", "failed", "refused"]
STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Runs by id, parents before children, and where each stands.

    `again`: pre-finetunings with a result whose model is not here, and something to do starts from it. They count as
    missing; the result that they have stays.
    """

    profile: str
    studies: Mapping[str, Study]
    runs: Mapping[str, Run]
    states: Mapping[str, State]
    failures: Mapping[str, dict[str, Any]]
    calibration: cost.Calibration
    again: frozenset[str] = frozenset()
    spent: float = 0.0  # device-seconds of what is done, and of attempts at what is not

    @cached_property
    def given_up(self) -> frozenset[str]:
        """Runs that failed too often with one error, and the children that wait for them in vain."""
        stuck = {name for name, record in self.failures.items() if record.get("count", 1) >= folder.ATTEMPTS}
        stuck |= {name for name, state in self.states.items() if state == "refused"}
        if not stuck:
            return frozenset()
        children = {n for n, run in self.runs.items() if (above := parent(run)) and run_id(above) in stuck}
        return frozenset(stuck | {n for n in children if self.states[n] != "done"})

    @cached_property
    def to_do(self) -> dict[str, Run]:
        """What an attempt to bring the artefacts up to date would run, parents before children."""
        return {n: run for n, run in self.runs.items() if self.states[n] != "done" and n not in self.given_up}

    @cached_property
    def done(self) -> frozenset[str]:
        """Runs with a trusted result."""
        return frozenset(name for name, state in self.states.items() if state == "done")

    @property
    def waves(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Ids to do: pre-finetunings, then fine-tunings."""
        first = [name for name, run in self.to_do.items() if isinstance(run, Prefinetune)]
        return tuple(first), tuple(self.to_do)[len(first) :]

    @cached_property
    def seconds_of(self) -> dict[str, float]:
        """Run to do → estimated seconds on one device of the kind that its model asks for."""
        return {name: cost.seconds(run, self.calibration) for name, run in self.to_do.items()}

    def seconds(self, device: str | None = None) -> float:
        """Estimated seconds of what is to do on one `gpu`, one `cpu` core, or what each run's model asks for."""
        if device is None:
            return sum(self.seconds_of.values())
        return sum(cost.seconds(run, self.calibration, device) for run in self.to_do.values())

    @property
    def wants_gpu(self) -> bool:
        """Whether something to do has a model that wants a GPU."""
        return any(cost.wants_gpu(run) for run in self.to_do.values())


def plan(studies: Mapping[str, Study], profile: str, collected: Collected | None = None) -> Plan:
    """Where every run of `studies` stands; the cost model is calibrated by the profile's finished runs."""
    collected = collected or read_all(profile)
    runs = runs_of(studies.values())
    refused = collected.refused_runs
    failed = folder.failures(name for name in runs if name not in collected.done)
    stuck = refused.keys() | {name for name, record in failed.items() if record.get("count", 1) >= folder.ATTEMPTS}
    above = {run_id(up) for name, run in runs.items() if name not in collected.done | stuck and (up := parent(run))}
    again = frozenset(name for name in above & collected.done if not folder.done(profile, name))
    ended = collected.done - again
    failed |= folder.failures(again) | {n: {"error": refused[n]} for n in refused.keys() & runs.keys() - collected.done}
    started = folder.begun()
    states: dict[str, State] = {}
    for name in runs:
        if name in ended:
            states[name] = "done"
        elif name in refused:
            states[name] = "refused"
        elif name in started and folder.running(name):
            states[name] = "running"
        else:
            states[name] = "failed" if name in failed else "missing"
    done = [spent for name, spent in collected.spent.items() if name in runs]
    tried = sum(folder.attempts(name)[1] for name in started.intersection(runs) - ended)
    return Plan(
        profile=profile,
        studies=studies,
        runs=runs,
        states=states,
        failures=failed,
        again=again,
        calibration=cost.calibrate((runs[name], spent) for name, spent in collected.spent.items() if name in runs),
        spent=tried + sum(one["seconds"] * one["processes"] for one in done),
    )
