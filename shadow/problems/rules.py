"""OpenEvolve's arithmetic of metrics: fitness, thresholds and the merging of stages.

Held to the package itself by tests/problems. It looks at values as the evaluator returned them, because
there a ``numpy.float64`` counts and a ``numpy.float32`` does not; so it runs where the evaluator runs, and is
standard library alone. Names and rules are those of OpenEvolve 0.4.1.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

COMBINED = "combined_score"
_ERROR = "error"


def fitness(metrics: Mapping[str, Any], features: Collection[str] = ()) -> float:
    """Return what OpenEvolve maximises: ``combined_score``, or the mean of the other numbers.

    Args:
        metrics: as the evaluator returned them.
        features: names that describe a program and do not judge it, left out of the mean.
    """
    if COMBINED in metrics:
        try:
            return float(metrics[COMBINED])
        except (TypeError, ValueError):
            pass
        except OverflowError:
            return math.inf if metrics[COMBINED] > 0 else -math.inf
    judging = [number(value) for name, value in metrics.items() if name not in features]
    known = [value for value in judging if value is not None]
    return mean(known or [v for v in map(number, metrics.values()) if v is not None])


def number(value: Any) -> float | None:
    """Return a metric that counts as a number, or None: flags, texts and NaN do not."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        made = float(value)
    except OverflowError:
        return None
    return None if math.isnan(made) else made


def mean(values: list[float]) -> float:
    """Return the mean of some numbers, 0 of none; a sum beyond the floats does not matter."""
    if not values:
        return 0.0
    total = sum(values)
    if math.isfinite(total) or not all(map(math.isfinite, values)):
        return total / len(values)
    most = max(map(abs, values))
    return sum(value / most for value in values) / len(values) * most


def passes(metrics: Mapping[str, Any], threshold: float) -> bool:
    """Return whether a stage's metrics are enough for the next stage."""
    combined = metrics.get(COMBINED)
    if isinstance(combined, int | float):
        return float(combined) >= threshold
    values = [
        float(value)
        for name, value in metrics.items()
        if name != _ERROR and isinstance(value, int | float) and not isinstance(value, bool)
    ]
    return bool(values) and sum(values) / len(values) >= threshold


def merged(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics of two stages as those of one, the later ones first in force."""
    return {
        name: value if isinstance(value, bool) else float(value)
        for name, value in (*before.items(), *now.items())
        if isinstance(value, int | float) and name != _ERROR
    }
