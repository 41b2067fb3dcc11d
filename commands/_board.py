"""A rollout on a terminal's screen: what an operator keeps open while it runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..shadow.report.shown import printable

if TYPE_CHECKING:
    from gnomon.v1 import rollouts_pb2

    from ..shadow.report.rollouts import Guarded, Rollout, Transition

_BAR = 20
_STATES = {"STABLE": "green", "ABORTED": "red", "HOLD": "yellow"}
_ORDERS = {
    "HOLD": "an order: gnomon rollout resume, promote, abort or retry",
    "STABLE": "nothing: it is stable (gnomon rollout abort takes it back)",
    "ABORTED": "an order: gnomon rollout retry, or another policy shipped",
}

Line = tuple[str, str]  # text and its style


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a plan allows, as the ledger says; nothing of it is known where the ledger may not be read.

    Attributes:
        weights: shares of the candidate, ascending.
        min_pairs, max_pairs: of a step, and of the attempt.
        alpha_promote, alpha_abort: levels of the first attempt; 0 where they are not known.
        shadow_decisions: after which live shadow ends.
        soak_s: time under watch at full weight.
        anchor: newest entry of the ledger about the rollout, ``SEQ:HASH``, the hash cut to 12 digits.
    """

    weights: tuple[float, ...] = ()
    min_pairs: int = 0
    max_pairs: int = 0
    alpha_promote: float = 0.0
    alpha_abort: float = 0.0
    shadow_decisions: int = 0
    soak_s: float = 0.0
    anchor: str = ""

    @classmethod
    def of(cls, plan: Mapping[str, Any], anchor: str) -> Allowed:
        """Return what the body of an entry ``rollout.created`` says."""
        names = ("min_pairs", "max_pairs", "alpha_promote", "alpha_abort", "shadow_decisions")
        known = {name: plan[name] for name in names if name in plan}
        weights = tuple(plan.get("weights", ()))
        return cls(weights, soak_s=plan.get("soak_ns", 0) / 1e9, anchor=anchor, **known)


@dataclass(frozen=True, slots=True)
class View:
    """Everything that the screen shows.

    Attributes:
        rollout: as last told.
        now_ns: Unix time.
        allowed: by its plan.
        clients: processes that have its hook.
        lost: why the control plane is not heard; empty while it is.
    """

    rollout: Rollout
    now_ns: int
    allowed: Allowed = Allowed()
    clients: Sequence[rollouts_pb2.Client] = ()
    lost: str = ""


def lines(view: View, width: int, height: int) -> list[Line]:
    """Return the screen: at most ``height`` lines of at most ``width`` characters, the most important ones first."""
    head = [*_head(view), *_evidence(view)]
    room = max(0, height - len(head) - 1)
    share = min(len(view.clients) + 1, max(2, room // 2)) if view.clients else 0
    made = [*head, *_processes(view, share), *_history(view, room - share)]
    shown = made[: max(1, height - 1)] + ([_foot(view)] if height > 1 else [])
    return [(_cut(text, width), style) for text, style in shown]


def _head(view: View) -> list[Line]:
    found, clock = view.rollout, datetime.fromtimestamp(view.now_ns / 1e9, UTC)
    entered = found.transitions[-1].time_ns if found.transitions else view.now_ns
    age = _duration((view.now_ns - entered) / 1e9)
    state = f"{found.state}, {age} in it, weight {found.weight:g}{_step(view)}"
    numbers = f"attempt {found.attempt}, epoch {found.epoch}"
    against = f"candidate {found.candidate[:16]} against {found.stable[:16]}"
    lost = f"control plane lost, trying again: {view.lost}"
    return [
        (f"rollout {found.id} of {found.hook}   {clock:%H:%M:%S} UTC", "bold"),
        (lost, "red reverse") if view.lost else ("", ""),
        (state, f"bold {_STATES.get(found.state, 'cyan')}"),
        (f"{numbers}; {against}", ""),
        (f"waits for {_next(view, entered)}", ""),
        ("", ""),
    ]


def _step(view: View) -> str:
    weights = view.allowed.weights
    if view.rollout.weight not in weights:
        return ""
    return f" (step {weights.index(view.rollout.weight) + 1} of {len(weights)})"


def _next(view: View, entered_ns: int) -> str:
    """Return what ends the state that the rollout is in."""
    found, allowed = view.rollout, view.allowed
    if found.state in ("DRAFT", "SHADOW"):
        of = f" of {allowed.shadow_decisions}" if allowed.shadow_decisions else ""
        return f"live shadow: {found.evidence.shadow_decisions}{of} decisions"
    if found.state == "FULL":
        left = allowed.soak_s - (view.now_ns - entered_ns) / 1e9
        return (
            f"the end of the soak: {_duration(max(0.0, left))} to go" if allowed.soak_s else "soak"
        )
    if found.state in ("CANARY", "RAMP"):
        what = found.evidence.counted
        least = f"{allowed.min_pairs} {what} at this weight and " if allowed.min_pairs else ""
        most = f"; at most {allowed.max_pairs} {what}" if allowed.max_pairs else ""
        return f"{least}the evidence below{most}"
    if found.state == "STABLE" and found.upkeep is not None and found.upkeep.notice:
        return f"a fresh verdict (gnomon rollout reverified): {found.upkeep.notice}"
    return _ORDERS.get(found.state, "the control plane")


def _evidence(view: View) -> list[Line]:
    found, allowed = view.rollout.evidence, view.allowed
    left_out = found.incomplete + max(found.excluded_stable, found.excluded_candidate)
    effect = found.effect
    promote = _limit(allowed.alpha_promote * 0.5 ** (view.rollout.attempt - 1))
    steps = max(1, len(allowed.weights) - 1) if found.counted == "looks" else 1
    abort = _limit(allowed.alpha_abort / steps)  # of units, the steps share the level
    bad = found.shadow_faults + found.shadow_violations
    interval = f"{effect.estimate:+.1%}  [{_share(effect.low)}, {_share(effect.high)}]"
    means = f"means {found.candidate_mean:.4g}, stable {found.stable_mean:.4g}"
    made: list[Line] = [
        (
            f"{'live shadow':<13}{found.shadow_decisions} decisions, {found.shadow_diverged} diverged, {bad} bad",
            "",
        ),
        (f"{found.counted:<13}{found.pairs} count, {left_out} left out", ""),
        (_bar("better", found.log_e_better, promote), "green"),
        (_bar("worse", found.log_e_worse, abort), "red"),
        (f"{'effect':<13}{interval}; {means}", ""),
    ]
    for rail in found.guardrails:
        made += _rail(rail, promote, abort + math.log(len(found.guardrails)) if abort else 0.0)
    return made


def _rail(rail: Guarded, promote: float, abort: float) -> list[Line]:
    values = f"{rail.candidate:.4g}, stable {rail.stable:.4g}"
    return [
        (f"{_bar(rail.name, rail.log_e_fine, promote, 'fine')}; {values}", "green"),
        (_bar("", rail.log_e_worse, abort, "worse"), "red"),
    ]


def _bar(name: str, log_e: float, limit: float, what: str = "") -> str:
    """Return an e-value as a bar towards its limit, on a logarithmic scale; both as natural logarithms."""
    share = min(1.0, max(0.0, log_e / limit)) if limit else 0.0
    full = round(share * _BAR)
    of = f" of {_e_value(limit)}" if limit else ""
    label = f"{name[:12]:<13}"
    return f"{label}{'█' * full}{'░' * (_BAR - full)} {what and what + ' '}{_e_value(log_e)}{of}"


def _processes(view: View, room: int) -> list[Line]:
    found = view.rollout
    if not view.clients or room < 1:
        return []
    behind = [c for c in view.clients if c.last_error or c.epoch != found.epoch or not c.connected]
    ordered = [*behind, *(c for c in view.clients if c not in behind)]
    cells = len({(c.service, c.cell) for c in view.clients})
    head = f"processes    {found.acked} of {found.clients} run epoch {found.epoch}; {cells} cells"
    shown = [_process(client, found.epoch) for client in ordered[: room - 1]]
    more = len(ordered) - len(shown)
    return [(f"{head}; {more} more" if more and shown else head, "bold"), *shown]


def _process(client: rollouts_pb2.Client, epoch: int) -> Line:
    trouble = client.last_error or client.killed
    state = "" if client.connected else " gone"
    text = f"  {client.service} {client.instance[:8]} {client.cell} epoch {client.epoch}{state}"
    style = "red" if trouble else "yellow" if client.epoch != epoch or state else ""
    return f"{text} {trouble}".rstrip(), style


def _history(view: View, room: int) -> list[Line]:
    newest = list(reversed(view.rollout.transitions))[: max(0, room - 1)]
    return [("history", "bold"), *map(_transition, newest)] if newest else []


def _transition(made: Transition) -> Line:
    at = datetime.fromtimestamp(made.time_ns / 1e9, UTC)
    return f"  {at:%H:%M:%S} {made.before} -> {made.after}: {made.cause} ({made.by})", ""


def _foot(view: View) -> Line:
    anchor = f"ledger {view.allowed.anchor}" if view.allowed.anchor else "ledger not read"
    calibration = f"; {view.rollout.calibration}" if view.rollout.calibration else ""
    return f"{anchor}{calibration}; Ctrl-C stops watching, not the rollout", "dim"


def _limit(alpha: float) -> float:
    return -math.log(alpha) if alpha > 0.0 else 0.0


def _e_value(log: float) -> str:
    return f"{math.exp(log):.3g}" if log < 20.0 else f"e^{log:.0f}"


def _share(value: float) -> str:
    return f"{value:+.1%}" if math.isfinite(value) else "open"


def _duration(seconds: float) -> str:
    whole = max(0, int(seconds))
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def _cut(text: str, width: int) -> str:
    """Return a text of one line that fits; what others wrote into it steers no terminal."""
    plain = " ".join(printable(text).split("\n")).replace("\t", " ")
    return plain if len(plain) <= width else plain[: max(0, width - 1)] + "…"
