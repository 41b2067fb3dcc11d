"""The recorder's core: takes requests, makes them durable, moves them on to the store.

A request is answered once its bytes are in the spool and synced; requests that come together share
one sync. Every few seconds the segment is sealed and published in the background. Nothing here knows
gRPC: the receiver, and tests, call :meth:`Intake.submit`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..sdk.errors import GnomonError
from .decode import Batch, Decoded, count_reasons, decode
from .faults import of_the_place, words
from .publish import Published, Seen, publish
from .redaction import Redaction, without
from .spool import Contents, Segment, Spool, read_segment, tag_of
from .store import TraceStore

_log = logging.getLogger("gnomon.recorder")


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
        retry_s: what refused senders are told to wait; also before the second attempt at a segment
            that the store does not take, twice as long before the third, and so on.
        tries: attempts at such a segment before it is set aside; a store that is full, away or
            not permitted does not count.
    """

    roll_s: float = 2.0
    roll_bytes: int = 16 << 20
    queue_bytes: int = 64 << 20
    spool_bytes: int = 1 << 30
    retry_s: float = 1.0
    tries: int = 6


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
    failures: int = 0  # that were not the place's
    due: float = 0.0


class Intake:
    """Takes requests and keeps them; create and use it in one event loop.

    Args:
        store: where records end up.
        spool: held by this intake until it is closed.
        limits: bounds.
        clock: monotonic seconds.
        redaction: what is taken out of requests before they are written anywhere; None for nothing.

    Attributes:
        counts: what was done so far.
    """

    def __init__(
        self,
        store: TraceStore,
        spool: Spool,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
        redaction: Redaction | None = None,
    ) -> None:
        self.counts = Counts()
        self._store = store
        self._spool = spool
        self._limits = limits or Limits()
        self._clock = clock
        self._redaction = redaction
        self._tag = redaction.tag if redaction is not None else ""
        self._seen = Seen(spool.seen())
        self._queue: deque[_Waiting] = deque()
        self._queued_bytes = 0
        self._sealed: deque[_Sealed] = deque()
        self._segment: Segment | None = None
        self._batches: list[Batch] = []
        self._opened = 0.0
        self._pause = min(self._limits.roll_s / 4.0, 0.25)
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()  # a segment is sealed only between two appends
        self._stopping = asyncio.Event()
        # One thread: several would only take the interpreter from one another.
        self._decoder = ThreadPoolExecutor(1, "gnomon-decode")
        self._disk = ThreadPoolExecutor(1, "gnomon-spool")
        self._publisher = ThreadPoolExecutor(1, "gnomon-publish")
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Publish what an earlier process left in the spool, then begin to take requests."""
        loop = asyncio.get_running_loop()
        for path in self._spool.leftovers():
            sealed = await loop.run_in_executor(self._publisher, self._leftover, path)
            if sealed is not None:
                self._keep(sealed)
        await self._publish_sealed()
        steps = (self._commits, self._rolls)
        self._tasks = [asyncio.create_task(self._supervised(step)) for step in steps]

    async def submit(self, payload: bytes) -> Decoded:
        """Take one serialised OTLP request; return what was in it once it is durable.

        Raises:
            TraceError: the payload is no OTLP request.
            BusyError: there is no room, or the disk refused.
        """
        if self._full(len(payload)):
            self.counts.refused += 1
            raise BusyError("the recorder is busy", self._limits.retry_s)
        size = len(payload)
        self._queued_bytes += size
        try:
            loop = asyncio.get_running_loop()
            decoded, payload = await loop.run_in_executor(self._decoder, self._understood, payload)
            if decoded.batches:
                await self._durable(payload, decoded.batches)
        finally:
            self._queued_bytes -= size
        self._count(decoded)
        return decoded

    def _understood(self, payload: bytes) -> tuple[Decoded, bytes]:
        """Return what is in a request, and the bytes of it that may be written."""
        if self._redaction is None:
            return decode(payload), payload
        redacted = self._redaction.apply(payload)
        decoded, payload = decode(redacted.payload), redacted.payload
        if decoded.malformed:  # what cannot be read cannot be redacted either
            payload = without(payload, lambda one: not decode(one).malformed)
            decoded = replace(decode(payload), malformed=decoded.malformed)
        return replace(decoded, foreign=redacted.foreign), payload

    async def close(self) -> None:
        """Finish what was taken, publish it, and release the spool."""
        self._stopping.set()
        self._wake.set()
        await asyncio.gather(*self._tasks)
        self._seal()
        await self._publish_sealed(at_once=True)
        self._decoder.shutdown()
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
        count_reasons(self.counts.malformed, decoded.malformed)

    async def _supervised(self, step: Callable[[], Awaitable[None]]) -> None:
        """Run a step to its end, again after whatever it raised."""
        while True:
            try:
                return await step()
            except Exception as error:  # noqa: BLE001 - a recorder must not only look alive
                _log.exception("the recorder goes on after an error")
                self._problem(f"the recorder goes on after {words(error)}")
                await asyncio.sleep(self._pause)
                self._wake.set()  # the step may have been about to look at the queue

    async def _commits(self) -> None:
        """Write whatever has queued up, with one sync, again and again."""
        while not self._stopping.is_set() or self._queue:
            await self._wake.wait()
            self._wake.clear()
            group = list(self._queue)
            self._queue.clear()
            if group:
                refusal = BusyError("the recorder cannot write its spool", self._limits.retry_s)
                try:
                    async with self._writing:
                        await self._commit(group)
                finally:  # nobody waits for ever
                    _settle(group, refusal)

    async def _commit(self, group: list[_Waiting]) -> None:
        segment = self._open()
        before = segment.size
        payloads = [waiting.payload for waiting in group]
        try:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._disk, segment.append, payloads)
        except Exception as error:  # noqa: BLE001 - those who come next are served
            self._problem(f"cannot write {segment.path}: {words(error)}")
            if segment.broken:
                self._seal()
            return
        self.counts.spooled_bytes += segment.size - before
        self._batches += [batch for waiting in group for batch in waiting.batches]
        _settle(group, None)
        if segment.size >= self._limits.roll_bytes:
            self._seal()

    async def _rolls(self) -> None:
        """Seal segments that are old enough, and publish."""
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._pause)
            async with self._writing:
                if self._batches and self._clock() - self._opened >= self._limits.roll_s:
                    self._seal()
            await self._publish_sealed()

    def _open(self) -> Segment:
        if self._segment is None:
            self._segment = self._spool.segment(time.time_ns(), self._tag)
            self._opened = self._clock()
        return self._segment

    def _seal(self) -> None:
        segment, batches = self._segment, self._batches
        if segment is None:
            return
        self._segment, self._batches = None, []
        segment.close()
        if batches:
            self._sealed.append(_Sealed(segment.path, segment.size, batches))

    async def _publish_sealed(self, at_once: bool = False) -> None:
        """Try every sealed segment that is due once, or all; what fails goes behind the others.

        A place that refuses one refuses the next too: then the round ends.
        """
        for _ in range(len(self._sealed)):
            sealed = self._sealed[0]
            if sealed.due > self._clock() and not at_once:
                self._sealed.rotate(-1)
                continue
            loop = asyncio.get_running_loop()
            try:
                done = await loop.run_in_executor(self._publisher, self._publish, sealed)
            except Exception as error:  # noqa: BLE001 - the other segments are published
                self._failed(sealed, error)
                if of_the_place(error):
                    return
            else:
                self._sealed.popleft()
                self._published(sealed, done)

    def _failed(self, sealed: _Sealed, error: Exception) -> None:
        """Keep the first of the sealed segments for another attempt, or set it aside."""
        if not of_the_place(error):
            _log.warning("a segment was not stored", exc_info=error)
            sealed.failures += 1
            wait = self._limits.retry_s * 2 ** (min(sealed.failures, self._limits.tries) - 1)
            sealed.due = self._clock() + wait
        if sealed.failures < self._limits.tries or not self._taken_out(sealed.path, error):
            self._problem(f"{words(error)}; {sealed.path} is kept and tried again")
            self._sealed.rotate(-1)
            return
        self._sealed.popleft()
        self.counts.spooled_bytes -= sealed.size

    def _taken_out(self, path: Path, error: Exception) -> bool:
        try:
            kept = self._spool.take_out(path)
        except OSError as refused:
            self._problem(f"cannot set {path} aside: {words(refused)}")
            return False
        self._problem(
            f"{words(error)}; its records are not stored but kept in {kept}: when the cause is "
            f"gone, rename it to {path.name} and start the recorder again"
        )
        return True

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

    def _leftover(self, path: Path) -> _Sealed | None:
        """Return a segment of an earlier process, or None for one that cannot be read."""
        try:
            return self._recover(path)
        except OSError as error:
            self._problem(f"cannot read {path}: {words(error)}; the next start tries again")
        except Exception as error:  # noqa: BLE001 - one must not keep the rest out
            _log.exception("a segment was not read")
            self._taken_out(path, error)
        return None

    def _recover(self, path: Path) -> _Sealed:
        contents = read_segment(path)
        batches: list[Batch] = []
        malformed: Counter[str] = Counter()
        unread = 0
        for frame in contents.frames:
            try:
                # One of a recorder that redacted nothing, or otherwise, is redacted now.
                decoded = decode(frame) if tag_of(path) == self._tag else self._understood(frame)[0]
            except Exception as error:  # noqa: BLE001 - one request must not take the others along
                _log.warning("a request of %s was not read", path, exc_info=error)
                unread += 1
                self._problem(f"a request in {path} is not stored: {words(error)}")
                continue
            batches += decoded.batches
            count_reasons(malformed, decoded.malformed)
        self._name_damage(path, contents, unread)
        if malformed:
            reason, _ = malformed.most_common(1)[0]
            self._problem(f"{malformed.total()} records of {path} are not stored: {reason}")
        return _Sealed(path, path.stat().st_size, batches)

    def _name_damage(self, path: Path, contents: Contents, unread: int) -> None:
        """Keep a copy of a segment that is not stored as a whole, and say what of it is not."""
        if not (contents.rest or contents.gaps or unread):
            return
        kept = self._spool.set_aside(path)
        if contents.gaps:
            at, size = contents.gaps[0]
            lost = sum(size for _, size in contents.gaps)
            self._problem(
                f"{lost} bytes of {kept} are damaged ({size} from byte {at} on"
                f"{', and further on' * (len(contents.gaps) > 1)}); the requests around them were stored"
            )
        if contents.rest:
            self._problem(
                f"the last {contents.rest} bytes of {kept} are no whole request: never "
                "acknowledged, or damaged since; the rest was stored"
            )
        if unread:
            self._problem(f"{unread} requests of {kept} cannot be read; the rest was stored")

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
