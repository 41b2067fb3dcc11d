"""One look at the slices of sticky units: sums made ready for the rerandomisation test, and scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .outcomes import Arm, Rail
from .rerandomise import ENOUGH, merged, merging, scores
from .slices import Slices
from .tails import beyond, threshold

#: Share of ENOUGH that both arms must expect before scores are studentised.
EXPECTED = 0.9


@dataclass(frozen=True, slots=True)
class Look:
    """The sums of a step, ready to be scored.

    Attributes:
        since: sums of the step.
        treated: slices of the candidate.
        merge: neighbours that are merged.
        studentised: whether both arms can expect enough slices that saw units. It depends on all slices
            together and not on which are the candidate's, which keeps the test exact.
    """

    since: Slices
    treated: int
    merge: int
    studentised: bool

    @classmethod
    def of(cls, since: Slices, treated: int) -> Look:
        """Return the sums of a step, ready to be scored."""
        slices = len(since.count)
        share = min(treated, slices - treated) / slices
        enough = share * sum(n > 0 for n in since.count) >= EXPECTED * ENOUGH
        return cls(since, treated, merging(slices, treated), enough)

    def scores(self, values: Sequence[float], *, by_outcome: bool = True) -> list[float]:
        """Return all assignments' scores of sums by slice, per outcome or per slice."""
        weights = self.since.count if by_outcome else (1,) * len(self.since.count)
        return scores(
            merged(values, self.merge),
            merged(weights, self.merge),
            self.treated // self.merge,
            studentised=self.studentised,
        )

    def tail_scores(self, rail: Rail, stable: Arm, candidate: Arm, clip: float) -> list[float]:
        """Return all assignments' scores of the share of outcomes beyond the common p99."""
        own = self.since.groups(0, self.treated)
        others = self.since.groups(self.treated, len(self.since.count))
        at = threshold(stable.histogram, candidate.histogram, rail.limit, 0.99, clip)
        values = [beyond(histogram, rail.limit(at), clip) for histogram in own]
        values += [beyond(histogram, at, clip) for histogram in others]
        weights = [float(sum(histogram)) for histogram in own + others]
        return scores(values, weights, len(own), studentised=False)


def negative(values: Sequence[float]) -> list[float]:
    """Return the scores for the other direction."""
    return [-value for value in values]


def taken_back(rail: Rail, since: Slices, treated: int) -> list[float]:
    """Return failures by slice, the candidate's with the margin taken off."""
    found = [float(failed) for failed in since.failures]
    for at in range(treated):
        if rail.relative:
            found[at] /= 1.0 + rail.margin
        else:
            found[at] -= rail.margin * since.count[at]
    return found
