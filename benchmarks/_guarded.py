"""What the guard adds to a program's answer on the request path, and what meeting a bundle costs a service.

CPU time of the calling thread, by turns. A call is among 8 items of 3 features that are read from the
service's objects. The bare program is the same formula as its author wrote it, called for every item by a
loop that keeps the lowest: no check of any input or result, no limit, no host feature, no invariant.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from itertools import count
from platform import python_version
from typing import Any

import _hooks as hooks
from results import Peer, Row

import gnomon
from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.assignment import Assignment
from gnomon.sdk.hook import Hook
from gnomon.sdk.language import check, golden_vectors, replay_vectors

ITEMS, BLOCKS, CALLS = 8, 25, 400
SOURCE = "def score(inflight, ewma_ms, weight):\n    return (inflight + 1.0) * ewma_ms / weight\n"
#: Its bound is beyond what a score may spend, so the fuel is counted; it spends a small part.
LOOPS = (
    "def score(inflight):\n    t = inflight\n    for i in range(100):\n        for j in range(100):\n"
    "            if j >= 2.0:\n                break\n            t = t * 0.5 + 1.0\n"
    "        if i >= 20.0:\n            break\n    return t\n"
)
VECTORS = 256
PEER = f"Python {python_version()}"


def rows() -> list[Row]:
    """Return the guard's rows, then those of fuel and of golden vectors."""
    return [*guard(), *fuel(), *golden()]


def cpu_by_turns(
    ways: dict[str, Callable[[], Any]], blocks: int, each: int
) -> dict[str, list[float]]:
    """Return ns of this thread's CPU time for one call of every way, one figure per block."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        for _ in range(each):
            way()
    for _ in range(blocks):
        for name, way in ways.items():
            begin = time.thread_time_ns()
            for _ in range(each):
                way()
            found[name].append((time.thread_time_ns() - begin) / each)
    return found


def guard() -> Iterator[Row]:
    """Yield what the guarded answer takes beyond the bare program, without and with an invariant."""
    items = [hooks.Item() for _ in range(ITEMS)]
    for index, item in enumerate(items):
        item.inflight = float(index)  # no ties, which are drawn for
    score = _plain(SOURCE)

    def bare() -> int:
        best, picked = float("inf"), -1
        for index, item in enumerate(items):
            value = score(item.inflight, item.ewma_ms, item.weight)
            if value < best:
                best, picked = value, index
        return picked

    with hooks.on():
        plain, checked = _answer(items, watched=False), _answer(items, watched=True)
        ways = {"bare": bare, "guarded": plain, "with an invariant": checked}
        if {way() for way in ways.values()} != {0}:
            raise RuntimeError("the ways pick differently; correct one of them")
        found = cpu_by_turns(ways, BLOCKS, CALLS)
    base = statistics.median(found["bare"])
    peer = Peer("the bare program, the whole call", PEER, base)
    for name in ("guarded", "with an invariant"):
        values = [a - b for a, b in zip(found[name], found["bare"], strict=True)]
        more = "" if name == "guarded" else f" {name}"
        spread = (min(values), max(values))
        label = f"guard{more}, added per call of {ITEMS} items x 3 features"
        yield Row(label, statistics.median(values), "ns", "lower", None, spread, peer)


def _answer(items: list[hooks.Item], *, watched: bool) -> Callable[[], int]:
    """Return what a hook's segment calls in a canary: the guarded program's answer to these items."""
    target = hooks.hooked()
    if watched:
        gnomon.invariant(target)(hooks.light)
    hook = Hook.of(target)
    policy = check(SOURCE, hook.kind.input_names)
    hook.install(Assignment(epoch=1, phase="stable", stable=policy, stable_digest=hooks.DIGEST))
    target("u", items, None)
    program = hook.live.advance().program
    if program is None or program.answers is None:
        raise RuntimeError("no program decides; the guard cannot be measured")
    # as the drainer has it made between two calls, once the number of items is known
    answer, members, numbers = program.answers.of(ITEMS), hook.live.members, count(100)

    def ask() -> int:
        return int(answer(items, members, next(numbers))[0])

    return ask


def fuel() -> Iterator[Row]:
    """Yield what counting fuel costs a score with loops; a score without needs no counter."""
    names = load_balancer.input_names
    counted, free = check(LOOPS, names), check(LOOPS, names, max_fuel=10**6)
    row = (3.0,) * len(names)
    score, other = counted.bind(), free.bind()
    if score(*row) != other(*row):
        raise RuntimeError("the two ways score differently; correct one of them")
    found = cpu_by_turns({"on": lambda: score(*row), "off": lambda: other(*row)}, BLOCKS, CALLS)
    spread = (min(found["on"]), max(found["on"]))
    peer = Peer("the same without a counter", PEER, statistics.median(found["off"]))
    name = "fuel counted, a score of 42 turns of a loop"
    yield Row(name, statistics.median(found["on"]), "ns", "lower", None, spread, peer)


def golden() -> Iterator[Row]:
    """Yield what a service does before it accepts a bundle: check the source, replay its vectors."""
    names = load_balancer.input_names
    vectors = golden_vectors(check(SOURCE, names), load_balancer.inputs, VECTORS)

    def accept() -> None:
        if replay_vectors(check(SOURCE, names), vectors.rows, vectors.outputs):
            raise RuntimeError("a vector differs on the machine that made it")

    values = [ns / 1e6 for ns in cpu_by_turns({"accept": accept}, BLOCKS, 4)["accept"]]
    spread = (min(values), max(values))
    name = f"golden replay: a source checked, {VECTORS} vectors replayed"
    yield Row(name, statistics.median(values), "ms", "lower", None, spread)


def _plain(source: str) -> Callable[..., float]:
    space: dict[str, Any] = {}
    exec(compile(source, "<bare>", "exec"), space)  # noqa: S102 - our own text
    score: Callable[..., float] = space["score"]
    return score
