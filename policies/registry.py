"""Kinds by name: those of this package, those registered at run time and those of installed plug-ins."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points

from ..sdk.errors import ConfigurationError
from ..sdk.kind import Kind

ENTRY_POINTS = "gnomon.kinds"
#: Names of modules, separated by commas, that make kinds and simulators known when they are imported.
MODULES = "GNOMON_MODULES"
_BUILT_IN = {
    "cache": ".cache",
    "expert_placement": ".expert_placement",
    "llm_router": ".llm_router",
    "llm_scheduler": ".llm_scheduler",
    "load_balancer": ".load_balancer",
    "scheduler": ".scheduler",
}  # name of the kind and of its attribute: module
_registered: dict[str, Kind] = {}


def register(kind: Kind) -> Kind:
    """Make a kind known under its name and return it.

    Raises:
        ConfigurationError: another kind has this name already.
    """
    known = _registered.get(kind.name) or _built_in(kind.name)
    if known is not None and known is not kind:
        raise ConfigurationError(f"kind {kind.name!r} exists already; give yours another name")
    _registered[kind.name] = kind
    return kind


def modules(environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the names that ``GNOMON_MODULES`` holds."""
    found = (os.environ if environment is None else environment).get(MODULES, "")
    return tuple(name.strip() for name in found.split(",") if name.strip())


def load_modules() -> None:
    """Import what ``GNOMON_MODULES`` names; the working directory is looked at too.

    Raises:
        ConfigurationError: a module cannot be imported; names it.
    """
    if modules() and "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a console script, unlike ``python -m``, does not look here
    for name in modules():
        try:
            import_module(name)
        except (Exception, SystemExit) as error:  # a module from outside may raise anything
            raise ConfigurationError(
                f"cannot import {name!r} of {MODULES} ({type(error).__name__}: {error}); "
                "correct the variable or PYTHONPATH"
            ) from error


def kind(name: str) -> Kind:
    """Return the kind of this name: registered, of this package, of a plug-in or ``GNOMON_MODULES``.

    Raises:
        ConfigurationError: there is none; the message lists those that are known.
    """
    found = _registered.get(name) or _built_in(name) or _plugged_in(name)
    if found is None:
        load_modules()
        found = _registered.get(name)
    if found is None:
        raise ConfigurationError(
            f"unknown kind {name!r}; known kinds: {', '.join(kinds())}; name the module that "
            f"registers it in {MODULES}"
        )
    return found


def kinds() -> tuple[str, ...]:
    """Return the names of all known kinds, sorted; those of ``GNOMON_MODULES`` included."""
    load_modules()
    plugged_in = {point.name for point in entry_points(group=ENTRY_POINTS)}
    return tuple(sorted(_BUILT_IN.keys() | _registered.keys() | plugged_in))


def _built_in(name: str) -> Kind | None:
    module = _BUILT_IN.get(name)
    return getattr(import_module(module, __package__), name) if module else None


def _plugged_in(name: str) -> Kind | None:
    for point in entry_points(group=ENTRY_POINTS, name=name):
        found = point.load()
        if not isinstance(found, Kind) or found.name != name:
            raise ConfigurationError(
                f"entry point {name!r} of {ENTRY_POINTS} gives {found!r}, not the kind of that name; "
                "correct or uninstall that package"
            )
        return register(found)
    return None
