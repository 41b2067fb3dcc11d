"""What the slices of sticky units say: sequential rerandomisation tests, and estimates by slice.

A unit keeps its arm, so decisions of one unit are no independent draws. What was randomised are the
slices, and every figure here is by slice. Tests are those of ``rerandomise.py``:

- **worse** (abort): exact under "the candidate changes nothing for any unit", with any number of
  slices. All steps of the ramp share the level of abort in equal parts.
- **better** (promotion): the same test the other way round, studentised, and only where both arms
  have :data:`~.rerandomise.ENOUGH` slices that saw units, none of them dominating. The hypothesis
  "means are equal, whatever else changed" then holds the level in the limit of many slices. Only the
  last step of a ramp can promote, so each step has the whole level.
- **p99**: share of outcomes beyond a threshold, by group of neighbouring slices that lie whole in one
  arm; the threshold is the pooled p99 after the candidate's values were taken back by the margin.
  Exact under "the candidate shifts every value by just the margin".
- **failures**: *worse* as above after the margin is taken off; *fine* is the e-process of
  ``wealth.py`` over the outcomes between two looks, divided by the measured design effect.
- **shares**: whether the candidate's slices get more (or fewer) decisions than their number promises.

A step starts from the sums that were there when its weight came into force: units that changed
arms are judged by what they saw since. Looks at less than :data:`GROWTH` times the decisions of the last one
only bring the estimates up to date.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from ...sdk.errors import RolloutError
from .evidence import IMBALANCE_ALPHA, INTERVAL_ALPHA
from .finding import RailSummary, Summary
from .looks import Look, negative, taken_back
from .outcomes import Arm, Effect, Rail
from .rerandomise import DRAWS, ENOUGH, Crossing
from .slices import Ratio, Slices, design_effect, kish
from .wealth import Failures

__all__ = ["Slices", "UnitEvidence", "UnitRail"]

#: Growth of the outcomes from one test to the next.
GROWTH = 1.2
#: Outcomes that the candidate's slices must expect before the first test.
FIRST_LOOK = 30
#: Kish's effective number of slices that an arm needs for a promotion, beside ENOUGH that saw units.
EFFECTIVE = 50.0
#: Share of the assignments that may look as good as the real one for a next step.
PROMISING = 0.2


@dataclass(frozen=True, slots=True)
class UnitRail:
    """What the slices say about one guardrail.

    Attributes:
        rail: as the plan states it.
        worse: test of "the candidate keeps within the margin".
        fine: of "it reaches the limit": a test for a p99, an e-process for failures; None for a mean,
            whose margin a better objective keeps anyhow.
        level: that ``fine`` is tested at.
    """

    rail: Rail
    worse: Crossing
    fine: Crossing | Failures | None
    level: float

    @classmethod
    def start(cls, rail: Rail, abort: float, promote: float) -> UnitRail:
        """Return what is known of a guardrail before a step's first look.

        Args:
            rail: as the plan states it.
            abort, promote: levels of the step.
        """
        fine: Crossing | Failures | None = Crossing(promote)
        if rail.statistic == "failure_rate":
            fine = Failures(*((1.0 + rail.margin, 0.0) if rail.relative else (1.0, rail.margin)))
        return cls(rail, Crossing(abort), None if rail.statistic == "mean" else fine, promote)

    def kept(self) -> bool:
        """Return whether the margin is kept beyond doubt."""
        if isinstance(self.fine, Failures):
            return self.fine.log_e >= -math.log(self.level)
        return self.fine is None or self.fine.refused

    def leans(self) -> bool:
        """Return whether what is known leans towards the margin being kept."""
        if isinstance(self.fine, Failures):
            return self.fine.log_e >= 0.0
        return self.fine is None or self.fine.p <= 0.5


@dataclass(frozen=True, slots=True)
class UnitEvidence:
    """Everything that the slices of one attempt say so far; grows by :meth:`look`.

    Attributes:
        clip: of the objective.
        alpha_abort, alpha_promote: levels that the tests run at.
        rails: one per guardrail of the plan.
        worse, better: tests on the objective.
        shares: tests of the candidate's slices getting more, and fewer, outcomes than the others.
        treated: how many first slices are the candidate's in this step; 0 before the first look.
        slices: how many there are.
        base: sums that the step started from.
        tested: outcomes of stable and of the candidate at the last test of this step.
        stable, candidate: pooled over this step.
        seen: slices that saw units, of stable and of the candidate.
        effective: Kish's numbers of the same.
        ratio: of the arms' means in this step.
        looks: at which something was tested, in this attempt.
    """

    clip: float
    alpha_abort: float
    alpha_promote: float
    rails: tuple[UnitRail, ...]
    worse: Crossing
    better: Crossing
    shares: tuple[Crossing, Crossing]
    treated: int = 0
    slices: int = 0
    base: Slices = field(default_factory=Slices)
    tested: tuple[Arm, Arm] = field(default_factory=lambda: (Arm(), Arm()))
    stable: Arm = field(default_factory=Arm)
    candidate: Arm = field(default_factory=Arm)
    seen: tuple[int, int] = (0, 0)
    effective: tuple[float, float] = (0.0, 0.0)
    ratio: Ratio = field(default_factory=Ratio)
    looks: int = 0

    @classmethod
    def start(
        cls,
        rails: Iterable[Rail],
        clip: float,
        alpha_abort: float,
        alpha_promote: float,
        steps: int,
    ) -> UnitEvidence:
        """Return the evidence of no look at all.

        Args:
            rails: guardrails of the plan.
            clip: of the objective.
            alpha_abort, alpha_promote: levels of this attempt.
            steps: weights of the ramp before the last, full one; they share the level of abort.
        """
        rails, share = tuple(rails), alpha_abort / steps
        unequal = Crossing(IMBALANCE_ALPHA / (2 * steps))
        return cls(
            clip,
            alpha_abort,
            alpha_promote,
            tuple(UnitRail.start(rail, share / len(rails), alpha_promote) for rail in rails),
            Crossing(share),
            Crossing(alpha_promote),
            (unequal, unequal),
        )

    def look(self, slices: Slices, candidates: int) -> UnitEvidence:
        """Return the evidence after one more look.

        Args:
            slices: sums since the attempt began, over all processes.
            candidates: how many of the first slices are the candidate's. Another number than at the
                last look begins a step, and these sums are its base.

        Raises:
            RolloutError: an arm has no slice, a count fell, or the number of slices changed.
        """
        if not 0 < candidates < len(slices.count):
            n = len(slices.count)
            raise RolloutError(
                f"{candidates} of {n} slices are the candidate's; raise weight or slices"
            )
        if self.treated and candidates != self.treated:
            return replace(self._fresh(), treated=candidates, base=slices)
        since = slices.since(self.base)
        found = self._estimate(since, candidates)
        total, before = sum(since.count), sum(arm.count for arm in self.tested)
        expected = total * candidates / len(since.count)
        if total < GROWTH * before or expected < FIRST_LOOK:
            return found
        return found._test(since)

    def _fresh(self) -> UnitEvidence:
        """Return the evidence of a step that has not begun: what it has of the levels, whole."""
        unequal = Crossing(self.shares[0].level)
        return UnitEvidence(
            self.clip,
            self.alpha_abort,
            self.alpha_promote,
            tuple(UnitRail.start(r.rail, r.worse.level, r.level) for r in self.rails),
            Crossing(self.worse.level),
            Crossing(self.better.level),
            (unequal, unequal),
            looks=self.looks,
        )

    def _estimate(self, since: Slices, treated: int) -> UnitEvidence:
        """Bring what is only estimated up to date."""
        own, other = since.count[:treated], since.count[treated:]
        return replace(
            self,
            treated=treated,
            slices=len(since.count),
            stable=since.arm(treated, len(since.count)),
            candidate=since.arm(0, treated),
            seen=(sum(n > 0 for n in other), sum(n > 0 for n in own)),
            effective=(kish(other), kish(own)),
            ratio=Ratio.of(since, treated),
        )

    def _test(self, since: Slices) -> UnitEvidence:
        """Let the highest scores cross, of every test."""
        test = Look.of(since, self.treated)
        worse = test.scores(since.sum)
        even = test.scores(since.count, by_outcome=False)
        return replace(
            self,
            worse=self.worse.look(worse),
            better=self.better.look(negative(worse), cross=test.studentised),
            shares=(self.shares[0].look(even), self.shares[1].look(negative(even))),
            rails=tuple(self._rail(rail, test) for rail in self.rails),
            tested=(self.stable, self.candidate),
            looks=self.looks + 1,
        )

    def _rail(self, rail: UnitRail, test: Look) -> UnitRail:
        if rail.rail.statistic == "mean":
            return rail
        if isinstance(rail.fine, Failures):
            return self._failures(rail, rail.fine, test)
        found = test.tail_scores(rail.rail, self.stable, self.candidate, self.clip)
        fine = rail.fine.look(negative(found)) if rail.fine else None
        return replace(rail, worse=rail.worse.look(found), fine=fine)

    def _failures(self, rail: UnitRail, wealth: Failures, test: Look) -> UnitRail:
        since, treated = test.since, test.treated
        effect = max(
            design_effect(since.failures[:treated], since.count[:treated]),
            design_effect(since.failures[treated:], since.count[treated:]),
        )
        arms = zip(self.tested, (self.stable, self.candidate), strict=True)
        (m, failed), (n, lost) = (
            (now.count - then.count, now.failures - then.failures) for then, now in arms
        )
        # The candidate's failures are rounded up and everything else down, or to what bets less.
        stable = math.floor(m / effect), math.floor(failed / effect)
        candidate = math.floor(n / effect), math.ceil(lost / effect)
        worse = rail.worse.look(test.scores(taken_back(rail.rail, since, treated)))
        return replace(rail, worse=worse, fine=wealth.bet(stable, candidate))

    @property
    def amount(self) -> str:
        """How much counts, in words."""
        return f"{self.outcomes} outcomes"

    def summary(self) -> Summary:
        """Return what is shown and kept in the ledger.

        Log e-values of the objective are those of the ratio's normal mixture; those of tests are minus
        the logarithm of the share of assignments that looked no better, at most 7.6.
        """
        rails = tuple(
            RailSummary(
                rail.rail.name,
                -math.log(rail.worse.p),
                _log_fine(rail.fine),
                *self.values(rail.rail),
            )
            for rail in self.rails
        )
        better, worse = self.ratio.log_e(-1.0), self.ratio.log_e(1.0)
        arms = self.stable, self.candidate
        mean = -math.log(self.better.p)
        return Summary(self.looks, {}, better, worse, mean, self.effect(), *arms, rails)

    @property
    def outcomes(self) -> int:
        """How many outcomes this step counts."""
        return self.stable.count + self.candidate.count

    @property
    def few(self) -> str:
        """Say why the slices are too few for a promotion; empty when they are enough."""
        for arm, seen, effective in zip(
            ("stable", "candidate"), self.seen, self.effective, strict=True
        ):
            if seen < ENOUGH:
                return f"{seen} slices of {arm} saw units, a promotion needs {ENOUGH}"
            if effective < EFFECTIVE:
                return f"slices of {arm} weigh as {effective:.0f} equal ones, fewer than {EFFECTIVE:.0f}"
        return ""

    def effect(self, alpha: float = INTERVAL_ALPHA) -> Effect:
        """Return the relative change of the mean in this step with its confidence sequence.

        The interval is asymptotic in the number of slices, so it is open as long as they are few.
        """
        found = self.ratio.interval(alpha)
        return Effect(found.estimate) if self.few else found

    def doubt(self, *, few: bool = False) -> str:
        """Say why the outcomes cannot be believed; empty when they can.

        Args:
            few: as for pairs of blocks; slices are tested from the first look on.
        """
        del few
        if any(test.refused for test in self.shares):
            counts = f"{self.candidate.count} outcomes of {self.outcomes}"
            return f"candidate has {counts} in {self.treated} slices of {self.slices}"
        if self.better.blunt:
            level = f"level of promotion {self.better.level:.2g}"
            return f"{level} is finer than {DRAWS} assignments tell; ship again"
        return ""

    def regression(self, alpha: float) -> str:
        """Say what got worse beyond doubt; empty when nothing did.

        The guardrails share one further ``alpha`` in equal parts. Nothing is said at a finer level than
        the tests run at.
        """
        if alpha < self.alpha_abort:
            return ""
        if self.worse.refused:
            return f"objective worse by {self.effect().estimate:+.1%} in {self.outcomes} outcomes"
        for rail in self.rails:
            if rail.worse.refused:
                return f"guardrail {rail.rail.name} exceeded: {self._values(rail.rail)}"
        return ""

    def superior(self, alpha: float) -> bool:
        """Return whether the objective is better and every guardrail fine, each beyond doubt.

        All must hold, so each is tested at ``alpha`` itself; never at a finer level than the tests run at.
        """
        sure = self.better.refused and all(rail.kept() for rail in self.rails)
        return alpha >= self.alpha_promote and not self.few and sure and self._agrees()

    def promising(self) -> bool:
        """Return whether all leans towards the candidate: enough for a next step."""
        leans = self.better.p <= PROMISING and all(rail.leans() for rail in self.rails)
        return leans and self._agrees()

    def values(self, rail: Rail) -> tuple[float, float]:
        """Return a guardrail's statistic over this step's outcomes pooled: stable, candidate."""
        return rail.value(self.stable, self.clip), rail.value(self.candidate, self.clip)

    def _agrees(self) -> bool:
        """Return whether every pooled estimate is on the candidate's side."""
        within = (
            candidate <= rail.rail.limit(stable)
            for rail in self.rails
            for stable, candidate in [self.values(rail.rail)]
        )
        return self.candidate.mean < self.stable.mean and all(within)

    def _values(self, rail: Rail) -> str:
        stable, candidate = self.values(rail)
        return f"candidate {candidate:.4g}, stable {stable:.4g}, limit {rail.limit(stable):.4g}"


def _log_fine(fine: Crossing | Failures | None) -> float:
    if fine is None:
        return 0.0
    return fine.log_e if isinstance(fine, Failures) else -math.log(fine.p)
