"""The expert_placement kind: its contract, its published policies in program form, its invariants."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import random
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gnomon.policies.expert_placement import (
    NOBODY,
    check_deployment,
    deployment_event,
    expert_placement,
    keeps_groups,
    load_event,
    questions,
    static_row,
)
from gnomon.sdk.counts import unpack_counts
from gnomon.sdk.errors import ConfigurationError
from gnomon.sdk.language import ArrayProgram, check_program

CONTRACT = expert_placement.program
assert CONTRACT is not None
PROGRAMS: dict[str, ArrayProgram] = {
    name: check_program(each.source or "", CONTRACT)
    for name, each in expert_placement.baselines.items()
}
BLOCKING = [
    each
    for each in expert_placement.invariants
    if each.scope == "decision" and each.severity == "block"
]
BY_NAME = {each.name: each.holds for each in expert_placement.invariants}
asked = st.integers(0, 2**32).map(lambda seed: questions(random.Random(seed)))

#: The example of EPLB's README: two layers of twelve experts, 16 slots, 4 groups, 2 nodes, 8 GPUs.
README = (
    [
        [90.0, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86],
        [20.0, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27],
    ],
    16, 4, 2, 8,
    [[-1] * 16] * 2,
    [[-1] * 16] * 2,
)  # fmt: skip
PUBLISHED = [
    [5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1],
    [7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1],
]


def answered(name: str, question: tuple[Any, ...]) -> Any:
    answer = PROGRAMS[name].bind()(*question)
    assert answer.ok, PROGRAMS[name].fault(*question)
    return answer.outputs["placement"]


def broken(question: tuple[Any, ...], placement: Any) -> list[str]:
    named, answer = (
        expert_placement.question_type(*question),
        expert_placement.answer_type(placement),
    )
    found = []
    for invariant in BLOCKING:
        try:
            holds = invariant.holds(named, answer)
        except Exception:  # noqa: BLE001 - as the hosts do: it does not hold
            holds = False
        if not holds:
            found.append(invariant.name)
    return found


def test_the_contract_is_that_of_the_hosts() -> None:
    assert expert_placement.form == "program"
    assert expert_placement.question_type._fields == (
        "weight", "num_replicas", "num_groups", "num_nodes", "num_ranks", "current", "placement",
    )  # fmt: skip
    assert expert_placement.answer_type._fields == ("placement",)


def test_the_published_example_of_eplb() -> None:
    assert answered("eplb", README) == PUBLISHED


@given(asked, st.sampled_from(sorted(PROGRAMS)))
def test_published_placements_may_be_used(question: tuple[Any, ...], name: str) -> None:
    before = copy.deepcopy(question)
    found = broken(question, answered(name, question))
    assert question == before
    assert found == [] or (name == "greedy_global" and found == ["groups_on_node"])


@given(asked)
def test_questions_are_of_deployments_that_can_be(question: tuple[Any, ...]) -> None:
    weight, *numbers, current, placement = question
    check_deployment(len(weight[0]), *numbers)
    assert len(current) == len(placement) == len(weight)
    assert {len(row) for row in (*current, *placement)} == {numbers[0]}


@given(asked)
def test_sticky_moves_no_more_than_its_ranks_are_exchanged(question: tuple[Any, ...]) -> None:
    """Each node's ranks hold what EPLB's ranks there hold, in another order."""
    slots, _, nodes, ranks = question[1:5]
    hierarchical = question[2] % nodes == 0
    held, node = slots // ranks, ranks // (nodes if hierarchical else 1)

    def shares(row: list[int]) -> list[list[tuple[int, ...]]]:
        each = [tuple(row[at : at + held]) for at in range(0, slots, held)]
        return [sorted(each[at : at + node]) for at in range(0, ranks, node)]

    pairs = zip(answered("eplb", question), answered("eplb_sticky", question), strict=True)
    assert all(shares(plain) == shares(sticky) for plain, sticky in pairs)


def test_sticky_stays_where_it_is() -> None:
    weight, *numbers, _, nothing = README
    held = answered("eplb", README)
    shifted = [row[2:8] + row[:2] + row[12:] + row[8:12] for row in held]
    again = answered("eplb_sticky", (weight, *numbers, shifted, nothing))
    for row, new in zip(shifted, again, strict=True):
        assert [{*row[at : at + 2]} for at in range(0, 16, 2)] == [
            {*new[at : at + 2]} for at in range(0, 16, 2)
        ]


@given(asked, st.data())
def test_a_broken_placement_is_seen(question: tuple[Any, ...], data: st.DataObject) -> None:
    rows = answered("eplb", question)
    experts = len(question[0][0])
    layer = data.draw(st.integers(0, len(rows) - 1))
    slot = data.draw(st.integers(0, len(rows[0]) - 1))
    harm = data.draw(st.sampled_from(["cut", "more", "nobody", "invented", "half", "unserved"]))
    row = rows[layer]
    if harm == "cut":
        row.pop()
    elif harm == "more":
        rows.append(list(row))
    elif harm == "half":
        row[slot] = float(row[slot])
    elif harm == "unserved":
        assume(experts > 1)
        lost = row[slot]
        row[:] = [(each + 1) % experts if each == lost else each for each in row]
    else:
        row[slot] = -1 if harm == "nobody" else experts
    expected = {
        "cut": "full_shape", "more": "full_shape", "half": "full_shape", "nobody": "in_range",
        "invented": "in_range", "unserved": "every_expert_served",
    }  # fmt: skip
    assert expected[harm] in broken(question, rows)


def test_a_group_that_leaves_its_node_is_seen() -> None:
    rows = [list(row) for row in PUBLISHED]
    assert broken(README, rows) == []
    rows[1][0], rows[1][15] = rows[1][15], rows[1][0]
    assert broken(README, rows) == ["groups_on_node"]
    apart = (*README[:2], 3, *README[3:])  # two nodes do not divide three groups
    assert broken(apart, rows) == []
    assert keeps_groups(4, 2) and not keeps_groups(3, 2) and not keeps_groups(4, 1)


def test_replicas_on_one_rank_are_only_told() -> None:
    named = expert_placement.question_type(*README)
    assert BY_NAME["replicas_apart"](named, expert_placement.answer_type(PUBLISHED))
    rows = [list(row) for row in PUBLISHED]
    rows[0][1], rows[0][2] = rows[0][2], rows[0][1]
    assert not BY_NAME["replicas_apart"](named, expert_placement.answer_type(rows))
    assert broken(README, rows) == []


@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        ((64, 63, 1, 1, 9), "63 slots cannot hold 64 experts; give num_replicas of at least 64"),
        ((64, 72, 1, 1, 7), "72 slots do not divide among 7 ranks"),
        ((64, 72, 8, 4, 6), "6 ranks do not divide among 4 nodes"),
        ((64, 72, 6, 2, 8), "64 experts do not divide among 6 groups"),
        ((0, 72, 1, 1, 8), "experts is 0; give a whole number from 1 to 512"),
        ((64, 72, 1, 1, 0), "num_ranks is 0"),
        ((64, 648, 1, 1, 8), "num_replicas is 648"),
        ((64, 72, 1, 0, 8), "num_nodes is 0"),
    ],
)
def test_a_deployment_that_cannot_be_is_refused(numbers: tuple[int, ...], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        check_deployment(*numbers)


def test_a_load_that_is_no_number_is_a_fault_and_no_placement() -> None:
    weight = [[float("nan")] * 12] * 2
    assert not PROGRAMS["eplb"].bind()(weight, *README[1:]).ok


def test_no_load_at_all_still_serves_every_expert() -> None:
    question = ([[0.0] * 12] * 2, *README[1:])
    assert all(
        broken(question, answered(name, question)) == [] for name in ("static", "eplb", "snake")
    )


def test_the_largest_deployment_stays_within_the_limits() -> None:
    draw = random.Random(0)
    weight = [[float(draw.randrange(10_000)) for _ in range(256)] for _ in range(58)]
    question = (weight, 288, 8, 4, 32, [[-1] * 288] * 58, [[-1] * 288] * 58)
    answer = PROGRAMS["eplb"].bind()(*question)
    assert answer.ok and answer.fuel < CONTRACT.max_fuel / 10
    assert broken(question, answer.outputs["placement"]) == []


_SUMS = """
import hashlib, json, random
from gnomon.policies.expert_placement import expert_placement, questions
from gnomon.sdk.language import check_program
digest = hashlib.sha256()
draw = random.Random(11)
programs = [check_program(each.source, expert_placement.program).bind()
            for _, each in sorted(expert_placement.baselines.items())]
for _ in range(20):
    question = questions(draw)
    for program in programs:
        digest.update(json.dumps(program(*question).outputs).encode())
print(digest.hexdigest())
"""


def test_every_process_makes_the_same_map() -> None:
    digest = hashlib.sha256()
    draw = random.Random(11)
    for _ in range(20):
        question = questions(draw)
        for name in sorted(PROGRAMS):
            digest.update(json.dumps({"placement": answered(name, question)}).encode())
    for seed in ("0", "1", "4242"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        ended = subprocess.run(
            [sys.executable, "-c", _SUMS],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert ended.stdout.strip() == digest.hexdigest()


def test_the_contract_needs_no_arrays() -> None:
    code = "import sys, gnomon; gnomon.expert_placement; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "pyarrow", "torch", "grpc", "numba"} & {*ended.stdout.split()}


@pytest.mark.parametrize("weight", [[], [[]], [1, 2], [[1, 2], [3]], [[0.5]], [[float("nan")]]])
def test_what_is_no_load_is_not_recorded(weight: Any) -> None:
    with pytest.raises(ConfigurationError, match="layers x experts|whole numbers"):
        load_event(weight)


def test_events_hold_what_the_kind_declares() -> None:
    declared = {event.name: event.fields for event in expert_placement.workload}
    load = load_event([[1, 2, 3], [4, 5, 6]])
    assert tuple(load) == declared["load"]
    assert unpack_counts(str(load["counts"]), 2, 3).tolist() == [1, 2, 3, 4, 5, 6]
    held = [static_row(12, 16, 4, 2)] * 2
    deployment = deployment_event(16, 4, 2, 8, placement=held)
    assert tuple(deployment) == declared["deployment"]
    assert unpack_counts(str(deployment["placement"]), 2, 16).tolist() == held[0] * 2
    assert deployment_event(16, 4, 2, 8)["placement"] == ""


@pytest.mark.parametrize(
    ("layers", "experts", "slots", "groups", "nodes", "ranks"),
    [(58, 256, 288, 8, 4, 32), (94, 128, 144, 1, 1, 16), (62, 160, 192, 1, 1, 32)],
    ids=["DeepSeek-V3", "Qwen3-235B", "Qwen3-Coder-480B"],
)
def test_models_that_are_deployed_fit(
    layers: int, experts: int, slots: int, groups: int, nodes: int, ranks: int
) -> None:
    """As large as they are, the default policy answers within the kind's fuel."""
    check_deployment(experts, slots, groups, nodes, ranks)
    assert expert_placement.program is not None
    source = expert_placement.baselines["eplb_lazy"].source
    assert source is not None
    rng = random.Random(layers)
    weight = [[float(int(rng.paretovariate(1.0) * 100)) for _ in range(experts)]] * layers
    held = [static_row(experts, slots, groups, nodes)] * layers
    nothing = [[NOBODY] * slots] * layers
    answer = check_program(source, expert_placement.program).bind()(
        weight, slots, groups, nodes, ranks, held, nothing
    )
    assert answer.ok
