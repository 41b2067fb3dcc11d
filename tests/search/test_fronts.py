"""Fronts against GEPA's rule over every program ever added, and elites against binning all anew."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from gnomon.shadow.search.records import Outcome, Record
from gnomon.shadow.search.strategies.elites import Elites, Point
from gnomon.shadow.search.strategies.fronts import Fronts

value = st.integers(0, 4).map(float)
offered = st.lists(st.tuples(st.tuples(*[value] * 5), st.integers(1, 5)), max_size=40)


def record(step: int, segments: tuple[float, ...], nodes: int = 1) -> Record:
    return Record(
        step=step,
        program=f"p{step}",
        key=f"k{step}",
        source="",
        operator="",
        parents=(),
        nodes=nodes,
        outcome=Outcome.OK,
        score=sum(segments) / len(segments),
        segments=segments,
    )


def naive(records: Sequence[Record]) -> list[tuple[int, int]]:
    """Return steps and fronts of who is left by GEPA's own words, from all records."""
    if not records:
        return []
    columns = list(zip(*(each.segments for each in records), strict=True))
    fronts = [
        {each.step for each, entry in zip(records, column, strict=True) if entry == min(column)}
        for column in columns
    ]
    alive = set().union(*fronts)
    order = sorted(records, key=lambda each: (each.score, each.nodes, each.step), reverse=True)
    for each in order:
        mine = [front for front in fronts if each.step in front]
        if each.step in alive and all((front & alive) - {each.step} for front in mine):
            alive.discard(each.step)
    return [
        (each.step, sum(each.step in front for front in fronts))
        for each in order
        if each.step in alive
    ]


@given(offered)
def test_who_is_left_is_who_the_rule_leaves_of_all(
    values: list[tuple[tuple[float, ...], int]],
) -> None:
    fronts = Fronts()
    everything: list[Record] = []
    for step, (segments, nodes) in enumerate(values):
        everything.append(record(step, segments, nodes))
        fronts.add(everything[-1])
        found = [(survivor.step, count) for survivor, count in fronts.survivors()]
        assert found == naive(everything)
    if everything:
        columns = zip(*(each.segments for each in everything), strict=True)
        assert fronts.best == [min(column) for column in columns]


def test_a_program_that_only_ties_with_a_better_one_is_not_kept() -> None:
    fronts = Fronts()
    assert fronts.add(record(0, (1.0, 1.0)))
    assert not fronts.add(record(1, (1.0, 9.0)))
    assert fronts.add(record(2, (9.0, 0.5)))
    assert [each.step for each, _ in fronts.survivors()] == [2, 0]


def test_many_programs_that_tie_everywhere_leave_one() -> None:
    fronts = Fronts()
    for step in range(500):
        fronts.add(record(step, (1.0,) * 20))
    assert [(each.step, count) for each, count in fronts.survivors()] == [(0, 20)]


def test_without_segments_the_score_is_the_only_one() -> None:
    fronts = Fronts()
    one = Record(0, "p", "k", "", "", (), 1, Outcome.OK, 2.0)
    assert fronts.add(one)
    assert not fronts.add(Record(1, "q", "l", "", "", (), 1, Outcome.OK, 3.0))
    assert not fronts.add(Record(2, "r", "m", "", "", (), 1, Outcome.STOPPED))
    assert fronts.survivors() == [(one, 1)]


point = st.tuples(st.floats(-50, 50), st.floats(0, 1))
added = st.lists(st.tuples(point, st.integers(0, 5), st.integers(1, 4)), min_size=1, max_size=60)


def binned(points: dict[str, Point], bins: int, program: str) -> tuple[int, ...]:
    cell = []
    for axis in (0, 1):
        values = [each[axis] for each in points.values()]
        low, high = min(values), max(values)
        share = (points[program][axis] - low) / (high - low) if high > low else 0.5
        cell.append(min(int(share * bins), bins - 1))
    return tuple(cell)


@given(added, st.integers(2, 6))
def test_the_cells_are_those_of_binning_all_programs_anew(
    values: list[tuple[Point, int, int]], bins: int
) -> None:
    elites = Elites(bins)
    points: dict[str, Point] = {}
    everything: list[Record] = []
    for step, (at, score, nodes) in enumerate(values):
        made = record(step, (float(score),), nodes)
        points[made.program] = at
        everything.append(made)
        held = elites.add(made, at)
        expected: dict[tuple[int, ...], Record] = {}
        for each in sorted(everything, key=lambda r: (r.score, r.nodes, r.step)):
            expected.setdefault(binned(points, bins, each.program), each)
        assert elites.cells == expected
        assert held == (made in expected.values())


@given(added, st.lists(point, min_size=60, max_size=60))
def test_other_features_give_the_grid_that_they_would_have_given(
    values: list[tuple[Point, int, int]], others: list[Point]
) -> None:
    moved, fresh = Elites(), Elites()
    made = [record(step, (float(score),), nodes) for step, (_, score, nodes) in enumerate(values)]
    for each, (at, _, _) in zip(made, values, strict=True):
        moved.add(each, at)
    points = {each.program: at for each, at in zip(made, others, strict=False)}
    moved.move(points)
    for each in made:
        fresh.add(each, points[each.program])
    assert moved.cells == fresh.cells
    assert moved.points == fresh.points


def test_near_cells_are_those_within_reach_without_the_own() -> None:
    elites = Elites(10)
    for step, x in enumerate((0.0, 2.0, 3.0, 5.0, 10.0)):
        elites.add(record(step, (1.0,)), (x, 0.0))
    assert elites.cell("p2") == (3, 5)
    assert [each.step for each in elites.near((3, 5))] == [1, 3]
    assert math.isclose(elites.points["p3"][0], 5.0)
