"""Expert placement by the book: lists and loops, sharing nothing with the code under test but its arguments."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from gnomon.policies.expert_placement import static_row
from gnomon.shadow.traces.load_trace import LoadTrace

Row = list[int]


def packed(loads: Sequence[float], packs: int) -> list[list[int]]:
    """Items by pack: the heaviest item first, to the lightest pack with room."""
    room = len(loads) // packs
    if room == 1:
        return [[item] for item in range(len(loads))]
    contents: list[list[int]] = [[] for _ in range(packs)]
    total = [0.0] * packs
    for item in sorted(range(len(loads)), key=lambda item: -loads[item]):
        open_packs = [pack for pack in range(packs) if len(contents[pack]) < room]
        pack = min(open_packs, key=lambda pack: total[pack])
        contents[pack].append(item)
        total[pack] += loads[item]
    return contents


def dealt(loads: Sequence[float], packs: int) -> list[list[int]]:
    """Items by pack: dealt by falling load, there and back."""
    contents: list[list[int]] = [[] for _ in range(packs)]
    order = sorted(range(len(loads)), key=lambda item: -loads[item])
    for turn, at in enumerate(range(0, len(order), packs)):
        dealing = contents if turn % 2 == 0 else contents[::-1]
        for pack, item in zip(dealing, order[at : at + packs], strict=True):
            pack.append(item)
    return contents


def replicated(loads: Sequence[float], slots: int) -> list[int]:
    """The expert of each replica."""
    experts = list(range(len(loads)))
    while len(experts) < slots:
        each = [load / experts.count(expert) for expert, load in enumerate(loads)]
        experts.append(each.index(max(each)))
    return experts


def hierarchical(
    loads: Sequence[float], slots: int, groups: int, nodes: int, ranks: int, pack: Any
) -> Row:
    """One layer: groups to nodes, replicas within nodes, replicas to ranks."""
    size = len(loads) // groups
    weights = [sum(loads[group * size : (group + 1) * size]) for group in range(groups)]
    row: Row = []
    for members in packed(weights, nodes):
        names = [group * size + i for group in members for i in range(size)]
        own = [loads[name] for name in names]
        experts = replicated(own, slots // nodes)
        shares = [own[expert] / experts.count(expert) for expert in experts]
        for rank in pack(shares, ranks // nodes):
            row += [names[experts[replica]] for replica in rank]
    return row


def book(name: str, question: tuple[Any, ...]) -> list[Row]:
    """Return what a published policy answers."""
    weight, slots, groups, nodes, ranks = question[:5]
    if name == "static":
        return [static_row(len(row), slots, groups, nodes) for row in weight]
    kept = groups % nodes == 0 and name != "greedy_global"
    shape = (groups, nodes) if kept else (1, 1)
    pack = dealt if name == "snake" else packed
    return [hierarchical(row, slots, *shape, ranks, pack) for row in weight]


def fullest(loads: Sequence[float], row: Row, ranks: int) -> Fraction:
    """Return the load of a layer's fullest rank, exactly."""
    held = len(row) // ranks
    share = [Fraction(loads[expert]) / row.count(expert) for expert in row]
    return max(sum(share[at : at + held], Fraction(0)) for at in range(0, len(row), held))


def every_placement(experts: int, slots: int, ranks: int) -> Iterator[Row]:
    """Yield every placement of a layer that serves all experts, up to the order within ranks."""
    held = slots // ranks
    shares = list(itertools.combinations_with_replacement(range(experts), held))
    for each in itertools.product(shares, repeat=ranks):
        row = [expert for share in each for expert in share]
        if len({*row}) == experts:
            yield row


def trace(
    windows: int = 40,
    *,
    seed: int = 0,
    deployment: tuple[int, int, int, int] = (20, 4, 2, 4),
    layers: int = 2,
    experts: int = 16,
    **columns: Any,
) -> LoadTrace:
    """Return a trace of skewed loads that drift, as an import makes it."""
    draw = random.Random(seed)
    counts = np.array(
        [
            [
                [int(draw.paretovariate(1.1) * 10) % 5000 for _ in range(experts)]
                for _ in range(layers)
            ]
            for _ in range(windows)
        ],
        np.int64,
    ).reshape(windows, layers, experts)
    slots, groups, nodes, ranks = deployment
    row = np.array(static_row(experts, slots, groups, nodes), np.int64)
    delay = columns.get("delay", 0)
    given: dict[str, Any] = {
        "hook": "moe.place", "kind": "expert_placement", "start_ns": 0, "replicas": slots,
        "groups": groups, "nodes": nodes, "ranks": ranks, "delay": 0, "policy": "",
        "first": 1 + delay, "at": np.arange(windows) * 1.0, "index": np.arange(windows),
        "counts": counts, "imbalance": np.full(windows, np.nan),
        "placement": np.tile(row, (layers, 1)),
    }  # fmt: skip
    return LoadTrace(**(given | columns))
