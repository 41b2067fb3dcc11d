"""Blocks are summed as assigned, and nothing is lost between decisions and reports."""

from __future__ import annotations

import dataclasses
import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.sdk.assignment import Switchback
from gnomon.sdk.measure import BUCKETS, EDGES, MAX_BLOCKS, BlockMeasure, bucket, quantile
from gnomon.sdk.records import Decision, Outcome, Workload

SECOND = 1_000_000_000
CLIP = 2000.0
SWITCHBACK = Switchback(b"salt" * 4, "cell-a", 2 * SECOND, SECOND // 5, SECOND // 20, 0.5)


def decision(seq: int, time_ns: int, arm: str = "stable", reason: str = "split", epoch: int = 1):
    return Decision(
        seq, time_ns, -1, "", arm, reason, "", "x", epoch, 0, 0, 1, (), 1.0, "sampled", 0, 0
    )


def outcome(seq: int, latency: float | None, ok: bool = True, status: str = "reported"):
    values = () if latency is None else (("latency_ms", latency),)
    return Outcome(seq, 0, ok, status, values, "stable", 0, 0)


@pytest.fixture
def measure(world) -> BlockMeasure:
    found = BlockMeasure(world.kind)
    found.follow(SWITCHBACK, 1, -1)
    return found


def inside(block: int, share: float = 0.5) -> int:
    """Return a time in the measured part of a block."""
    low, high = SWITCHBACK.burn_in_ns, SWITCHBACK.block_ns - SWITCHBACK.skew_ns
    return block * SWITCHBACK.block_ns + low + int(share * (high - low - 1))


def one(measure: BlockMeasure):
    (report,) = measure.reports()
    return report


def test_edges_rise_to_the_clip() -> None:
    assert len(EDGES) == BUCKETS == 128
    assert EDGES[0] == pytest.approx(1e-5)
    assert EDGES[-1] == 1.0
    ratios = {round(b / a, 9) for a, b in pairwise(EDGES)}
    assert ratios == {round(10 ** (5 / 127), 9)}


@given(st.floats(0.0, CLIP))
def test_a_value_lies_between_its_buckets_edges(value: float) -> None:
    index = bucket(value, CLIP)
    assert value / CLIP <= EDGES[index]
    assert index == 0 or value / CLIP > EDGES[index - 1]


@given(st.integers(0, 1000), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_quantile_is_right_within_one_bucket(seed: int, q: float) -> None:
    rng = random.Random(seed)
    values = sorted(min(CLIP, rng.lognormvariate(3.0, 1.0)) for _ in range(500))
    histogram = [0] * BUCKETS
    for value in values:
        histogram[bucket(value, CLIP)] += 1
    exact = values[math.ceil(q * len(values)) - 1]
    width = EDGES[1] / EDGES[0]
    assert exact / width <= quantile(histogram, q, CLIP) <= exact * width


def test_an_empty_histogram_has_no_quantile() -> None:
    assert math.isnan(quantile([0] * BUCKETS, 0.99, CLIP))


def test_a_decision_waits_until_its_outcome_comes(measure) -> None:
    measure.add(decision(1, inside(4)))
    report = one(measure)
    assert (report.cell, report.block, report.arm) == ("cell-a", 4, "stable")
    assert (report.count, report.unresolved) == (0, 1)
    measure.add(outcome(1, 30.0))
    report = one(measure)
    assert (report.count, report.unresolved, report.sum) == (1, 0, 30.0)
    assert report.histogram[bucket(30.0, CLIP)] == 1
    assert sum(report.histogram) == 1


@pytest.mark.parametrize(
    ("given_outcome", "total", "failures", "missing"),
    [
        (outcome(1, 5000.0), CLIP, 0, 0),
        (outcome(1, -1.0), 0.0, 0, 0),
        (outcome(1, 30.0, ok=False), 30.0, 1, 0),
        (outcome(1, None), CLIP, 1, 0),
        (outcome(1, math.nan), CLIP, 1, 0),
        (outcome(1, math.inf), CLIP, 0, 0),
        (outcome(1, None, ok=False, status="error"), CLIP, 1, 0),
        (outcome(1, None, ok=False, status="cancelled"), CLIP, 1, 0),
        (outcome(1, None, ok=False, status="missing"), CLIP, 1, 1),
    ],
)
def test_what_an_outcome_counts_for(measure, given_outcome, total, failures, missing) -> None:
    measure.add(decision(1, inside(4)))
    measure.add(given_outcome)
    report = one(measure)
    assert (report.count, report.sum) == (1, total)
    assert (report.failures, report.missing) == (failures, missing)


def test_a_fallback_counts_for_the_arm_that_was_assigned(measure) -> None:
    measure.add(decision(1, inside(4), "candidate", "fallback"))
    measure.add(outcome(1, 30.0))
    report = one(measure)
    assert (report.arm, report.count, report.fallbacks) == ("candidate", 1, 1)


def test_a_fallback_that_names_no_arm_counts_for_its_block(measure) -> None:
    block = next(b for b in range(4, 20) if SWITCHBACK.candidate(b))
    measure.add(decision(1, inside(block), "incumbent", "fallback"))
    assert one(measure).arm == "candidate"


def test_burn_in_and_skew_do_not_count(measure) -> None:
    start = 4 * SWITCHBACK.block_ns
    edge = SWITCHBACK.block_ns - SWITCHBACK.skew_ns
    for seq, offset in enumerate((0, SWITCHBACK.burn_in_ns - 1, edge, SWITCHBACK.block_ns - 1)):
        measure.add(decision(seq, start + offset))
        measure.add(outcome(seq, 30.0))
    assert measure.reports() == []
    for seq, offset in enumerate((SWITCHBACK.burn_in_ns, edge - 1), 10):
        measure.add(decision(seq, start + offset))
    assert one(measure).unresolved == 2


def test_the_block_in_which_measuring_starts_does_not_count(world) -> None:
    measure = BlockMeasure(world.kind)
    measure.follow(SWITCHBACK, 1, inside(4, 0.1))
    measure.add(decision(1, inside(4, 0.9)))
    assert measure.reports() == []
    measure.add(decision(2, inside(5)))
    assert one(measure).block == 5


def test_another_weight_keeps_what_was_summed_but_not_the_block_it_falls_into(measure) -> None:
    for seq, block in enumerate((3, 4)):
        measure.add(decision(seq, inside(block, 0.1)))
    heavier = dataclasses.replace(SWITCHBACK, weight=0.25)
    measure.follow(heavier, 2, inside(4))
    measure.add(decision(9, inside(4, 0.9), epoch=2))
    assert one(measure).block == 3
    measure.add(outcome(1, 30.0))
    measure.add(outcome(0, 30.0))
    assert one(measure).count == 1


def test_a_renewal_of_the_same_epoch_gives_nothing_up(measure) -> None:
    measure.add(decision(1, inside(4, 0.1)))
    measure.follow(SWITCHBACK, 1, inside(4))
    measure.add(decision(2, inside(4, 0.9)))
    assert one(measure).unresolved == 2


def test_another_salt_starts_anew_and_late_records_of_the_old_are_ignored(measure) -> None:
    measure.add(decision(1, inside(4)))
    measure.follow(dataclasses.replace(SWITCHBACK, salt=b"other salt"), 2, inside(4))
    measure.add(decision(2, inside(5), epoch=1))
    measure.add(outcome(1, 30.0))
    measure.add(outcome(2, 30.0))
    assert measure.reports() == []
    measure.add(decision(3, inside(5), epoch=2))
    assert one(measure).unresolved == 1


def test_after_the_canary_late_outcomes_still_resolve(measure) -> None:
    measure.add(decision(1, inside(4)))
    measure.follow(None, 2, inside(5))
    measure.add(decision(2, inside(6), epoch=2))
    measure.add(outcome(1, 30.0))
    assert (one(measure).count, one(measure).cell) == (1, "cell-a")
    assert measure.block_end_ns(inside(6)) is None


def test_without_a_switchback_nothing_is_measured(world) -> None:
    measure = BlockMeasure(world.kind)
    measure.add(decision(1, inside(4)))
    measure.add(outcome(1, 1.0))
    measure.add(Workload(0, 0, "members", ()))
    assert measure.reports() == []


def test_memory_is_bounded_and_the_newest_blocks_stay(measure) -> None:
    for block in range(1, MAX_BLOCKS + 51):
        measure.add(decision(block, inside(block)))
    kept = [report.block for report in measure.reports()]
    assert kept == list(range(51, MAX_BLOCKS + 51))
    measure.add(decision(9999, inside(3)))
    assert len(measure.reports()) == MAX_BLOCKS
    assert len(measure._open) == MAX_BLOCKS


events = st.lists(
    st.tuples(
        st.integers(1, 6),  # block
        st.floats(0.0, 0.999),  # place in the block, burn-in and skew included
        st.sampled_from(["stable", "candidate"]),
        st.sampled_from(["split", "fallback"]),
        st.one_of(st.none(), st.floats(0.0, 4000.0)),  # latency; None: no outcome yet
        st.booleans(),
        st.sampled_from(["reported", "missing"]),
    ),
    max_size=60,
)


@given(events, st.randoms(use_true_random=False))
def test_reports_equal_a_naive_recount(make_world, drawn, rng) -> None:
    measure = BlockMeasure(make_world().kind)
    measure.follow(SWITCHBACK, 1, -1)
    decisions, outcomes = [], []
    for seq, (block, place, arm, reason, latency, ok, status) in enumerate(drawn):
        time_ns = int((block + place) * SWITCHBACK.block_ns)
        decisions.append(decision(seq, time_ns, arm, reason))
        if latency is not None:
            outcomes.append(outcome(seq, latency, ok, status))
    rng.shuffle(outcomes)
    for record in decisions + outcomes:
        measure.add(record)
    expected = naive(decisions, outcomes)
    found = {(r.block, r.arm): r for r in measure.reports()}
    assert found.keys() == expected.keys()
    for key, (count, total, failures, missing, unresolved, fallbacks) in expected.items():
        report = found[key]
        assert report.sum == pytest.approx(total)
        assert sum(report.histogram) == report.count == count
        assert (report.failures, report.missing) == (failures, missing)
        assert (report.unresolved, report.fallbacks) == (unresolved, fallbacks)


def naive(decisions, outcomes):
    """Recount by looking every outcome up, block by block."""
    by_seq = {found.seq: found for found in outcomes}
    rows: dict[tuple[int, str], list] = {}
    for made in decisions:
        if SWITCHBACK.measured(made.time_ns):
            rows.setdefault((made.time_ns // SWITCHBACK.block_ns, made.arm), []).append(made)
    return {key: recount(made, by_seq) for key, made in rows.items()}


def recount(decisions, by_seq):
    """Return count, sum, failures, missing, unresolved and fallbacks of some decisions."""
    resolved = [by_seq[made.seq] for made in decisions if made.seq in by_seq]
    missing = [found for found in resolved if found.status == "missing"]
    values = [CLIP if f in missing else min(f.values[0][1], CLIP) for f in resolved]
    failures = sum(f in missing or not f.ok for f in resolved)
    fallbacks = sum(made.reason == "fallback" for made in decisions)
    waiting = len(decisions) - len(resolved)
    return len(resolved), sum(values), failures, len(missing), waiting, fallbacks
