"""Simulators, one per kind."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from ...policies.registry import ENTRY_POINTS as KINDS
from ...policies.registry import MODULES, load_modules
from ...sdk.errors import ConfigurationError
from ...sdk.kind import Kind
from .base import (
    Calibration,
    Choose,
    Measure,
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
    "Measure",
    "Replay",
    "ReplaySummary",
    "Simulator",
    "Stream",
    "drive",
    "load_calibrations",
    "plugged_in",
    "register_simulator",
    "save_calibrations",
    "simulator_for",
]

ENTRY_POINTS = "gnomon.simulators"
_BUILT_IN = {
    "cache": (".cache.simulator", "CacheSimulator"),
    "expert_placement": (".expert_placement.simulator", "ExpertPlacementSimulator"),
    "llm_router": (".llm_router.simulator", "LlmRouterSimulator"),
    "llm_scheduler": (".llm_scheduler.simulator", "LlmSchedulerSimulator"),
    "load_balancer": (".load_balancer.simulator", "LoadBalancerSimulator"),
    "scheduler": (".scheduler.simulator", "SchedulerSimulator"),
}
_registered: dict[str, Simulator] = {}


def register_simulator(simulator: Simulator) -> None:
    """Make a simulator answer for its kind, in place of any earlier one."""
    _registered[simulator.kind.name] = simulator


def simulator_for(kind: Kind) -> Simulator:
    """Return the simulator of a kind: registered, of this package, of a plug-in or ``GNOMON_MODULES``.

    Raises:
        ConfigurationError: there is none.
    """
    found = _registered.get(kind.name) or _built_in(kind.name) or _plugged_in(kind.name)
    if found is None:
        load_modules()
        found = _registered.get(kind.name)
    if found is None:
        raise ConfigurationError(
            f"no simulator for kind {kind.name!r}; register one with register_simulator, in a module "
            f"that {MODULES} or the entry points {ENTRY_POINTS!r} name"
        )
    return found


def plugged_in(name: str) -> tuple[EntryPoint, ...]:
    """Return the entry points of installed packages that give the kind of this name and its simulator."""
    return tuple(p for group in (KINDS, ENTRY_POINTS) for p in entry_points(group=group, name=name))


def _built_in(name: str) -> Simulator | None:
    if name not in _BUILT_IN:
        return None
    module, attribute = _BUILT_IN[name]
    register_simulator(getattr(import_module(module, __name__), attribute)())
    return _registered[name]


def _plugged_in(name: str) -> Simulator | None:
    for point in entry_points(group=ENTRY_POINTS, name=name):
        found = point.load()
        simulator = found() if isinstance(found, type) else found
        if not isinstance(simulator, Simulator) or simulator.kind.name != name:
            raise ConfigurationError(
                f"entry point {name!r} of {ENTRY_POINTS} gives {found!r}, not a simulator of that kind; "
                "correct or uninstall that package"
            )
        register_simulator(simulator)
        return simulator
    return None
