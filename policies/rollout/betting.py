"""Bets on the signs and sizes of differences: wealth that is an e-process under the hypothesis bet against.

What is hypothesised, and why the bets are fair under it, is said in ``evidence.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from .outcomes import Effect
from .wealth import log_mean_exp

#: Fractions of the wealth that the mixture bets; 1.0 is allowed because a lost bet of it costs this
#: component only.
FRACTIONS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True, slots=True)
class Betting:
    """Wealth of a mixture of bettors who each stake a fixed fraction on every next pair.

    Attributes:
        logs: natural logarithm of each bettor's wealth, in the order of :data:`FRACTIONS`.
    """

    logs: tuple[float, ...] = (0.0,) * len(FRACTIONS)

    def bet(self, outcome: float) -> Betting:
        """Return the wealth after a pair.

        Args:
            outcome: in -1 to 1; positive wins. Its mean must be at most 0 under the hypothesis.
        """
        if outcome == 0.0:
            return self
        return Betting(
            tuple(log + _log1p(f * outcome) for log, f in zip(self.logs, FRACTIONS, strict=True))
        )

    @property
    def log_e(self) -> float:
        """Natural logarithm of the mixture's wealth."""
        return log_mean_exp(self.logs)


@dataclass(frozen=True, slots=True)
class Side:
    """One direction of a comparison: signs and sizes, mixed in equal parts."""

    signs: Betting = field(default_factory=Betting)
    sizes: Betting = field(default_factory=Betting)

    def bet(self, difference: float, scale: float) -> Side:
        """Return the wealth after a pair; a positive difference wins, ``scale`` is of the past."""
        return Side(self.signs.bet(sign(difference)), self.sizes.bet(size(difference, scale)))

    @property
    def log_e(self) -> float:
        """Natural logarithm of the e-value."""
        return log_mean_exp((self.signs.log_e, self.sizes.log_e))


def sign(difference: float) -> float:
    """Return -1, 0 or 1."""
    return float((difference > 0.0) - (difference < 0.0))


def size(difference: float, scale: float) -> float:
    """Return the difference in units of the scale, at most 1 either way; its sign without one.

    Odd and never falling in the difference, which is what keeps the bet exact.
    """
    if not 0.0 < scale < math.inf:
        return sign(difference)
    return max(-1.0, min(1.0, difference / scale))


def scale_of(sizes: Sequence[float]) -> float:
    """Return the median of earlier sizes; 0 without any."""
    return median(sizes) if sizes else 0.0


def log_ratio(candidate: float, stable: float) -> float:
    """Return log(candidate / stable) of two means of at least 0; 0 when both are 0."""
    if candidate <= 0.0 or stable <= 0.0:
        return math.inf * sign(candidate - stable) if candidate != stable else 0.0
    return math.log(candidate / stable)


def effect_of(differences: Sequence[float], alpha: float) -> Effect:
    """Return the effect of log ratios: for every shift, bet on each side of it; keep what survives.

    The wealth depends on the counts above and below the shift only, and grows towards either end, so
    the shifts that survive are one interval between two of the differences.
    """
    if not differences:
        return Effect()
    ordered, n = sorted(differences), len(differences)
    cut = next(
        (k for k in range(n // 2 + 1) if _log_two_sided(k, n - k) < -math.log(alpha)), n // 2
    )
    low = ordered[cut - 1] if cut else -math.inf
    high = ordered[n - cut] if cut else math.inf
    return Effect(_relative(median(ordered)), _relative(low), _relative(high))


def _log_two_sided(below: int, above: int) -> float:
    up = [above * math.log1p(f) + _times(below, _log1p(-f)) for f in FRACTIONS]
    down = [below * math.log1p(f) + _times(above, _log1p(-f)) for f in FRACTIONS]
    return log_mean_exp(up + down)


def _times(count: int, log: float) -> float:
    return count * log if count else 0.0


def _log1p(value: float) -> float:
    return math.log1p(value) if value > -1.0 else -math.inf


def _relative(log: float) -> float:
    return math.expm1(log) if log < 700.0 else math.inf
