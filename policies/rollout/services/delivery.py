"""Streams to the services' processes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator

from grpc.aio import ServicerContext as Context

from gnomon.v1 import delivery_pb2, delivery_pb2_grpc

from ....sdk.delivery import HEARTBEATS
from ....sdk.errors import GnomonError, RolloutError
from .. import roles, streams
from ..control import Control
from ..streams import Stream
from .answering import abort_on

_log = logging.getLogger("gnomon.rollout")

_BEAT = delivery_pb2.ServerMessage()


class DeliveryService(delivery_pb2_grpc.DeliveryServicer):
    """Streams to the services' processes.

    Args:
        control: that it speaks for.
    """

    def __init__(self, control: Control) -> None:
        self._control = control
        self._streams: dict[str, Stream] = {}

    async def Connect(
        self, request_iterator: AsyncIterator[delivery_pb2.ClientMessage], context: Context
    ) -> AsyncIterator[delivery_pb2.ServerMessage]:
        """Hold one process's stream until either side ends it."""
        stream = Stream(time.monotonic())
        stream.beats = HEARTBEATS in tuple(map(tuple, context.invocation_metadata() or ()))
        reading = asyncio.create_task(self._read(stream, request_iterator))
        try:
            while (message := await stream.outbox.get()) is not None:
                yield message
            if reading.done() and not reading.cancelled() and reading.exception() is not None:
                await abort_on(context, reading.exception())
        finally:
            reading.cancel()
            self._leave(stream)

    def publish(self, hook: str) -> None:
        """Push a hook's newest manifest to every process that has it."""
        messages = self._control.pushes(hook, ())  # made once, however many processes there are
        for stream in list(self._streams.values()):
            if hook in stream.hooks:
                self._give(stream, messages)

    def beat(self) -> None:
        """Tell the processes that ask for it that all is well here: that hooks have their turns."""
        for stream in self._streams.values():
            if stream.beats:
                stream.outbox.put(_BEAT)

    def resigned(self, digest: str) -> None:
        """Push a bundle again with the next manifest that names it."""
        for stream in self._streams.values():
            stream.held.discard(digest)

    def close(self) -> None:
        """End all streams."""
        for stream in list(self._streams.values()):
            stream.end()

    async def _read(
        self, stream: Stream, requests: AsyncIterator[delivery_pb2.ClientMessage]
    ) -> None:
        try:
            async for message in requests:
                self._receive(stream, message)
                wait_s = stream.pace.wait_s(time.monotonic(), len(stream.hooks))
                if wait_s > 0.0:  # not read means not sent: the transport makes the process wait
                    await asyncio.sleep(wait_s)
        except GnomonError as error:
            _log.warning("stream of %s ended: %s", stream.instance or "a stranger", error)
            raise
        finally:
            stream.end()

    def _receive(self, stream: Stream, message: delivery_pb2.ClientMessage) -> None:
        which = message.WhichOneof("message")
        if which == "hello":
            self._hello(stream, message.hello)
        elif not stream.instance:
            raise RolloutError("the first message of a stream must be a hello")
        elif which == "ack" and stream.answered(message.ack):
            self._control.ack(stream.instance, message.ack)
        elif which == "report":
            streams.check_report(message.report)
            self._control.report(stream.instance, message.report)

    def _hello(self, stream: Stream, hello: delivery_pb2.Hello) -> None:
        others = len(self._streams) - (stream.instance in self._streams)
        streams.check_hello(hello, stream.hooks, others)
        roles.check_service(hello.node.service)
        if stream.instance not in ("", hello.node.instance):
            raise RolloutError(f"stream of {stream.instance} cannot speak for another process too")
        before = self._streams.get(hello.node.instance)
        if before is not None and before is not stream:
            before.end()
        stream.instance = hello.node.instance
        self._streams[stream.instance] = stream
        new = [hook for hook in hello.hooks if hook.hook not in stream.hooks]
        stream.hooks.update(hook.hook for hook in new)
        for hook in new:
            stream.held.update(hook.bundles)
        self._control.hello(hello.node, new)
        for hook in new:
            self._push(stream, hook.hook)

    def _push(self, stream: Stream, hook: str) -> None:
        self._give(stream, self._control.pushes(hook, stream.held))

    def _give(self, stream: Stream, messages: list[delivery_pb2.ServerMessage]) -> None:
        for message in messages:
            if message.bundle.digest not in stream.held:
                stream.put(message, self._control.witnesses.head)

    def _leave(self, stream: Stream) -> None:
        if self._streams.get(stream.instance) is stream:
            del self._streams[stream.instance]
            self._control.gone(stream.instance)
