"""Placement policies of the kinds to come, in the language, against plain versions of the same rules."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.sdk.language import HostOperation, Parameter, ProgramContract, check_program

LONGEST_FIRST = '''\
"""Longest processing time first: each job in turn to the machine that is free soonest."""

def decide(work, machines, machine):
    ends = zeros(machines)
    order = argsort(-work)
    for k in range(len(order)):
        job = order[k]
        chosen = argmin(ends)
        machine[job] = chosen
        ends[chosen] += work[job]
    return max(ends)
'''

JOBS = ProgramContract(
    parameters=(
        Parameter("work", "s", "Time that each job takes.", 0, 1e3, ("jobs",)),
        Parameter("machines", "{machine}", "How many there are.", 1, 8, integer=True),
        Parameter("machine", "1", "Of each job.", 0, 7, ("jobs",), integer=True, writable=True),
    ),
    dimensions={"jobs": (1, 200)},
    returns=True,
)

EXPERTS = '''\
"""Replicate the expert with the most load per replica, then pack replicas, heaviest first."""

def replicate(load, slots, replicas):
    for slot in range(slots - len(load)):
        replicas[argmax(load / replicas)] += 1

def pack(load, replicas, gpus, room, expert, gpu):
    share = repeat(load / replicas, replicas)
    owner = repeat(arange(len(load)), replicas)
    order = argsort(-share)
    used, filled = zeros(gpus), zeros(gpus)
    for k in range(len(order)):
        replica = order[k]
        free = where(filled < room, used, 1e300)
        g = argmin(free)
        expert[g * room + filled[g]] = owner[replica]
        gpu[g] += share[replica]
        used[g] += share[replica]
        filled[g] += 1

def decide(loads, gpus, placement, totals):
    slots = shape1(placement)
    room = slots // gpus
    for layer in range(len(loads)):
        load = loads[layer]
        replicas = ones(len(load))
        replicate(load, slots, replicas)
        expert = zeros(slots)
        gpu = zeros(gpus)
        pack(load, replicas, gpus, room, expert, gpu)
        placement[layer] = expert
        totals[layer] = gpu
'''

MOE = ProgramContract(
    parameters=(
        Parameter("loads", "{token}", "Of each expert, in the last window.", 0, 1e6, ("layers", "experts")),
        Parameter("gpus", "{gpu}", "How many there are.", 1, 64, integer=True),
        Parameter(
            "placement", "1", "Expert in each slot; slots go to GPUs in order.", 0, 511,
            ("layers", "slots"), integer=True, writable=True,
        ),
        Parameter("totals", "{token}", "Load of each GPU.", 0, 1e9, ("layers", "gpus"), writable=True),
    ),
    dimensions={"layers": (1, 64), "experts": (1, 512), "slots": (1, 1024), "gpus": (1, 64)},
)  # fmt: skip


def longest_first(work: Sequence[float], machines: int) -> tuple[list[int], float]:
    """The same rule in plain Python."""
    ends, placed = [0.0] * machines, [0] * len(work)
    for job in sorted(range(len(work)), key=lambda index: -work[index]):
        placed[job] = min(range(machines), key=ends.__getitem__)
        ends[placed[job]] += work[job]
    return placed, max(ends)


def place_experts(loads: np.ndarray, gpus: int, slots: int) -> tuple[np.ndarray, np.ndarray]:
    """The same rule in numpy."""
    placement = np.zeros((len(loads), slots), dtype=np.int64)
    totals = np.zeros((len(loads), gpus))
    for layer, load in enumerate(loads):
        replicas = np.ones(len(load))
        for _ in range(slots - len(load)):
            replicas[np.argmax(load / replicas)] += 1
        share = np.repeat(load / replicas, replicas.astype(int))
        owner = np.repeat(np.arange(len(load)), replicas.astype(int))
        filled = np.zeros(gpus, dtype=int)
        room = slots // gpus
        for replica in np.argsort(-share, kind="stable"):
            gpu = int(np.argmin(np.where(filled < room, totals[layer], 1e300)))
            placement[layer, gpu * room + filled[gpu]] = owner[replica]
            totals[layer, gpu] += share[replica]
            filled[gpu] += 1
    return placement, totals


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=40), st.integers(1, 6))
def test_longest_processing_time_first(work: list[float], machines: int) -> None:
    decide = check_program(LONGEST_FIRST, JOBS).bind()
    answer = decide(work, machines, [0] * len(work))
    placed, end = longest_first(work, machines)
    assert answer.ok
    assert answer.outputs == {"machine": placed}
    assert answer.value == end


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.sampled_from([(2, 4, 2), (1, 8, 4), (3, 16, 4)]))
def test_expert_placement_equals_numpy(seed: int, shape: tuple[int, int, int]) -> None:
    layers, experts, gpus = shape
    slots = experts + gpus * 2
    rng = np.random.default_rng(seed)
    loads = np.floor(rng.lognormal(3.0, 1.2, (layers, experts)))
    program = check_program(EXPERTS, MOE)
    before = loads.copy()
    given_placement = np.zeros((layers, slots), dtype=np.int64)
    arguments = (loads, gpus, given_placement, np.zeros((layers, gpus)))
    answer = program.bind()(*arguments)
    assert answer.ok, program.fault(*arguments)
    placement, totals = place_experts(loads, gpus, slots)
    assert answer.outputs["placement"] == placement.tolist()
    assert answer.outputs["totals"] == totals.tolist()
    assert (loads == before).all()
    assert not given_placement.any(), "the host's arrays are not written"
    assert answer == program.interpret(*arguments)


SWAPS = '''\
"""Swap two transactions while the host says that the schedule gets shorter."""

def decide(order):
    for turn in range(3):
        better = 0
        for i in range(len(order) - 1):
            for j in range(i + 1, len(order)):
                if change(order, i, j) < 0:
                    order[i], order[j] = order[j], order[i]
                    better += 1
        if not better:
            break
    return span(order)
'''


def test_a_search_over_host_operations() -> None:
    weights = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0]

    def span(order: list[float]) -> float:
        return sum(weights[int(job)] * place for place, job in enumerate(order))

    def change(order: list[float], i: float, j: float) -> float:
        swapped = list(order)
        swapped[int(i)], swapped[int(j)] = swapped[int(j)], swapped[int(i)]
        return span(swapped) - span(order)

    contract = ProgramContract(
        parameters=(
            Parameter("order", "1", "Of jobs.", 0, 7, ("jobs",), integer=True, writable=True),
        ),
        dimensions={"jobs": (1, 8)},
        operations=(
            HostOperation("change", "Of the makespan by a swap.", (1, 0, 0), fuel=50),
            HostOperation("span", "Makespan.", (1,), fuel=50),
        ),
        returns=True,
    )
    host = {"change": change, "span": span}
    answer = check_program(SWAPS, contract).bind(host)(list(range(8)))
    assert [weights[job] for job in answer.outputs["order"]] == sorted(weights, reverse=True)
    assert answer.value == span([float(job) for job in answer.outputs["order"]])
    # 3 turns of 28 asks at most, 50 fuel each besides what they are handed.
    assert 28 * 58 < answer.fuel < 100 * (50 + 8 + 40)


SPOT = '''\
"""Uniform progress: on demand while behind schedule, spot whenever it is up."""

def decide(elapsed, done, deadline, work, up, price, region):
    region[0] = argmin(where(up, price, 1e9))
    behind = done < elapsed * work / deadline
    if any(up):
        return 1
    return 2 if behind else 0
'''


@pytest.mark.parametrize(
    ("done", "up", "choice", "region"),
    [(1.0, [0, 1, 1], 1.0, 2), (1.0, [0, 0, 0], 2.0, 0), (9.0, [0, 0, 0], 0.0, 0)],
)
def test_a_spot_decision(done: float, up: list[int], choice: float, region: int) -> None:
    numbers = ("elapsed", "done", "deadline", "work")
    contract = ProgramContract(
        parameters=(
            *(Parameter(name, "h", "Hours.", 0, 1e3) for name in numbers),
            Parameter("up", "1", "Whether there is spot.", 0, 1, ("regions",), integer=True),
            Parameter("price", "$/h", "Of spot.", 0, 10, ("regions",)),
            Parameter("region", "1", "Chosen.", 0, 8, ("one",), integer=True, writable=True),
        ),
        dimensions={"regions": (1, 9), "one": (1, 1)},
        returns=True,
    )
    answer = check_program(SPOT, contract).bind()(4, done, 52, 48, up, [1.2, 1.1, 0.9], [0])
    assert (answer.value, answer.outputs) == (choice, {"region": [region]})
