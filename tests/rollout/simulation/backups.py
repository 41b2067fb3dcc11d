"""Copies of the control plane's files: taken now and then, and put back, whole or in part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gnomon.policies.rollout.anchors import ACCEPTED, DISPUTED, MAX_DISPUTES, accepted_by

from ..events import CONTROL, Restored

if TYPE_CHECKING:
    from .plane import Plane

_WHICH = ("both", "both", "ledger", "store")


class Backups:
    """The copies of one control plane.

    A store that is put back alone must be refused, because its ledger tells of more; then the newer one comes
    back. Whatever is lost, a process that remembers it must be heard.
    """

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._copy: tuple[Any, Any] | None = None
        self._aside: Any = None
        self._restored = False

    def turn(self) -> None:
        """Take a copy, put one back, or do nothing, once a second."""
        world = self._plane.world
        if not world.weather.restores or self._aside is not None or world.keys.busy:
            return
        if self._copy is None and world.rng.random() < 0.2:
            self._copy = self._plane.store.copied(), self._plane.ledger.copied()
        elif self._copy is not None and world.rng.random() < world.weather.restores:
            self._put_back(world.rng.choice(_WHICH))

    def drop(self) -> None:
        """Forget the copy: what was signed since is not in it, and it could not be started with other keys."""
        self._copy = None

    def _put_back(self, which: str) -> None:
        plane = self._plane
        if self._copy is None:
            return
        plane.crash()
        store, ledger = self._copy
        self._copy = None
        plane.world.met[f"put back: {which}"] += 1
        if which == "store":
            self._aside = plane.store
        plane.store = plane.store if which == "ledger" else store
        plane.ledger = plane.ledger if which == "store" else ledger
        if which != "store":
            self._lost()

    def _lost(self) -> None:
        self._restored = True
        self._plane.world.add(Restored(self._plane.world.now, CONTROL))
        self._plane.forget()

    def refused(self) -> None:
        """Take the newer store again: a life could not begin."""
        if self._aside is not None:
            self._plane.world.met["older store refused"] += 1
            self._plane.store, self._aside = self._aside, None

    def begun(self) -> None:
        """Note that a life has begun; where it could only because nothing is lost that the ledger tells of."""
        if self._aside is None:
            return
        newer, self._aside = self._aside.last_event(), None
        if self._plane.store.last_event() < newer and self._told() > self._plane.store.last_event():
            now = self._plane.world.now
            self._plane.problems.append(
                f"older: {CONTROL} at {now}: began on a store older than its ledger"
            )
        self._lost()

    def _told(self) -> int:
        return max(
            (int(entry.body.get("event", 0)) for entry in self._plane.ledger.list()), default=0
        )

    def problems(self) -> list[str]:
        """Say what processes remember and nobody disputes, or what is disputed though nothing was lost."""
        plane, found = self._plane, []
        ledger, control = plane.ledger, plane.control
        disputed = [entry.subject for entry in ledger.list(kind=DISPUTED)]
        if disputed and not self._restored:
            found.append(f"witness: {CONTROL}: {disputed[0]} is disputed, though nothing was lost")
        open_ones = control.witnesses.disputes if control is not None else {}
        known = {*open_ones, *accepted_by(ledger.list(kind=ACCEPTED))}
        for process in plane.world.processes:
            anchor = process.folder.witness.newest
            lost = ledger.contains(anchor) if anchor else ""
            if lost and anchor not in known and len(open_ones) < MAX_DISPUTES:
                found.append(
                    f"witness: {process.name} remembers {anchor}, but {lost}; nobody says so"
                )
        return found
