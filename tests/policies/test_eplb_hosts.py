"""The shapes in which vLLM and SGLang ask for a placement and take it."""

from __future__ import annotations

import inspect
import random
from enum import Enum
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.policies.eplb_hosts import as_sglang, as_vllm, replicas_of
from gnomon.policies.expert_placement import expert_placement, questions
from gnomon.sdk.language import check_program

SOURCE = expert_placement.baselines["eplb"].source
assert expert_placement.program is not None and SOURCE is not None
DECIDE = check_program(SOURCE, expert_placement.program).bind()
asked = st.integers(0, 2**32).map(lambda seed: questions(random.Random(seed)))


class Algorithm(Enum):
    """As SGLang names them."""

    deepseek = 1
    deepseek_hierarchical = 2
    elasticity_aware = 3


def rebalance(weight: Any, slots: int, groups: int, nodes: int, ranks: int, current: Any) -> Any:
    assert len(current) == len(weight) and len(current[0]) == slots
    nothing = [[-1] * slots for _ in weight]
    return DECIDE(weight, slots, groups, nodes, ranks, current, nothing).outputs["placement"]


@given(asked)
def test_slots_and_experts_stand_for_each_other(question: tuple[Any, ...]) -> None:
    rows = rebalance(*question[:6])
    experts = len(question[0][0])
    slots, counts = replicas_of(rows, experts)
    for layer, row in enumerate(rows):
        pairs = {(e, s) for e in range(experts) for s in slots[layer][e] if s >= 0}
        assert pairs == {(expert, slot) for slot, expert in enumerate(row)}
        assert counts[layer] == [row.count(expert) for expert in range(experts)]
        assert {len(each) for each in slots[layer]} == {max(map(max, counts))}


@given(asked)
def test_vllm_gets_what_it_asks_for(question: tuple[Any, ...]) -> None:
    weight, numbers = np.array(question[0]), question[1:5]
    expected = rebalance(*question[:6])
    found = as_vllm(rebalance)(weight, *numbers, np.array(question[5]))
    assert found.dtype == np.int64 and found.tolist() == expected
    rows, slots, counts = as_vllm(rebalance, triple=True)(weight, *numbers)
    experts = weight.shape[1]
    assert rows.shape == (len(weight), numbers[0])
    assert slots.shape == (*weight.shape, numbers[0] - experts + 1)
    assert counts.sum(axis=1).tolist() == [numbers[0]] * len(weight)
    assert ((slots >= 0).sum(axis=2) == counts).all()


def test_the_signature_is_that_of_the_host() -> None:
    parameters = list(inspect.signature(as_vllm(rebalance)).parameters)
    assert parameters == [
        "weight", "num_replicas", "num_groups", "num_nodes", "num_ranks", "old_global_expert_indices",
    ]  # fmt: skip


def unreachable(*args: Any, **named: Any) -> Any:
    raise AssertionError("the host's own function was asked")


@pytest.mark.parametrize("algorithm", [Algorithm.deepseek, Algorithm.deepseek_hierarchical])
def test_sglang_gets_what_it_asks_for(algorithm: Algorithm) -> None:
    steps = np.random.default_rng(0).integers(0, 1000, (5, 2, 16))
    named = {
        "tokens_per_expert": steps, "num_physical_experts": 24, "num_local_physical_experts": 3,
        "num_groups": 4, "num_nodes": 2, "algorithm": algorithm,
    }  # fmt: skip
    rows, slots, counts = as_sglang(rebalance)(unreachable, **named)
    shape = (1, 1) if algorithm is Algorithm.deepseek else (4, 2)
    nobody = [[-1] * 24] * 2
    assert rows.tolist() == rebalance(steps.sum(0).tolist(), 24, *shape, 8, nobody)
    assert slots.shape == (2, 16, counts.max()) and (counts.sum(axis=1) == 24).all()


def test_what_is_not_ours_is_left_to_the_host() -> None:
    def original(*args: Any, **named: Any) -> tuple[Any, Any]:
        return args, named

    around = as_sglang(rebalance)
    assert around(original, algorithm=Algorithm.elasticity_aware) == (
        (),
        {"algorithm": Algorithm.elasticity_aware},
    )
    assert around(original, 1, 2) == ((1, 2), {})


def test_tensors_come_back_as_tensors() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed; make test TORCH=1")
    weight = torch.arange(32.0).reshape(2, 16)
    found = as_vllm(rebalance)(weight, 20, 4, 2, 4)
    assert found.dtype == torch.int64 and found.shape == (2, 20) and found.device.type == "cpu"
