"""Published expert placements in program form; see ``policies/expert_placement.py`` for what they are given.

All of them share one skeleton, the hierarchy of DeepSeek's EPLB: groups go to nodes, hot experts are
replicated within a node, replicas go to the node's ranks. Where groups cannot be kept on nodes there is
one node and one group. They differ in how items are packed.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ..sdk.kind import Baseline

#: Experts in order, then over again; each node its own share of them.
_STATIC = """\
def rebalance(weight, num_groups, num_nodes, placement):
    nodes = 1
    if num_groups % num_nodes == 0:
        nodes = num_nodes
    here = shape1(weight) // nodes
    held = shape1(placement) // nodes
    for layer in range(shape0(placement)):
        for slot in range(shape1(placement)):
            node = slot // held
            placement[layer, slot] = node * here + (slot - node * held) % here
"""

#: The heaviest item first, to the lightest pack that has room.
_LIGHTEST = """\
FULL = 1e300

def packed(load, packs):
    room = len(load) // packs
    if room == 1:
        return arange(packs)
    place = zeros(len(load))
    total = zeros(packs)
    held = zeros(packs)
    order = argsort(-load)
    for k in range(len(load)):
        item = order[k]
        pack = argmin(total)
        place[item] = pack * room + held[pack]
        held[pack] += 1
        total[pack] += load[item]
        if held[pack] == room:
            total[pack] = FULL
    return place

"""

#: The heaviest items are dealt out, one to each pack, there and back again.
_SNAKE = """\
def dealt(load, packs):
    room = len(load) // packs
    place = zeros(len(load))
    order = argsort(-load)
    for k in range(len(load)):
        turn = k // packs
        pack = k - turn * packs
        if turn % 2 == 1:
            pack = packs - 1 - pack
        place[order[k]] = pack * room + turn
    return place

"""

#: The hottest expert, by load per replica, gets the next replica.
_REPLICAS = """\
def replicated(load, slots):
    experts = len(load)
    expert = zeros(slots)
    count = ones(experts)
    share = copy(load)
    for slot in range(slots):
        hottest = slot
        if slot >= experts:
            hottest = argmax(share)
            count[hottest] += 1
            share[hottest] = load[hottest] / count[hottest]
        expert[slot] = hottest
    return expert

"""

#: What a rank is to hold goes to the rank of its node that holds most of it and is still free.
_KEPT = """\
TAKEN = 1e6

def kept(placement, current, layer, first, held, packs, experts):
    room = held // packs
    holds = zeros(experts, packs)
    for k in range(held):
        holds[placement[layer, first + k], k // room] = 1
    common = zeros(packs, packs)
    for k in range(held):
        expert = current[layer, first + k]
        if expert >= 0:
            common[k // room] = common[k // room] + holds[expert]
    common = transpose(common)
    taken = zeros(packs)
    moved = zeros(held)
    for pack in range(packs):
        rank = argmax(common[pack] - taken)
        taken[rank] = TAKEN
        for k in range(room):
            moved[rank * room + k] = placement[layer, first + pack * room + k]
    for k in range(held):
        placement[layer, first + k] = moved[k]

"""

#: A layer keeps what it holds unless a new map makes its fullest rank lighter by a part that is worth it.
_WORTH = """\
WORTH = 0.15

def usable(row, experts, groups, nodes):
    if min(row) < 0:
        return 0
    if min(bincount(row, experts)) < 1:
        return 0
    size = experts // groups
    held = len(row) // nodes
    home = full(groups, -1)
    for slot in range(len(row)):
        group = row[slot] // size
        node = slot // held
        if home[group] >= 0 and home[group] != node:
            return 0
        home[group] = node
    return 1

def fullest(load, row, ranks):
    share = take(load / maximum(bincount(row, len(load)), 1), row)
    return max(row_sums(reshape(share, ranks, len(row) // ranks)))

"""

_BY_NODE = """\
def rebalance(weight, {inputs}num_ranks, placement):
    experts = shape1(weight)
    nodes = 1
    groups = 1
{hierarchy}    size = experts // groups
    here = experts // nodes
    held = shape1(placement) // nodes
    order = zeros(experts)
    for layer in range(shape0(weight)):
        row = weight[layer]
        seat = packed(row_sums(reshape(row, groups, size)), nodes)
        for expert in range(experts):
            group = expert // size
            order[seat[group] * size + expert - group * size] = expert
        for node in range(nodes):
            names = order[node * here:(node + 1) * here]
            load = take(row, names)
            local = replicated(load, held)
            share = take(load / bincount(local, here), local)
            place = {packing}(share, num_ranks // nodes)
            for k in range(held):
                placement[layer, node * held + place[k]] = names[local[k]]
{then}"""

_HIERARCHY = """\
    if num_groups % num_nodes == 0:
        nodes = num_nodes
        groups = num_groups
"""


_THEN_KEPT = """\
            kept(placement, current, layer, node * held, held, num_ranks // nodes, experts)
"""


_THEN_WORTH = """\
        old = current[layer]
        if usable(old, experts, groups, nodes):
            if fullest(row, old, num_ranks) <= (1 + WORTH) * fullest(row, placement[layer], num_ranks):
                placement[layer] = old
"""


def _by_node(packing: str, *, keeps_groups: bool = True, then: str = "") -> str:
    inputs = "num_groups, num_nodes, " if keeps_groups else ""
    return _BY_NODE.format(
        packing=packing,
        inputs=inputs + ("current, " if then else ""),
        hierarchy=_HIERARCHY if keeps_groups else "",
        then=then,
    )


_SHARED = _LIGHTEST + _REPLICAS

_PUBLISHED = (
    Baseline(
        "static",
        _STATIC,
        "experts in order, then over again; what vLLM and SGLang start with, by node where groups stay",
    ),
    Baseline(
        "eplb",
        _SHARED + _by_node("packed"),
        "DeepSeek's expert parallelism load balancer (2025), hierarchical where groups can stay on nodes "
        "and global elsewhere; the default of vLLM and SGLang",
    ),
    Baseline(
        "greedy_global",
        _SHARED + _by_node("packed", keeps_groups=False),
        "EPLB's global policy whatever the groups: greedy replication, then longest processing time "
        "first (Graham, 1969) over all ranks; breaks groups_on_node where that is asked for",
    ),
    Baseline(
        "snake",
        _SHARED + _SNAKE + _by_node("dealt"),
        "EPLB with replicas dealt to ranks in a zigzag by falling load; the packing of the programs that "
        "OpenEvolve found for this task (Barbarians at the Gate, 2025)",
    ),
    Baseline(
        "eplb_sticky",
        _SHARED + _KEPT + _by_node("packed", then=_THEN_KEPT),
        "EPLB, of which every rank's share goes to the rank of its node that holds most of it already: "
        "as balanced, and fewer moves; vLLM's preserve_intragpu_slots does so for a rank's own slots",
    ),
    Baseline(
        "eplb_lazy",
        _SHARED + _KEPT + _WORTH + _by_node("packed", then=_THEN_KEPT + _THEN_WORTH),
        "eplb_sticky, layer by layer, and only where the fullest rank of the last window becomes lighter by "
        "15 %; SGLang's eplb-min-rebalancing-utilization-threshold does so for all layers at once",
    ),
)

#: By name.
BASELINES: Mapping[str, Baseline] = MappingProxyType({each.name: each for each in _PUBLISHED})
