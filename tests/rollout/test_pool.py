"""Sums by slice of several processes: pooled whatever comes first, and no more than can be true."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.policies.rollout.pool import GROWTH, STORE_NS, Pool
from gnomon.sdk.measure import BUCKETS
from gnomon.sdk.slices import GROUPS, group
from gnomon.v1 import delivery_pb2

SLICES, CLIP = 100, 1000.0


def report(counts: dict[int, int], epoch: int = 5, each: float = 8.0) -> delivery_pb2.SliceReport:
    """Return the sums of equal outcomes."""
    count = [counts.get(i, 0) for i in range(SLICES)]
    histograms = [[0] * BUCKETS for _ in range(GROUPS)]
    for i, n in enumerate(count):
        histograms[group(i, SLICES)][3] += n
    zeros = [0] * SLICES
    return delivery_pb2.SliceReport(
        epoch=epoch,
        slices=SLICES,
        count=count,
        sum=[each * n for n in count],
        failures=zeros,
        missing=zeros,
        unresolved=zeros,
        fallbacks=zeros,
        histograms=[delivery_pb2.Histogram(counts=each) for each in histograms],
    )


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 99), st.integers(1, 30)), max_size=20)
)
def test_the_pool_is_the_sum_of_what_the_processes_say_last(
    steps: list[tuple[str, int, int]],
) -> None:
    pool, own = Pool(SLICES, 5, CLIP), {name: dict[int, int]() for name in "abc"}
    for name, index, more in steps:
        own[name][index] = own[name].get(index, 0) + more
        assert pool.put(name, report(own[name]))
    assert pool.decisions == sum(sum(counts.values()) for counts in own.values())
    slices = pool.look()
    if slices is not None:
        for i in range(SLICES):
            expected = sum(counts.get(i, 0) for counts in own.values())
            assert slices.count[i] == expected
            assert slices.sum[i] == pytest.approx(8.0 * expected)
        assert sum(map(sum, slices.histograms)) == pool.decisions


def test_a_process_that_counts_anew_adds_to_what_it_had() -> None:
    pool = Pool(SLICES, 5, CLIP)
    for counts in ({1: 50}, {1: 60}, {2: 10}, {2: 12}):
        pool.put("a", report(counts))
    assert pool.decisions == 60 + 12


def test_looks_come_with_growth_and_other_weights_are_left_out() -> None:
    pool = Pool(SLICES, 5, CLIP)
    assert not pool.put("a", report({1: 500}, epoch=4))
    assert (pool.decisions, pool.refused) == (0, 0)
    pool.put("a", report({1: 19}, epoch=6))
    assert pool.look() is None
    pool.put("a", report({1: 100}, epoch=6))
    assert pool.look() is not None
    pool.put("a", report({1: int(100 * GROWTH) - 1}, epoch=6))
    assert pool.look() is None


def bad(**changes: object) -> delivery_pb2.SliceReport:
    found = report({3: 4})
    for name, (index, value) in changes.items():  # type: ignore[misc]  # pairs, as below
        getattr(found, name)[index] = value
    return found


@pytest.mark.parametrize(
    "hostile",
    [
        bad(failures=(3, 5)),
        bad(missing=(3, 1)),
        bad(sum=(3, float("nan"))),
        bad(sum=(3, float("inf"))),
        bad(sum=(3, -1.0)),
        bad(sum=(3, 4 * CLIP * 1.01)),
        bad(count=(9, 4)),
        delivery_pb2.SliceReport(epoch=5, slices=SLICES),
        delivery_pb2.SliceReport(epoch=5, slices=200, count=[1] * 200),
    ],
)
def test_numbers_that_cannot_be_true_count_nothing(hostile: delivery_pb2.SliceReport) -> None:
    pool = Pool(SLICES, 5, CLIP)
    pool.put("a", report({3: 4}))
    assert not pool.put("b", hostile)
    assert (pool.decisions, pool.refused) == (4, 1)


def test_sums_are_stored_now_and_then_and_when_a_process_leaves() -> None:
    pool = Pool(SLICES, 5, CLIP)
    pool.put("a", report({1: 5}))
    now = 2 * STORE_NS
    assert [name for name, _ in pool.due(now)] == ["a"]
    pool.stored("a", now)
    pool.put("a", report({1: 9}))
    assert pool.due(now + 1) == []
    assert [name for name, _ in pool.due(now + 1, {"a"})] == ["a"]
