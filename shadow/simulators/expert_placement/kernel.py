"""What a placement does to a window of load, compiled: load per rank, experts that move, a lower limit."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..native import native
from .eplb_kernel import replicate


@native
def judge(load: Any, placement: Any, ranks: int) -> Any:
    """Return (load of the fullest rank, load of the mean rank, load that no slot serves), over all layers.

    An expert's load is split evenly over its replicas, wherever they are.

    Args:
        load: f8[layers, experts].
        placement: i8[layers, slots], experts in range.
        ranks: that share the slots evenly.
    """
    layers, experts = load.shape
    slots = placement.shape[1]
    held = slots // ranks
    count = np.zeros(experts)
    fullest = mean = unserved = 0.0
    for layer in range(layers):
        count[:] = 0.0
        for slot in range(slots):
            count[placement[layer, slot]] += 1.0
        most = total = missing = 0.0
        for rank in range(ranks):
            own = 0.0
            for slot in range(rank * held, (rank + 1) * held):
                expert = placement[layer, slot]
                own += load[layer, expert] / count[expert]
            most = max(most, own)
        for expert in range(experts):
            total += load[layer, expert]
            if count[expert] == 0.0:
                missing += load[layer, expert]
        fullest += most
        mean += total / ranks
        unserved += missing
    return fullest, mean, unserved


@native
def fetched(current: Any, placement: Any, ranks: int) -> int:
    """Return how many experts ranks have to fetch, over all layers: those that they did not hold.

    Args:
        current, placement: i8[layers, slots]; -1 in ``current`` is nobody.
        ranks: that share the slots evenly.
    """
    layers, slots = placement.shape
    held = slots // ranks
    there = np.full(
        placement.max() + 1, -1
    )  # the last (layer, rank) that held, or will hold, an expert
    moved = 0
    for layer in range(layers):
        for rank in range(ranks):
            here = layer * ranks + rank
            for slot in range(rank * held, (rank + 1) * held):
                if 0 <= current[layer, slot] < len(there):
                    there[current[layer, slot]] = here
            for slot in range(rank * held, (rank + 1) * held):
                expert = placement[layer, slot]
                moved += there[expert] != here
                there[expert] = here  # a second replica is copied on the spot
    return moved


@native
def least_fullest(load: Any, slots: int, ranks: int, groups: int, nodes: int) -> float:
    """Return a load that the fullest ranks of all layers together have under any placement.

    In each layer the fullest rank has at least

    * an even share of the whole: the mean is no more than the largest;
    * an even share of the heaviest group among the ranks of its node, where groups stay on nodes
      (``nodes`` above 1): all of the group's load is there;
    * the heaviest replica, since some rank holds it. Let greedy replication, which gives each further
      replica to the expert with most load per replica, end with n_e replicas of expert e, and with h
      the expert whose replicas are the heaviest, of load t. The largest load per replica never rises,
      so an expert with n_e > 1 had at least t per replica when it got its last one: its load over
      n_e - 1 is t or more. Numbers m_e whose heaviest replica is lighter than t therefore need
      m_e >= n_e for all e and m_h > n_h: more slots than there are. So t is the least possible.
    """
    layers, experts = load.shape
    expert, count, share = np.empty(slots, np.int64), np.empty(experts), np.empty(experts)
    size = experts // groups
    least = 0.0
    for layer in range(layers):
        row = load[layer]
        floor = replicate(row, expert, count, share)
        total = 0.0
        for group in range(groups):
            own = 0.0
            for i in range(group * size, (group + 1) * size):
                own += row[i]
            total += own
            if nodes > 1:
                floor = max(floor, own * nodes / ranks)
        least += max(floor, total / ranks)
    return least


@native
def split_groups(placement: Any, experts: int, groups: int, nodes: int) -> int:
    """Return how many groups are on more than one node, over all layers.

    Args:
        placement: i8[layers, slots], experts in range.
        experts: of a layer, divisible by ``groups``.
        groups, nodes: that divide experts and slots evenly.
    """
    layers, slots = placement.shape
    held, size = slots // nodes, experts // groups
    node_of = np.empty(groups, np.int64)
    split = 0
    for layer in range(layers):
        node_of[:] = -1
        for slot in range(slots):
            group = placement[layer, slot] // size
            node = slot // held
            if node_of[group] == -1:
                node_of[group] = node
            elif node_of[group] >= 0 and node_of[group] != node:
                node_of[group] = -2
        for group in range(groups):
            split += node_of[group] == -2
    return split
