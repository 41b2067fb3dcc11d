"""Every transition that the state machine can make, found by trying: whatever it is given, from wherever it is."""

from __future__ import annotations

from collections.abc import Iterator

from gnomon.policies.rollout.evidence import Arm, Point
from gnomon.policies.rollout.machine import (
    _ACTS,
    MEASURING,
    Act,
    Action,
    Broke,
    Event,
    Judged,
    Nacked,
    Served,
    Shadowed,
    State,
    Tick,
    draft,
    step,
)
from gnomon.policies.rollout.plan import Plan
from gnomon.sdk.errors import RolloutError

_BATCH = 12


def arrows(plan: Plan) -> set[str]:
    """Return ``BEFORE -> AFTER`` for every transition that can be reached under a plan.

    A draft is begun at once, as the control plane does: nobody ever sees one.
    """
    now = plan.not_after_ns - 3600 * 1_000_000_000
    begun = step(draft(plan, b"s" * 16, now), Tick(), now)
    waiting, known = [begun], {_key(begun)}
    found = {f"{one.before} -> {one.after}" for one in begun.transitions}
    while waiting:
        state = waiting.pop()
        for after in _next(state):
            made = after.transitions[len(state.transitions) :]
            found.update(f"{one.before} -> {one.after}" for one in made)
            if _key(after) not in known:
                known.add(_key(after))
                waiting.append(after)
    return found


def _key(state: State) -> tuple[object, ...]:
    """Return what decides where a state can go, as far as it matters for arrows."""
    where = (state.status, state.held_from, state.step, min(state.attempt, 2))
    return (*where, state.spent, state.killed, state.calibration, bool(state.points))


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
        for candidate in (5.0, 10.0, 20.0):
            points = _points(state, candidate)
            yield Judged(points), (2 * points[-1].pair + 4) * plan.block_ns


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
