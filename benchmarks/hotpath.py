"""What a hook adds to a call: CPU time on average, and the slowest calls, beside its peers in one run.

Average: CPU time of the calling thread beyond the bare call, the two by turns (``_timing.py``). Three
scalar features: one item whose three attributes are read. What waits is drained between the repeats,
what is measured is proved to have happened (``_hooks.py``), and a dropped record fails the run. In the
canary's main rows the candidate decides every call of its block, which is the worst case. A reference
call of three constants runs by turns with the rest: targets, and peers beside a row of ours, are scaled
by it, repeat by repeat, because a shared machine changes its speed. The peers' own rows are unscaled.

The slowest: single calls in wall time while records go to another process (``_tail.py``).
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import _calls as calls
import _hooks as hooks
import _peers
import _tail
from _calls import MANY, MODES, NEAR, PLAIN, STABLE, Cost, Form
from _peers import Other
from _tail import Tails
from _timing import Plan, middle
from results import REFERENCE_CALL_NS, Peer, Row, number

TARGETS = {"off": 60.0, "sampled out": 100.0, "recorded": 350.0, "canary": 450.0}
PEERS = {
    "off": "wrapt",
    "sampled out": "unsampled",
    "recorded": "log",
    "canary": "flag and log",
    STABLE: "flag and log",
    NEAR: "unsampled",
}
#: A second peer, named in the note.
ALSO = {"off": "no-op log", "recorded": "span"}
LABELS = {"canary": "canary, recorded, one invariant", STABLE: "canary, recorded, stable block"}
TAIL_TARGET_US = 50.0


@dataclass(frozen=True, slots=True)
class Line:
    """A measurement that becomes a row once the peers are known.

    Attributes:
        mode: of the hook; gives the peer.
        cost: what was measured.
        more: added to the row's name.
        form: of the call.
        target: in ns, before scaling; None for none.
        note: added to the row's.
    """

    mode: str
    cost: Cost
    more: str = ""
    form: Form = PLAIN
    target: float | None = None
    note: str = ""


def run() -> list[Row]:
    """Measure every row, OpenTelemetry's own last: once loaded, its context is read in every call."""
    if "opentelemetry.context" in sys.modules:
        raise RuntimeError("OpenTelemetry is loaded already; run this benchmark in its own process")
    lines = [*matrix(), *variants()]
    others = _peers.peers(hooks.bare)
    lines += traced()
    costs = {name: calls.theirs(other, _form(name)) for name, other in others.items()}
    rows = [_row(line, others, costs) for line in lines]
    rows += [_peer_row(other, costs[name], _form(name)) for name, other in others.items()]
    for wait, how in _tail.WAITS.items():
        rows += tail_rows(wait, _tail.measure(how))
    return rows


# --- the average call -------------------------------------------------------------------------------


def matrix() -> Iterator[Line]:
    """Measure every mode in every form of call, and the canary's average beside its worst case."""
    for form in calls.FORMS:
        for mode in MODES[:-1]:
            yield Line(mode, calls.ours(mode, form), form.name, form, TARGETS[mode])
        found = calls.together(("canary", STABLE), form)
        yield Line("canary", found["canary"], form.name, form, TARGETS["canary"])
        if form is PLAIN:
            yield from _averages(found)


def _averages(found: Mapping[str, Cost]) -> Iterator[Line]:
    average = calls.share(found["canary"], found[STABLE], hooks.WEIGHT)
    note = "a tenth of the candidate's block, nine tenths of the stable one's"
    yield Line("canary", average, "10 % share", target=TARGETS["canary"], note=note)
    yield Line(STABLE, found[STABLE], note="best case")


def variants() -> Iterator[Line]:
    """Measure what further arguments cost, and the garbage collector's part."""
    target = TARGETS["recorded"]
    near = calls.ours(NEAR)
    yield Line(NEAR, near, target=TARGETS["sampled out"], note="at most 1.5 s before a window")
    unit = calls.ours("recorded", unit=lambda request: request)
    yield Line("recorded", unit, "with unit=", target=target)
    unasked = calls.ours("recorded", **calls.BY_UNIT)
    yield Line("recorded", unasked, "sticky kind, no canary", target=target, note="with unit=")
    found = calls.together(calls.STICKY, **calls.BY_UNIT)
    for mode, name in zip(calls.STICKY, ("a candidate's unit", "a stable unit"), strict=True):
        note = "with unit=, which is hashed"
        yield Line("canary", found[mode], f"sticky, {name}", target=TARGETS["canary"], note=note)
    two = Form("2 items", PLAIN.loop, items=[hooks.Item(), hooks.Item()])
    explored = calls.ours("recorded", two, explore=0.01)
    yield Line("recorded", explored, "with explore=0.01", note="2 items, for there to be a choice")
    collected = calls.ours("recorded", plan=Plan(collecting=True))
    note = "its turns fall to the calls that allocate"
    yield Line("recorded", collected, "garbage collector running", target=target, note=note)


def traced() -> Iterator[Line]:
    """Measure with OpenTelemetry loaded, outside of a span and in one."""
    from opentelemetry.sdk.trace import TracerProvider

    cost = calls.ours("recorded")
    yield Line("recorded", cost, "OpenTelemetry loaded", target=TARGETS["recorded"])
    with (
        TracerProvider(shutdown_on_exit=False).get_tracer("bench").start_as_current_span("request")
    ):
        for mode in ("recorded", "canary"):
            yield Line(mode, calls.ours(mode), "in a span", target=TARGETS[mode])


def _form(peer: str) -> Form:
    return MANY if peer.endswith("of many") else PLAIN


def _peer_of(line: Line, costs: Mapping[str, Cost]) -> str:
    name = PEERS[line.mode]
    return f"{name} of many" if line.form is MANY and f"{name} of many" in costs else name


def _row(line: Line, others: Mapping[str, Other], costs: Mapping[str, Cost]) -> Row:
    name, cost = _peer_of(line, costs), line.cost
    notes = [f"bare call {cost.bare:.0f} ns"]
    if line.target is not None:
        notes.append(
            f"{cost.standard:.0f} where the reference call takes {REFERENCE_CALL_NS:.0f} ns "
            f"(here {statistics.median(cost.reference):.0f})"
        )
    if (second := ALSO.get(line.mode)) and line.form is not MANY:
        notes.append(f"{others[second].name} {_beside(cost, costs[second]):.0f} ns")
    whole = 1 if _form(name) is line.form else line.form.per  # else one item's, shared by all
    beside = round(_beside(cost, costs[name]) / whole, 1)
    return _priced(
        ", ".join(filter(None, (LABELS.get(line.mode, line.mode), line.more))),
        cost,
        line.form,
        line.target,
        Peer(others[name].name, others[name].version, beside),
        "; ".join(filter(None, (*notes, line.note))),
    )


def _beside(own: Cost, other: Cost) -> float:
    """Return what a peer adds at the speed that the machine had while our own row was measured."""
    return other.standard * own.scale


def _peer_row(other: Other, cost: Cost, form: Form) -> Row:
    name = ", ".join(filter(None, (f"peer: {other.name} {other.version}", form.name)))
    return _priced(name, cost, form, None, None, f"bare call {cost.bare:.0f} ns")


def _priced(
    name: str, cost: Cost, form: Form, target: float | None, peer: Peer | None, note: str
) -> Row:
    value, (low, high) = middle(cost.added)
    return Row(
        name=name,
        value=round(value, 1),
        unit="ns" if form.per == 1 else "ns/item",
        better="lower",
        target=target,
        spread=(round(low, 1), round(high, 1)),
        peer=peer,
        note=note,
        scale=cost.scale,
    )


# --- the slowest calls ------------------------------------------------------------------------------


def tail_rows(wait: str, tails: Tails) -> list[Row]:
    """Return the rows of one way to spend the gaps between calls."""
    added = tails.beyond("ours", "bare beside ours")
    peer = tails.beyond("log", "bare beside log")
    bare = tails.each("bare", "p99.9")
    told = (
        f"p99.9 of bare calls with no exporter at work {_range(bare)} us",
        f"of calls that idle for as long as our median {_range(tails.each('idle', 'p99.9'))} us",
        f"the thread waited for a processor {tails.waited:.0%} of the time",
        f"{tails.decisions} decisions, all of which arrived ({tails.logs} of the peer's)",
    )
    rows = [_tail_row(f"{wait}: p99.9 added", added, peer, "; ".join(told), TAIL_TARGET_US)]
    for figure in ("p50", "p99", "p99.9", "over 1 ms", "late p99.9"):
        name = f"{wait}: " + figure.replace("late", "from when it was due,")
        notes = _bare_notes(tails, figure)
        unit = "% of calls" if figure == "over 1 ms" else "us"
        ours, theirs = tails.each("ours", figure), tails.each("log", figure)
        rows.append(_tail_row(name, ours, theirs, notes, unit=unit))
    return rows


def _bare_notes(tails: Tails, figure: str) -> str:
    beside = _range(tails.each("bare beside ours", figure))
    return f"bare calls in between {beside}, bare calls alone {_range(tails.each('bare', figure))}"


def _range(values: Iterable[float]) -> str:
    value, (low, high) = middle([*values])
    return f"{number(round(value, 2))} ({number(round(low, 2))} to {number(round(high, 2))})"


def _tail_row(
    name: str,
    values: list[float],
    peer: list[float],
    note: str,
    target: float | None = None,
    unit: str = "us",
) -> Row:
    value, (low, high) = middle(values)
    log = Peer("OpenTelemetry log", _peers.otel_version(), round(statistics.median(peer), 3))
    spread = (round(low, 3), round(high, 3))
    return Row(name, round(value, 3), unit, "lower", target, spread, log, note)


def _print(rows: Iterable[Any]) -> None:
    for row in rows:
        goal = "" if row.target is None else f"target {row.target * row.scale:.0f} met {row.met}"
        ratio = row.as_json()["ratio_to_peer"]
        print(f"{row.name:55s}{row.value:10.1f} {row.unit:8s} {goal:22s} {row.spread} {ratio}")


if __name__ == "__main__":
    _print(run())
