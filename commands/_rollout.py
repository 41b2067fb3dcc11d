"""What the commands about rollouts share: options, a rollout as JSON, as a table, and followed."""

from __future__ import annotations

import json
import math
import os
from typing import TYPE_CHECKING, Annotated

import typer

from ..api import CONTROL_PLANE
from ..sdk.errors import ConfigurationError
from ._common import Exit

if TYPE_CHECKING:
    from ..policies.rollout.client import RolloutClient
    from ..shadow.report.rollouts import Rollout

DEFAULT_ADDRESS = CONTROL_PLANE
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


def exit_code(found: Rollout) -> Exit:
    """Return how a command that waited for the end leaves; a promotion that must be verified again is open."""
    if found.state == "STABLE" and found.upkeep is not None and found.upkeep.notice:
        return Exit.INCONCLUSIVE
    return _EXITS.get(found.state, Exit.INCONCLUSIVE)


def follow_live(rollout: str, control_plane: str) -> Rollout:
    """Follow a rollout to its end, live on a terminal, else one line per transition; return it."""
    quiet()
    from ._watch import follow_live as follow

    return follow(rollout, control_plane)


def follow_lines(rollout: str, control_plane: str) -> Rollout:
    """Follow a rollout to its end, one line of JSON per change on standard output; return it."""
    from .. import api

    quiet()
    return api.follow(
        rollout,
        control_plane,
        lambda found: print(json.dumps(found.as_json(), sort_keys=True), flush=True),
    )


def read_weights(text: str) -> tuple[float, ...]:
    """Return the weights of ``0.1,0.5,1.0``; raises ConfigurationError where one is no number."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigurationError(f"weights {text!r} are no numbers; write 0.1,0.5,1.0") from error
