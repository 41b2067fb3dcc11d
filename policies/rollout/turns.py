"""What time alone does: pairs are judged, leases renewed, soaks ended, what is revoked taken back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from ...sdk.errors import GnomonError
from .commits import Commits
from .desk import Desk
from .desks import Desks
from .events import Event, Looked, Tick
from .fleet import Fleet
from .identity import Trust
from .manifests import Manifests
from .states import RUNNING, State, Status

_log = logging.getLogger("gnomon.rollout")


class Turns:
    """Gives every hook its turn.

    Args:
        desks: the hooks.
        fleet: their processes.
        trust: the keys that vouch for what runs.
        manifests: that say what runs.
        commits: carries through what a turn causes.
        clock: gives Unix nanoseconds.
    """

    def __init__(
        self,
        desks: Desks,
        fleet: Fleet,
        trust: Trust,
        manifests: Manifests,
        commits: Commits,
        clock: Callable[[], int],
    ) -> None:
        self._desks = desks
        self._fleet = fleet
        self._trust = trust
        self._manifests = manifests
        self._commits = commits
        self._clock = clock

    def tick(self) -> None:
        """Give all hooks their turns; the first trouble is raised once all had theirs."""
        troubles: list[Exception] = []
        turns: list[Callable[[], None]] = [partial(self._turn, desk) for desk in self._desks]
        for turn in (self._fleet.settle, *turns):
            try:
                turn()
            except Exception as error:  # noqa: BLE001 - hooks must not fall for each other
                troubles.append(error)
        for trouble in troubles[1:]:
            if not isinstance(trouble, GnomonError):  # whose words come when the first is cured
                _log.error("a tick failed once more", exc_info=trouble)
        if troubles:
            raise troubles[0]

    def withdraw(self, desk: Desk) -> None:
        """Kill what runs without a pinned key's signature."""
        order = self._trust.withdrawal(desk)
        if order is not None:
            self._commits.apply(desk, order)

    def _turn(self, desk: Desk) -> None:
        self._fleet.keep(desk)
        if desk.state is not None:
            self._look(desk, desk.state)
            self.withdraw(desk)
            self._renew(desk)

    def _look(self, desk: Desk, state: State) -> None:
        """See whether what is known by now moves the rollout."""
        event: Event = Tick()
        if state.status not in RUNNING:
            event = desk.upkeep(self._clock())
        elif state.status is Status.SHADOW:
            event = desk.shadowed()
        elif state.status is Status.FULL:
            event = desk.served()
        else:
            event = desk.findings(self._clock())
            if isinstance(event, Looked):
                # at first at every tick: faults do not wait for one without
                self._commits.apply(desk, desk.fell())
        self._commits.apply(desk, event)

    def _renew(self, desk: Desk) -> None:
        state = desk.state
        running = state is not None and state.status in RUNNING
        if running and self._manifests.renewed(desk, self._clock()):
            self._commits.publish(desk)
