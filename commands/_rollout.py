"""What the commands about rollouts share: options, a rollout as JSON, as a table, and followed."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..sdk.errors import ConfigurationError
from ._common import Exit, console, folded

if TYPE_CHECKING:
    from rich.console import RenderableType

    from gnomon.v1 import policy_pb2, rollouts_pb2

    from ..policies.rollout.client import RolloutClient

DEFAULT_ADDRESS = "127.0.0.1:7400"
_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_EXITS = {"STABLE": Exit.OK, "ABORTED": Exit.NEGATIVE, "HOLD": Exit.INCONCLUSIVE}

Address = Annotated[
    str, typer.Option("--control-plane", envvar="GNOMON_CONTROL_PLANE", help="HOST:PORT of it.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def seconds(text: str) -> float:
    """Return the seconds of a duration such as ``2s``, ``250ms`` or ``1.5h``.

    Raises:
        ConfigurationError: it is not a number with one of the units.
    """
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = text[len(number) :]
    if number and not unit:
        raise ConfigurationError(f"{text!r} is no duration without a unit; write 2s, 250ms or 1.5h")
    try:
        value = float(number) * _UNITS[unit]
    except (ValueError, KeyError) as error:
        raise ConfigurationError(f"{text!r} is no duration; write 2s, 250ms or 1.5h") from error
    if not 0.0 <= value < math.inf:
        raise ConfigurationError(f"{text!r} is no duration; it must be finite and not negative")
    return value


def quiet() -> None:
    """Keep gRPC's core from writing log lines of its own for what ends in one of our errors."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def connect(address: str) -> RolloutClient:
    """Return a client of a control plane; TLS as in ``GNOMON_TLS_*``."""
    quiet()
    from ..policies.rollout.client import RolloutClient

    return RolloutClient(address)


def state_name(found: rollouts_pb2.Rollout) -> str:
    """Return the name of a rollout's state."""
    from gnomon.v1 import rollouts_pb2

    return rollouts_pb2.State.Name(found.state)


def exit_code(found: rollouts_pb2.Rollout) -> Exit:
    """Return how a command that waited for the end leaves."""
    return _EXITS.get(state_name(found), Exit.INCONCLUSIVE)


def as_data(found: rollouts_pb2.Rollout) -> dict[str, Any]:
    """Return a rollout as JSON values; what is not known is null."""
    evidence = found.evidence
    return {
        "id": found.id,
        "hook": found.hook,
        "state": state_name(found),
        "candidate": found.candidate,
        "stable": found.stable,
        "serving": found.serving,
        "weight": found.weight,
        "epoch": found.epoch,
        "attempt": found.attempt,
        "clients": found.clients,
        "acked": found.acked,
        "calibration": found.calibration,
        "evidence": {
            "pairs": evidence.pairs,
            "excluded_stable": evidence.excluded_stable,
            "excluded_candidate": evidence.excluded_candidate,
            "incomplete": evidence.incomplete,
            "log_e_better": finite(evidence.log_e_better),
            "log_e_worse": finite(evidence.log_e_worse),
            "effect": _interval(evidence.effect),
            "stable_mean": evidence.stable_mean,
            "candidate_mean": evidence.candidate_mean,
            "stable_decisions": evidence.stable_decisions,
            "candidate_decisions": evidence.candidate_decisions,
            "guardrails": [_rail(rail) for rail in evidence.guardrails],
            "shadow_decisions": evidence.shadow_decisions,
            "shadow_diverged": evidence.shadow_diverged,
            "shadow_faults": evidence.shadow_faults,
            "shadow_violations": evidence.shadow_violations,
            "points": [
                {
                    "pair": point.pair,
                    "stable": point.stable,
                    "candidate": point.candidate,
                    "left_out": point.used,
                }
                for point in evidence.points
            ],
        },
        "transitions": [_transition(made) for made in found.transitions],
    }


def table(found: rollouts_pb2.Rollout) -> RenderableType:
    """Return a rollout for people."""
    from rich.table import Table

    evidence, effect = found.evidence, found.evidence.effect
    left_out = evidence.incomplete + max(evidence.excluded_stable, evidence.excluded_candidate)
    view = Table(title=f"rollout {found.id}", show_header=False)
    view.add_row("state", f"{state_name(found)} (attempt {found.attempt}, epoch {found.epoch})")
    view.add_row("hook", found.hook)
    view.add_row("candidate", f"{found.candidate[:16]} against {found.stable[:16]}")
    view.add_row("weight", f"{found.weight:g}")
    view.add_row("processes", f"{found.acked} of {found.clients} have acknowledged")
    view.add_row("live shadow", _shadow(evidence))
    view.add_row("pairs", f"{evidence.pairs} count, {left_out} blocks or pairs left out")
    view.add_row("e-value better", _e_value(evidence.log_e_better))
    view.add_row("e-value worse", _e_value(evidence.log_e_worse))
    view.add_row("effect", f"{effect.estimate:+.1%}  [{_share(effect.low)}, {_share(effect.high)}]")
    view.add_row(
        "means", f"candidate {evidence.candidate_mean:.4g}, stable {evidence.stable_mean:.4g}"
    )
    for rail in evidence.guardrails:
        fine, worse = _e_value(rail.log_e_fine), _e_value(rail.log_e_worse)
        values = f"candidate {rail.candidate:.4g}, stable {rail.stable:.4g}"
        view.add_row(f"guardrail {rail.name}", f"fine {fine}, worse {worse}; {values}")
    if found.calibration:
        view.add_row("calibration", found.calibration)
    if found.transitions:
        view.add_row("last", f"{found.transitions[-1].cause} ({found.transitions[-1].actor})")
    return folded(view)


def show(found: rollouts_pb2.Rollout) -> None:
    """Print a rollout for people."""
    console().print(table(found))


def follow_live(client: RolloutClient, rollout: str) -> rollouts_pb2.Rollout:
    """Follow a rollout to its end, live on a terminal, else one line per transition; return it."""
    from rich.live import Live

    from ..policies.rollout.client import follow

    screen = console(stderr=True)
    if not screen.is_terminal:
        return follow(client, rollout, _Lines())
    with Live(console=screen, refresh_per_second=8) as live:
        return follow(client, rollout, lambda found: live.update(table(found)))


def follow_lines(client: RolloutClient, rollout: str) -> rollouts_pb2.Rollout:
    """Follow a rollout to its end, one line of JSON per change on standard output; return it."""
    from ..policies.rollout.client import follow

    return follow(
        client,
        rollout,
        lambda found: print(json.dumps(as_data(found), sort_keys=True), flush=True),
    )


class _Lines:
    """Prints every transition once, on standard error."""

    def __init__(self) -> None:
        self._printed = 0

    def __call__(self, found: rollouts_pb2.Rollout) -> None:
        for made in found.transitions[self._printed :]:
            data = _transition(made)
            print(f"{data['from']} -> {data['to']}: {made.cause}", file=sys.stderr, flush=True)
        self._printed = len(found.transitions)


def finite(value: float) -> float | None:
    """Return a number that JSON can say, or None."""
    return value if math.isfinite(value) else None


def read_weights(text: str) -> tuple[float, ...]:
    """Return the weights of ``0.1,0.5,1.0``; raises ConfigurationError where one is no number."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigurationError(f"weights {text!r} are no numbers; write 0.1,0.5,1.0") from error


def _interval(found: policy_pb2.Interval) -> dict[str, float | None]:
    return {
        "estimate": finite(found.estimate),
        "low": finite(found.low),
        "high": finite(found.high),
    }


def _rail(rail: rollouts_pb2.GuardrailStatus) -> Mapping[str, Any]:
    return {
        "name": rail.name,
        "log_e_worse": finite(rail.log_e_worse),
        "log_e_fine": finite(rail.log_e_fine),
        "stable": rail.stable,
        "candidate": rail.candidate,
    }


def _transition(made: rollouts_pb2.Transition) -> dict[str, Any]:
    from gnomon.v1 import rollouts_pb2

    return {
        "from": rollouts_pb2.State.Name(getattr(made, "from")),
        "to": rollouts_pb2.State.Name(made.to),
        "cause": made.cause,
        "actor": made.actor,
        "time_ns": made.time_unix_ns,
    }


def _shadow(evidence: rollouts_pb2.Evidence) -> str:
    bad = evidence.shadow_faults + evidence.shadow_violations
    return f"{evidence.shadow_decisions} decisions, {evidence.shadow_diverged} diverged, {bad} bad"


def _e_value(log: float) -> str:
    return f"{math.exp(log):.3g}" if log < 20.0 else f"e^{log:.0f}"


def _share(value: float) -> str:
    return f"{value:+.1%}" if math.isfinite(value) else "open"
