"""Exact limits of shares, and how far beyond the largest value seen the largest of all may lie."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: Error of every limit that is shown.
ALPHA = 0.05
#: Order statistics below the largest that say how fast a tail ends.
_DEPTH = 10
#: Multiples of the margin that are tried on values that had no part in it.
_STEPS = (1.0, 2.0, 4.0, 8.0)
_HALVINGS = 60


def upper_share(broken: int, of: int, error: float = ALPHA) -> float:
    """Return the exact upper limit of a share (Clopper and Pearson 1934), one-sided.

    Without any that is broken it is about 3 / n at an error of 5 %, the rule of three.

    Args:
        broken, of: so many of so many.
        error: of the limit.
    """
    if broken >= of:
        return 1.0
    if broken == 0:
        return float(1.0 - error ** (1.0 / of))
    low, high = broken / of, 1.0
    logs = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, of + 1)))))
    counts = np.arange(broken + 1)
    ways = logs[of] - logs[counts] - logs[of - counts]
    for _ in range(_HALVINGS):
        share = (low + high) / 2.0
        terms = ways + counts * math.log(share) + (of - counts) * math.log1p(-share)
        seldom = float(np.exp(terms).sum()) < error
        low, high = (low, share) if seldom else (share, high)
    return high


def limit_above(seen: Floats, held: Floats, whole: bool) -> float | None:
    """Return a limit that a quantity probably never passes, or None where it has no such end.

    A bound that is enforced shows as many values on it: then it is the limit, exactly. Else the margin
    beyond the largest value is that of de Haan (1981) at 95 % from the 11 largest, doubled until values
    which had no part in it stay within.

    Args:
        seen: values that the limit is taken from, f8[n].
        held: later ones that it must hold on, f8[m].
        whole: whether only whole numbers occur.
    """
    top = np.sort(seen)[::-1]
    largest = float(top[0])
    gap = largest - float(top[min(_DEPTH, len(top) - 1)])
    margin = gap * (ALPHA ** (-1.0 / _DEPTH) - 1.0)
    for step in _STEPS:
        limit = largest + step * margin
        if whole:
            limit = math.ceil(limit - 1e-9)
        elif gap > 0.0:
            limit = _rounded_up(limit)
        if float(held.max(initial=-math.inf)) <= limit:
            return float(limit)
    return None


def _rounded_up(value: float, digits: int = 3) -> float:
    """Return the next number above with so many significant digits."""
    if value == 0.0 or not math.isfinite(value):
        return value
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - digits + 1)
    if not 0.0 < unit < math.inf:  # beyond what floats can say
        return value
    rounded = float(f"{math.ceil(value / unit) * unit:.{digits + 3}g}")
    return max(rounded, value)


def is_whole(values: npt.NDArray[Any]) -> bool:
    """Return whether only whole numbers occur."""
    return bool((values == np.rint(values)).all())
