"""The gate that looks for a broken invariant in generated items, and the smallest case of it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...sdk.invariant import Violation
from ...sdk.kind import Feature
from ..isolation.lockstep import LockstepCandidate
from .case import Case
from .verdict import GateResult
from .watch import as_case, broken_by

Rows = list[tuple[float, ...]]
Breaks = Callable[[Rows], bool]

_LEAST_ITEMS, _MOST_ITEMS = 2, 8
_HALVINGS = 40
#: Factor by which recorded ranges are widened.
WIDENED = 3.0
_TABLES, _ITEMS = 256, 4  # over the whole ranges


def invariants(case: Case) -> GateResult:
    """Refuse a candidate that breaks an invariant on generated items, with the smallest case found.

    The items lie within what was recorded, widened by :data:`WIDENED`: what the service may well see.
    Far outside of it hardly any policy keeps every invariant, and there the guard answers with the
    incumbent; how often that would be is part of the evidence.
    """
    if not case.invariants:
        summary = "No decision-level invariant blocks for this hook."
        return GateResult("invariants", "skipped", summary)
    features = _envelope(case)
    with case.candidate() as candidate:
        broken = _search(case, candidate, features)
        if broken is not None:
            found = {"counterexample": as_case(case.kind, broken, case.source)}
            summary = f"{broken.invariant} broken: {broken.detail}"
            return GateResult("invariants", "failed", summary, found)
        beyond = _beyond(case, candidate)
    names = ", ".join(invariant.name for invariant in case.invariants)
    summary = (
        f"{names} held on {case.options.examples} generated item tables; over the features' whole "
        f"ranges the guard would step in for {beyond:.1%}."
    )
    evidence = {
        "examples": case.options.examples,
        "guarded_beyond": beyond,
        "envelope": {feature.name: [feature.low, feature.high] for feature in features},
    }
    return GateResult("invariants", "passed", summary, evidence)


def _envelope(case: Case) -> tuple[Feature, ...]:
    """Return the inputs with their recorded ranges, widened, in place of their whole ones."""
    columns = case.observed.reshape(-1, case.observed.shape[-1]).T
    return tuple(
        replace(
            feature,
            low=max(feature.low, float(column.min()) / WIDENED),
            high=min(feature.high, float(column.max()) * WIDENED),
        )
        for feature, column in zip(case.kind.inputs, columns, strict=True)
    )


def _beyond(case: Case, candidate: LockstepCandidate) -> float:
    """Return the share of item tables over the whole ranges on which an invariant breaks."""
    inputs = case.kind.inputs
    low = np.array([feature.low for feature in inputs])
    high = np.array([feature.high for feature in inputs])
    rng = np.random.default_rng(case.options.seed)
    tables = rng.uniform(low, high, (_TABLES, _ITEMS, len(inputs)))
    tables = np.where([feature.integer for feature in inputs], np.rint(tables), tables)
    picks = candidate.choose(tables).tolist()
    broken: int = sum(
        pick >= 0 and broken_by(case.kind, case.invariants, rows, pick) is not None
        for rows, pick in zip(tables.tolist(), picks, strict=True)
    )
    return broken / _TABLES


def _search(
    case: Case, candidate: LockstepCandidate, features: Sequence[Feature]
) -> Violation | None:
    """Return the smallest decision found that breaks an invariant, or None."""
    import hypothesis
    from hypothesis.errors import NoSuchExample

    def breaks(rows: Rows) -> bool:
        return _broken(case, candidate, rows) is not None

    check = hypothesis.HealthCheck
    settings = hypothesis.settings(
        max_examples=case.options.examples,
        database=None,
        deadline=None,
        # only what it generates: its shrinking takes seconds where ours takes milliseconds
        phases=[hypothesis.Phase.generate],
        suppress_health_check=[check.filter_too_much, check.data_too_large, check.too_slow],
    )
    try:
        rows = hypothesis.find(
            _tables(features),
            breaks,
            settings=settings,
            random=random.Random(case.options.seed),
        )
    except NoSuchExample:
        return None
    return _broken(case, candidate, _smallest(rows, features, breaks))


def _smallest(rows: Rows, features: Sequence[Feature], breaks: Breaks) -> Rows:
    """Leave out items and simplify values for as long as the rest still breaks the invariant."""
    rows = _fewest(rows, breaks)
    for item in range(len(rows)):
        for column, feature in enumerate(features):
            rows = _simplest(rows, (item, column), feature, breaks)
    return _fewest(rows, breaks)


def _fewest(rows: Rows, breaks: Breaks) -> Rows:
    for index in reversed(range(len(rows))):
        rest = rows[:index] + rows[index + 1 :]
        if len(rest) >= _LEAST_ITEMS and breaks(rest):
            rows = rest
    return rows


def _simplest(rows: Rows, cell: tuple[int, int], feature: Feature, breaks: Breaks) -> Rows:
    """Replace one value by the first simpler one that still breaks the invariant."""
    for value in _simpler(rows[cell[0]][cell[1]], feature):
        changed = _with(rows, cell, value)
        if breaks(changed):
            return changed
    return _lowest(rows, cell, feature, breaks)


def _simpler(value: float, feature: Feature) -> Iterator[float]:
    for simple in (0.0, 1.0, feature.low):
        if feature.low <= simple <= feature.high and simple != value:
            yield simple


def _lowest(rows: Rows, cell: tuple[int, int], feature: Feature, breaks: Breaks) -> Rows:
    """Halve the way from a whole number that does not break to the value that does."""
    bad = float(round(rows[cell[0]][cell[1]]))
    good = max(feature.low, 0.0)
    if not good < bad or not breaks(_with(rows, cell, bad)):
        return rows
    for _ in range(_HALVINGS):
        middle = float((good + bad) // 2.0)
        if not good < middle < bad:
            break
        good, bad = (good, middle) if breaks(_with(rows, cell, middle)) else (middle, bad)
    return _with(rows, cell, bad)


def _with(rows: Rows, cell: tuple[int, int], value: float) -> Rows:
    item, column = cell
    row = (*rows[item][:column], value, *rows[item][column + 1 :])
    return [*rows[:item], row, *rows[item + 1 :]]


def _broken(
    case: Case, candidate: LockstepCandidate, rows: Sequence[Sequence[float]]
) -> Violation | None:
    pick = int(candidate.choose(np.array([rows], dtype=np.float64))[0])
    # on a fault the incumbent answers, so there is nothing to break
    return broken_by(case.kind, case.invariants, rows, pick) if pick >= 0 else None


def _tables(features: Sequence[Feature]) -> Any:
    """Return a strategy of item tables: 2 to 8 rows of values within the features' ranges."""
    from hypothesis import strategies as st

    return st.lists(
        st.tuples(*(_values(feature) for feature in features)),
        min_size=_LEAST_ITEMS,
        max_size=_MOST_ITEMS,
    )


def _values(feature: Feature) -> Any:
    from hypothesis import strategies as st

    if feature.integer:
        low, high = math.ceil(feature.low), math.floor(feature.high)
        small = st.integers(low, min(high, low + 20))
        return st.one_of(small, st.integers(low, high)).map(float)
    return st.floats(feature.low, feature.high, allow_subnormal=False)
