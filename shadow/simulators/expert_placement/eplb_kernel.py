"""Published expert placements, compiled: the same maps as their sources in program form.

After DeepSeek's EPLB as its description and examples give it: groups of experts are packed onto nodes,
hot experts are replicated within each node, and replicas are packed onto the node's ranks. The order of
all sums and the choice among equals are those of the program form, so the maps are equal, not alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..native import lean, native

#: How replicas are put onto ranks.
PACKED, DEALT = 0, 1
_RUN = 12  # shorter stretches are sorted by insertion


@lean
def _order(key: Any, order: Any, other: Any) -> None:
    """Put the indices of falling keys into ``order``; equals keep their order (a merge sort)."""
    n = len(key)
    for low in range(0, n, _RUN):
        for i in range(low, min(low + _RUN, n)):
            j = i
            while j > low and key[order[j - 1]] < key[i]:
                order[j] = order[j - 1]
                j -= 1
            order[j] = i
    width = _RUN
    while width < n:
        for low in range(0, n, 2 * width):
            middle, high = min(low + width, n), min(low + 2 * width, n)
            i, j = low, middle
            for k in range(low, high):
                if j >= high or (i < middle and key[order[i]] >= key[order[j]]):
                    other[k] = order[i]
                    i += 1
                else:
                    other[k] = order[j]
                    j += 1
        for k in range(n):
            order[k] = other[k]
        width *= 2


@lean
def _pack(load: Any, packs: int, place: Any, order: Any, other: Any, total: Any, held: Any) -> None:
    """Place the heaviest item first, each in the lightest pack that has room (the first of equals)."""
    n = len(load)
    room = n // packs
    if room == 1:
        for item in range(n):
            place[item] = item
        return
    for pack in range(packs):
        total[pack] = 0.0
        held[pack] = 0
    _order(load, order, other)
    for k in range(n):
        item = order[k]
        pack = 0
        least = np.inf
        for each in range(packs):
            if total[each] < least:
                least = total[each]
                pack = each
        place[item] = pack * room + held[pack]
        held[pack] += 1
        total[pack] = np.inf if held[pack] == room else total[pack] + load[item]


@lean
def _deal(load: Any, packs: int, place: Any, order: Any, other: Any) -> None:
    """Deal items out by falling load, one to each pack, there and back again."""
    n = len(load)
    room = n // packs
    _order(load, order, other)
    for k in range(n):
        turn = k // packs
        pack = k - turn * packs
        if turn % 2 == 1:
            pack = packs - 1 - pack
        place[order[k]] = pack * room + turn


@lean
def replicate(load: Any, expert: Any, count: Any, share: Any) -> float:
    """Give every expert a replica, and each further one to the expert with most load per replica.

    Args:
        load: f8[n].
        expert: i8[slots], written: the expert of each replica.
        count, share: f8[n] each, written: replicas, and load per replica.

    Returns:
        The largest load of a replica. No other numbers of replicas have a smaller one.
    """
    n = len(load)
    for i in range(n):
        expert[i] = i
        count[i] = 1.0
        share[i] = load[i]
    for slot in range(n, len(expert)):
        hottest = 0
        for i in range(1, n):
            if share[i] > share[hottest]:
                hottest = i
        expert[slot] = hottest
        count[hottest] += 1.0
        share[hottest] = load[hottest] / count[hottest]
    most = 0.0
    for i in range(n):
        most = max(most, share[i])
    return most


@native
def keep(placement: Any, current: Any, experts: int, nodes: int, ranks: int) -> None:
    """Exchange what ranks of a node are to hold, so that each gets what it holds most of; in place.

    Rank by rank in the order of the map, each goes to the rank that has most of its experts and is
    still free (the first of equals).

    Args:
        placement, current: i8[layers, slots]; -1 in ``current`` is nobody.
        experts: of a layer.
        nodes, ranks: that divide the slots evenly.
    """
    layers, slots = placement.shape
    packs, held = ranks // nodes, slots // nodes
    room = held // packs
    holds = np.empty((packs, experts), np.int64)
    common = np.empty((packs, packs), np.int64)
    taken, moved = np.empty(packs, np.bool_), np.empty(held, np.int64)
    for layer in range(layers):
        for first in range(0, slots, held):
            holds[:], common[:], taken[:] = 0, 0, False
            for k in range(held):
                holds[k // room, placement[layer, first + k]] = 1
            for k in range(held):
                expert = current[layer, first + k]
                if expert >= 0:
                    common[k // room] += holds[:, expert]
            for pack in range(packs):
                best = -1
                for rank in range(packs):
                    if not taken[rank] and (best < 0 or common[rank, pack] > common[best, pack]):
                        best = rank
                taken[best] = True
                for k in range(room):
                    moved[best * room + k] = placement[layer, first + pack * room + k]
            placement[layer, first : first + held] = moved


@lean
def _usable(row: Any, groups: int, nodes: int, count: Any, home: Any) -> bool:
    """Return whether a layer's placement serves all experts and keeps groups on nodes; count them too."""
    experts, held = len(count), len(row) // nodes
    size = experts // groups
    for expert in range(experts):
        count[expert] = 0.0
    for group in range(groups):
        home[group] = -1
    for slot in range(len(row)):
        if row[slot] < 0:
            return False
        count[row[slot]] += 1.0
        group, node = row[slot] // size, slot // held
        if home[group] >= 0 and home[group] != node:
            return False
        home[group] = node
    for expert in range(experts):
        if count[expert] == 0.0:
            return False
    return True


@lean
def _fullest(load: Any, row: Any, ranks: int, count: Any) -> float:
    """Return the load of a layer's fullest rank."""
    held = len(row) // ranks
    most = 0.0
    for rank in range(ranks):
        own = 0.0
        for slot in range(rank * held, (rank + 1) * held):
            own += load[row[slot]] / count[row[slot]]
        most = max(most, own)
    return most


@native
def keep_unless_worth(
    weight: Any, placement: Any, current: Any, groups: int, nodes: int, ranks: int, worth: float
) -> None:
    """Leave layers as they are, in place, where the fullest rank would not become lighter by ``worth``.

    Args:
        weight: f8[layers, experts].
        placement, current: i8[layers, slots]; a layer of ``current`` that holds nobody somewhere, lacks an
            expert or splits a group over nodes is not kept.
        groups, nodes, ranks: as of :func:`place`.
        worth: part of the new fullest load.
    """
    layers, experts = weight.shape
    count, home = np.empty(experts), np.empty(groups, np.int64)
    for layer in range(layers):
        load, old, new = weight[layer], current[layer], placement[layer]
        if not _usable(new, groups, nodes, count, home):
            continue
        most = _fullest(load, new, ranks, count)
        usable = _usable(old, groups, nodes, count, home)
        if usable and _fullest(load, old, ranks, count) <= (1.0 + worth) * most:
            placement[layer] = old


@native
def place(weight: Any, slots: int, groups: int, nodes: int, ranks: int, packing: int) -> Any:
    """Return the map of one or many layers, i8[layers, slots].

    Args:
        weight: f8[layers, experts], contiguous, finite, at least 0.
        slots: of a layer; divisible by ``ranks``.
        groups, nodes: both 1 for a global placement; else ``nodes`` divides ``groups`` and ``ranks``,
            and ``groups`` the experts.
        ranks: that share the slots.
        packing: PACKED, or DEALT for a zigzag.
    """
    layers, experts = weight.shape
    size, here, held = experts // groups, experts // nodes, slots // nodes
    placement = np.empty((layers, slots), np.int64)
    most = max(slots, experts)
    order, other, at = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int64)
    total, full = np.empty(slots), np.empty(slots, np.int64)
    names, seat = np.empty(experts, np.int64), np.empty(groups, np.int64)
    group_load, load, count, each = np.empty(groups), np.empty(here), np.empty(here), np.empty(here)
    local, share = np.empty(held, np.int64), np.empty(held)
    for layer in range(layers):
        for group in range(groups):
            summed = 0.0
            for expert in range(group * size, (group + 1) * size):
                summed += weight[layer, expert]
            group_load[group] = summed
        _pack(group_load, nodes, seat, order, other, total, full)
        for expert in range(experts):
            group = expert // size
            names[seat[group] * size + expert - group * size] = expert
        for node in range(nodes):
            for i in range(here):
                load[i] = weight[layer, names[node * here + i]]
            replicate(load, local, count, each)
            for k in range(held):
                share[k] = each[local[k]]
            if packing == PACKED:
                _pack(share, ranks // nodes, at, order, other, total, full)
            else:
                _deal(share, ranks // nodes, at, order, other)
            for k in range(held):
                placement[layer, node * held + at[k]] = names[node * here + local[k]]
    return placement
