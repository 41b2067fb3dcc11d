"""What expiry can matter: the largest share of lookups that a ttl can turn into misses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.sdk.errors import TraceError
from gnomon.shadow.traces.access_trace import DELETE, LOOKUP, SET, access_trace
from gnomon.shadow.traces.expiry import expired

from .accesses import Access, accessed, lookups
from .test_access_trace import HIT, REST, begin, records, stored
from .test_access_trace import SET as STORED


def share(accesses: list[Access], ttl: float) -> float:
    return expired(accessed(accesses, [2.0]), np.array([ttl]))


def test_an_object_misses_once_its_time_is_over() -> None:
    trace = lookups([1] * 10, 1.0)  # a tenth of a second apart
    assert expired(trace, np.array([0.25])) == pytest.approx(3 / 10)  # at 0.3, 0.6 and 0.9
    assert expired(trace, np.array([0.0])) == expired(trace, np.array([2.0])) == 0.0


def test_a_set_begins_anew_and_a_deletion_is_no_expiry() -> None:
    looked, put, removed = ((0, op, 1, 1.0) for op in (LOOKUP, SET, DELETE))
    assert share([looked, looked, put, looked, looked], 0.25) == 0.0
    assert share([looked, removed, looked, looked, looked], 0.25) == 0.0
    assert share([looked, looked, looked, removed, looked], 0.25) == 1 / 4  # too old by then


@given(
    keys=st.lists(st.integers(0, 3), min_size=1, max_size=60),
    kept=st.lists(st.booleans(), min_size=60, max_size=60),
    steps=st.integers(1, 9),
)
def test_no_cache_misses_more_by_expiry(keys: list[int], kept: list[bool], steps: int) -> None:
    trace = lookups(keys, 4.0)
    ttl = steps / 10.0 - 0.05
    entered: dict[int, float] = {}
    misses = 0
    for at, key, stays in zip(trace.at.tolist(), keys, kept, strict=False):
        if key in entered and at - entered[key] >= ttl:
            misses += 1
            del entered[key]
        if not stays:
            entered.pop(key, None)  # whatever another policy does
        else:
            entered.setdefault(key, at)
    assert misses <= expired(trace, np.array([ttl])) * len(trace) + 1e-9


def test_a_cache_whose_ttl_matters_is_not_replayed(tmp_path: Path) -> None:
    accesses = [(1, 1.0, STORED), *((1, 1.0, HIT) for _ in range(20)), *REST]
    made = [begin(0, 10**18, ttl=0.01), *records(accesses)]  # a millisecond apart
    store = stored(tmp_path, [made])
    with pytest.raises(TraceError, match="of the lookups of trace 'things' miss .* longer ttl"):
        access_trace(store, "things")


@pytest.mark.parametrize("ttl", [{}, {"ttl": 0.0}, {"ttl": 3600.0}])
def test_a_ttl_that_does_not_matter_is_accepted(tmp_path: Path, ttl: dict[str, float]) -> None:
    made = [begin(0, 10**18, **ttl), *records(REST)]
    assert len(access_trace(stored(tmp_path, [made]), "things")) == len(REST)
