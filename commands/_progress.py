"""How a search is watched: a live view on a terminal, lines elsewhere, JSON lines for programs; and how it is stopped."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

from ..sdk.errors import ConfigurationError
from ._common import console

if TYPE_CHECKING:
    from ..shadow.search.progress import Progress, Report

WAYS = ("auto", "lines", "json", "none")
#: Seconds between two lines while no further tenth is done, and between two changes of the live view.
_LINE_S = 10.0
_LIVE_S = 0.25
_BAR = 30


@contextmanager
def watched(way: str, clock: Callable[[], float] = time.monotonic) -> Iterator[Report]:
    """Show progress on standard error while the block runs; yields what is to be called with it.

    Raises:
        ConfigurationError: there is no such way.
    """
    if way not in WAYS:
        raise ConfigurationError(f"--progress {way!r}: choose one of {', '.join(WAYS)}")
    if way == "auto" and console(stderr=True).is_terminal:
        with _live(clock) as report:
            yield report
    elif way == "none":
        yield lambda _glance: None
    else:
        yield Paced(_as_json if way == "json" else _as_text, sys.stderr, clock)


class Paced:
    """Prints a line whenever another tenth of a phase is done, and every ten seconds.

    Args:
        told: returns a glance as a line.
        out: where to print.
        clock: seconds.
    """

    def __init__(
        self, told: Callable[[Progress], str], out: TextIO, clock: Callable[[], float]
    ) -> None:
        self._told = told
        self._out = out
        self._clock = clock
        self._last: tuple[Any, ...] = ()
        self._at = clock()

    def __call__(self, glance: Progress) -> None:
        """Print a glance if it is time to."""
        now = (glance.phase, 10 * glance.done // max(glance.total, 1), glance.stopping)
        if now == self._last and self._clock() - self._at < _LINE_S:
            return
        self._last, self._at = now, self._clock()
        print(self._told(glance), file=self._out, flush=True)


def _as_text(glance: Progress) -> str:
    from ..shadow.report.shown import printable

    return printable(f"{glance.done}/{glance.total} {glance.line()}")


def _as_json(glance: Progress) -> str:
    return json.dumps(glance.to_json(), sort_keys=True)


@contextmanager
def _live(clock: Callable[[], float]) -> Iterator[Report]:
    from rich.live import Live
    from rich.text import Text

    with Live(
        Text("reading the trace and calibrating"),
        console=console(stderr=True),
        transient=True,
        auto_refresh=False,
    ) as live:
        shown_at = [-_LIVE_S]

        def report(glance: Progress) -> None:
            if clock() - shown_at[0] >= _LIVE_S:
                shown_at[0] = clock()
                live.update(Text(view(glance)), refresh=True)

        yield report


def view(glance: Progress) -> str:
    """Return what a terminal shows: a bar, and below it a line for each thing that is known."""
    from ..shadow.report.shown import printable

    share = min(glance.done / max(glance.total, 1), 1.0)
    bar = "━" * round(_BAR * share)
    first = f"{bar:╌<{_BAR}} {glance.done}/{glance.total} {glance.phase}"
    return printable("\n  ".join([first, *glance.parts()]))


class Stop:
    """Hears SIGINT and SIGTERM for a search: the first time it may finish what is under way, then it ends.

    Before the search asks for the first time, while the trace is read, and the second time in any case, a
    signal is a KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self._asked = self._heard = False

    def __call__(self) -> bool:
        """Return whether to stop."""
        self._asked = True
        return self._heard

    def hear(self, _number: int, _frame: FrameType | None) -> None:
        """Take a signal."""
        if self._heard or not self._asked:
            raise KeyboardInterrupt
        self._heard = True


@contextmanager
def stopping() -> Iterator[Stop]:
    """Let SIGINT and SIGTERM stop the block's search; yields what the search is to ask."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may set handlers
        return
    before = {n: signal.signal(n, stop.hear) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
