"""Units are hashed as flagd does, outcomes are summed by slice, and memory stays that of the slices."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.sdk.assignment import Sticky, Switchback
from gnomon.sdk.measure import BUCKETS, MAX_OPEN, bucket
from gnomon.sdk.records import Decision, Outcome
from gnomon.sdk.slices import GROUPS, SliceMeasure, group

CLIP = 2000.0
STICKY = Sticky(b"salt" * 4, 1000, 0.1)


def decision(seq: int, index: int, arm: str = "stable", reason: str = "split", epoch: int = 1):
    return Decision(
        seq, 0, -1, "u", arm, reason, "", "x", epoch, index, 0, 1, (), 1.0, "sampled", 0, 0
    )


def outcome(seq: int, latency: float | None, ok: bool = True, status: str = "reported"):
    values = () if latency is None else (("latency_ms", latency),)
    return Outcome(seq, 0, ok, status, values, "stable", 0, 0)


@pytest.fixture
def measure(world: Any) -> SliceMeasure:
    found = SliceMeasure(world.kind)
    found.follow(STICKY, 1, 0)
    return found


@pytest.mark.parametrize(
    ("unit", "slices", "expected"),
    [
        # flagd's own vectors of (hash * total weight) >> 32: the ends, the middle, two of its users
        ("ejOoVL", 100, 0),
        ("bY9fO-", 100, 0),
        ("SI7p-", 2, 0),
        ("6LvT0", 2, 1),
        ("ceQdGm", 100, 99),
        ("jon@company.com", 100, 36),
        ("user1", 100, 76),
    ],
)
def test_slices_are_flagds_buckets(unit: str, slices: int, expected: int) -> None:
    assert Sticky(b"", slices, 0.5).slice(unit) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [  # published vectors of MurmurHash3 x86 32 bit, seed 0
        ("", 0),
        ("hello", 0x248BFA47),
        ("The quick brown fox jumps over the lazy dog", 0x2E4FF723),
        ("aaaa", 0x7EEED987),
    ],
)
def test_the_hash_is_murmur3(text: str, expected: int) -> None:
    assert Sticky(b"", 1 << 32, 0.5).slice(text) == expected


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    st.binary(min_size=8, max_size=16),
    st.integers(100, 10_000),
    st.floats(0.0, 1.0),
    st.floats(0.0, 1.0),
)
def test_a_raise_keeps_the_units_that_have_the_candidate(
    unit: str, salt: bytes, slices: int, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    before, after = Sticky(salt, slices, low), Sticky(salt, slices, high)
    assert 0 <= before.slice(unit) == after.slice(unit) < slices
    assert after.candidate(unit) == (after.slice(unit) < after.candidates)
    assert after.candidate(unit) or not before.candidate(unit)
    assert after.candidates == round(high * slices)
    assert Sticky(salt, slices, 1.0).candidate(unit)
    assert not Sticky(salt, slices, 0.0).candidate(unit)


@given(st.integers(0, 2**32 - 1), st.integers(100, 10_000), st.floats(0.0, 1.0))
def test_a_hash_below_the_bound_is_a_slice_of_the_candidates(
    hashed: int, slices: int, weight: float
) -> None:
    design = Sticky(b"", slices, weight)
    for near in (hashed, design.bound, max(0, design.bound - 1)):
        assert (near < design.bound) == (near * slices >> 32 < design.candidates)


def test_another_salt_draws_afresh() -> None:
    units = [f"user-{i}" for i in range(20_000)]
    first = [u for u in units if STICKY.candidate(u)]
    fresh = Sticky(b"other" * 4, 1000, 0.1)
    again = sum(fresh.candidate(u) for u in first)
    # Binomial(n, 0.1) each, five standard deviations.
    assert abs(len(first) - 2000) < 5 * math.sqrt(20_000 * 0.09)
    assert abs(again - 0.1 * len(first)) < 5 * math.sqrt(0.09 * len(first))


def test_groups_are_neighbours_and_all_are_used() -> None:
    for slices in (100, 120, 1000, 9_999):
        found = [group(i, slices) for i in range(slices)]
        assert found == sorted(found)
        assert {*found} == {*range(GROUPS)}


@pytest.mark.parametrize(
    ("given_outcome", "total", "failures", "missing"),
    [
        (outcome(1, 30.0), 30.0, 0, 0),
        (outcome(1, 5000.0), CLIP, 0, 0),
        (outcome(1, 30.0, ok=False), 30.0, 1, 0),
        (outcome(1, None), CLIP, 1, 0),
        (outcome(1, math.nan), CLIP, 1, 0),
        (outcome(1, None, ok=False, status="missing"), CLIP, 1, 1),
    ],
)
def test_what_an_outcome_counts_for(measure, given_outcome, total, failures, missing) -> None:
    measure.add(decision(1, 7))
    assert measure.slices().unresolved[7] == 1
    measure.add(given_outcome)
    found = measure.slices()
    assert (found.epoch, found.slices, len(found.count)) == (1, 1000, 1000)
    assert (found.count[7], found.sum[7], found.unresolved[7]) == (1, total, 0)
    assert (found.failures[7], found.missing[7]) == (failures, missing)
    assert sum(found.count) == 1
    histogram = found.histograms[group(7, 1000)].counts
    assert (len(histogram), histogram[bucket(total, CLIP)], sum(histogram)) == (BUCKETS, 1, 1)
    assert sum(len(each.counts) for each in found.histograms) == BUCKETS


@given(st.lists(st.tuples(st.integers(0, 999), st.floats(0.0, CLIP), st.booleans()), max_size=40))
def test_sums_are_those_of_the_records_in_any_order(rows: list[tuple[int, float, bool]]) -> None:
    from gnomon.sdk.kind import Kind, Metric

    measure = SliceMeasure(Kind("k", 1, "K.", (), Metric("latency_ms", "ms", CLIP)))
    measure.follow(STICKY, 1, 0)
    for seq, (index, _, _) in enumerate(rows):
        measure.add(decision(seq, index))
    for seq, (_, value, ok) in reversed([*enumerate(rows)]):
        measure.add(outcome(seq, value, ok))
    found = measure.slices()
    for index in range(1000):
        mine = [row for row in rows if row[0] == index]
        assert found.count[index] == len(mine)
        assert found.sum[index] == pytest.approx(sum(value for _, value, _ in mine))
        assert found.failures[index] == sum(not ok for _, _, ok in mine)


def test_without_a_unit_nothing_is_measured(measure) -> None:
    measure.add(decision(1, -1))
    measure.add(outcome(1, 30.0))
    found = measure.slices()
    assert sum(found.count) == sum(found.unresolved) == 0


def test_a_fallback_counts_for_the_arm_that_was_assigned(measure) -> None:
    measure.add(decision(1, 7, "candidate", "fallback"))
    measure.add(decision(2, 700, "stable", "fallback"))
    found = measure.slices()
    assert (found.fallbacks[7], found.fallbacks[700], found.unresolved[700]) == (1, 0, 1)


def test_another_weight_begins_anew_and_late_records_of_the_old_are_ignored(measure) -> None:
    measure.add(decision(1, 7))
    measure.add(outcome(1, 30.0))
    measure.add(decision(2, 7))
    measure.follow(Sticky(STICKY.salt, 1000, 0.5), 2, 0)
    measure.add(outcome(2, 30.0))
    measure.add(decision(3, 7, epoch=1))
    measure.add(outcome(3, 30.0))
    assert sum(measure.slices().count) == 0
    measure.add(decision(4, 7, epoch=2))
    measure.add(outcome(4, 30.0))
    assert (measure.slices().epoch, measure.slices().count[7]) == (2, 1)


def test_a_renewal_or_a_pause_gives_nothing_up(measure) -> None:
    measure.add(decision(1, 7))
    measure.follow(STICKY, 1, 0)
    measure.follow(None, 2, 0)
    measure.add(decision(2, 7, epoch=2))
    measure.add(outcome(1, 30.0))
    found = measure.slices()
    assert (found.count[7], found.unresolved[7]) == (1, 0)
    measure.follow(Switchback(b"s" * 16, "c", 10, 0, 0, 0.5), 3, 0)
    assert measure.block_end_ns(0) is None
    assert measure.reports() == []


def test_a_flood_of_units_and_of_open_decisions_keeps_its_memory(measure) -> None:
    """A slice is a number: more units than slices need no more room, and what is awaited is bounded."""
    for seq in range(5_000):
        measure.add(decision(seq, STICKY.slice(f"user-{seq}")))
        measure.add(outcome(seq, 30.0))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for seq in range(5_000, 25_000):
        measure.add(decision(seq, STICKY.slice(f"user-{seq}")))
        measure.add(outcome(seq, 30.0))
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 64_000
    for seq in range(100_000, 100_000 + MAX_OPEN + 10):
        measure.add(decision(seq, seq % 1000))
    found = measure.slices()
    assert (sum(found.unresolved), sum(found.missing), sum(found.failures)) == (MAX_OPEN, 10, 10)
    measure.add(outcome(100_000, 30.0))
    assert sum(measure.slices().count) == 25_010, "the oldest had been given up as missing"
