"""Every claim of the paper that cells or curves can check, C1 to C38, with a predicate each."""

from muppet.errors import unknown
from studies.claims import comparisons, curves, gains, method, prints
from studies.claims.claim import Claim

CLAIMS: tuple[Claim, ...] = tuple(
    sorted(
        (*gains.CLAIMS, *comparisons.CLAIMS, *method.CLAIMS, *prints.CLAIMS, *curves.CLAIMS),
        key=lambda claim: int(claim.id.removeprefix("C")),
    )
)


def get(id: str) -> Claim:
    """The claim of this id; a UserError offers the nearest."""
    by_id = {claim.id: claim for claim in CLAIMS}
    if id.upper() not in by_id:
        raise unknown("claim", id, by_id)
    return by_id[id.upper()]
