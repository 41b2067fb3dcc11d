"""Single steps between two states, whoever caused them."""

from __future__ import annotations

from dataclasses import replace

from .blocks import SETTLE_NS, Window
from .calibration import calibrated
from .states import MACHINE, State, Status, Transition
from .upkeep import Watch


def opened(state: State, index: int, now: int) -> State:
    """Begin a stretch of time at the weight of an index; what was decided before it does not count."""
    window = Window(state.plan.weights[index], now + SETTLE_NS)
    return replace(state, step=index, windows=(*state.windows, window))


def _close(windows: tuple[Window, ...], now: int) -> tuple[Window, ...]:
    if windows and not windows[-1].until_ns:
        return (*windows[:-1], replace(windows[-1], until_ns=now))
    return windows


def move(
    state: State,
    after: Status,
    cause: str,
    now: int,
    actor: str = MACHINE,
    *,
    override: bool = False,
) -> State:
    """Go to another status, which ends the stretch of time in force."""
    made = Transition(state.status, after, cause, actor, now, state.attempt, override)
    return replace(
        state,
        status=after,
        entered_ns=now,
        windows=_close(state.windows, now),
        transitions=(*state.transitions, made),
    )


def hold(state: State, cause: str, now: int, *, actor: str = MACHINE, spent: bool = False) -> State:
    """Take the candidate off; ``spent`` says that going on cannot cure it."""
    held = replace(state, held_from=state.status, spent=spent)
    return move(held, Status.HOLD, cause, now, actor)


def abort(state: State, cause: str, now: int, *, actor: str = MACHINE, measured: str = "") -> State:
    """End the attempt; ``measured`` is ``worse`` where the evidence says so."""
    return settle(move(state, Status.ABORTED, cause, now, actor), worse=measured == "worse")


def settle(state: State, *, worse: bool = False) -> State:
    """Compare the measured with the predicted effect, at the end of an attempt."""
    predicted = state.plan.predicted.get(state.plan.stable)
    return replace(state, calibration=calibrated(predicted, state.evidence, worse))


def watched(state: State, watch: Watch) -> State:
    """Put a watch in the place of the one over the same policy."""
    watches = tuple(watch if each.digest == watch.digest else each for each in state.watches)
    return replace(state, watches=watches)
