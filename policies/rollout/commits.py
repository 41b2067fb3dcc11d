"""How a change comes into force: stored, then in force, then published, then accounted for.

A crash between two of these is made good at the next start. What cannot be stored has not happened.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from . import codec, describe
from .backlog import Backlog
from .desk import Desk
from .desks import Desks
from .events import Event
from .machine import step
from .states import MACHINE, State
from .store import Happened, Row, Store

_log = logging.getLogger("gnomon.rollout")


class Commits:
    """Carries changes of rollouts through.

    Args:
        store: has them first.
        desks: are changed then.
        backlog: tells the ledger of them at last.
        clock: gives Unix nanoseconds.
        published: called with a hook when its manifest has changed.
        changed: called with a rollout's id when anything about it has changed.
    """

    def __init__(
        self,
        store: Store,
        desks: Desks,
        backlog: Backlog,
        clock: Callable[[], int],
        published: Callable[[str], None],
        changed: Callable[[str], None],
    ) -> None:
        self._store = store
        self._desks = desks
        self._backlog = backlog
        self._clock = clock
        self._published = published
        self._changed = changed

    def apply(
        self, desk: Desk, event: Event, request_id: str = "", *, actor: str = MACHINE
    ) -> None:
        """Let an event move a hook's newest rollout, if it does."""
        before = desk.state
        if before is None:
            return
        after = step(before, event, self._clock())
        if after is not before or request_id:
            extra = describe.extras(event, before, after, actor)
            self.enter(desk, after, before, extra, request_id)

    def enter(
        self,
        desk: Desk,
        after: State,
        before: State | None,
        extra: list[Happened],
        request_id: str = "",
        *,
        plan: bytes = b"",
    ) -> None:
        """Store a new state, then publish it, then account for it.

        What cannot be stored has not happened: the desk stays as it was.
        """
        if after == before and not extra and not request_id:
            return
        moved = before is None or before.target != after.target
        new = replace(desk, plan=plan or desk.plan)
        if new.entered(before, after):
            new.mark()
        if moved:
            new.epoch += 1
        if before is None or before.attempt != after.attempt:
            new.first_epoch = new.epoch
        made = describe.transitions(before, after, new.epoch)
        told = [*extra, *made] if before is None else [*made, *extra]
        self._store.save(_row(new, after), told, request_id)
        desk.become(new)
        self._desks.note(after)
        if moved:
            self._published(desk.hook)
        try:
            self._backlog.tell()
        finally:
            self._changed(after.plan.id)

    def rest_on(self, desk: Desk, before: State, after: State, plan: bytes, told: Happened) -> None:
        """Go on under a plan that was signed again, with a manifest of its own."""
        new = replace(desk, plan=plan, epoch=desk.epoch + 1)
        new.entered(before, after)
        self._store.save(_row(new, after), [told])
        desk.become(new)
        self._desks.note(after)
        self._published(desk.hook)
        self._backlog.tell()
        self._changed(after.plan.id)

    def overtake(self, desk: Desk, epoch: int) -> None:
        """Go on from an epoch that a process has seen, as after a loss of the control plane's state."""
        _log.warning("hook %s: a process has seen epoch %d, going on from there", desk.hook, epoch)
        if desk.state is None:
            desk.epoch = epoch
            return
        new = replace(desk, epoch=epoch + 1)
        self._store.save(_row(new, desk.state), [])
        desk.become(new)
        self._published(desk.hook)

    def publish(self, desk: Desk) -> None:
        """Say that a hook's manifest is to be signed and sent anew, though nothing in it has changed."""
        self._published(desk.hook)

    def notify(self, desk: Desk) -> None:
        """Say that something beside the state has changed, such as a process that left."""
        if desk.state is not None:
            self._changed(desk.state.plan.id)


def _row(desk: Desk, state: State) -> Row:
    data: dict[str, Any] = codec.to_json(state)
    data["weight_epoch"] = desk.pool.epoch if desk.pool else 0
    return Row(
        state.plan.id, desk.hook, desk.plan, desk.epoch, desk.first_epoch, dict(desk.marks), data
    )
