"""All that a profile declares and has measured, opened once for a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from muppet.runs import Run
from studies.kit import load, profiles
from studies.kit.decisions import option
from studies.kit.ledger import results
from studies.kit.ledger.cells import PROTOCOLS, cells_frame
from studies.kit.ledger.results import Collected
from studies.kit.study import Study

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class ProfileResults:
    """One profile: its studies, its results, and the frame of each study under every protocol."""

    name: str
    studies: Mapping[str, Study]
    collected: Collected
    frames: Mapping[str, pd.DataFrame]  # study → cells_frame

    def frame(self, study: str) -> pd.DataFrame:
        """The cells of `study` under the protocol in force."""
        frame = self.frames[study]
        return frame[frame["protocol"] == str(option("protocol"))]

    @property
    def caption(self) -> str:
        """What the profile is, in a line."""
        return profiles.get(self.name).caption

    @cached_property
    def runs(self) -> Mapping[str, Run]:
        """Every declared run by id, parents before children."""
        return load.runs(self.studies.values())

    @cached_property
    def done(self) -> frozenset[str]:
        """Ids of the declared runs with a trusted result."""
        return frozenset(self.runs.keys() & self.collected.done)


def open_profile(name: str) -> ProfileResults:
    """Everything that is declared and measured at profile `name`."""
    studies, collected = load.load_studies(name), results.read_all(name)
    frames = {key: cells_frame(study, name, collected, PROTOCOLS) for key, study in studies.items()}
    return ProfileResults(name=name, studies=studies, collected=collected, frames=frames)
