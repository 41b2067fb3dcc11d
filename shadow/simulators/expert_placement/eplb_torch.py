"""Published expert placements and their judgement for many windows at once, in torch.

The maps and numbers are those of ``eplb_kernel`` and ``kernel``, bit for bit, on the CPU and on a
GPU: sums are folded from the left, the first of equals is taken, and all numbers are float64. One step of
a loop serves all layers of all windows, so a GPU is worth it where there are many. Needs torch alone.
"""

# torch is optional, and not there when types are checked.
# pyright: reportMissingImports=false

from __future__ import annotations

from typing import Any

import torch

#: How replicas are put onto ranks, as in ``eplb_kernel``.
PACKED, DEALT = 0, 1


def place(weight: Any, slots: int, groups: int, nodes: int, ranks: int, packing: int) -> Any:
    """Return the map of every layer, i8[..., slots], on the device of the load.

    Args:
        weight: f8[..., experts], finite, at least 0.
        slots: of a layer; divisible by ``ranks``.
        groups, nodes: both 1 for a global placement; else ``nodes`` divides ``groups`` and ``ranks``,
            and ``groups`` the experts.
        ranks: that share the slots.
        packing: PACKED, or DEALT for a zigzag.
    """
    experts = weight.shape[-1]
    rows = weight.reshape(-1, experts)
    size, here, held = experts // groups, experts // nodes, slots // nodes
    seat = _packed(_folded(rows.view(-1, groups, size)), nodes)
    expert = torch.arange(experts, device=rows.device)
    at = seat[:, expert // size] * size + expert % size
    names = torch.empty_like(at).scatter_(1, at, expert.expand_as(at))
    load = rows.gather(1, names).view(-1, here)
    local, count = _replicated(load, held)
    share = (load / count).gather(1, local)
    own = names.view(-1, here).gather(1, local)
    put = _packed if packing == PACKED else _dealt
    placed = torch.empty_like(own).scatter_(1, put(share, ranks // nodes), own)
    return placed.view(*weight.shape[:-1], slots)


def judge(load: Any, placement: Any, ranks: int) -> Any:
    """Return (load of the fullest ranks, load of the mean ranks, load unserved), over all layers.

    Args:
        load: f8[windows, layers, experts].
        placement: i8[windows, layers, slots].
        ranks: that share the slots evenly.

    Returns:
        f8[windows, 3].
    """
    windows, layers, _ = load.shape
    ones = torch.ones_like(placement, dtype=load.dtype)
    count = torch.zeros_like(load).scatter_add_(2, placement, ones)
    share = (load / count).gather(2, placement)
    fullest = _folded(share.view(windows, layers, ranks, -1)).amax(-1)
    mean = _folded(load) / ranks
    unserved = torch.where(count == 0.0, load, 0.0)
    return torch.stack([_folded(fullest), _folded(mean), _folded(_folded(unserved))], 1)


def _folded(rows: Any) -> Any:
    """Return sums over the last dimension, added from the left."""
    total = torch.zeros(rows.shape[:-1], dtype=rows.dtype, device=rows.device)
    for column in rows.unbind(-1):
        total = total + column
    return total


def _first(found: Any) -> Any:
    """Return the first index at which each row is true, [rows, 1]."""
    n = found.shape[1]
    index = torch.arange(n, device=found.device)
    return torch.where(found, index, n).amin(1, keepdim=True)


def _order(load: Any) -> Any:
    return torch.sort(load, dim=1, descending=True, stable=True).indices


def _packed(load: Any, packs: int) -> Any:
    """Return the place of each item: the heaviest first, each in the lightest pack that has room."""
    rows, n = load.shape
    room = n // packs
    if room == 1:
        return torch.arange(n, device=load.device).expand(rows, n)
    order = _order(load)
    falling = load.gather(1, order)
    total = torch.zeros(rows, packs, dtype=load.dtype, device=load.device)
    held = torch.zeros(rows, packs, dtype=torch.int64, device=load.device)
    seats = []
    for k in range(n):
        pack = _first(total == total.amin(1, keepdim=True))
        inside = held.gather(1, pack)
        seats.append(pack * room + inside)
        held.scatter_(1, pack, inside + 1)
        heavier = total.gather(1, pack) + falling[:, k : k + 1]
        total.scatter_(1, pack, torch.where(inside + 1 == room, torch.inf, heavier))
    return torch.empty_like(order).scatter_(1, order, torch.cat(seats, 1))


def _dealt(load: Any, packs: int) -> Any:
    """Return the place of each item: dealt out by falling load, there and back again."""
    n = load.shape[1]
    order = _order(load)
    k = torch.arange(n, device=load.device)
    turn, pack = k // packs, k % packs
    pack = torch.where(turn % 2 == 1, packs - 1 - pack, pack)
    seats = pack * (n // packs) + turn
    return torch.empty_like(order).scatter_(1, order, seats.expand_as(order))


def _replicated(load: Any, slots: int) -> Any:
    """Return the expert of each replica and the replicas of each expert: the hottest gets the next one."""
    rows, n = load.shape
    share, count = load.clone(), torch.ones_like(load)
    experts = [torch.arange(n, device=load.device).expand(rows, n)]
    for _ in range(n, slots):
        hottest = _first(share == share.amax(1, keepdim=True))
        more = count.gather(1, hottest) + 1.0
        count.scatter_(1, hottest, more)
        share.scatter_(1, hottest, load.gather(1, hottest) / more)
        experts.append(hottest)
    return torch.cat(experts, 1), count
