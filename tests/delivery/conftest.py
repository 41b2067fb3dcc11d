"""A publisher, a control plane's key and what they sign, for the tests of delivery."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest

from gnomon.sdk import dsse, keys
from gnomon.sdk.assignment import Assignment
from gnomon.sdk.bundle import build_bundle, bundle_digest
from gnomon.sdk.kind import Feature, Kind, Metric
from gnomon.sdk.language import check
from gnomon.sdk.manifest import Anchors, Now
from gnomon.sdk.measure import BlockMeasure
from gnomon.v1 import delivery_pb2, policy_pb2

from ..fuzz.signing import HOOK, SECOND, manifest_of, plan_of

PATIENCE_S = 10.0


class World:
    """Keys of everybody, clocks that stand still, and makers of plans and manifests.

    Attributes:
        now: both clocks; ``later`` moves them.
        anchors: what the service pins: the publisher's key only.
    """

    def __init__(self) -> None:
        self.publisher = keys.generate()
        self.rollout = keys.generate()
        self.stranger = keys.generate()
        self.now = Now(1_700_000_000 * SECOND, 50 * SECOND)
        self.anchors = Anchors((self.publisher.public_key(),))
        self.kind = Kind(
            name="pick",
            version=3,
            description="Pick one.",
            features=(
                Feature("inflight", "{request}", "Requests in flight.", 0.0, 1000.0, integer=True),
                Feature("ewma_ms", "ms", "Mean latency.", 0.0, 10_000.0),
            ),
            objective=Metric("latency_ms", "ms", 2000.0),
        )

    def later(self, seconds: float) -> Now:
        """Move both clocks on and return them."""
        step = int(seconds * SECOND)
        self.now = Now(self.now.unix_ns + step, self.now.monotonic_ns + step)
        return self.now

    def bundle(self, source: str, signer: Any = None, hook: str = HOOK) -> policy_pb2.Envelope:
        """Return a signed bundle of a source; :func:`digest` names it."""
        program = check(source, self.kind.input_names)
        payload = build_bundle(program, hook, self.kind, "e" * 64, {})
        return dsse.sign(dsse.BUNDLE_TYPE, payload, signer or self.publisher)

    def plan_message(self, **changes: Any) -> policy_pb2.RampPlan:
        """Return a plan for a canary of ``b`` over the incumbent."""
        return plan_of(self.rollout.public_key(), self.now.unix_ns, **changes)

    def plan(self, signer: Any = None, **changes: Any) -> policy_pb2.Envelope:
        """Return a signed plan."""
        payload = self.plan_message(**changes).SerializeToString()
        return dsse.sign(dsse.PLAN_TYPE, payload, signer or self.publisher)

    def manifest(
        self, epoch: int, signer: Any = None, plan: Any = True, **changes: Any
    ) -> policy_pb2.Envelope:
        """Return a signed manifest: a canary at a quarter, unless told otherwise.

        ``plan`` is an envelope, True for the usual one or None for none.
        """
        if plan is not None:
            changes["plan"] = self.plan() if plan is True else plan
        payload = manifest_of(epoch, self.now.unix_ns, **changes).SerializeToString()
        return dsse.sign(dsse.MANIFEST_TYPE, payload, signer or self.rollout)

    def stable(self, epoch: int, **changes: Any) -> policy_pb2.Envelope:
        """Return a signed manifest that only names a stable policy."""
        fields = {"candidate": "", "weight": 0.0, "phase": policy_pb2.PHASE_STABLE, "salt": b""}
        return self.manifest(epoch, **(fields | changes))


def _bytes(message: delivery_pb2.ServerMessage) -> bytes:
    return message.SerializeToString()


class ControlPlane:
    """Serves what a test puts into ``pushes`` and keeps what the clients say."""

    def __init__(self, port: int = 0) -> None:
        self.hellos: queue.Queue[delivery_pb2.Hello] = queue.Queue()
        self.acks: queue.Queue[delivery_pb2.Ack] = queue.Queue()
        self.reports: queue.Queue[delivery_pb2.HookReport] = queue.Queue()
        self.pushes: queue.Queue[Any] = queue.Queue()
        self._server = grpc.server(futures.ThreadPoolExecutor(8))
        self._server.add_generic_rpc_handlers([self._handlers()])
        address = f"127.0.0.1:{port}"
        self.port = self._server.add_insecure_port(address)
        self._server.start()

    def _handlers(self) -> grpc.GenericRpcHandler:
        """Return the protocol's one method, but able to send bytes that are no message."""
        connect = grpc.stream_stream_rpc_method_handler(
            self._connect,
            request_deserializer=delivery_pb2.ClientMessage.FromString,
            response_serializer=lambda push: push if isinstance(push, bytes) else _bytes(push),
        )
        return grpc.method_handlers_generic_handler("gnomon.v1.Delivery", {"Connect": connect})

    def _connect(self, request_iterator, context):
        ended = threading.Event()
        threading.Thread(target=self._listen, args=(request_iterator, ended), daemon=True).start()
        while not ended.is_set() and context.is_active():
            try:
                push = self.pushes.get(timeout=0.02)
            except queue.Empty:
                continue
            if push is None:
                context.abort(grpc.StatusCode.INTERNAL, "scripted failure")
            yield push

    def _listen(self, request_iterator, ended) -> None:
        with contextlib.suppress(Exception):
            for message in request_iterator:
                which = message.WhichOneof("message")
                box = {"hello": self.hellos, "ack": self.acks, "report": self.reports}[which]
                box.put(getattr(message, which))
        ended.set()

    def bundle(self, envelope, nonce: str = "b") -> None:
        push = delivery_pb2.BundlePush(digest=bundle_digest(envelope.payload), envelope=envelope)
        self.pushes.put(delivery_pb2.ServerMessage(nonce=nonce, bundle=push))

    def manifest(self, envelope, nonce: str = "m", hook: str = HOOK) -> None:
        push = delivery_pb2.ManifestPush(hook=hook, envelope=envelope)
        self.pushes.put(delivery_pb2.ServerMessage(nonce=nonce, manifest=push))

    def ack(self) -> delivery_pb2.Ack:
        return self.acks.get(timeout=PATIENCE_S)

    def hello(self) -> delivery_pb2.Hello:
        return self.hellos.get(timeout=PATIENCE_S)

    def stop(self) -> None:
        self._server.stop(0).wait()


class FakeHook:
    """A hook that only remembers what was installed."""

    def __init__(self, name: str, kind: Kind) -> None:
        self.name = name
        self.kind = kind
        self.counters = {"decisions": 5, "shadow_decisions": 4, "shadow_faults": 1}
        self.broken: dict[str, int] = {}
        self.breaker = ""
        self.killed = ""
        self.has_outcomes = True
        self.measure: Any = None
        self.installed: list[Assignment] = []

    def new_measure(self) -> BlockMeasure:
        """Return what an ordinary hook would."""
        return BlockMeasure(self.kind)

    def install(self, assignment: Assignment) -> None:
        """Remember an assignment."""
        self.installed.append(assignment)


@pytest.fixture
def hook(world: World) -> FakeHook:
    """Return a fake hook of the world's kind."""
    return FakeHook(HOOK, world.kind)


@pytest.fixture(scope="session")
def make_hook() -> type[FakeHook]:
    """Return the class itself, for tests that need several hooks."""
    return FakeHook


@pytest.fixture(scope="session")
def make_world() -> type[World]:
    """Return the class itself, for tests that need a world per example."""
    return World


@pytest.fixture
def world() -> World:
    """Return fresh keys and clocks."""
    return World()


@pytest.fixture
def make_control() -> Iterator[Callable[..., ControlPlane]]:
    """Return a maker of scripted control planes, on a port or on any; stopped in the end."""
    planes = []

    def make(port: int = 0) -> ControlPlane:
        planes.append(ControlPlane(port))
        return planes[-1]

    yield make
    for plane in planes:
        plane.stop()


@pytest.fixture
def control(make_control: Callable[..., ControlPlane]) -> ControlPlane:
    """Return a scripted control plane."""
    return make_control()


@pytest.fixture
def eventually() -> Callable[[Callable[[], Any]], None]:
    """Return a wait for a condition; it fails after ten seconds."""

    def wait(holds: Callable[[], Any]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline, "did not happen in time"
            time.sleep(0.005)

    return wait
