"""What a placement does to a load: against exact arithmetic, and against every placement there is."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.policies.expert_placement import expert_placement, keeps_groups, questions
from gnomon.shadow.simulators import simulator_for
from gnomon.shadow.simulators.expert_placement import kernel
from gnomon.shadow.simulators.expert_placement.model import imbalance
from gnomon.shadow.simulators.expert_placement.simulator import effective, published

from . import placements

SIMULATOR = simulator_for(expert_placement)
asked = st.integers(0, 2**32).map(lambda seed: questions(random.Random(seed)))
names = st.sampled_from(sorted(expert_placement.baselines))
#: Experts, slots and ranks of deployments small enough to try everything.
SMALL = ((2, 4, 2), (3, 4, 2), (3, 6, 3), (4, 4, 2), (4, 6, 2), (4, 6, 3), (5, 6, 2))
small = st.tuples(st.sampled_from(SMALL), st.integers(0, 2**32))


def judged(load: Any, rows: Any, ranks: int) -> tuple[float, float, float]:
    found: tuple[float, float, float] = kernel.judge(
        np.array(load, np.float64), np.array(rows, np.int64), ranks
    )
    return found


@given(asked, names, st.integers(0, 99))
def test_a_judgement_is_exact(question: tuple[Any, ...], name: str, seed: int) -> None:
    weight, _, _, _, ranks = question[:5]
    draw = random.Random(seed)
    rows = published(name, *question[:6]).tolist()
    load = [[draw.randrange(1000) for _ in row] for row in weight]
    most, mean, unserved = judged(load, rows, ranks)
    pairs = list(zip(load, rows, strict=True))
    assert most == pytest.approx(
        float(sum(placements.fullest(w, r, ranks) for w, r in pairs)), 1e-12
    )
    assert mean == pytest.approx(float(sum(map(sum, load))) / ranks, 1e-12)
    assert unserved == 0.0
    assert most >= mean * (1.0 - 1e-12)


def test_load_that_no_slot_serves_is_told() -> None:
    assert judged([[5, 7, 11], [1, 1, 1]], [[0, 0, 1, 1], [0, 1, 2, 2]], 2) == (
        7 + 2,
        23 / 2 + 1.5,
        11,
    )


@given(asked, names)
def test_what_ranks_have_to_fetch(question: tuple[Any, ...], name: str) -> None:
    slots, ranks, current = question[1], question[4], question[5]
    rows = published(name, *question[:6])
    held = slots // ranks
    expected = sum(
        len({*new[at : at + held]} - {*old[at : at + held]})
        for old, new in zip(current, rows.tolist(), strict=True)
        for at in range(0, slots, held)
    )
    assert kernel.fetched(np.array(current), rows, ranks) == expected
    assert kernel.fetched(rows, rows, ranks) == 0


@given(asked, names)
def test_groups_on_several_nodes_are_counted(question: tuple[Any, ...], name: str) -> None:
    weight, slots, groups, nodes = question[:4]
    if not keeps_groups(groups, nodes):
        return
    experts, held = len(weight[0]), slots // nodes
    rows = published(name, *question[:6])
    split = 0
    for row in rows.tolist():
        at: dict[int, set[int]] = {}
        for slot, expert in enumerate(row):
            at.setdefault(expert * groups // experts, set()).add(slot // held)
        split += sum(len(where) > 1 for where in at.values())
    assert kernel.split_groups(rows, experts, groups, nodes) == split
    assert split == 0 or name == "greedy_global"


def least(deployment: tuple[int, int, int], seed: int) -> tuple[float, float]:
    """Return the bound, and the lightest fullest rank of all placements there are; checks the former."""
    experts, slots, ranks = deployment
    draw = random.Random(seed)
    loads = [draw.choice((0, 1, 3, draw.randrange(100))) for _ in range(experts)]
    best = min(
        placements.fullest(loads, row, ranks)
        for row in placements.every_placement(experts, slots, ranks)
    )
    floor = kernel.least_fullest(np.array([loads], np.float64), slots, ranks, 1, 1)
    assert floor >= sum(loads) / ranks * (1.0 - 1e-12)
    return floor, float(best)


@given(small)
def test_no_placement_beats_the_bound(drawn: tuple[tuple[int, int, int], int]) -> None:
    floor, best = least(*drawn)
    assert floor <= best * (1.0 + 1e-12)


@pytest.mark.soak
def test_no_placement_beats_the_bound_in_many_cases() -> None:
    for seed in range(500):
        for deployment in SMALL:
            floor, best = least(deployment, seed)
            assert floor <= best * (1.0 + 1e-12), (deployment, seed)


@given(small)
def test_greedy_replication_has_the_lightest_heaviest_replica(
    drawn: tuple[tuple[int, int, int], int],
) -> None:
    (experts, slots, _), seed = drawn
    loads = [float(random.Random(seed + i).randrange(50)) for i in range(experts)]

    def every(left: int, over: int) -> Any:
        if over == 1:
            yield (left,)
            return
        for count in range(1, left - over + 2):
            yield from ((count, *rest) for rest in every(left - count, over - 1))

    best = min(
        max(Fraction(load) / count for load, count in zip(loads, counts, strict=True))
        for counts in every(slots, experts)
    )
    scratch = np.empty(slots, np.int64), np.empty(experts), np.empty(experts)
    found = kernel.replicate(np.array(loads), *scratch)
    assert found == pytest.approx(float(best), 1e-12)


@given(asked, names)
def test_the_bound_holds_for_published_policies(question: tuple[Any, ...], name: str) -> None:
    """Even for one that is told the very load that it is judged by."""
    weight, slots, groups, nodes, ranks = question[:5]
    if name == "greedy_global" and keeps_groups(groups, nodes):
        return
    load = np.array(weight, np.float64)
    most, _, _ = judged(load, published(name, *question[:6]), ranks)
    floor = kernel.least_fullest(load, slots, ranks, *effective(groups, nodes))
    assert most >= floor * (1.0 - 1e-12)


@pytest.mark.parametrize(
    ("load", "deployment", "bound", "reached"),
    [
        ([5, 5, 5, 5], (4, 1, 1, 2), 1.0, 1.0),
        ([90, 1, 1, 1], (4, 1, 1, 4), 90 / (93 / 4), 90 / (93 / 4)),  # nothing can be replicated
        ([9, 9, 1, 1], (4, 2, 2, 4), 9 / 5, 9 / 5),  # a group of 18 stays on two ranks
        # Greedy replication makes three replicas of 30, of which two meet on one rank.
        ([90, 1, 1, 1], (6, 1, 1, 2), 1.0, 61 / 46.5),
    ],
)
def test_the_bound_and_what_is_reached(
    load: list[int], deployment: tuple[int, int, int, int], bound: float, reached: float
) -> None:
    counts = np.tile(np.array([load]), (40, 1, 1))
    trace = placements.trace(deployment=deployment, layers=1, experts=4, counts=counts)
    calibration = SIMULATOR.calibrate(trace)
    assert SIMULATOR.bound(trace, calibration, 0) == pytest.approx(bound)
    assert SIMULATOR.replay_built_in("eplb", trace, calibration, 0).mean == pytest.approx(reached)


@pytest.mark.parametrize(
    ("fullest", "mean", "expected"),
    [(3.0, 2.0, 1.5), (0.0, 0.0, 1.0), (100.0, 1.0, 32.0), (2.0, 2.0, 1.0)],
)
def test_imbalance(fullest: float, mean: float, expected: float) -> None:
    assert imbalance(fullest, mean) == expected
