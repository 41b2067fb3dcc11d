"""Simulators, one per kind."""

from __future__ import annotations

from ...sdk.errors import ConfigurationError
from ...sdk.kind import Kind
from .base import (
    Calibration,
    Choose,
    Replay,
    ReplaySummary,
    Simulator,
    Stream,
    drive,
    load_calibrations,
    save_calibrations,
)

__all__ = [
    "Calibration",
    "Choose",
    "Replay",
    "ReplaySummary",
    "Simulator",
    "Stream",
    "drive",
    "load_calibrations",
    "register_simulator",
    "save_calibrations",
    "simulator_for",
]

_registered: dict[str, Simulator] = {}


def register_simulator(simulator: Simulator) -> None:
    """Make a simulator answer for its kind, in place of any earlier one."""
    _registered[simulator.kind.name] = simulator


def simulator_for(kind: Kind) -> Simulator:
    """Return the simulator of a kind; raises ConfigurationError when there is none."""
    if kind.name == "load_balancer" and kind.name not in _registered:
        from .load_balancer import LoadBalancerSimulator

        register_simulator(LoadBalancerSimulator())
    try:
        return _registered[kind.name]
    except KeyError:
        raise ConfigurationError(
            f"no simulator for kind {kind.name!r}; register one with register_simulator"
        ) from None
