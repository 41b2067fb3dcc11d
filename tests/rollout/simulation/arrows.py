"""Every transition that the state machine can make, found by trying: whatever it is given, from wherever it is."""

from __future__ import annotations

from collections.abc import Iterator

from gnomon.policies.rollout.events import (
    Act,
    Action,
    Broke,
    Event,
    Judged,
    Looked,
    Nacked,
    Seen,
    Tick,
)
from gnomon.policies.rollout.machine import step
from gnomon.policies.rollout.orders import _ACTS
from gnomon.policies.rollout.outcomes import Arm, Point
from gnomon.policies.rollout.plan import Plan
from gnomon.policies.rollout.slices import Slices
from gnomon.policies.rollout.states import MEASURING, Served, Shadowed, State, Transition, draft
from gnomon.policies.rollout.upkeep import Reference, Watch, begun
from gnomon.sdk.errors import RolloutError

_BATCH = 12
#: Causes that make another arrow of the same two states.
_CAUSES = ("by order", "expired", "drifted")


def arrows(plan: Plan) -> set[str]:
    """Return the :func:`arrow` of every transition that can be reached under a plan.

    A draft is begun at once, as the control plane does: nobody ever sees one. What it goes against was
    promoted before, and is watched as its candidate will be.
    """
    now = plan.not_after_ns - 500 * 1_000_000_000
    profile = (Reference("load", (0.9, 0.1), 1000),)
    own, before = (Watch(digest, plan.upkeep, profile) for digest in (plan.candidate, plan.stable))
    watches = (own, begun(before, now))
    first = step(draft(plan, b"s" * 16, now, watches), Tick(), now)
    waiting, known = [first], {_key(first)}
    found = {arrow(one) for one in first.transitions}
    while waiting:
        state = waiting.pop()
        for after in _next(state):
            made = after.transitions[len(state.transitions) :]
            found.update(map(arrow, made))
            if _key(after) not in known:
                known.add(_key(after))
                waiting.append(after)
    return found


def arrow(one: Transition) -> str:
    """Return a transition's name: from where to where, and what kind of cause it had."""
    why = "by order" if one.order else one.cause.partition(":")[0]
    return f"{one.before} -> {one.after}" + (f", {why}" if why in _CAUSES else "")


def _key(state: State) -> tuple[object, ...]:
    """Return what decides where a state can go, as far as it matters for arrows."""
    where = (state.status, state.held_from, state.step, min(state.attempt, 2))
    watch = state.watch
    kept = (
        (min(watch.over, 2), bool(watch.first), watch.notice and watch.notice.cause)
        if watch
        else ()
    )
    judged = bool(state.points), min(len(state.looks), 2)
    return (*where, state.spent, state.killed, state.withdrawn, state.calibration, judged, kept)


def _next(state: State) -> Iterator[State]:
    for event, now in _events(state):
        try:
            yield step(state, event, now)
        except RolloutError:
            continue


def _events(state: State) -> Iterator[tuple[Event, int]]:
    """Yield a sample of all that can happen to a state, each with its time."""
    plan = state.plan
    now = state.entered_ns + plan.block_ns
    yield Tick(), now
    yield Tick(), plan.not_after_ns
    if state.watch is not None and state.watch.since_ns:
        notice = state.watch.notice
        yield Tick(), notice.due_ns if notice else state.watch.expires_ns
        for counts in ((180, 20), (20, 180)):
            yield Seen((counts,)), state.watch.opened_ns + plan.upkeep.window_ns
    yield Nacked("p", "manifest", "no"), now
    yield Broke("p", "fault"), now
    yield Shadowed(plan.shadow_decisions + 1, 0, 0, 0), now
    yield Shadowed(9, 0, 9, 0), now
    soaked = state.entered_ns + 10 * plan.soak_ns + 100 * plan.block_ns
    yield Served(100, 0, 100, 0), soaked
    yield Served(100, 0, 100, 100), soaked
    yield Served(), soaked
    for action in _ACTS:
        order: Action = action  # type: ignore[assignment]  # the machine's own words
        yield Act(order, "op", "because", b"t" * 16), now
    if state.status in MEASURING:
        if state.plan.slices:
            for candidate in (5.0, 10.0, 20.0):
                yield Looked(_slices(state, candidate)), now + 4 * state.plan.deadline_ns
            return
        for candidate in (5.0, 10.0, 20.0):
            points = _points(state, candidate)
            yield Judged(points), (2 * points[-1].pair + 4) * plan.block_ns


def _slices(state: State, candidate: float) -> Slices:
    """Return a look at plenty of outcomes."""
    own, all_of_them = state.plan.candidates(state.weight), state.plan.slices
    count = tuple((100 + i % 7) * (1 + len(state.looks)) for i in range(all_of_them))
    means = [candidate if i < own else 10.0 + i % 3 / 10.0 for i in range(all_of_them)]
    sums = tuple(n * mean for n, mean in zip(count, means, strict=True))
    nothing = (0,) * all_of_them
    return Slices(count, sums, nothing, nothing)


def _points(state: State, candidate: float) -> tuple[Point, ...]:
    block_ns = state.plan.block_ns
    first = state.windows[-1].from_ns // (2 * block_ns) + 1 + len(state.points)
    stable = Arm(100, 1000.0, 0)
    better = Arm(100, 100.0 * candidate, 0)
    flipped = (better, stable)
    return tuple(
        Point(first + i, "a", *(flipped if candidate == 10.0 and i % 2 else (stable, better)))
        for i in range(_BATCH)
    )
