"""Following a rollout to its end: on a screen, or as lines; a control plane that goes away is waited for."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from ..sdk.errors import GnomonError, UnavailableError
from ._board import Allowed, View, lines
from ._common import Exit, console

if TYPE_CHECKING:
    from rich.console import Console

    from gnomon.v1 import rollouts_pb2

    from ..policies.rollout.client import RolloutClient
    from ..shadow.report.rollouts import Rollout

_AGAIN_S = 1.0
#: Between two questions for the processes and the ledger, which no watch tells.
_ASK_EVERY_S = 1.0


class Board:
    """The screen's content, changed by whoever follows and drawn by rich's own thread.

    Args:
        clock: gives Unix nanoseconds.
    """

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self._view: View | None = None
        self._asked_ns = 0

    def __rich_console__(self, console: Console, options: Any) -> Iterator[Any]:
        """Draw the newest state into the terminal as it is now."""
        from rich.text import Text

        if self._view is None:
            yield Text("waiting for the control plane")
            return
        view = replace(self._view, now_ns=self._clock())
        made = lines(view, options.max_width, options.height or console.height)
        yield Text("\n").join(Text(text, style, no_wrap=True) for text, style in made)

    def show(self, found: rollouts_pb2.Rollout, client: RolloutClient) -> None:
        """Show a rollout; of the processes and the ledger what they were a second ago."""
        from ..shadow.report.rollouts import Rollout

        now, rollout = self._clock(), Rollout.of(found)
        view = self._view or View(rollout, now)
        self._view = replace(view, rollout=rollout, lost="")
        if now - self._asked_ns >= _ASK_EVERY_S * 1e9:
            self._asked_ns = now
            known = tuple(client.clients(rollout.hook))
            self._view = replace(self._view, clients=known, allowed=_allowed(client, rollout.id))

    def lost(self, why: str) -> None:
        """Show that the control plane is not heard."""
        if self._view is not None:
            self._view = replace(self._view, lost=why)


class Lines:
    """Prints every transition once, on standard error."""

    def __init__(self) -> None:
        self._printed = 0

    def show(self, found: rollouts_pb2.Rollout, client: RolloutClient) -> None:
        """Print the transitions that are new."""
        from ..shadow.report.rollouts import Rollout

        del client
        made = Rollout.of(found).transitions
        for each in made[self._printed :]:
            print(f"{each.before} -> {each.after}: {each.cause}", file=sys.stderr, flush=True)
        self._printed = len(made)

    def lost(self, why: str) -> None:
        """Print why the control plane is not heard."""
        print(f"{why}; trying again", file=sys.stderr, flush=True)


def follow_live(rollout: str, control_plane: str) -> Rollout:
    """Follow a rollout to its end, on the terminal's screen, else one line per transition; return it.

    Raises:
        UnavailableError: the control plane could not be reached in the first place.
    """
    from rich.live import Live

    screen = console(stderr=True)
    try:
        if not screen.is_terminal:
            return followed(rollout, control_plane, Lines())
        board = Board()
        with Live(board, console=screen, screen=True, refresh_per_second=4):
            return followed(rollout, control_plane, board)
    except KeyboardInterrupt:
        _stopped()


def followed(
    rollout: str,
    control_plane: str,
    shown: Board | Lines,
    sleep: Callable[[float], None] = time.sleep,
) -> Rollout:
    """Follow a rollout to its end through losses of the control plane; return it.

    Raises:
        UnavailableError: the control plane could not be reached in the first place.
    """
    from ..policies.rollout.client import RolloutClient, follow
    from ..shadow.report.rollouts import Rollout

    met, told = False, ""
    while True:
        try:
            with RolloutClient(control_plane) as client:
                rollout, met, told = client.get(rollout).id, True, ""
                ended = follow(client, rollout, lambda found: shown.show(found, client))
                return Rollout.of(ended)
        except UnavailableError as error:
            if not met:
                raise
            if told != str(error):
                shown.lost(str(error))
            told = str(error)
            sleep(_AGAIN_S)


def _allowed(client: RolloutClient, rollout: str) -> Allowed:
    """Return what the plan allows, as the ledger says; nothing where this certificate may not read it."""
    try:
        entries = list(client.entries(subject=rollout))
    except UnavailableError:
        raise
    except GnomonError:
        return Allowed()
    plans = [entry.body for entry in entries if entry.kind == "rollout.created"]
    seq, _, head = entries[-1].anchor.partition(":") if entries else ("", "", "")
    return Allowed.of(plans[-1], f"{seq}:{head[:12]}") if plans else Allowed()


def _stopped() -> NoReturn:
    print("stopped watching; the rollout goes on", file=sys.stderr)
    raise typer.Exit(int(Exit.INCONCLUSIVE))
