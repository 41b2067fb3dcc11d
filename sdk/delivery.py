"""The service's side of delivery: one thread that keeps a stream with the control plane.

All decisions are made in :mod:`.session` and :mod:`.manifest`; here are the thread, the clocks, the
disk and the network. Nothing raised here reaches the service: on every failure the last good
assignment stays, and the leases in it end what must not outlive the control plane.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from gnomon.v1 import delivery_pb2

from .channel import Peer, backoff_s, open_channel
from .errors import UnavailableError
from .forking import grpc_usable
from .hearing import Hearing
from .holdings import Holdings
from .keyring import KeyRing
from .manifest import Anchors, Now
from .reporting import Reporter
from .session import HookLike, Node, Session, refusal
from .state import StateStore
from .witness import Witness

_log = logging.getLogger("gnomon.delivery")

#: A stream that lasted so long makes the next reconnect start from the shortest wait again.
_STEADY_NS = 2_000_000_000
_FORK_DEADLINE_S = 1.0
#: Asks the control plane for an empty message every two seconds; older ones never send any.
HEARTBEATS = ("gnomon-heartbeats", "1")
#: After so long a silence of a control plane that sends them a new stream is tried.
_SILENT_NS = 10_000_000_000
#: Between two looks at the files of the pinned keys.
_KEYS_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Settings:
    """What a delivery client needs to know.

    Attributes:
        peer: the control plane.
        service: name of the service.
        anchors: keys and limits that are trusted from the start.
        cell: processes that share state and switch together.
        state_dir: folder for the last good state; None keeps it in memory.
        report_interval_s: between two reports of a hook.
        min_epochs: by hook, lowest epoch that is accepted, beside the anchors' for all.
        keyring: files of the pinned keys, read again when they change; None trusts the anchors for ever.
    """

    peer: Peer
    service: str
    anchors: Anchors
    cell: str = "default"
    state_dir: Path | None = None
    report_interval_s: float = 1.0
    min_epochs: Mapping[str, int] = field(default_factory=dict)
    keyring: KeyRing | None = None


class Status(NamedTuple):
    """How delivery is doing.

    Attributes:
        connected: whether a stream is open and the control plane has answered on it.
        staleness_s: seconds since the control plane was last heard from; 0 while connected, and not
            silent for more than 4 s.
        accepted, refused: resources, since the start.
        connects: streams tried, since the start.
        last_error: why the last stream ended or the last resource was refused; empty for never.
    """

    connected: bool
    staleness_s: float
    accepted: int
    refused: int
    connects: int
    last_error: str


def system_now() -> Now:
    """Return both clocks of this machine."""
    return Now(time.time_ns(), time.monotonic_ns())


@dataclass(slots=True)
class _Stream:
    """What belongs to one stream and ends with it."""

    session: Session
    outbox: queue.SimpleQueue[delivery_pb2.ClientMessage | None]
    reporter: Reporter
    call: Any = None


class DeliveryClient:
    """Receives policies for the hooks of this process and reports how they do.

    Args:
        hooks: returns the hooks of the process; asked again and again, so that hooks decorated
            after the start are announced too.
        settings: peer, keys, state folder.
        process_id: returns the id of this process, 16 hex digits; asked at every connect.
        now: both clocks.
        rng: for the jitter of reconnects.

    The stream is closed around a fork, because gRPC does not survive one in mid-call, and the parent
    connects again by itself. A child forked before the first connection starts anew; one forked later
    cannot use gRPC (see ``forking.py``): it receives nothing, and :attr:`status` says why.
    """

    def __init__(
        self,
        hooks: Callable[[], Iterable[HookLike]],
        settings: Settings,
        process_id: Callable[[], str],
        *,
        now: Callable[[], Now] = system_now,
        rng: random.Random | None = None,
    ) -> None:
        self._settings = settings
        self._process_id = process_id
        self._now = now
        self._rng = rng or random.Random(os.urandom(16))
        self._witness = Witness(settings.state_dir)
        self._holdings = Holdings(
            hooks,
            StateStore(settings.state_dir),
            settings.anchors,
            settings.cell,
            settings.min_epochs,
            now,
        )
        self._accepted = self._refused = self._connects = 0
        self._last_error = ""
        self._thread: threading.Thread | None = None
        self._stream: _Stream | None = None
        self._forking = False
        self._arm()
        _clients.add(self)

    def start(self) -> None:
        """Install the last good state in every hook and start the thread, unless it runs."""
        if self._thread is not None:
            return
        self._arm()
        self._holdings.discover()
        self._thread = threading.Thread(target=self._run, name="gnomon-delivery", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> bool:
        """Send the last reports, close the stream and return whether the thread ended in time."""
        thread, stream = self._thread, self._stream
        self._stopping.set()
        if thread is None:
            return True
        if stream is not None:
            stream.outbox.put(None)
        thread.join(timeout_s / 2)
        self._cancel()
        thread.join(timeout_s / 2)
        if not thread.is_alive():
            self._thread = None
        return not thread.is_alive()

    @property
    def staleness_s(self) -> float:
        """Seconds since the control plane was last heard from; 0 while connected.

        A connected one that has sent heartbeats and stops counts as silent from four seconds on.
        """
        return self._hearing.staleness_s

    @property
    def status(self) -> Status:
        """How delivery is doing, in one value."""
        return Status(
            self._hearing.connected,
            self.staleness_s,
            self._accepted,
            self._refused,
            self._connects,
            self._last_error,
        )

    def _arm(self) -> None:
        """Set what no process may inherit."""
        self._stopping = threading.Event()
        self._thread = None
        self._stream = None
        self._holdings.arm()
        self._looked_ns = 0
        self._hearing = Hearing(self._now)

    def _before_fork(self) -> None:
        """Have no thread inside gRPC at the moment of the fork."""
        self._forking = self._thread is not None and not self._stopping.is_set()
        if self._forking:
            self._stopping.set()
            self._cancel()
            self.stop(_FORK_DEADLINE_S)

    def _after_fork_in_parent(self) -> None:
        if self._forking and self._thread is None:
            self.start()

    def _after_fork_in_child(self) -> None:
        """Let go of what is the parent's; a lock may be held by a thread that is not here."""
        _inherited.append(self._stream)
        self._holdings.let_go()
        self._arm()

    def _run(self) -> None:
        attempt = 0
        if not grpc_usable():
            self._note(
                UnavailableError("forked from a process that had used gRPC: no delivery here")
            )
            _log.warning("no policies are received in this process: %s", self._last_error)
            return
        while not self._stopping.is_set():
            opened = self._now().monotonic_ns
            try:
                self._converse()
            except Exception as error:  # noqa: BLE001 - thread boundary: a service must not suffer
                self._note(error)
            finally:
                self._hearing.ended()
            if self._now().monotonic_ns - opened > _STEADY_NS:
                attempt = 0
            self._pause(backoff_s(attempt, self._rng))
            attempt += 1

    def _pause(self, seconds: float) -> None:
        """Wait before the next stream, but look after the keys meanwhile: a revoked one ends at once."""
        end = self._now().monotonic_ns + int(seconds * 1e9)
        while not self._stopping.is_set():
            self._look_after_keys()
            left_s = (end - self._now().monotonic_ns) / 1e9
            if left_s <= 0.0:
                return
            self._stopping.wait(min(left_s, _KEYS_EVERY_S))

    def _look_after_keys(self) -> bool:
        """Read key files that have changed, and run from now on only what the keys in them signed."""
        ring, now = self._settings.keyring, self._now().monotonic_ns
        if ring is None or now - self._looked_ns < _KEYS_EVERY_S * 1e9:
            return False
        self._looked_ns = now
        pins = ring.changed()
        if pins is not None:
            self._holdings.trust(pins)
        return pins is not None

    def _converse(self) -> None:
        """Hold one stream until it ends; raises grpc.RpcError where it ends badly."""
        from gnomon.v1 import delivery_pb2_grpc

        self._connects += 1
        self._holdings.discover()
        stream = self._opened()
        with open_channel(self._settings.peer) as channel:
            stub = delivery_pb2_grpc.DeliveryStub(channel)  # type: ignore[no-untyped-call]
            stream.call = stub.Connect(self._requests(stream), metadata=(HEARTBEATS,))
            self._stream = stream
            try:
                self._answer(stream)
            finally:
                self._stream = None
                stream.outbox.put(None)
                self._witness.write(self._now().unix_ns)

    def _answer(self, stream: _Stream) -> None:
        if self._stopping.is_set():
            stream.outbox.put(None)
        for message in stream.call:
            beat = not message.nonce and message.WhichOneof("resource") is None
            self._hearing.heard(beat=beat)
            if beat:
                continue
            reply = self._handled(stream.session, message)
            self._count(reply.ack)
            reply.ack.anchor = (
                self._witness.newest
            )  # before this one: what a rewritten ledger denies
            stream.outbox.put(reply)
            self._witness.told(message.anchor, self._now().unix_ns)

    def _handled(
        self, session: Session, message: delivery_pb2.ServerMessage
    ) -> delivery_pb2.ClientMessage:
        try:
            return self._holdings.receive(session, message)
        except Exception as error:  # noqa: BLE001 - hostile input or hook; costs one resource
            _log.warning("refused a resource: %s", error, exc_info=True)
            return refusal(message, f"{type(error).__name__}: {error}")

    def _count(self, ack: delivery_pb2.Ack) -> None:
        self._accepted += ack.ok
        self._refused += not ack.ok
        if ack.error:
            self._last_error = ack.error
            _log.warning("refused %s %s: %s", ack.resource, ack.name, ack.error)

    def _opened(self) -> _Stream:
        """Return what a new stream begins with."""
        interval_s = self._settings.report_interval_s
        reporter = Reporter(self._holdings, interval_s, self._now, self._note)
        return _Stream(self._session(), queue.SimpleQueue(), reporter)

    def _session(self) -> Session:
        settings = self._settings
        node = Node(settings.service, self._process_id(), settings.cell, _version())
        return Session(node, self._holdings.policies)

    def _requests(self, stream: _Stream) -> Iterator[delivery_pb2.ClientMessage]:
        """Yield what goes to the control plane; runs on a thread of gRPC's own."""
        yield stream.session.hello()
        due = stream.reporter.next_ns()
        while True:
            wait_s = (due - self._now().monotonic_ns) / 1e9
            if wait_s <= 0.0:
                yield from self._periodic(stream)
                due = stream.reporter.next_ns()
                continue
            with contextlib.suppress(queue.Empty):
                message = stream.outbox.get(timeout=wait_s)
                if message is None:
                    yield from stream.reporter.reports()
                    return
                yield message

    def _periodic(self, stream: _Stream) -> Iterator[delivery_pb2.ClientMessage]:
        if self._hearing.silent_ns > _SILENT_NS:
            stream.call.cancel()
        if self._look_after_keys():
            stream.call.cancel()  # the next stream is told what is missing now
            return
        if self._holdings.discover():
            stream.session = self._session()
            yield stream.session.hello()
        yield from stream.reporter.reports()

    def _cancel(self) -> None:
        stream = self._stream
        if stream is not None and stream.call is not None:
            stream.call.cancel()

    def _note(self, error: Exception) -> None:
        detail = getattr(error, "details", None)
        reason = detail() if callable(detail) else str(error)
        self._last_error = f"{type(error).__name__}: {reason}"
        _log.debug("stream with %s ended: %s", self._settings.peer.address, self._last_error)


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("gnomon")
    except metadata.PackageNotFoundError:
        return ""


_clients: weakref.WeakSet[DeliveryClient] = weakref.WeakSet()
#: Streams of the parent, kept alive so that a child never runs their destructors.
_inherited: list[object] = []


def _before_fork() -> None:
    for client in list(_clients):
        client._before_fork()


def _after_fork_in_parent() -> None:
    for client in list(_clients):
        client._after_fork_in_parent()


def _after_fork_in_child() -> None:
    for client in list(_clients):
        client._after_fork_in_child()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)
