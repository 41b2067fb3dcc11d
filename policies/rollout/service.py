"""The three services of the wire, each thin over the control plane's core."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import NoReturn, TypeVar

import grpc
from grpc.aio import ServicerContext as Context

from gnomon.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    delivery_pb2,
    delivery_pb2_grpc,
    keys_pb2,
    keys_pb2_grpc,
    rollouts_pb2,
    rollouts_pb2_grpc,
)

from ...sdk.delivery import HEARTBEATS
from ...sdk.errors import GnomonError, RolloutError, TrustError
from . import roles, streams, views
from .blocks import Exclusion
from .chain import Entry, read_body
from .control import Control
from .states import State

_log = logging.getLogger("gnomon.rollout")

#: Between two views of a rollout that is watched: a fleet's answers come as one.
_VIEW_EVERY_S = 0.05

_BEAT = delivery_pb2.ServerMessage()

T = TypeVar("T")


class _Stream:
    """One process's stream: what it has, and what it must still get."""

    def __init__(self) -> None:
        self.instance = ""
        self.held: set[str] = set()
        self.hooks: set[str] = set()
        self.outbox = streams.Outbox()
        self.beats = False
        self.pace = streams.Pace(time.monotonic())
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
        if len(self._sent) > streams.MOST_UNANSWERED:
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


class DeliveryService(delivery_pb2_grpc.DeliveryServicer):
    """Streams to the services' processes.

    Args:
        control: that it speaks for.
    """

    def __init__(self, control: Control) -> None:
        self._control = control
        self._streams: dict[str, _Stream] = {}

    async def Connect(
        self, request_iterator: AsyncIterator[delivery_pb2.ClientMessage], context: Context
    ) -> AsyncIterator[delivery_pb2.ServerMessage]:
        """Hold one process's stream until either side ends it."""
        stream = _Stream()
        stream.beats = HEARTBEATS in tuple(map(tuple, context.invocation_metadata() or ()))
        reading = asyncio.create_task(self._read(stream, request_iterator))
        try:
            while (message := await stream.outbox.get()) is not None:
                yield message
            if reading.done() and not reading.cancelled() and reading.exception() is not None:
                await _abort_on(context, reading.exception())
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
        self, stream: _Stream, requests: AsyncIterator[delivery_pb2.ClientMessage]
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

    def _receive(self, stream: _Stream, message: delivery_pb2.ClientMessage) -> None:
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

    def _hello(self, stream: _Stream, hello: delivery_pb2.Hello) -> None:
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

    def _push(self, stream: _Stream, hook: str) -> None:
        self._give(stream, self._control.pushes(hook, stream.held))

    def _give(self, stream: _Stream, messages: list[delivery_pb2.ServerMessage]) -> None:
        for message in messages:
            if message.bundle.digest not in stream.held:
                stream.put(message, self._control.witnesses.head)

    def _leave(self, stream: _Stream) -> None:
        if self._streams.get(stream.instance) is stream:
            del self._streams[stream.instance]
            self._control.gone(stream.instance)


class RolloutsService(rollouts_pb2_grpc.RolloutsServicer):
    """What people and pipelines ask for.

    Args:
        control: that it speaks for.
    """

    def __init__(self, control: Control) -> None:
        self._control = control
        self._changes: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._closed = False

    async def Create(
        self, request: rollouts_pb2.CreateRequest, context: Context
    ) -> rollouts_pb2.Rollout:
        """Begin a rollout."""
        return await _answer(
            context,
            lambda: self._view(
                self._control.create(request.bundle, request.plan, roles.actor(request.actor))
            ),
        )

    async def Get(self, request: rollouts_pb2.GetRequest, context: Context) -> rollouts_pb2.Rollout:
        """Return a rollout."""
        return await _answer(context, lambda: self._view(self._control.get(request.id)))

    async def List(
        self, request: rollouts_pb2.ListRequest, context: Context
    ) -> rollouts_pb2.ListResponse:
        """Return all rollouts."""
        del context
        found = self._control.rollouts(request.hook)
        return rollouts_pb2.ListResponse(rollouts=[self._view(state) for state in found])

    async def Watch(
        self, request: rollouts_pb2.GetRequest, context: Context
    ) -> AsyncIterator[rollouts_pb2.Rollout]:
        """Yield a rollout now and whenever it changes."""
        view = await _answer(context, lambda: self._view(self._control.get(request.id)))
        while True:
            seen = self._changes.get(view.id, 0)
            yield view
            await asyncio.sleep(_VIEW_EVERY_S)
            while self._changes.get(view.id, 0) == seen and not self._closed:
                await self._changed.wait()
            if self._closed:
                return
            view = self._view(self._control.get(view.id))

    async def Act(self, request: rollouts_pb2.ActRequest, context: Context) -> rollouts_pb2.Rollout:
        """Carry out an operator's order."""

        def act() -> rollouts_pb2.Rollout:
            rollout = request.id or self._control.get().plan.id
            by = roles.actor(request.actor)
            order = (request.action, by, request.reason, request.request_id)
            return self._view(self._control.act(rollout, *order))

        return await _answer(context, act)

    async def Exclude(
        self, request: rollouts_pb2.ExcludeRequest, context: Context
    ) -> rollouts_pb2.ExcludeResponse:
        """Leave a stretch of time out of both arms."""
        gap = Exclusion(request.from_unix_ns, request.to_unix_ns, request.reason)
        blocks = await _answer(
            context, lambda: self._control.exclude(request.hook, gap, roles.actor(request.actor))
        )
        return rollouts_pb2.ExcludeResponse(blocks=blocks)

    async def Reverify(
        self, request: rollouts_pb2.ReverifyRequest, context: Context
    ) -> rollouts_pb2.Rollout:
        """Take a fresh verdict on the policy in force."""
        return await _answer(
            context,
            lambda: self._view(self._control.reverify(request.reverification, request.actor)),
        )

    async def ListClients(
        self, request: rollouts_pb2.ListClientsRequest, context: Context
    ) -> rollouts_pb2.ListClientsResponse:
        """Return the processes that were heard of."""
        del context
        seats = self._control.clients(request.hook)
        return rollouts_pb2.ListClientsResponse(clients=[views.client(seat) for seat in seats])

    def change(self, rollout: str) -> None:
        """Wake those who watch."""
        self._changes[rollout] = self._changes.get(rollout, 0) + 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def close(self) -> None:
        """End all watches."""
        self._closed = True
        self._changed.set()

    def _view(self, state: State) -> rollouts_pb2.Rollout:
        hook = state.plan.hook
        seats = [seat for seat in self._control.clients(hook) if seat.connected]
        return views.rollout(state, self._control.epoch(hook), seats)


class KeysService(keys_pb2_grpc.KeysServicer):
    """Signatures under what is in force.

    Args:
        control: that it speaks for.
    """

    def __init__(self, control: Control) -> None:
        self._control = control

    async def Signed(
        self, request: keys_pb2.SignedRequest, context: Context
    ) -> keys_pb2.SignedResponse:
        """Return what is in force, with its signatures."""
        del context
        return self._view(request.hook)

    async def Resign(
        self, request: keys_pb2.ResignRequest, context: Context
    ) -> keys_pb2.SignedResponse:
        """Take further signatures."""
        plan = request.plan if request.HasField("plan") else None
        by = roles.actor(request.actor)
        await _answer(
            context, lambda: self._control.resign(request.hook, plan, request.bundles, by)
        )
        return self._view(request.hook)

    def _view(self, hook: str) -> keys_pb2.SignedResponse:
        return keys_pb2.SignedResponse(
            hooks=self._control.signed(hook), rollout_keyids=self._control.rollout_keyids()
        )


class AuditService(audit_pb2_grpc.AuditServicer):
    """The ledger, to be read.

    Args:
        control: whose ledger it is.
    """

    def __init__(self, control: Control) -> None:
        self._control = control
        self._ledger = control.ledger

    async def Export(
        self, request: audit_pb2.AuditExportRequest, context: Context
    ) -> AsyncIterator[audit_pb2.AuditEntry]:
        """Yield entries in order."""
        del context
        for entry in self._ledger.export(request.from_seq, request.subject):
            yield entry_message(entry)
            await asyncio.sleep(0)  # a long ledger must not hold up a rollback

    async def Verify(
        self, request: audit_pb2.AuditVerifyRequest, context: Context
    ) -> audit_pb2.AuditVerifyResponse:
        """Say whether the chain holds."""
        del request, context
        check = await asyncio.to_thread(self._ledger.verify)
        return audit_pb2.AuditVerifyResponse(
            ok=check.ok,
            entries=check.entries,
            head=check.head,
            problem=check.problem,
            problem_seq=check.problem_seq,
        )

    async def Anchors(
        self, request: audit_pb2.AuditAnchorsRequest, context: Context
    ) -> audit_pb2.AuditAnchorsResponse:
        """Return the head, what processes remember, and what of that the ledger does not hold."""
        del request, context
        return self._anchors()

    async def Accept(
        self, request: audit_pb2.AuditAcceptRequest, context: Context
    ) -> audit_pb2.AuditAnchorsResponse:
        """Take what is in dispute as lost."""

        def accept() -> audit_pb2.AuditAnchorsResponse:
            self._control.accept(roles.actor(request.actor), request.reason)
            return self._anchors()

        return await _answer(context, accept)

    def _anchors(self) -> audit_pb2.AuditAnchorsResponse:
        witnesses = self._control.witnesses
        services = {seat.instance: seat.service for seat in self._control.clients()}
        return audit_pb2.AuditAnchorsResponse(
            head=witnesses.head,
            witnesses=[
                audit_pb2.Witness(
                    service=services.get(instance, ""),
                    instance=instance,
                    anchor=said.anchor,
                    time_unix_ns=said.time_ns,
                )
                for instance, said in sorted(witnesses.said.items())
            ],
            disputes=[
                audit_pb2.Dispute(
                    anchor=each.anchor, problem=each.problem, instances=each.instances
                )
                for each in witnesses.disputes.values()
            ],
        )


def entry_message(entry: Entry) -> audit_pb2.AuditEntry:
    """Return the message of a ledger's entry."""
    return audit_pb2.AuditEntry(
        seq=entry.seq,
        time_unix_ns=entry.time_ns,
        kind=entry.kind,
        actor=entry.actor,
        subject=entry.subject,
        body=entry.raw,
        previous=entry.previous,
        hash=entry.hash,
    )


def message_entry(message: audit_pb2.AuditEntry) -> Entry:
    """Return the entry of a message, as received: nothing about it is verified.

    Raises:
        TrustError: its body is no JSON object.
    """
    return Entry(
        message.seq,
        message.time_unix_ns,
        message.kind,
        message.actor,
        message.subject,
        read_body(message.body, message.seq),
        message.body,
        message.previous,
        message.hash,
    )


async def _answer(context: Context, question: Callable[[], T]) -> T:
    try:
        return question()
    except GnomonError as error:
        await _abort_on(context, error)


async def _abort_on(context: Context, error: BaseException | None) -> NoReturn:
    """End a call with the status that fits an error."""
    if isinstance(error, TrustError):
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
    if isinstance(error, GnomonError):
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
    raise error or RuntimeError("no error")
