"""Many clients of a control plane in one process, each with a connection and a stream of its own.

They speak the real protocol. Of every ``--verify`` clients one is a real process's inside: ``Session`` and
``HookPolicy``, which verify both signatures of each manifest (the bundle's program is verified once in
this process, as in a real one). The others read the manifest's epoch and acknowledge at once, because the
verification of a thousand machines does not fit into one. With ``--bare`` nothing is parsed.

Input, one command a line: ``collect`` prints all acknowledgements since the last one as JSON, ``break``
has the first client report that it took the candidate back, ``state`` prints every client's epoch.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk import keys
from gnomon.sdk.bundle import open_bundle
from gnomon.sdk.channel import backoff_s
from gnomon.sdk.manifest import Anchors, Now
from gnomon.sdk.session import HookPolicy, Node, Session
from gnomon.v1 import delivery_pb2, policy_pb2

METHOD = "/gnomon.v1.Delivery/Connect"
HOOK = "fleet.pick"
_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))
_COUNTERS = {f"counter_{number}": number for number in range(20)}


def hook_name(number: int) -> str:
    """Return the name of a client's hook; policies are shipped to the first one."""
    return HOOK if number == 0 else f"{HOOK}.{number}"


class Client:
    """One process of the fleet.

    Args:
        number: in the fleet; makes the instance's id.
        options: of the command line.
        fleet: that it is part of.
    """

    def __init__(self, number: int, options: argparse.Namespace, fleet: Fleet) -> None:
        self.number = number
        self.epoch = 0
        self.call: Any = None
        self._writing = asyncio.Lock()  # a stream takes one message at a time
        self._reports: tuple[int, list[bytes]] = (-1, [])
        self._options = options
        self._fleet = fleet
        self._rng = random.Random(number)
        names = [hook_name(each) for each in range(options.hooks)]
        self.policies = {
            name: HookPolicy(name, load_balancer, "a", fleet.anchors) for name in names
        }
        node = Node("fleet", f"{number:016x}", "a", "bench")
        self.session = Session(node, self.policies)
        self._real = number % options.verify == 0

    async def live(self) -> None:
        """Keep a stream open, with the sdk's own waits between two."""
        attempt = 0
        while True:
            try:
                await self._converse()
            except grpc.aio.AioRpcError:
                self.call = None
            await asyncio.sleep(backoff_s(attempt, self._rng))
            attempt += 1

    async def _converse(self) -> None:
        async with grpc.aio.insecure_channel(self._options.address, options=_OPTIONS) as channel:
            call = channel.stream_stream(METHOD)()
            await self._write(call, self.session.hello().SerializeToString())
            self.call = call
            async for data in call:
                await self._answer(call, data)

    async def _answer(self, call: Any, data: bytes) -> None:
        if self._options.bare:
            await self._write(call, self._fleet.bare_ack)
            self._fleet.note(self.number, 0, "ack")
            return
        message = delivery_pb2.ServerMessage.FromString(data)
        which = message.WhichOneof("resource")
        if which is None:
            return
        if which == "manifest" and not self._real:
            reply = self._unverified(message)
        else:
            if which == "bundle":
                self._hold(message.bundle)
            step = self.session.receive(message, Now(time.time_ns(), time.monotonic_ns()))
            reply = step.reply
            if not reply.ack.ok:
                print(f"refused: {reply.ack.error}", file=sys.stderr, flush=True)
        await self._write(call, reply.SerializeToString())
        if which == "manifest" and reply.ack.ok:
            self.epoch = reply.ack.epoch
            self._fleet.note(self.number, self.epoch, "ack")

    def _hold(self, push: delivery_pb2.BundlePush) -> None:
        """Take a program that this process has verified before."""
        program = self._fleet.program(push)
        for policy in self.policies.values():
            if policy.name == HOOK:
                policy.programs[push.digest] = program
                policy.add_bundle = lambda digest, envelope: None  # type: ignore[method-assign]

    def _unverified(self, message: delivery_pb2.ServerMessage) -> delivery_pb2.ClientMessage:
        manifest = policy_pb2.Manifest.FromString(message.manifest.envelope.payload)
        ack = delivery_pb2.Ack(
            nonce=message.nonce, resource="manifest", name=manifest.hook, epoch=manifest.epoch,
            ok=True,
        )  # fmt: skip
        return delivery_pb2.ClientMessage(ack=ack)

    async def report(self, breaker: str = "") -> None:
        """Report on every hook, as a process does each second."""
        call = self.call
        if call is None:
            return
        if breaker or self._reports[0] != self.epoch:
            self._reports = (-1 if breaker else self.epoch, self._made(breaker))
        for report in self._reports[1]:
            await self._write(call, report)

    def _made(self, breaker: str) -> list[bytes]:
        reports = (
            delivery_pb2.HookReport(
                hook=name, epoch=self.epoch, counters=_COUNTERS, breaker=breaker
            )
            for name in self.policies
        )
        return [delivery_pb2.ClientMessage(report=each).SerializeToString() for each in reports]

    async def _write(self, call: Any, data: bytes) -> None:
        async with self._writing:
            await call.write(data)


class Fleet:
    """The clients of this process."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.anchors = Anchors((keys.load_public(Path(options.publisher)),))
        self.bare_ack = delivery_pb2.ClientMessage(
            ack=delivery_pb2.Ack(nonce="1", resource="manifest", name=HOOK, epoch=1, ok=True)
        ).SerializeToString()
        self._programs: dict[str, Any] = {}
        self._noted: list[tuple[int, int, str, int]] = []
        first = options.first
        self.clients = [Client(first + each, options, self) for each in range(options.count)]

    def program(self, push: delivery_pb2.BundlePush) -> Any:
        """Return a bundle's program; verified the first time."""
        if push.digest not in self._programs:
            found = open_bundle(push.envelope, self.anchors.publishers, HOOK, load_balancer)
            self._programs[push.digest] = found[1]
        return self._programs[push.digest]

    def note(self, number: int, epoch: int, what: str) -> None:
        """Remember that something happened now."""
        self._noted.append((number, epoch, what, time.monotonic_ns()))

    async def run(self) -> None:
        """Live until the input ends."""
        tasks = [asyncio.create_task(client.live()) for client in self.clients]
        if self.options.report_s:
            tasks += [asyncio.create_task(self._reporting(client)) for client in self.clients]
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            await self._obey(line.decode().strip())
        for task in tasks:
            task.cancel()

    async def _obey(self, command: str) -> None:
        if command == "break":
            self.note(self.clients[0].number, 0, "break")
            await self.clients[0].report("faults in a row")
        elif command == "collect":
            noted, self._noted = self._noted, []
            print(json.dumps(noted), flush=True)
        elif command == "state":
            print(json.dumps({client.number: client.epoch for client in self.clients}), flush=True)

    async def _reporting(self, client: Client) -> None:
        await asyncio.sleep(random.Random(client.number).uniform(0.0, self.options.report_s))
        while True:
            try:
                await client.report()
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                client.call = None  # between two streams
            await asyncio.sleep(self.options.report_s)


def main() -> None:
    """Run clients until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--publisher", required=True)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--hooks", type=int, default=1)
    parser.add_argument("--verify", type=int, default=10)
    parser.add_argument("--report-s", type=float, default=0.0)
    parser.add_argument("--bare", action="store_true")
    asyncio.run(Fleet(parser.parse_args()).run())


if __name__ == "__main__":
    main()
