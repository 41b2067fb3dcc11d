"""What a recorder does beside recording, if told to: merge closed hours, let old ones go."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from .compaction import When, compact
from .faults import words
from .retention import Keep, prune
from .store import TraceStore

_log = logging.getLogger("gnomon.recorder")


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What is done every ``every_s`` seconds.

    Attributes:
        compact_after_s: age of the hours that are merged; None for none.
        keep_s: hours whose end is longer ago are removed; None for none.
        keep_bytes: the oldest hours are removed until no more is left; None for no such limit.
        every_s: between two rounds.
    """

    compact_after_s: float | None = 2 * 3600.0
    keep_s: float | None = None
    keep_bytes: int | None = None
    every_s: float = 300.0

    @property
    def wanted(self) -> bool:
        """Whether there is anything to do."""
        return (self.compact_after_s, self.keep_s, self.keep_bytes) != (None, None, None)

    async def run(
        self, store: TraceStore, stop: asyncio.Event, report: Callable[[str], None]
    ) -> None:
        """Do it again and again, in a thread, until ``stop`` is set; a failure is told and tried again."""
        while self.wanted and not stop.is_set():
            try:
                for line in await asyncio.to_thread(self.once, store, time.time_ns(), stop.is_set):
                    report(line)
            except Exception as error:  # noqa: BLE001 - recording goes on without upkeep
                _log.exception("upkeep goes on after an error")
                report(f"upkeep of the store failed and is tried again: {words(error)}")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self.every_s)

    def once(self, store: TraceStore, now_ns: int, stop: Callable[[], bool]) -> list[str]:
        """Do one round; return what was done, in words.

        Raises:
            TraceError: the store refused, or another process compacts it.
        """
        if not store.files.is_folder():
            return []
        return [*self._pruned(store, now_ns), *self._compacted(store, now_ns, stop)]

    def _pruned(self, store: TraceStore, now_ns: int) -> list[str]:
        if self.keep_s is None and self.keep_bytes is None:
            return []
        done = prune(store, Keep(now_ns, self.keep_s, self.keep_bytes))
        if not done.hours:
            return []
        size = sum(each.bytes for each in done.hours)
        return [f"pruned {len(done.hours)} hours, {size} bytes; {done.bytes} bytes stay"]

    def _compacted(self, store: TraceStore, now_ns: int, stop: Callable[[], bool]) -> list[str]:
        if self.compact_after_s is None:
            return []
        done = compact(store, When(now_ns, self.compact_after_s), stop=stop)
        lines = [f"not compacted: {line}" for line in done.damaged]
        if done.hours:
            before, after = (
                sum(each.files_before for each in done.hours),
                sum(each.files_after for each in done.hours),
            )
            lines.append(f"compacted {len(done.hours)} hours: {before} files into {after}")
        return lines
