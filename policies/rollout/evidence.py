"""What a canary's pairs of blocks say: betting e-processes, exact under the hypotheses named here.

**Alternating arms.** Within a live pair a fair coin says which block the candidate gets. Where the
candidate changes nothing, the sign of the pair's difference is therefore a fair coin too, given
everything before and given the difference's size, whatever the noise: correlated, heavy-tailed or
drifting. A bet of a fraction of the wealth on that sign then multiplies the wealth by a factor of
mean 1, so the wealth is an e-process: it ever exceeds ``1 / alpha`` with probability at most
``alpha`` (Ville), at any stopping time and for any number of pairs. Nothing here is asymptotic.

**Paired arms** (a cache and a ghost of the other arm beside it) answer the same traffic in every
block, so there is no coin: traffic is the same for both by design, and the bets stay e-processes
under the hypothesis itself. Given everything before a pair, the candidate is no better when

- it wins at most as often as it loses (the bets on signs),
- the mean of the difference, held at the scale of earlier pairs, is not on its side (the bets on
  sizes), and neither is the mean of the log ratio held at ``BOUND`` (``wealth.Gains``).

For *worse* the same holds with the sides exchanged. "Given everything before" includes what both arms
hold: it is met exactly by policies that decide alike (every pair ties and nothing is ever bet) and by
policies whose luck of one pair says nothing about the next one. Equal policies with draws of their
own differ by what either happened to throw away; each such object costs one miss and is then held by
both again, so luck does not last (a test measures it on two caches with random eviction). What the coin
gives and this does not: arms that are treated differently by the machinery (one ghost colder or
smaller than its peer) are a bias that no number of pairs averages out, hence the same keys, the same
capacity, and counts that must agree to the last decision.

Two families of bets are mixed in equal parts, and a mixture of e-processes is one:

- the sign alone; it stays exact as long as a worse (or equal) candidate loses at least half of the
  pairs, given the past;
- the sign times a size between 0 and 1 that grows with the difference, scaled by the median size of
  *earlier* pairs; with alternating arms exact where the candidate shifts every block by the same,
  unhelpful amount or not at all, because then large losses are as likely as large wins.

Each family is itself a mixture over a grid of fractions, so that none has to be tuned. Ties bet
nothing.

What the signs alone claim is that the candidate wins most pairs: the median. Rare large losses pass
them, so a promotion needs more: the e-process on the mean of ``wealth.py``, the pooled mean below
stable's, and no pair beyond that e-process' bound among few; for failures the e-process there, which
is on the rate over all outcomes. Guardrails on a mean or a p99 claim the median pair, and their
margin over all pairs pooled as a plain estimate.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from .betting import Betting, Side, effect_of, log_ratio, scale_of, sign
from .finding import RailSummary, Summary
from .outcomes import Arm, Effect, Fault, Point, Rail
from .wealth import BOUND, DILUTED, Failures, Gains, log_mean_exp

#: Level of the reported interval of the effect.
INTERVAL_ALPHA = 0.05
#: Level of the test that pairs are left out for both arms alike.
IMBALANCE_ALPHA = 0.01
#: Share of pairs left out above which the rest is not believed, once so many pairs were judged.
MAX_LEFT_OUT = 0.2
MIN_JUDGED = 10
#: Log ratio of the arms' outcomes in a pair up to which they count as even: 10 %.
EVEN = math.log(1.1)


@dataclass(frozen=True, slots=True)
class RailEvidence:
    """What the pairs say about one guardrail.

    Attributes:
        worse: against "the candidate keeps within the margin".
        fine: against "the candidate exceeds the margin in at least half of the pairs", for failures
            against "its rate reaches the limit".
        sizes: sizes of the differences so far, for the scale of the next bet.
    """

    rail: Rail
    fine: Betting | Failures
    worse: Side = field(default_factory=Side)
    sizes: tuple[float, ...] = ()

    @classmethod
    def start(cls, rail: Rail) -> RailEvidence:
        """Return the evidence of no pair at all."""
        if rail.statistic != "failure_rate":
            return cls(rail, Betting())
        limit = (1.0 + rail.margin, 0.0) if rail.relative else (1.0, rail.margin)
        return cls(rail, Failures(*limit))

    def add(self, point: Point, clip: float) -> RailEvidence:
        """Return the evidence after one more pair."""
        stable, candidate = point.stable, point.candidate
        value = self.rail.value(stable, clip)
        limit = self.rail.limit(value)
        if isinstance(self.fine, Failures):
            # One failure is the finest that a block can tell.
            limit = max(limit, value + 1.0 / candidate.count)
        excess = self.rail.value(candidate, clip) - limit
        if isinstance(self.fine, Failures):
            arms = (stable.count, stable.failures), (candidate.count, candidate.failures)
            fine: Betting | Failures = self.fine.bet(*arms)
        else:
            fine = self.fine.bet(1.0 if excess <= 0.0 else -1.0)
        worse = self.worse.bet(excess, scale_of(self.sizes))
        return RailEvidence(self.rail, fine, worse, (*self.sizes, abs(excess)))


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that the judged pairs of one attempt say so far; grows by :meth:`add`.

    Attributes:
        clip: of the objective.
        rails: one per guardrail of the plan.
        better, worse: e-processes on the objective, each against the other direction or equality.
        gains: e-process on the mean of the differences, against "not below 0".
        differences: logarithm of candidate over stable, one per pair that counts, as judged.
        imbalance: bettors on either arm being at fault for pairs left out.
        thinned: bettors on the candidate's blocks having fewer outcomes than stable's.
        stable, candidate: pooled over the pairs that count.
        left_out: pairs that do not count, by the arm at fault.
    """

    clip: float
    rails: tuple[RailEvidence, ...]
    better: Side = field(default_factory=Side)
    worse: Side = field(default_factory=Side)
    gains: Gains = field(default_factory=Gains)
    differences: tuple[float, ...] = ()
    imbalance: tuple[Betting, Betting] = (Betting(), Betting())
    thinned: Betting = field(default_factory=Betting)
    stable: Arm = field(default_factory=Arm)
    candidate: Arm = field(default_factory=Arm)
    left_out: tuple[tuple[Fault, int], ...] = ()

    @classmethod
    def start(cls, rails: Iterable[Rail], clip: float) -> Evidence:
        """Return the evidence of no pair at all."""
        return cls(clip, tuple(RailEvidence.start(rail) for rail in rails))

    def add(self, point: Point) -> Evidence:
        """Return the evidence after one more judged pair."""
        return self._leave_out(point.fault) if point.left_out else self._count(point)

    def _count(self, point: Point) -> Evidence:
        difference = log_ratio(point.candidate.mean, point.stable.mean)
        scale = scale_of([abs(past) for past in self.differences])
        thin = log_ratio(point.stable.count, point.candidate.count)
        return replace(
            self,
            rails=tuple(rail.add(point, self.clip) for rail in self.rails),
            better=self.better.bet(-difference, scale),
            worse=self.worse.bet(difference, scale),
            gains=self.gains.bet(difference),
            thinned=self.thinned.bet(sign(thin) if abs(thin) > EVEN else 0.0),
            differences=(*self.differences, difference),
            stable=self.stable.plus(point.stable),
            candidate=self.candidate.plus(point.candidate),
        )

    def _leave_out(self, fault: Fault) -> Evidence:
        counts = dict(self.left_out)
        counts[fault] = counts.get(fault, 0) + 1
        outcome = {"candidate": 1.0, "stable": -1.0}.get(fault, 0.0)
        more, fewer = self.imbalance
        return replace(
            self,
            left_out=tuple(sorted(counts.items())),
            imbalance=(more.bet(outcome), fewer.bet(-outcome)),
        )

    @property
    def pairs(self) -> int:
        """How many pairs count."""
        return len(self.differences)

    @property
    def amount(self) -> str:
        """How much counts, in words."""
        return f"{self.pairs} pairs"

    def summary(self) -> Summary:
        """Return what is shown and kept in the ledger."""
        rails = tuple(
            RailSummary(rail.rail.name, rail.worse.log_e, rail.fine.log_e, *self.values(rail.rail))
            for rail in self.rails
        )
        return Summary(
            self.pairs,
            dict(self.left_out),
            self.better.log_e,
            self.worse.log_e,
            self.gains.log_e,
            self.effect(),
            self.stable,
            self.candidate,
            rails,
        )

    @property
    def dropped(self) -> int:
        """How many judged pairs do not count."""
        return sum(count for _, count in self.left_out)

    def dropped_by(self, fault: Fault) -> int:
        """Return how many pairs were left out because of a block of this arm."""
        return dict(self.left_out).get(fault, 0)

    @property
    def log_imbalance(self) -> float:
        """Log e-value against "pairs are left out for both arms alike"."""
        return log_mean_exp([side.log_e for side in self.imbalance])

    def effect(self, alpha: float = INTERVAL_ALPHA) -> Effect:
        """Return the median effect with the shifts that the two-sided sign test does not refuse."""
        return effect_of(self.differences, alpha)

    def doubt(self, *, few: bool = False) -> str:
        """Say why the pairs that count cannot be believed; empty when they can.

        Args:
            few: judge the share of pairs left out even when few were judged, as before a promotion.
        """
        judged = self.pairs + self.dropped
        if self.log_imbalance >= -math.log(IMBALANCE_ALPHA):
            arms = f"candidate {self.dropped_by('candidate')}, stable {self.dropped_by('stable')}"
            return f"pairs were left out for one arm more than for the other ({arms})"
        if self.thinned.log_e >= -math.log(IMBALANCE_ALPHA):
            counts = f"candidate {self.candidate.count}, stable {self.stable.count}"
            return f"the candidate's blocks have fewer outcomes ({counts})"
        if (few or judged >= MIN_JUDGED) and self.dropped > MAX_LEFT_OUT * judged:
            return f"{self.dropped} of {judged} pairs were left out, more than a fifth"
        return ""

    def regression(self, alpha: float) -> str:
        """Say what got worse beyond doubt; empty when nothing did.

        The guardrails share one further ``alpha`` in equal parts.
        """
        if self.worse.log_e >= -math.log(alpha):
            return f"objective worse by {self.effect().estimate:+.1%} in {self.pairs} pairs"
        for rail in self.rails:
            if rail.worse.log_e >= math.log(len(self.rails) / alpha):
                return f"guardrail {rail.rail.name} exceeded: {self._values(rail.rail)}"
        return ""

    def superior(self, alpha: float) -> bool:
        """Return whether the objective is better and every guardrail fine, each beyond doubt.

        All must hold, so each is tested at ``alpha`` itself.
        """
        return self._leans(-math.log(alpha)) and not self._extreme()

    def promising(self) -> bool:
        """Return whether the wealth leans towards the candidate everywhere: enough for a next step."""
        return self._leans(0.0)

    def _leans(self, needed: float) -> bool:
        """Return whether every e-process reaches a log e-value and every pooled estimate agrees."""
        return (
            min(self.better.log_e, self.gains.log_e) >= needed
            and self.candidate.mean < self.stable.mean
            and all(rail.fine.log_e >= needed and self._within(rail.rail) for rail in self.rails)
        )

    def _extreme(self) -> bool:
        """Return whether a pair lies beyond what the bet on the mean counts, among few pairs."""
        return self.pairs < DILUTED and max(self.differences, default=0.0) > BOUND

    def values(self, rail: Rail) -> tuple[float, float]:
        """Return a guardrail's statistic over all pairs pooled: stable, candidate."""
        return rail.value(self.stable, self.clip), rail.value(self.candidate, self.clip)

    def _within(self, rail: Rail) -> bool:
        stable, candidate = self.values(rail)
        return candidate <= rail.limit(stable)

    def _values(self, rail: Rail) -> str:
        stable, candidate = self.values(rail)
        return f"candidate {candidate:.4g}, stable {stable:.4g}, limit {rail.limit(stable):.4g}"
