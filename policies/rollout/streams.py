"""What one process's stream may cost the control plane: a bounded outbox, a pace, sizes.

A process that reads slowly, never answers, or says too much delays nobody else: of every hook only the
newest manifest waits for it, reading from it is slowed by the transport's own flow control, and what
cannot be bounded so ends its stream. It comes back for the newest state, as after any other loss.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Iterable

from gnomon.v1 import delivery_pb2

from ...sdk.errors import RolloutError

#: Hooks of one process.
MOST_HOOKS = 256
#: Streams of one control plane.
MOST_STREAMS = 4096
#: Bytes that wait for one process.
MOST_WAITING = 8 << 20
#: Resources that one process has been sent and has not answered.
MOST_UNANSWERED = 1024
#: Characters of a name, and names of counters, blocks and features in one report.
MOST_NAME = 256
MOST_COUNTERS = 512
MOST_BLOCKS = 8192
MOST_FEATURES = 256
#: Bundles that a process may say that it holds of one hook.
MOST_HELD = 64
#: Messages that a process may say at once, and then each second for itself and for each hook.
BURST = 2048
RATE = 200.0
RATE_OF_HOOK = 20.0


class Outbox:
    """Resources that wait for one process; a newer manifest of a hook takes the place of an older one."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[tuple[str, str], delivery_pb2.ServerMessage] = OrderedDict()
        self._bytes = 0
        self._ended = False
        self._ready = asyncio.Event()

    def put(self, message: delivery_pb2.ServerMessage) -> str:
        """Add a message; return the nonce of the one that it replaced, which is never sent."""
        which = message.WhichOneof("resource")
        name = message.bundle.digest if which == "bundle" else message.manifest.hook
        before = self._waiting.pop((which or "", name), None)
        self._bytes += message.ByteSize() - (before.ByteSize() if before is not None else 0)
        self._waiting[which or "", name] = message
        if self._bytes > MOST_WAITING:
            self._waiting.clear()
            self._bytes = 0
            self.end()
        self._ready.set()
        return before.nonce if before is not None else ""

    def end(self) -> None:
        """Have ``get`` return None once all that waits is taken."""
        self._ended = True
        self._ready.set()

    def get_nowait(self) -> delivery_pb2.ServerMessage | None:
        """Return the oldest message, None at the end; raises asyncio.QueueEmpty for none yet."""
        if self._waiting:
            _, message = self._waiting.popitem(last=False)
            self._bytes -= message.ByteSize()
            return message
        if self._ended:
            return None
        raise asyncio.QueueEmpty

    async def get(self) -> delivery_pb2.ServerMessage | None:
        """Return the oldest message as soon as there is one, None at the end."""
        while True:
            try:
                return self.get_nowait()
            except asyncio.QueueEmpty:
                self._ready.clear()
                await self._ready.wait()


class Pace:
    """A bucket of messages that fills with time: how long to wait before the next one is read.

    Args:
        now: seconds on a clock that only goes forward.
    """

    def __init__(self, now: float) -> None:
        self._left = float(BURST)
        self._since = now

    def wait_s(self, now: float, hooks: int) -> float:
        """Count a message of a process with so many hooks; return for how long to read no other."""
        rate = RATE + RATE_OF_HOOK * hooks
        self._left = min(float(BURST), self._left + (now - self._since) * rate) - 1.0
        self._since = now
        return max(0.0, -self._left / rate)


class Stream:
    """One process's stream: what it has, and what it must still get.

    Args:
        now: seconds on a clock that only goes forward.
    """

    def __init__(self, now: float) -> None:
        self.instance = ""
        self.held: set[str] = set()
        self.hooks: set[str] = set()
        self.outbox = Outbox()
        self.beats = False
        self.pace = Pace(now)
        self._nonces = itertools.count(1)
        self._sent: set[str] = set()

    def put(self, message: delivery_pb2.ServerMessage, anchor: str) -> None:
        """Queue a resource under a nonce of its own, with the ledger's head."""
        nonce = str(next(self._nonces))
        named = delivery_pb2.ServerMessage(nonce=nonce, anchor=anchor)
        named.MergeFrom(message)
        self._sent.add(nonce)
        if message.WhichOneof("resource") == "bundle":
            self.held.add(message.bundle.digest)
        self._sent.discard(self.outbox.put(named))
        if len(self._sent) > MOST_UNANSWERED:
            self.end()

    def answered(self, ack: delivery_pb2.Ack) -> bool:
        """Return whether an answer is to something sent on this stream and not answered yet."""
        if ack.nonce not in self._sent:
            return False
        self._sent.discard(ack.nonce)
        if not ack.ok and ack.resource == "bundle":
            self.held.discard(ack.name)
        return True

    def end(self) -> None:
        """End the stream after what waits for it."""
        self.outbox.end()


def check_names(*names: str) -> None:
    """Refuse names that nobody would give; raises RolloutError."""
    for name in names:
        if len(name) > MOST_NAME:
            raise RolloutError(
                f"name {name[:40]!r}... has {len(name)} characters; at most {MOST_NAME} are taken"
            )


def check_report(report: delivery_pb2.HookReport) -> None:
    """Refuse a report that holds more than any hook has to say; raises RolloutError."""
    sizes = (
        ("counters", len(report.counters), MOST_COUNTERS),
        ("blocks", len(report.blocks), MOST_BLOCKS),
        ("features", len(report.features), MOST_FEATURES),
    )
    for what, size, most in sizes:
        if size > most:
            raise RolloutError(
                f"report on hook {report.hook[:40]!r} has {size} {what}; at most {most} are taken"
            )
    check_names(*report.counters)


def check_hello(hello: delivery_pb2.Hello, hooks: Iterable[str], streams: int) -> None:
    """Refuse a greeting of nobody, or of more than one process or one control plane holds.

    Args:
        hello: as received.
        hooks: that the stream has already.
        streams: that others have open.

    Raises:
        RolloutError: what it says is too much, with the limit.
    """
    names = {hook.hook for hook in hello.hooks}
    if not hello.node.instance or len(names.union(hooks)) > MOST_HOOKS:
        raise RolloutError(f"a hello needs an instance and at most {MOST_HOOKS} hooks")
    if streams >= MOST_STREAMS:
        raise RolloutError(f"{streams} streams are open here, no more are taken; come back later")
    node = hello.node
    check_names(node.instance, node.service, node.cell, *names)
    for hook in hello.hooks:
        if len(hook.bundles) > MOST_HELD:
            raise RolloutError(
                f"hook {hook.hook!r} comes with {len(hook.bundles)} bundles; at most {MOST_HELD} are taken"
            )
    check_names(*(hook.kind for hook in hello.hooks))
    check_names(*(digest for hook in hello.hooks for digest in hook.bundles))
