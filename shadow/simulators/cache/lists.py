"""What replays of published cache policies share: accesses, lists of keys, and what an access comes to."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...traces.access_trace import DELETE, LOOKUP, SET
from ..native import inlined, lean

FloatArray = npt.NDArray[np.float64]

NONE = -1
#: What an access comes to: see :func:`asked`.
TOUCH, LEAVE, ENTER = range(3)


class Accesses(NamedTuple):
    """Accesses of one cache, and what came of them; n accesses over k keys.

    Attributes:
        op: LOOKUP, SET or DELETE, i1[n].
        key: below k, i4[n].
        size: of the object that a miss brings, or that is set; NaN: a miss brings nothing; f8[n].
        miss: 1 where a lookup found nothing; filled by the replay, u1[n].
    """

    op: npt.NDArray[np.int8]
    key: npt.NDArray[np.int32]
    size: FloatArray
    miss: npt.NDArray[np.uint8]


class Lists(NamedTuple):
    """Doubly linked lists of keys; a key is in one at most.

    Attributes:
        link: the key before and the key after, towards head and tail, i4[k, 2].
        ends: head and tail of each list, i4[l, 2].
        at: list that a key is in, or -1, i4[k].
        mark: what else a policy knows of a key (visited, uses), i4[k].
        size: of every key that is in a list, f8[k].
        held: sum of the sizes in each list, f8[l].
    """

    link: npt.NDArray[np.int32]
    ends: npt.NDArray[np.int32]
    at: npt.NDArray[np.int32]
    mark: npt.NDArray[np.int32]
    size: FloatArray
    held: FloatArray


def lists(keys: int, n: int) -> Lists:
    """Return n empty lists for keys below ``keys``."""
    return Lists(
        link=np.empty((keys, 2), np.int32),
        ends=np.full((n, 2), NONE, np.int32),
        at=np.full(keys, NONE, np.int32),
        mark=np.zeros(keys, np.int32),
        size=np.zeros(keys),
        held=np.zeros(n),
    )


@lean
def push(of: Any, which: Any, key: Any) -> None:
    """Put a key at the head of a list."""
    head = of.ends[which, 0]
    of.link[key, 0], of.link[key, 1] = NONE, head
    if head == NONE:
        of.ends[which, 1] = key
    else:
        of.link[head, 0] = key
    of.ends[which, 0] = key
    of.at[key] = which
    of.held[which] += of.size[key]


@lean
def take(of: Any, key: Any) -> None:
    """Take a key out of its list."""
    which = of.at[key]
    before, after = of.link[key, 0], of.link[key, 1]
    if before == NONE:
        of.ends[which, 0] = after
    else:
        of.link[before, 1] = after
    if after == NONE:
        of.ends[which, 1] = before
    else:
        of.link[after, 0] = before
    of.at[key] = NONE
    of.held[which] = of.held[which] - of.size[key] if of.ends[which, 0] != NONE else 0.0


@lean
def move(of: Any, which: Any, key: Any) -> None:
    """Put a key that is in a list at the head of a list."""
    take(of, key)
    push(of, which, key)


@lean
def resize(of: Any, key: Any, size: Any) -> None:
    """Note the new size of a key that is in a list."""
    of.held[of.at[key]] += size - of.size[key]
    of.size[key] = size


@inlined
def asked(accesses: Any, t: Any, here: Any, others: Any, capacity: Any) -> Any:
    """Note whether a lookup missed, and return what an access comes to.

    TOUCH: of what is held and stays, a new value that fits included. LEAVE: nothing is held of the key
    from now on. ENTER: the object is to come in, after what is held of it has left.

    Args:
        accesses, t: the access.
        here: whether its object is held.
        others: sum of the sizes of all other objects that are held.
        capacity: of the cache.
    """
    op, size = accesses.op[t], accesses.size[t]
    if op == LOOKUP:
        accesses.miss[t] = not here
    if here and (op == LOOKUP or (op == SET and others + size <= capacity)):
        return TOUCH
    if op == DELETE or not size <= capacity:
        return LEAVE
    return ENTER
