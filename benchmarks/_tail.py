"""The slow calls: wall time of single calls, with the exporters at work in the background.

One round has three phases, each with only one exporter busy, so that none pays for another: bare and
hooked calls alternate; bare calls and OpenTelemetry's logger alternate; bare calls and idle ones, which
last as long as our median and do nothing, show what the machine does by itself: the longer a call, the
more often something else comes in between. Both exporters send to the same receiver in another process.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import _hooks as hooks
import _peers
from _receiver import receiver
from _timing import percentile

import gnomon
from gnomon.sdk.hook import Hook

GAP_NS = 100_000
#: Seconds of a phase, by the names of what alternates in it.
PHASES: Mapping[tuple[str, ...], float] = {
    ("bare beside ours", "ours"): 2.5,
    ("bare beside log", "log"): 2.5,
    ("bare", "idle"): 2.0,
}
SLOW_NS = 1_000_000
ITEMS = (hooks.Item(),)


def asleep(due: int) -> None:
    """Wait as a thread with nothing to do does; what it needs is out of the processor's caches then."""
    time.sleep(max(0, due - time.perf_counter_ns()) / 1e9)


def busy(due: int) -> None:
    """Wait as a thread with other work does: it gives the interpreter away only when it must."""
    while time.perf_counter_ns() < due:
        pass


#: How the thread spends the gaps between two calls.
WAITS: Mapping[str, Callable[[int], None]] = {"asleep": asleep, "busy": busy}


class Idle:
    """A function that only lets time pass.

    Attributes:
        ns: how long.
    """

    def __init__(self) -> None:
        self.ns = 0

    def __call__(self, request: str, items: Sequence[Any], spare: Any) -> Any:
        """Return the first item when the time is over."""
        end = time.perf_counter_ns() + self.ns
        while time.perf_counter_ns() < end:
            pass
        return items[0]


@dataclass(slots=True)
class Calls:
    """What single calls took.

    Attributes:
        spent: ns from before a call until after it.
        late: ns from when a call was due until after it: the wait for the interpreter is in it.
    """

    spent: list[int] = field(default_factory=list)
    late: list[int] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """Return percentiles in us, and the share over a millisecond in %."""
        slow = sum(spent > SLOW_NS for spent in self.spent)
        return {
            "p50": percentile(self.spent, 0.5) / 1e3,
            "p99": percentile(self.spent, 0.99) / 1e3,
            "p99.9": percentile(self.spent, 0.999) / 1e3,
            "over 1 ms": 100.0 * slow / len(self.spent),
            "late p99.9": percentile(self.late, 0.999) / 1e3,
        }


def waited_ns() -> int:
    """Return for how long this thread had to wait for a processor; 0 where the system does not say."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1])
    except OSError:
        return 0


def paced(
    functions: Sequence[Callable[..., Any]], items: Any, seconds: float, wait: Callable[[int], None]
) -> list[Calls]:
    """Call functions by turns, a gap before every call, for a time; return what each took."""
    now = time.perf_counter_ns
    turns = [(function, Calls()) for function in functions]
    end = now() + int(seconds * 1e9)
    while now() < end:
        for function, calls in turns:
            due = now() + GAP_NS
            wait(due)
            begin = now()
            function("u", items, None)
            done = now()
            calls.spent.append(done - begin)
            calls.late.append(done - due)
    return [calls for _, calls in turns]


@dataclass(frozen=True, slots=True)
class Tails:
    """Figures of all rounds.

    Attributes:
        rounds: by variant and figure, one mapping a round.
        decisions: that we made; all of them arrived.
        logs: of the peer's that arrived.
        waited: share of the time in which the calling thread could have run and had no processor.
    """

    rounds: list[dict[str, dict[str, float]]]
    decisions: int
    logs: int
    waited: float

    def each(self, variant: str, figure: str) -> list[float]:
        """Return one figure of a variant in every round."""
        return [round_[variant][figure] for round_ in self.rounds]

    def beyond(self, variant: str, base: str, figure: str = "p99.9") -> list[float]:
        """Return by how much a variant's figure lies above another's, in every round."""
        pairs = zip(self.each(variant, figure), self.each(base, figure), strict=True)
        return [a - b for a, b in pairs]


def measure(
    wait: Callable[[int], None],
    rounds: int = 7,
    phases: Mapping[tuple[str, ...], float] = PHASES,
) -> Tails:
    """Run all rounds; raises RuntimeError when a decision of ours did not arrive."""
    pick, found, idle = hooks.hooked(), [], Idle()
    with receiver() as other_side, _exporting(pick, other_side.endpoint) as (functions, settle):
        functions["idle"] = idle
        begin, waited = time.monotonic_ns(), waited_ns()
        for seconds in (dict.fromkeys(phases, 0.3), *[phases] * rounds):
            found.append(_one_round(functions, wait, seconds, settle))
            idle.ns = int(found[-1]["ours"]["p50"] * 1e3)
        share = (waited_ns() - waited) / (time.monotonic_ns() - begin)
    arrived = other_side.received
    made = Hook.of(pick).counters["decisions"]
    if arrived["gnomon.decision"] != made:
        raise RuntimeError(
            f"{arrived['gnomon.decision']} of {made} decisions arrived; run it again"
        )
    return Tails(found[1:], made, arrived["decision"], share)  # the first only warms up


def _one_round(
    functions: Mapping[str, Callable[..., Any]],
    wait: Callable[[int], None],
    phases: Mapping[tuple[str, ...], float],
    settle: Callable[[], object],
) -> dict[str, dict[str, float]]:
    figures: dict[str, dict[str, float]] = {}
    for names, seconds in phases.items():
        settle()
        gc.collect()
        timed = paced([functions[name] for name in names], ITEMS, seconds, wait)
        figures.update({name: each.figures() for name, each in zip(names, timed, strict=True)})
    return figures


@contextmanager
def _exporting(
    pick: Any, endpoint: str
) -> Iterator[tuple[dict[str, Callable[..., Any]], Callable[[], object]]]:
    """Yield what is called, by variant, and what empties both exporters."""
    gnomon.configure(otlp_endpoint=endpoint, service="bench")
    functions = dict.fromkeys(("bare", "bare beside ours", "bare beside log"), hooks.bare)
    with _peers.exported(endpoint) as peer:

        def settle() -> None:
            gnomon.flush()
            peer.settle()

        try:
            yield {**functions, "ours": pick, "log": peer.function}, settle
            settle()
        finally:
            gnomon.shutdown()
