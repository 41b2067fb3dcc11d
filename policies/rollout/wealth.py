"""E-processes that a promotion needs beside the signs of pairs: for the mean, and for failures.

Each is the wealth of a mixture of bettors, at most 1 in expectation under its hypothesis at every
stopping time, so that it ever reaches ``1 / alpha`` with probability at most ``alpha`` (Ville).

:class:`Gains` bets on the mean. Its payoff is the log ratio of a pair, held within :data:`BOUND`, in
units of it; a bettor who stakes a fraction ``f`` up to 1 never goes below nothing. It needs no
symmetry and no independence, only that the mean of the held log ratio, given the past, is at least 0
in every pair when the candidate is no better. A loss beyond the bound counts as the bound: that is
the assumption, and it is why no pair beyond it may be among few.

:class:`Failures` bets outcome by outcome. Let the candidate's rate be at least ``a p + b`` where
``p`` is stable's. For any ``t`` known beforehand, the factors ``1 + c (a t + b - x)`` of the candidate's
outcomes and ``1 + s (y - t)`` of stable's have a mean product of at most
``exp(n c (a t + b - mean rate) + m s (p - t))``, which is at most 1 when ``m s = a n c``, for any
numbers ``n`` and ``m`` of outcomes. It takes outcomes as independent given the rates of their pair;
the rates may differ from outcome to outcome and drift from pair to pair.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: Log ratio at which a pair's gain or loss is held: +65 %, -39 %.
BOUND = 0.5
#: Pairs that dilute one beyond the bound.
DILUTED = 20
#: Stakes on the mean and the shares of the wealth that they begin with; the largest is for the
#: effects that a canary can show at all.
GAIN_STAKES = (0.4, 0.7, 0.95)
GAIN_SHARES = (0.2, 0.2, 0.6)
#: The same on failures; the largest is for no failure at all.
FAILURE_STAKES = (0.1, 0.2, 0.4, 0.7, 0.95)
FAILURE_SHARES = (0.15, 0.15, 0.15, 0.15, 0.4)
#: Multiples of the allowed rate that the watch over rare events mixes.
EXCESS_FACTORS = (2.0, 5.0, 10.0, 50.0, 200.0)


@dataclass(frozen=True, slots=True)
class Gains:
    """Wealth against "the mean of the held log ratio is at least 0".

    Attributes:
        logs: natural logarithm of each bettor's wealth, in the order of :data:`GAIN_STAKES`.
    """

    logs: tuple[float, ...] = (0.0,) * len(GAIN_STAKES)

    def bet(self, difference: float) -> Gains:
        """Return the wealth after a pair, given log(candidate / stable)."""
        gain = -max(-BOUND, min(BOUND, difference)) / BOUND
        paid = (math.log1p(stake * gain) for stake in GAIN_STAKES)
        return Gains(tuple(log + add for log, add in zip(self.logs, paid, strict=True)))

    @property
    def log_e(self) -> float:
        """Natural logarithm of the mixture's wealth."""
        return log_mean_exp(self.logs, GAIN_SHARES)


@dataclass(frozen=True, slots=True)
class Failures:
    """Wealth against "the candidate fails at least at the limit's rate".

    Attributes:
        factor, margin: the limit is ``factor`` times stable's rate plus ``margin``.
        logs: natural logarithm of each bettor's wealth, in the order of :data:`FAILURE_STAKES`.
        seen, failed: stable's outcomes of earlier pairs, which place the next bet.
    """

    factor: float
    margin: float
    logs: tuple[float, ...] = (0.0,) * len(FAILURE_STAKES)
    seen: int = 0
    failed: int = 0

    def bet(self, stable: tuple[int, int], candidate: tuple[int, int]) -> Failures:
        """Return the wealth after a pair.

        Args:
            stable, candidate: outcomes and failures of either arm.
        """
        logs = self.logs
        if stable[0] and candidate[0]:
            paid = (self._paid(stake, stable, candidate) for stake in FAILURE_STAKES)
            logs = tuple(log + add for log, add in zip(logs, paid, strict=True))
        seen, failed = self.seen + stable[0], self.failed + stable[1]
        return Failures(self.factor, self.margin, logs, seen, failed)

    def _paid(self, stake: float, stable: tuple[int, int], candidate: tuple[int, int]) -> float:
        (m, failed), (n, lost) = stable, candidate
        guess = self.failed / self.seen if self.seen else 0.0
        limit = self.factor * guess + self.margin
        both = stake * min(n, m / self.factor)
        c, s = both / n, self.factor * both / m
        # A burst of stable's failures must not buy the candidate's: fewer only lowers the wealth.
        counted = min(failed, math.ceil(2.0 * guess * m) + 1)
        bad = lost * math.log1p(c * (limit - 1.0)) + (n - lost) * math.log1p(c * limit)
        return (
            bad + counted * math.log1p(s * (1.0 - guess)) + (m - counted) * math.log1p(-s * guess)
        )

    @property
    def log_e(self) -> float:
        """Natural logarithm of the mixture's wealth."""
        return log_mean_exp(self.logs, FAILURE_SHARES)


def log_excess(bad: int, total: int, allowed: float, rates: Sequence[float] = ()) -> float:
    """Return the log e-value against "each is bad with probability at most ``allowed``".

    A mixture of likelihood ratios; it is an e-process in the number seen, for whatever stops it,
    where each is bad with a probability at most ``allowed`` given those before.

    Args:
        bad, total: seen so far.
        allowed: above 0 and below 1.
        rates: that are mixed in equal parts; multiples of ``allowed`` by default.
    """
    rates = rates or [factor * allowed for factor in EXCESS_FACTORS]
    return log_mean_exp(
        [
            bad * math.log(rate / allowed) + (total - bad) * math.log((1 - rate) / (1 - allowed))
            for rate in rates
            if allowed < rate < 1.0
        ]
    )


def log_mean_exp(logs: Sequence[float], shares: Sequence[float] = ()) -> float:
    """Return the logarithm of the mean of exponentials, weighted by shares that sum to 1 if given."""
    top = max(logs)
    if top == -math.inf:
        return top
    weights = shares or (1.0,) * len(logs)
    total = sum(w * math.exp(log - top) for log, w in zip(logs, weights, strict=True))
    return top + math.log(total / math.fsum(weights))
