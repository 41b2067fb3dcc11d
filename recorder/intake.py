"""The recorder's core: takes requests, makes them durable, moves them on to the store.

A request is answered once its bytes are in the spool and synced; requests that come together share
one sync. Every few seconds the segment is sealed and published in the background. Nothing here knows
gRPC: the receiver, and tests, call :meth:`Intake.submit`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from ..sdk.errors import GnomonError, TraceError
from .decode import Batch, Decoded, decode
from .publish import Published, Seen, publish
from .spool import Segment, Spool, read_segment
from .store import TraceStore


class BusyError(GnomonError):
    """The recorder cannot take more at the moment; the sender should come back.

    Attributes:
        retry_s: in how many seconds.
    """

    def __init__(self, message: str, retry_s: float) -> None:
        super().__init__(message)
        self.retry_s = retry_s


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of an :class:`Intake`.

    Attributes:
        roll_s: age at which a segment is sealed: how late a decision is visible in the store.
        roll_bytes: size at which it is sealed.
        queue_bytes: requests that wait for the disk; more are refused.
        spool_bytes: acknowledged and not yet in the store; above it requests are refused.
        retry_s: what refused senders are told to wait.
    """

    roll_s: float = 2.0
    roll_bytes: int = 16 << 20
    queue_bytes: int = 64 << 20
    spool_bytes: int = 1 << 30
    retry_s: float = 1.0


@dataclass(slots=True)
class Counts:
    """What a recorder has done since it started.

    Attributes:
        requests, records: acknowledged; ``records`` are Gnomon's.
        foreign: log records of others, acknowledged and not stored.
        malformed: records rejected, by reason.
        duplicates: records of batches that had come before.
        decisions, outcomes, workload: rows in the store.
        refused: requests turned away for want of room.
        spooled_bytes: acknowledged and not yet in the store.
        problems: failures to write, and damaged segments, in words; the latest few.
    """

    requests: int = 0
    records: int = 0
    foreign: int = 0
    malformed: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    decisions: int = 0
    outcomes: int = 0
    workload: int = 0
    refused: int = 0
    spooled_bytes: int = 0
    problems: deque[str] = field(default_factory=lambda: deque(maxlen=16))


@dataclass(slots=True)
class _Waiting:
    payload: bytes
    batches: list[Batch]
    durable: asyncio.Future[None]


@dataclass(slots=True)
class _Sealed:
    path: Path
    size: int
    batches: list[Batch]


class Intake:
    """Takes requests and keeps them; create and use it in one event loop.

    Args:
        store: where records end up.
        spool: held by this intake until it is closed.
        limits: bounds.
        clock: monotonic seconds.

    Attributes:
        counts: what was done so far.
    """

    def __init__(
        self,
        store: TraceStore,
        spool: Spool,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counts = Counts()
        self._store = store
        self._spool = spool
        self._limits = limits or Limits()
        self._clock = clock
        self._seen = Seen(spool.seen())
        self._queue: deque[_Waiting] = deque()
        self._queued_bytes = 0
        self._sealed: deque[_Sealed] = deque()
        self._segment: Segment | None = None
        self._batches: list[Batch] = []
        self._opened = 0.0
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()  # a segment is sealed only between two appends
        self._stopping = asyncio.Event()
        self._disk = ThreadPoolExecutor(1, "gnomon-spool")
        self._publisher = ThreadPoolExecutor(1, "gnomon-publish")
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Publish what an earlier process left in the spool, then begin to take requests."""
        loop = asyncio.get_running_loop()
        for path in self._spool.leftovers():
            sealed = await loop.run_in_executor(self._publisher, self._recover, path)
            self._keep(sealed)
        await self._publish_sealed()
        self._tasks = [asyncio.create_task(self._commits()), asyncio.create_task(self._rolls())]

    async def submit(self, payload: bytes) -> Decoded:
        """Take one serialised OTLP request; return what was in it once it is durable.

        Raises:
            TraceError: the payload is no OTLP request.
            BusyError: there is no room, or the disk refused.
        """
        if self._full(len(payload)):
            self.counts.refused += 1
            raise BusyError("the recorder is busy", self._limits.retry_s)
        self._queued_bytes += len(payload)
        try:
            decoded = await asyncio.to_thread(decode, payload)
            if decoded.batches:
                await self._durable(payload, decoded.batches)
        finally:
            self._queued_bytes -= len(payload)
        self._count(decoded)
        return decoded

    async def close(self) -> None:
        """Finish what was taken, publish it, and release the spool."""
        self._stopping.set()
        self._wake.set()
        await asyncio.gather(*self._tasks)
        self._seal()
        await self._publish_sealed()
        self._disk.shutdown()
        self._publisher.shutdown()
        self._spool.close()

    def _full(self, size: int) -> bool:
        limits = self._limits
        return (
            self._stopping.is_set()
            or self._queued_bytes + size > limits.queue_bytes
            or self.counts.spooled_bytes + self._queued_bytes + size > limits.spool_bytes
        )

    async def _durable(self, payload: bytes, batches: list[Batch]) -> None:
        if self._stopping.is_set():  # it was decoded while the recorder was closed
            raise BusyError("the recorder is stopping", self._limits.retry_s)
        waiting = _Waiting(payload, batches, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._wake.set()
        await waiting.durable

    def _count(self, decoded: Decoded) -> None:
        self.counts.requests += 1
        self.counts.records += sum(batch.count for batch in decoded.batches)
        self.counts.foreign += decoded.foreign
        self.counts.malformed.update(decoded.malformed)

    async def _commits(self) -> None:
        """Write whatever has queued up, with one sync, again and again."""
        while not self._stopping.is_set() or self._queue:
            await self._wake.wait()
            self._wake.clear()
            group = list(self._queue)
            self._queue.clear()
            if group:
                async with self._writing:
                    await self._commit(group)

    async def _commit(self, group: list[_Waiting]) -> None:
        if self._segment is None:
            self._segment = self._spool.segment(time.time_ns())
            self._opened = self._clock()
        segment = self._segment
        before = segment.size
        payloads = [waiting.payload for waiting in group]
        try:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._disk, segment.append, payloads)
        except OSError as error:
            self._problem(f"cannot write {segment.path}: {error.strerror}")
            refusal = BusyError("the recorder cannot write its spool", self._limits.retry_s)
            _settle(group, refusal)
            return
        self.counts.spooled_bytes += segment.size - before
        self._batches += [batch for waiting in group for batch in waiting.batches]
        _settle(group, None)
        if segment.size >= self._limits.roll_bytes:
            self._seal()

    async def _rolls(self) -> None:
        """Seal segments that are old enough, and publish."""
        pause = min(self._limits.roll_s / 4.0, 0.25)
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            async with self._writing:
                if self._clock() - self._opened >= self._limits.roll_s:
                    self._seal()
            await self._publish_sealed()

    def _seal(self) -> None:
        if self._segment is not None and self._batches:
            self._segment.close()
            self._sealed.append(_Sealed(self._segment.path, self._segment.size, self._batches))
            self._segment, self._batches = None, []

    async def _publish_sealed(self) -> None:
        while self._sealed:
            sealed = self._sealed[0]
            loop = asyncio.get_running_loop()
            try:
                done = await loop.run_in_executor(self._publisher, self._publish, sealed)
            except (TraceError, OSError) as error:
                self._problem(f"{error}; {sealed.path} is kept and tried again")
                return
            self._sealed.popleft()
            self._published(sealed, done)

    def _publish(self, sealed: _Sealed) -> Published:
        done = publish(self._store, sealed.path.stem, sealed.batches, self._seen)
        self._spool.discard(sealed.path, done.keys)
        self._seen.add(done.keys)  # only now: until here the call may be repeated
        return done

    def _published(self, sealed: _Sealed, done: Published) -> None:
        self.counts.spooled_bytes -= sealed.size
        self.counts.decisions += done.decisions
        self.counts.outcomes += done.outcomes
        self.counts.workload += done.workload
        self.counts.duplicates += done.duplicates

    def _recover(self, path: Path) -> _Sealed:
        contents = read_segment(path)
        if contents.rest:
            kept = self._spool.set_aside(path)
            self._problem(
                f"the last {contents.rest} bytes of {kept} are no whole request: never "
                "acknowledged, or damaged since; the rest was stored"
            )
        batches = [batch for frame in contents.frames for batch in decode(frame).batches]
        return _Sealed(path, path.stat().st_size, batches)

    def _keep(self, sealed: _Sealed) -> None:
        self._sealed.append(sealed)
        self.counts.spooled_bytes += sealed.size

    def _problem(self, text: str) -> None:
        self.counts.problems.append(text)


def _settle(group: list[_Waiting], error: Exception | None) -> None:
    for waiting in group:
        if waiting.durable.done():  # the sender went away meanwhile
            continue
        if error is None:
            waiting.durable.set_result(None)
        else:
            waiting.durable.set_exception(error)
