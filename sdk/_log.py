"""Saying something in the service's log without ever hurting the service."""

from __future__ import annotations

import contextlib
import logging

_LOG = logging.getLogger("gnomon")


def say(level: int, text: str, *values: object) -> None:
    """Log a line; a handler or a filter of the service's that raises is its own affair, not the call's.

    Args:
        level: of ``logging``.
        text: with ``%`` places for the values.
        values: that go there.
    """
    with contextlib.suppress(Exception):
        _LOG.log(level, text, *values)
