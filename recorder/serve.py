"""The recorder as a process: start, report progress, stop on a signal."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .intake import Counts, Intake, Limits
from .receiver import Listening, Receiver
from .redaction import Redaction
from .spool import Spool
from .store import TraceStore
from .upkeep import Upkeep


@dataclass(frozen=True, slots=True)
class Setup:
    """What a recorder process needs.

    Attributes:
        store: path or URI of the trace store.
        spool: local folder; None for ``.spool`` below a local store.
        listening: where.
        limits: bounds.
        ready: file that receives the bound address once requests are taken; None for none.
        upkeep: what is done to the store meanwhile.
        redaction: what is taken out of records before they are written; None for nothing.
    """

    store: str
    spool: Path | None = None
    listening: Listening = field(default_factory=Listening)
    limits: Limits = field(default_factory=Limits)
    ready: Path | None = None
    upkeep: Upkeep = field(default_factory=Upkeep)
    redaction: Redaction | None = None


async def serve(setup: Setup, report: Callable[[str], None], every_s: float = 5.0) -> Counts:
    """Run a recorder until SIGTERM or SIGINT; return what it did.

    Args:
        setup: what to run.
        report: takes one line of progress at a time.
        every_s: between two lines.

    Raises:
        TraceError: store or spool cannot be used.
        ConfigurationError: the address cannot be had.
    """
    store = TraceStore(setup.store)
    spool = Spool(setup.spool or _default_spool(store))
    intake = Intake(store, spool, setup.limits, redaction=setup.redaction)
    receiver = Receiver(intake, setup.listening)
    stop = _on_signals()
    await intake.start()
    try:
        await receiver.start()
        try:
            if setup.ready is not None:
                _announce(setup.ready, receiver.address)
            report(f"recording into {store.files.root}, listening on {receiver.address}")
            upkeep = asyncio.create_task(setup.upkeep.run(store, stop, report))
            try:
                await _until(stop, intake.counts, report, every_s)
            finally:
                stop.set()
                await upkeep
        finally:
            await receiver.stop()
    finally:
        await intake.close()
        _tell(intake.counts, report)
    report(progress(intake.counts, 0.0))
    return intake.counts


def progress(counts: Counts, rate: float) -> str:
    """Return one line of what a recorder has done; ``rate`` in records per second."""
    parts = [
        f"{rate:.0f} records/s",
        f"{counts.records} received",
        f"{counts.decisions} decisions stored",
        f"{counts.spooled_bytes} bytes spooled",
    ]
    extra = {
        "workload events stored": counts.workload,
        "duplicate": counts.duplicates,
        "malformed": counts.malformed.total(),
        "foreign": counts.foreign,
        "requests refused": counts.refused,
    }
    parts += [f"{number} {name}" for name, number in extra.items() if number]
    return ", ".join(parts)


async def _until(
    stop: asyncio.Event, counts: Counts, report: Callable[[str], None], every_s: float
) -> None:
    before, since = counts.records, time.monotonic()
    while not stop.is_set():
        try:
            await asyncio.wait_for(stop.wait(), every_s)
        except TimeoutError:
            now = time.monotonic()
            report(progress(counts, (counts.records - before) / (now - since)))
            before, since = counts.records, now
        _tell(counts, report)


def _tell(counts: Counts, report: Callable[[str], None]) -> None:
    while counts.problems:
        report(counts.problems.popleft())


def _on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def _default_spool(store: TraceStore) -> Path:
    if store.files.local:
        return Path(store.files.root) / ".spool"
    return Path(".gnomon") / "spool"


def _announce(path: Path, address: str) -> None:
    """Write the address in one step: who waits for the file never reads half of it."""
    hidden = path.with_name(f".{path.name}.tmp")
    hidden.write_text(address + "\n", encoding="utf-8")
    hidden.rename(path)
