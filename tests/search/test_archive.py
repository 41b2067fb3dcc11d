"""The archive against a naive model: every record ever offered."""

from __future__ import annotations

import itertools
import math
import random

from hypothesis import given
from hypothesis import strategies as st

from gnomon.shadow.search.archive import AddStatus, Archive, Leading
from gnomon.shadow.search.records import Outcome, Record

grid = st.integers(0, 6).map(float)
offered = st.lists(st.tuples(st.tuples(grid, grid, grid), st.integers(1, 9)), max_size=40)


def record(step: int, segments: tuple[float, ...], nodes: int) -> Record:
    return Record(
        step=step,
        program=f"{step}",
        key=f"{step}",
        source="",
        operator="",
        parents=(),
        nodes=nodes,
        outcome=Outcome.OK,
        score=sum(segments),
        segments=segments,
    )


@given(offered, st.integers(4, 8))
def test_it_keeps_the_best_of_all_and_of_every_segment(
    values: list[tuple[tuple[float, ...], int]], capacity: int
) -> None:
    archive = Archive(capacity)
    everything = [record(step, segments, nodes) for step, (segments, nodes) in enumerate(values)]
    statuses = [archive.add(each) for each in everything]
    assert len(archive.members) <= capacity
    for better, worse in itertools.pairwise(archive.members):
        assert better.score <= worse.score * 1.002
        assert better.score != worse.score or better.nodes <= worse.nodes
    assert len({member.segments for member in archive.members}) == len(archive.members)
    if everything:
        assert archive.best is not None
        assert archive.best.score == min(each.score for each in everything)
        for segment in range(3):
            lowest = min(each.segments[segment] for each in everything)
            assert min(member.segments[segment] for member in archive.members) == lowest
        shortest = min(r.nodes for r in everything if r.segments == archive.best.segments)
        assert archive.best.nodes == shortest
        assert statuses[0] is AddStatus.BEST


ragged = st.lists(st.lists(grid, min_size=1, max_size=4).map(tuple), max_size=30)


@given(ragged, st.randoms(use_true_random=False))
def test_who_leads_is_kept_as_counting_anew_finds_it(
    values: list[tuple[float, ...]], rng: random.Random
) -> None:
    members: list[Record] = []
    leading = Leading(members)
    for step, segments in enumerate(values):
        members.append(record(step, segments, 1))
        leading.entered(members[-1])
        assert list(leading.by_segment()) == naive(members)
        assert list(leading.lows) == [min(column) for column in columns(members)]
        while members and rng.random() < 0.4:
            gone = members.pop(rng.randrange(len(members)))
            leading.left(gone)
            assert list(leading.by_segment()) == naive(members)


def naive(members: list[Record]) -> list[set[int]]:
    return [
        {m.step for m, value in zip(members, column, strict=True) if value == min(column)}
        for column in columns(members)
    ]


def columns(members: list[Record]) -> list[tuple[float, ...]]:
    return list(zip(*(member.segments for member in members), strict=False))


@given(offered)
def test_fronts_count_the_segments_a_member_leads(
    values: list[tuple[tuple[float, ...], int]],
) -> None:
    archive = Archive()
    for step, (segments, nodes) in enumerate(values):
        archive.add(record(step, segments, nodes))
    counts = archive.fronts()
    for member in archive.members:
        leads = [
            all(member.segments[i] <= other.segments[i] for other in archive.members)
            for i in range(3)
        ]
        assert counts[member.step] == sum(leads)


def test_of_nearly_equal_programs_the_shorter_comes_first() -> None:
    archive = Archive()
    archive.add(record(0, (100.0,), 3))
    archive.add(record(1, (99.99,), 30))
    archive.add(record(2, (98.0,), 40))
    assert [member.step for member in archive.members] == [2, 0, 1]
    assert archive.best is not None
    assert archive.best.step == 2


def test_a_twin_replaces_only_a_longer_program() -> None:
    archive = Archive()
    assert archive.add(record(0, (1.0, 2.0), 9)) is AddStatus.BEST
    assert archive.add(record(1, (1.0, 2.0), 9)) is AddStatus.TWIN
    assert archive.add(record(2, (1.0, 2.0), 5)) is AddStatus.BEST  # the only one again
    assert [member.step for member in archive.members] == [2]


def test_a_program_without_a_score_is_refused() -> None:
    archive = Archive()
    failed = Record(0, "p", "k", "", "", (), 3, Outcome.FAULT, math.nan)
    assert archive.add(failed) is AddStatus.REFUSED
    assert archive.best is None
    assert archive.select(random.Random(0)) is None


def test_selection_prefers_good_programs_and_reaches_the_front() -> None:
    archive = Archive()
    for step in range(20):
        archive.add(record(step, (float(step), float(step)), 3))
    specialist = record(99, (-1.0, 500.0), 3)
    archive.add(specialist)
    rng = random.Random(1)
    picks = [archive.select(rng) for _ in range(600)]
    steps = [pick.step for pick in picks if pick is not None]
    assert steps.count(99) > 60
    assert sum(step < 10 for step in steps) > sum(10 <= step < 20 for step in steps)
