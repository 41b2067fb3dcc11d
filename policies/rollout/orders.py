"""What people may order, in which states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ...sdk.errors import RolloutError
from . import moves
from .events import Act
from .states import MEASURING, RUNNING, Served, State, Status, alpha_of


def act(state: State, act: Act, now: int) -> State:
    """Carry out an order; raises RolloutError where the state does not allow it."""
    handler = _ACTS.get(act.action)
    if handler is None:
        raise RolloutError(f"unknown action {act.action!r}; use one of {', '.join(sorted(_ACTS))}")
    after = handler(state, act, now)
    if after.transitions == state.transitions:
        return after
    ordered = replace(after.transitions[-1], order=act.action)
    return replace(after, transitions=(*after.transitions[:-1], ordered))


def _refuse(state: State, act: Act, remedy: str) -> RolloutError:
    return RolloutError(f"cannot {act.action} {state.plan.id} in {state.status}; {remedy}")


def _require_plan(state: State, act: Act, now: int) -> None:
    """Refuse to begin what the publisher allows no more, if only until the next tick."""
    if now >= state.plan.not_after_ns:
        raise _refuse(state, act, "its plan has expired: ship again with a later one")


def _act_hold(state: State, act: Act, now: int) -> State:
    if state.status not in RUNNING:
        raise _refuse(state, act, "only a running rollout can be held")
    return moves.hold(state, act.reason or "held by hand", now, actor=act.actor)


def _act_resume(state: State, act: Act, now: int) -> State:
    if state.status is not Status.HOLD:
        raise _refuse(state, act, "only a held one can be resumed")
    if state.spent:
        raise _refuse(state, act, f"it ended there ({state.transitions[-1].cause}): retry or abort")
    _require_plan(state, act, now)
    resumed = moves.move(state, state.held_from, act.reason or "resumed by hand", now, act.actor)
    if state.held_from in MEASURING:
        return moves.opened(resumed, state.step, now)
    return replace(resumed, served=Served())


def _act_promote(state: State, act: Act, now: int) -> State:
    if state.status not in MEASURING | {Status.HOLD}:
        raise _refuse(state, act, "only a canary or a held rollout can be promoted by hand")
    if not act.reason.strip():
        raise _refuse(state, act, "going past the evidence needs a reason")
    _require_plan(state, act, now)
    promoted = replace(state, served=Served(), spent=False)
    return moves.move(promoted, Status.FULL, act.reason, now, act.actor, override=True)


def _act_abort(state: State, act: Act, now: int) -> State:
    if state.status is Status.ABORTED:
        raise _refuse(state, act, "nothing was changed: look with gnomon rollout status")
    return moves.abort(state, act.reason or "aborted by hand", now, actor=act.actor)


def _act_kill(state: State, act: Act, now: int) -> State:
    if not act.reason.strip():
        raise _refuse(state, act, "withdrawing every policy needs a reason")
    if state.killed:
        raise _refuse(state, act, "it was killed already, nothing was changed")
    if state.status is Status.ABORTED:  # what was measured stays as it was settled
        return replace(moves.move(state, Status.ABORTED, act.reason, now, act.actor), killed=True)
    return replace(moves.abort(state, act.reason, now, actor=act.actor), killed=True)


def _act_retry(state: State, act: Act, now: int) -> State:
    if state.status not in (Status.HOLD, Status.ABORTED):
        raise _refuse(state, act, "only a held or aborted rollout can be retried")
    if state.killed:
        raise _refuse(state, act, "it was killed: ship again")
    if state.withdrawn:
        raise _refuse(state, act, "its stable policy lapsed: ship again")
    if state.calibration == "recalibration required":
        raise _refuse(state, act, "recalibrate the simulator first and record it")
    _require_plan(state, act, now)
    moved = moves.move(state, Status.SHADOW, act.reason or "retried by hand", now, act.actor)
    attempt = state.attempt + 1
    evidence = state.plan.evidence(alpha_of(state.plan, attempt))
    fresh = State(state.plan, Status.SHADOW, act.salt, now, evidence)
    fresh = replace(fresh, attempt=attempt, watches=state.watches)
    return replace(fresh, transitions=moved.transitions)


def _act_recalibrated(state: State, act: Act, now: int) -> State:
    del now
    if state.calibration != "recalibration required":
        raise _refuse(state, act, "no recalibration is required")
    return replace(state, calibration="not measured")


_ACTS: dict[str, Callable[[State, Act, int], State]] = {
    "hold": _act_hold,
    "resume": _act_resume,
    "promote": _act_promote,
    "abort": _act_abort,
    "kill": _act_kill,
    "retry": _act_retry,
    "recalibrated": _act_recalibrated,
}
