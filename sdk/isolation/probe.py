"""A clean process that does nothing, to see which layers this machine gives."""

from __future__ import annotations

from typing import Any

from .layers import IsolationMode
from .lockdown import Cell


def prepare(settings: dict[str, Any]) -> None:
    """Prepare nothing."""


def serve(descriptor: int, state: None, cell: Cell) -> None:
    """Answer nothing."""


def layers_here(mode: IsolationMode = "strict") -> tuple[str, ...]:
    """Return the layers that hold around a candidate on this machine, by locking a process in.

    Raises:
        IsolationError: the mode cannot be had; the message says why.
    """
    from .zygote import Zygote  # not inside, where this module is what is run

    with Zygote(__name__, {}, mode=mode) as clean:
        return clean.layers
