"""Every claim of the paper that cells or curves can check, C1 to C38: words in `claims.toml`, checks beside it."""

import tomllib
from pathlib import Path

from muppet.errors import unknown
from studies.claims import comparisons, curves, gains, method, prints
from studies.claims.claim import Claim

CHECKS = gains.CHECKS | comparisons.CHECKS | method.CHECKS | prints.CHECKS | curves.CHECKS
WORDS = tomllib.loads(Path(__file__).with_name("claims.toml").read_text(encoding="utf-8"))
CLAIMS = tuple(Claim(id=id, check=CHECKS[id], **words) for id, words in WORDS.items())


def get(id: str) -> Claim:
    """The claim of this id; a UserError offers the nearest."""
    by_id = {claim.id: claim for claim in CLAIMS}
    if id.upper() not in by_id:
        raise unknown("claim", id, by_id)
    return by_id[id.upper()]
