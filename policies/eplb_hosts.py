"""Shapes of the hosts: a function of the kind ``expert_placement`` as vLLM and SGLang call it.

``rebalance(weight, num_replicas, num_groups, num_nodes, num_ranks, current)`` takes and returns plain rows
(a decorated function does), whatever tensors the host has; what goes back is on the CPU, as hosts expect.
Nothing is imported that the host has not loaded itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from .expert_placement import NOBODY

Rows: TypeAlias = Sequence[Sequence[int]]
Rebalance: TypeAlias = Callable[[Any, int, int, int, int, Any], Any]


def replicas_of(
    placement: Rows, experts: int, width: int | None = None
) -> tuple[list[list[list[int]]], list[list[int]]]:
    """Return the logical-to-physical map and the number of replicas of each expert.

    Args:
        placement: physical-to-logical map, layers x slots.
        experts: of a layer.
        width: of the map's last dimension; by default the most replicas that any expert has.

    Returns:
        Slots of each expert in ascending order, filled up with -1, layers x experts x width; and how many
        there are, layers x experts.
    """
    slots: list[list[list[int]]] = [[[] for _ in range(experts)] for _ in placement]
    for layer, row in zip(slots, placement, strict=True):
        for slot, expert in enumerate(row):
            layer[expert].append(slot)
    counts = [[len(own) for own in layer] for layer in slots]
    most = max(map(max, counts)) if width is None else width
    filled = [[own + [NOBODY] * (most - len(own)) for own in layer] for layer in slots]
    return filled, counts


def as_vllm(rebalance: Rebalance, *, triple: bool = False) -> Callable[..., Any]:
    """Return a function for ``staticmethod`` in the place of ``DefaultEplbPolicy.rebalance_experts``.

    Args:
        rebalance: the function that decides.
        triple: as 0.13 and 0.14 want it: map, logical-to-physical map (as wide as the spare slots and
            one) and counts; by default the map alone, as later versions do.
    """

    def rebalance_experts(
        weight: Any,
        num_replicas: int,
        num_groups: int,
        num_nodes: int,
        num_ranks: int,
        old_global_expert_indices: Any = None,
    ) -> Any:
        rows = weight.tolist()
        held = _held(old_global_expert_indices, len(rows), num_replicas)
        placement = _rows(rebalance(rows, num_replicas, num_groups, num_nodes, num_ranks, held))
        if not triple:
            return _like(weight, placement)
        experts = len(rows[0])
        slots, counts = replicas_of(placement, experts, num_replicas - experts + 1)
        return _like(weight, placement), _like(weight, slots), _like(weight, counts)

    return rebalance_experts


def as_sglang(rebalance: Rebalance) -> Callable[..., Any]:
    """Return a function for ``HookType.AROUND`` of ``eplb_algorithms.rebalance_experts``.

    Algorithms other than DeepSeek's, which place around ranks that are down, are left to the host's own.
    """

    def around(original: Callable[..., Any], *args: Any, **named: Any) -> Any:
        algorithm = str(getattr(named.get("algorithm"), "name", named.get("algorithm")))
        if args or not algorithm.startswith("deepseek"):
            return original(*args, **named)
        load = named["tokens_per_expert"].sum(0)
        rows, slots = load.tolist(), named["num_physical_experts"]
        apart = not algorithm.endswith("hierarchical")
        groups, nodes = (1, 1) if apart else (named["num_groups"], named["num_nodes"])
        ranks = slots // named["num_local_physical_experts"]
        held = _held(None, len(rows), slots)
        placement = _rows(rebalance(rows, slots, groups, nodes, ranks, held))
        experts, counts = replicas_of(placement, len(rows[0]))
        return _like(load, placement), _like(load, experts), _like(load, counts)

    return around


def _held(table: Any, layers: int, slots: int) -> Any:
    return [[NOBODY] * slots for _ in range(layers)] if table is None else table.tolist()


def _rows(table: Any) -> Any:
    return table.tolist() if hasattr(table, "tolist") else table


def _like(table: Any, rows: Any) -> Any:
    """Return rows as int64 of the library that a table is of, on the CPU."""
    library = sys.modules[type(table).__module__.partition(".")[0]]
    make = getattr(library, "tensor", None) or library.array
    return make(rows, dtype=library.int64)
