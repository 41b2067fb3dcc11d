"""The gate that looks for a broken invariant in generated items, and the smallest case of it."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...sdk.invariant import Violation
from ...sdk.kind import Feature
from ..isolation.lockstep import LockstepCandidate
from .asking import picked_badly
from .case import Case
from .counterexample import (
    broken_words,
    known_again,
    known_evidence,
    known_words,
    smaller,
    stale_words,
)
from .shrink import LEAST_ITEMS, Rows
from .verdict import GateResult
from .watch import as_case, broken_by

_MOST_ITEMS = 8
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
        summary = f"No decision-level invariant blocks for this hook.{stale_words(case)}"
        return GateResult("invariants", "skipped", summary, known_evidence(case))
    features = _envelope(case)
    with case.candidate() as candidate:
        again = known_again(case, candidate)
        broken = again or _search(case, candidate, features)
        if isinstance(broken, Violation):
            known = again is not None
            found = {"counterexample": as_case(case.kind, broken, case.source), "known": known}
            return GateResult(
                "invariants", "failed", broken_words(broken, known), found | known_evidence(case)
            )
        beyond = _beyond(case, candidate)
    names = ", ".join(invariant.name for invariant in case.invariants)
    summary = (
        f"{names} held on {case.options.examples} generated item tables{known_words(case)}; over the "
        f"features' whole ranges the guard would step in for {beyond:.1%}.{stale_words(case)}"
    )
    evidence = {
        "examples": case.options.examples,
        "guarded_beyond": beyond,
        "envelope": {feature.name: [feature.low, feature.high] for feature in features},
    }
    return GateResult("invariants", "passed", summary, evidence | known_evidence(case))


def _envelope(case: Case) -> tuple[Feature, ...]:
    """Return the inputs with their recorded ranges, widened, in place of their whole ones."""
    columns = case.observed.reshape(-1, case.observed.shape[-1]).T
    return tuple(
        replace(
            feature,
            low=max(feature.low, _widened(float(column.min()), 1.0 / WIDENED)),
            high=min(feature.high, _widened(float(column.max()), WIDENED)),
        )
        for feature, column in zip(case.kind.inputs, columns, strict=True)
    )


def _widened(value: float, factor: float) -> float:
    """Return an end of a range, moved outwards on its own side of 0."""
    return value * (factor if value >= 0.0 else 1.0 / factor)


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
        return picked_badly(case.kind, case.invariants, candidate, rows) is not None

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
    broken = picked_badly(case.kind, case.invariants, candidate, rows)
    return broken and smaller(case, candidate, broken, features)


def _tables(features: Sequence[Feature]) -> Any:
    """Return a strategy of item tables: 2 to 8 rows of values within the features' ranges."""
    from hypothesis import strategies as st

    return st.lists(
        st.tuples(*(_values(feature) for feature in features)),
        min_size=LEAST_ITEMS,
        max_size=_MOST_ITEMS,
    )


def _values(feature: Feature) -> Any:
    from hypothesis import strategies as st

    low, high = math.ceil(feature.low), math.floor(feature.high)
    fractions = st.floats(feature.low, feature.high, allow_subnormal=False)
    if low > high:
        return fractions
    small = st.integers(low, min(high, low + 20))
    whole = st.one_of(small, st.integers(low, high)).map(float)
    # whole numbers are rare among floats, and may be what a candidate looks for
    return whole if feature.integer else st.one_of(fractions, whole)
