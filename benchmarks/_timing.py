"""CPU time per call of the calling thread, several functions by turns, so that a noisy minute hits all.

One repeat: everything waiting is drained and collected, the collector is stopped, then every loop runs
one short block after the other, again and again (A B C A B C …). A loop's figure for the repeat is its
whole time over all its calls; what one adds to another is the median of the differences within repeats.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from itertools import repeat
from types import FunctionType
from typing import Any, cast

#: ``loop(target, items, calls)`` calls the target so often and returns, or awaits, the CPU ns that took.
Loop = Callable[[Any, Any, int], int | Coroutine[Any, Any, int]]
Spread = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        repeats: figures per function.
        blocks: turns of every function in one repeat.
        calls: of a function in one block.
        collecting: whether the garbage collector runs meanwhile.
    """

    repeats: int = 15
    blocks: int = 5
    calls: int = 1000
    collecting: bool = False

    @property
    def each(self) -> int:
        """Calls of one function in one repeat."""
        return self.blocks * self.calls


@dataclass(frozen=True, slots=True)
class Timed:
    """One function in one form of call.

    Attributes:
        loop: the form of call; used through a copy, see :func:`own`.
        target: what is called, or the object whose method is.
        items: the items to pick from.
    """

    loop: Loop
    target: Any
    items: Any


def own(loop: Loop) -> Loop:
    """Return a loop whose call sites adapt to one target alone, as a service's own would.

    The interpreter specialises bytecode in place: a loop shared by two functions serves both badly.
    """
    function = cast("FunctionType", loop)
    return cast("Loop", FunctionType(function.__code__.replace(), function.__globals__))


def by_turns(
    timed: Mapping[str, Timed], plan: Plan, settle: Callable[[], object]
) -> dict[str, list[float]]:
    """Return ns per call by name, one figure per repeat.

    Args:
        timed: what is measured, in this order.
        plan: how much.
        settle: called before each repeat, outside of what is timed.
    """
    loops = {name: (own(each.loop), each.target, each.items) for name, each in timed.items()}
    for loop, target, items in loops.values():
        _spent(loop, target, items, plan.calls)
    found: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(plan.repeats):
        settle()
        for name, spent in _one_repeat(loops, plan).items():
            found[name].append(spent / plan.each)
    settle()
    return found


def _one_repeat(loops: Mapping[str, tuple[Loop, Any, Any]], plan: Plan) -> dict[str, int]:
    spent = dict.fromkeys(loops, 0)
    gc.collect()
    if not plan.collecting:
        gc.disable()
    try:
        for _ in range(plan.blocks):
            for name, (loop, target, items) in loops.items():
                spent[name] += _spent(loop, target, items, plan.calls)
    finally:
        gc.enable()
    return spent


def _spent(loop: Loop, target: Any, items: Any, calls: int) -> int:
    """Run a loop, a coroutine function or not, to its end."""
    found = loop(target, items, calls)
    if isinstance(found, int):
        return found
    try:
        found.send(None)
    except StopIteration as end:
        return cast("int", end.value)
    raise RuntimeError(f"{target!r} suspended; only what runs through can be timed")


def differences(found: Mapping[str, list[float]], more: str, less: str) -> list[float]:
    """Return what one function took beyond another, one figure per repeat."""
    return [a - b for a, b in zip(found[more], found[less], strict=True)]


def middle(values: list[float]) -> tuple[float, Spread]:
    """Return the median with the smallest and the largest value."""
    return statistics.median(values), (min(values), max(values))


def percentile(values: list[int], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed."""
    if not values:
        raise ValueError("no values, so no percentile; measure for longer")
    rank = -int(-share * len(values) // 1)
    return float(sorted(values)[max(rank, 1) - 1])


# --- the forms of call ------------------------------------------------------------------------------


def reference(target: Any, items: Any, calls: int) -> int:
    """Time the call that absolute targets are scaled by: three constants to a Python function."""
    begin = time.thread_time_ns()
    for _ in repeat(None, calls):
        target(1, 2, 3)
    return time.thread_time_ns() - begin


def positional(target: Any, items: Any, calls: int) -> int:
    """Time calls with positional arguments."""
    begin = time.thread_time_ns()
    for _ in repeat(None, calls):
        target("u", items, None)
    return time.thread_time_ns() - begin


def keywords(target: Any, items: Any, calls: int) -> int:
    """Time calls with keyword arguments."""
    begin = time.thread_time_ns()
    for _ in repeat(None, calls):
        target(request="u", items=items, spare=None)
    return time.thread_time_ns() - begin


def method(target: Any, items: Any, calls: int) -> int:
    """Time calls of the method ``pick`` of an object."""
    begin = time.thread_time_ns()
    for _ in repeat(None, calls):
        target.pick("u", items, None)
    return time.thread_time_ns() - begin


async def awaited(target: Any, items: Any, calls: int) -> int:
    """Time awaits of a coroutine function; no event loop is in between."""
    begin = time.thread_time_ns()
    for _ in repeat(None, calls):
        await target("u", items, None)
    return time.thread_time_ns() - begin


def decided(target: Any, items: Any, calls: int) -> int:
    """Time decisions held open, each with an outcome."""
    begin = time.thread_time_ns()
    for _ in repeat(None, calls):
        with target.decide("u", items, None) as decision:
            decision.outcome(latency_ms=1.0)
    return time.thread_time_ns() - begin
