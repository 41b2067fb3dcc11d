"""What a hook adds to a call: CPU time of the calling thread, beside the bare function in the same run.

The incumbent returns its only item, so that what is left is the call. One item with three features
stands for "three scalar features"; eight items are a row of their own, per item.
"""

from __future__ import annotations

import gc
import statistics
import time
import timeit
from collections.abc import Callable
from typing import Any

from results import REFERENCE_CALL_NS, Row, bare_call_ns

import gnomon
from gnomon.sdk.assignment import Assignment, Switchback
from gnomon.sdk.hook import Hook
from gnomon.sdk.language import check
from gnomon.testing import recording

CALLS = 10_000
REPEATS = 15
#: A policy as short as any, so that the row is the cost of asking and not of the policy.
POLICY = "def score(inflight, ewma_ms):\n    return (inflight + 1) * ewma_ms\n"
ALWAYS = Switchback(b"bench", "bench", 10**9, 0, 0, 0.5)


class Item:
    """One thing to pick."""

    def __init__(self) -> None:
        self.name = "item"
        self.features = (1.0, 12.5, 1.0)


def bare(request: str, backends: list[Item], spare: None) -> Item:
    """Return the first item."""
    return backends[0]


def hooked() -> Any:
    """Return the function as a hook of its own."""
    return gnomon.hook(
        "bench",
        kind=gnomon.load_balancer,
        items="backends",
        item_features=lambda item: item.features,
    )(bare)


def measure(call: str, space: dict[str, Any], settle: Callable[[], object]) -> list[float]:
    """Return CPU ns per call of the calling thread, one figure per repeat."""
    timer = timeit.Timer(call, globals=space, timer=time.thread_time_ns)  # type: ignore[arg-type]
    timer.timeit(CALLS)
    found = []
    for _ in range(REPEATS):
        settle()
        gc.collect()
        found.append(timer.timeit(CALLS) / CALLS)
    return found


def start_canary(hook: Hook) -> None:
    """Let a policy decide in every call, as in a candidate's block, under one more invariant."""
    kind = hook.kind
    program = check(POLICY, kind.input_names)
    hook.install(
        Assignment(
            epoch=1, phase="full", candidate=program, candidate_digest="c", switchback=ALWAYS
        )
    )
    if not any(rule.name == "light" for rule in hook.invariants):
        gnomon.invariant(hook, name="light")(lambda items, picked: picked.inflight <= 10)


def added(name: str, calls: list[float], base: float, target: float | None, per: int = 1) -> Row:
    """Return the row of what a call costs beyond the bare one."""
    extra = [(call - base) / per for call in calls]
    return Row(
        name=name,
        value=round(statistics.median(extra), 1),
        unit="ns" if per == 1 else "ns/item",
        better="lower",
        target=target,
        spread=(round(min(extra), 1), round(max(extra), 1)),
        note=f"bare call {base:.0f} ns in this run",
        scale=bare_call_ns() / REFERENCE_CALL_NS,
    )


POSITIONAL = "pick(request, backends, None)"
KEYWORDS = "pick(request=request, backends=backends, spare=None)"
DECIDE = """
with pick.decide(request, backends, None) as decision:
    decision.outcome(latency_ms=1.0)
"""


def run() -> list[Row]:
    """Measure every row."""
    pick = hooked()
    space: dict[str, Any] = {"pick": bare, "request": "u", "backends": [Item()]}
    base = statistics.median(measure(POSITIONAL, space, lambda: None))
    base_keywords = statistics.median(measure(KEYWORDS, space, lambda: None))
    space["pick"] = pick
    drain = pick.hook.drain
    rows = [added("off", measure(POSITIONAL, space, drain), base, 60)]
    rows.append(added("off, keywords", measure(KEYWORDS, space, drain), base_keywords, None))
    with recording(sample=0.0):
        rows.append(added("sampled out", measure(POSITIONAL, space, drain), base, 100))
    with recording(ring_size=10 * CALLS):
        rows.append(added("recorded", measure(POSITIONAL, space, drain), base, 350))
        rows.append(added("decide and outcome", measure(DECIDE, space, drain), base, None))
        eight = {**space, "backends": [Item() for _ in range(8)]}
        rows.append(added("recorded, 8 items", measure(POSITIONAL, eight, drain), base, None, 8))
        start_canary(pick.hook)
        rows.append(added("canary and recorded", measure(POSITIONAL, space, drain), base, 450))
        rows.append(added("canary, 8 items", measure(POSITIONAL, eight, drain), base, None, 8))
        dropped = pick.hook.counters["dropped"]
    if dropped:
        raise RuntimeError(f"{dropped} records found no room; the figures mix two paths")
    return rows


if __name__ == "__main__":
    for row in run():
        print(
            f"{row.name:24s} {row.value:8.1f} {row.unit:8s} target {row.target} met {row.met} {row.spread}"
        )
