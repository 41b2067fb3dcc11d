"""Whose signatures stand under what decides: one of the safety properties as code."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from .events import (
    CONTROL,
    INCUMBENT,
    Decided,
    Event,
    Installed,
    Published,
    Restarted,
    Signed,
    Trusted,
)


@dataclass(slots=True)
class Vouching:
    """Holds decisions and publications against the keys that are trusted there at that moment.

    Who never said whom it trusts is not asked.
    """

    problems: list[str] = field(default_factory=list)
    pins: dict[str, Trusted] = field(default_factory=dict)
    #: Keys by digest of what they signed.
    signed: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    published: dict[tuple[str, str], Published] = field(default_factory=dict)
    held: dict[tuple[str, str], Published] = field(default_factory=dict)

    def take(self, event: Event) -> None:
        """Take the next event into account."""
        match event:
            case Trusted():
                self.pins[event.process] = event
            case Signed():
                self.signed[event.digest].add(event.by)
            case Published():
                self.published[event.hook, event.content] = event
                self._published(event)
            case Installed():
                manifest = self.published.get((event.hook, event.content))
                if manifest is not None:
                    self.held[event.process, event.hook] = manifest
            case Restarted():
                self.held = {at: held for at, held in self.held.items() if at[0] != event.process}
            case Decided() if event.digest != INCUMBENT:
                self._decided(event)
            case _:
                pass

    def _published(self, event: Published) -> None:
        pins = self.pins.get(CONTROL)
        if pins is None or event.kill or not (event.candidate or event.stable != INCUMBENT):
            return
        if not set(pins.publishers) & set(event.plan_by):
            self._say(
                event, f"epoch {event.epoch} is published under a plan that no pinned key signed"
            )
        for digest in {event.stable, event.candidate} - {INCUMBENT, ""}:
            if not set(pins.publishers) & self.signed[digest]:
                self._say(event, f"{digest} is published, which no pinned key signed")

    def _decided(self, event: Decided) -> None:
        pins = self.pins.get(event.process)
        if pins is None:
            return
        if not set(pins.publishers) & self.signed[event.digest]:
            self._say(event, f"{event.digest} decided, which no pinned key signed")
        manifest = self.held.get((event.process, event.hook))
        if manifest is None:  # said elsewhere
            return
        if not set(pins.publishers) & set(manifest.plan_by):
            self._say(event, f"epoch {event.epoch} decided under a plan that no pinned key signed")
        if manifest.by in pins.revoked:
            self._say(event, f"epoch {event.epoch} decided, which a revoked key signed")

    def _say(self, event: Event, words: str) -> None:
        self.problems.append(f"keys: {event.process} at {event.time_ns}: {words}")
