"""The hooks that are measured, in every mode, and the proof that a mode was what it says.

The incumbent returns the first item, so that what is left is the call.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Any

import gnomon
from gnomon.sdk.assignment import Assignment, Sticky, Switchback
from gnomon.sdk.config import Settings
from gnomon.sdk.hook import Hook
from gnomon.sdk.language import check
from gnomon.sdk.records import Decision, Record
from gnomon.sdk.runtime import RUNTIME

#: A policy as short as any, so that the row is the cost of asking and not of the policy.
POLICY = "def score(inflight, ewma_ms):\n    return (inflight + 1) * ewma_ms\n"
DIGEST = "candidate"
#: A block outlasts every run; at this weight the candidate decides in a tenth of all blocks.
BLOCK_NS = 10**18
WEIGHT = 0.1
#: The request of every call, which is its unit.
UNIT = "u"
#: Records that may wait: more than a repeat makes, so that nothing is dropped.
ROOM = 2**16
#: The drainer's own rounds would fall into what is timed; the measurement drains between repeats.
SELDOM_S = 1e6

_numbers = count()


class Item:
    """One thing to pick, read by its attributes."""

    def __init__(self) -> None:
        self.inflight = 1.0
        self.ewma_ms = 12.5
        self.weight = 1.0


def bare(request: str, items: Sequence[Item], spare: Any) -> Item:
    """Return the first item."""
    return items[0]


async def bare_async(request: str, items: Sequence[Item], spare: Any) -> Item:
    """Return the first item."""
    return items[0]


class Router:
    """Has the function as a method."""

    def pick(self, request: str, items: Sequence[Item], spare: Any) -> Item:
        """Return the first item."""
        return items[0]


def light(items: Sequence[Any], picked: Any) -> bool:
    """Return whether the picked item is not loaded."""
    return bool(picked.inflight <= 10)


FEATURES: Any = lambda b: (b.inflight, b.ewma_ms, b.weight)


def hooked(function: Any = bare, **how: Any) -> Any:
    """Return the function as a new hook; ``how`` goes to ``gnomon.hook``."""
    if "item_features" not in how:
        how["item_features"] = FEATURES
    name = f"bench.{next(_numbers)}"
    kind = how.pop("kind", gnomon.load_balancer)
    return gnomon.hook(name, kind=kind, items="items", **how)(function)


def start_canary(target: Any, *, candidate: bool) -> None:
    """Begin a canary in a block of the candidate's, or of the stable arm's, under one more invariant.

    Where arms are sticky, the unit of every call is one of the candidate's, or of the stable arm's.
    """
    hook = Hook.of(target)
    gnomon.invariant(target)(light)
    sticky = hook.kind.arms == "sticky"
    hook.install(
        Assignment(
            epoch=1,
            phase="canary",
            candidate=check(POLICY, hook.kind.input_names),
            candidate_digest=DIGEST,
            switchback=None if sticky else _switchback(candidate),
            sticky=_sticky(candidate) if sticky else None,
        )
    )


def _sticky(candidate: bool) -> Sticky:
    """Return slices so salted that the unit of the calls belongs to the wanted arm."""
    designs = (Sticky(b"%016d" % salt, 1000, WEIGHT) for salt in count())
    return next(design for design in designs if design.candidate(UNIT) == candidate)


def _switchback(candidate: bool) -> Switchback:
    """Return blocks of a live pair, salted so that the present one belongs to the wanted arm."""
    for salt in count():
        blocks = Switchback(b"%d" % salt, "default", BLOCK_NS, 0, 0, WEIGHT)
        present = blocks.block(time.time_ns())
        if blocks.live(present // 2) and blocks.candidate(present) == candidate:
            return blocks
    raise AssertionError("unreachable")


class Kept:
    """A sink that forgets all but the last decision of every hook.

    Attributes:
        last: decision, by the hook's name.
    """

    def __init__(self) -> None:
        self.last: dict[str, Decision] = {}

    def write(self, hook: Hook, records: Sequence[Record]) -> None:
        """Keep the last decision."""
        for record in reversed(records):
            if isinstance(record, Decision):
                self.last[hook.name] = record
                return

    def flush(self, timeout_s: float) -> None:
        """Do nothing."""

    def close(self, timeout_s: float) -> None:
        """Do nothing."""


@contextmanager
def on(sample: float = 1.0, seldom: bool = True) -> Iterator[Kept]:
    """Have all hooks decide and record until the block ends.

    Args:
        sample: share of windows that is recorded.
        seldom: whether :func:`drain` alone drains; else the drainer comes as it does in a service.
    """
    kept = Kept()
    settings = Settings(sample=sample, ring_size=ROOM, seed=0)
    if seldom:
        settings = replace(settings, flush_interval_s=SELDOM_S)
    RUNTIME.configure(settings, [kept])
    try:
        yield kept
    finally:
        RUNTIME.shutdown()


def name_of(target: Any) -> str:
    """Return the name of a decorated function's hook."""
    return Hook.of(target).name


def drain() -> None:
    """Empty the rings of all hooks into the sink."""
    RUNTIME.round()


def prove(target: Any, mode: str, calls: int, last: Decision | None) -> None:
    """Raise RuntimeError when a hook did not do in every call what its row says.

    Args:
        target: the decorated function.
        mode: ``off``, ``sampled out``, the same near a window, ``recorded``, ``canary`` or ``canary, stable block``; of
            sticky arms ``canary, sticky`` or ``canary, sticky stable``.
        calls: that were made.
        last: decision that was recorded.
    """
    hook = Hook.of(target)
    counters, policy = hook.counters, last.policy if last else ""
    out = mode.startswith("sampled out")
    counted = "decisions" if mode == "off" else "skipped" if out else "recorded"
    wanted = 0 if mode == "off" else calls
    bad = ("dropped", "failed", "raised", "fallbacks", "reports_dropped", "breaker_trips")
    wrong: dict[str, int | str] = {name: counters[name] for name in bad if counters[name]}
    if counters[counted] != wanted:
        wrong[counted] = counters[counted]
    if (policy == DIGEST) != (mode in ("canary", "canary, sticky")):
        wrong["policy of the last decision"] = policy
    if wrong:
        raise RuntimeError(f"{mode}, {calls} calls: the figures mix paths: {wrong}; run it again")
