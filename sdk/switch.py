"""``gnomon.kill``, ``gnomon.unkill`` and ``gnomon.kills``: stopping policies without a control plane."""

from __future__ import annotations

import os
from typing import Any

from .errors import ConfigurationError
from .kill import Kill, KillFile, ordered
from .runtime import RUNTIME


def kill(
    hook: object = None,
    *,
    reason: str,
    by: str = "",
    state_dir: str | os.PathLike[str] | None = None,
) -> tuple[Kill, ...]:
    """Have a hook's own function decide from its next call on, or every hook's, until it is lifted.

    It holds against everything: manifests that come later, live shadow, exploring, another ``configure``,
    and in forks of this process. A call that waits for a program is answered by the function at once.

    Args:
        hook: the decorated function, a PolicyCache, or a hook's name; None for all of this process.
        reason: why; it is logged and reported to the control plane.
        by: who gives the order.
        state_dir: the state folder of services on this host: the order is written there, for every
            process that uses it, now and later; they notice within a second. None is for this process alone.

    Returns:
        The kills in force, as :func:`kills` does.

    Raises:
        ConfigurationError: not a hook, no such hook in this process, no reason, or a folder that is not
            there or cannot be written.
    """
    order = ordered(_name(hook, here=state_dir is None), reason, by)
    if state_dir is not None:
        found = KillFile(state_dir).add(order)
        RUNTIME.look()
        return found
    with RUNTIME.kills.lock:
        RUNTIME.kills.add(order)
        RUNTIME.apply_kills()
    return RUNTIME.kills.kills


def unkill(
    hook: object = None, *, state_dir: str | os.PathLike[str] | None = None
) -> tuple[Kill, ...]:
    """Lift what :func:`kill` ordered; what a file or the environment orders stays until that is changed.

    Args:
        hook: as for :func:`kill`; None lifts all orders, those for single hooks too.
        state_dir: lift an order for the host instead.

    Returns:
        The kills that stay in force, as :func:`kills` does.

    Raises:
        ConfigurationError: not a hook; or with ``state_dir``, no such order, or it cannot be changed.
    """
    name = _name(hook, here=False)
    if state_dir is not None:
        found = KillFile(state_dir).lift(name)
        RUNTIME.look()
        return found
    with RUNTIME.kills.lock:
        RUNTIME.kills.lift(name)
        RUNTIME.apply_kills()
    return RUNTIME.kills.kills


def kills(state_dir: str | os.PathLike[str] | None = None) -> tuple[Kill, ...]:
    """Return every kill in force in this process, or what the kill file of a state folder orders.

    Raises:
        ConfigurationError: there is no such folder.
    """
    return RUNTIME.kills.kills if state_dir is None else KillFile(state_dir).listed()


def _name(marked: object, *, here: bool) -> str:
    """Return the name of a hook, an empty one for all; ``here`` asks that this process has it."""
    if marked is None:
        return ""
    found: Any = marked if isinstance(marked, str) else getattr(marked, "hook", marked)
    name = found if isinstance(found, str) else getattr(found, "name", None)
    if not isinstance(name, str) or not (isinstance(marked, str) or hasattr(found, "kind")):
        raise ConfigurationError(f"{marked!r} is no hook; decorate it with @gnomon.hook")
    if here and name not in RUNTIME.hooks:
        known = ", ".join(sorted(RUNTIME.hooks)) or "none yet"
        raise ConfigurationError(
            f"no hook {name!r} in this process to kill; there are: {known}. GNOMON_KILL takes any name"
        )
    return name
