"""The control plane: whatever a process sends, it goes on, its rollouts stay sound and it can be restarted.

The input is a list of client messages of two stream ends, each with a byte (which process, and whether time passes)
and a length of two bytes before it. Two rollouts are under way: one in blocks of time, one with sticky arms.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

from google.protobuf.message import DecodeError

from gnomon.policies.rollout import views
from gnomon.policies.rollout.control import Control
from gnomon.policies.rollout.identity import Identity
from gnomon.policies.rollout.ledger import Ledger
from gnomon.policies.rollout.outcomes import Effect
from gnomon.policies.rollout.services.delivery import DeliveryService
from gnomon.policies.rollout.shipping import Ramp, build_plan, sign_plan
from gnomon.policies.rollout.store import Store
from gnomon.policies.rollout.streams import Stream
from gnomon.sdk import dsse
from gnomon.sdk.bundle import build_bundle
from gnomon.sdk.errors import RolloutError
from gnomon.sdk.kind import Kind
from gnomon.sdk.language import check
from gnomon.sdk.measure import BUCKETS
from gnomon.sdk.slices import GROUPS, group
from gnomon.v1 import delivery_pb2, policy_pb2

from . import mutate as _mutate
from . import trust

_MOST = 24
_RAMP = Ramp(
    block_s=2.0, burn_in_s=0.2, skew_s=0.1, min_pairs=8, max_pairs=40, shadow_decisions=10,
    soak_s=1.0, lease_s=15.0,
)  # fmt: skip
_BUNDLE = dsse.sign(dsse.BUNDLE_TYPE, trust.bundle(), trust.PUBLISHER)
UNITS, SLICES = "router.units", 200
_STICKY = replace(trust.KIND, name="unit", arms="sticky")
_SCORE = check("def score(inflight, ewma_ms):\n    return inflight\n", _STICKY.input_names)
_UNIT_BUNDLE = dsse.sign(
    dsse.BUNDLE_TYPE, build_bundle(_SCORE, UNITS, _STICKY, "e" * 64, {}), trust.PUBLISHER
)


class World:
    """A control plane with one rollout, on a clock that only moves when told to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = trust.NOW.unix_ns
        self.open()
        self._ship(_BUNDLE, trust.KIND, _RAMP)
        self._ship(_UNIT_BUNDLE, _STICKY, replace(_RAMP, slices=SLICES, shadow_decisions=0))

    def _ship(self, bundle: policy_pb2.Envelope, kind: Kind, ramp: Ramp) -> None:
        payload = build_plan(
            ramp, bundle.payload, kind, trust.ROLLOUT.public_key(), self.now, plan_id=kind.name,
            stable="incumbent", predicted={"incumbent": Effect(-0.1, -0.2, -0.05)},
        )  # fmt: skip
        self.control.create(bundle, sign_plan(payload, trust.PUBLISHER), "ci")

    def open(self) -> None:
        self.store = Store(self.folder / "rollouts.db")
        self.ledger = Ledger(self.folder / "ledger.db", lambda: self.now)
        identity = Identity(trust.ROLLOUT, (trust.PUBLISHER.public_key(),))
        fresh = Random(1)
        self.control = Control(self.store, self.ledger, identity, lambda: self.now, fresh.randbytes)

    def close(self) -> None:
        self.store.close()
        self.ledger.close()


def TestOneInput(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        world = World(Path(name))
        try:
            _talk(world, data)
            before = _seen(world.control)
            world.close()
            world.open()
            assert _seen(world.control) == before
            assert world.ledger.verify().ok
        finally:
            world.close()


def _talk(world: World, data: bytes) -> None:
    service = DeliveryService(world.control)
    streams = [Stream(0.0), Stream(0.0)]
    for tag, content in _parts(data):
        try:
            message = delivery_pb2.ClientMessage.FromString(content)
            service._receive(streams[tag & 1], message)
        except (DecodeError, RolloutError):
            continue
        if tag & 2:
            world.now += 4 * trust.SECOND
            world.control.tick()
    for seat in world.control.clients():
        views.client(seat)
    for state in world.control.rollouts():
        views.rollout(state, world.control.epoch(state.plan.hook), world.control.clients())
    for stream in streams:
        service._leave(stream)


def _seen(control: Control) -> list[tuple[object, ...]]:
    """Return what must survive a restart."""
    return [
        (state.plan.id, state.status, state.attempt, state.windows, state.points, state.looks)
        + (state.killed,)
        for state in control.rollouts()
    ]


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    for _ in range(_MOST):
        if at + 3 > len(data):
            return
        size = int.from_bytes(data[at + 1 : at + 3], "big")
        yield data[at], data[at + 3 : at + 3 + size]
        at += 3 + size


def _joined(parts: list[tuple[int, bytes]]) -> bytes:
    cut = ((tag, each[:0xFFFF]) for tag, each in parts[:_MOST])
    return b"".join(bytes([tag]) + len(each).to_bytes(2, "big") + each for tag, each in cut)


def _hello(instance: str) -> delivery_pb2.ClientMessage:
    node = delivery_pb2.Node(service="router", instance=instance, cell="a", version="0.1")
    hooks = [
        delivery_pb2.HookState(hook=name, kind=kind, kind_version=3, epoch=1)
        for name, kind in ((trust.HOOK, "pick"), (UNITS, "unit"))
    ]
    return delivery_pb2.ClientMessage(hello=delivery_pb2.Hello(node=node, hooks=hooks))


def _ack(nonce: int, resource: str, name: str, **more: object) -> delivery_pb2.ClientMessage:
    ack = delivery_pb2.Ack(nonce=str(nonce), resource=resource, name=name, ok=True, epoch=2)
    ack.MergeFrom(delivery_pb2.Ack(**more))  # type: ignore[arg-type]
    return delivery_pb2.ClientMessage(ack=ack)


def _report(at_s: int, shadow: int = 50, **more: object) -> delivery_pb2.ClientMessage:
    block = (trust.NOW.unix_ns + at_s * trust.SECOND) // (2 * trust.SECOND) - 1
    histogram = [0] * BUCKETS
    histogram[40] = 50
    arms = [
        delivery_pb2.BlockReport(
            cell="a", block=block + step, arm=arm, count=50, sum=500.0, histogram=histogram
        )
        for step in (0, 1)
        for arm in ("stable", "candidate")
    ]
    report = delivery_pb2.HookReport(
        hook=trust.HOOK, epoch=2, blocks=arms, counters={"decisions": 10 * at_s, "fallbacks": 0},
        shadow=delivery_pb2.ShadowReport(decisions=shadow),
    )  # fmt: skip
    report.MergeFrom(delivery_pb2.HookReport(**more))  # type: ignore[arg-type]
    return delivery_pb2.ClientMessage(report=report)


def _slices(each: int, epoch: int, gain: float = 0.5) -> delivery_pb2.ClientMessage:
    """Report as many outcomes of every slice; the candidate's, the first half, are better by a share."""
    histograms = [delivery_pb2.Histogram(counts=[0] * BUCKETS) for _ in range(GROUPS)]
    for index in range(SLICES):
        histograms[group(index, SLICES)].counts[40] += each
    means = [10.0 * (gain if index < SLICES // 2 else 1.0) + index % 7 for index in range(SLICES)]
    none = [0] * SLICES
    sums = delivery_pb2.SliceReport(
        epoch=epoch, slices=SLICES, count=[each] * SLICES, sum=[each * mean for mean in means],
        failures=none, missing=none, unresolved=none, fallbacks=none, histograms=histograms,
    )  # fmt: skip
    report = delivery_pb2.HookReport(hook=UNITS, epoch=epoch, slices=sums)
    return delivery_pb2.ClientMessage(report=report)


def _said(messages: list[delivery_pb2.ClientMessage], tag: int = 2) -> bytes:
    return _joined([(tag, each.SerializeToString()) for each in messages])


def seeds() -> Iterator[bytes]:
    digest = trust.digest()
    start = [_hello("one"), _ack(1, "bundle", digest), _ack(2, "manifest", trust.HOOK)]
    yield _said([*start, *(_report(4 * step) for step in range(1, 12))])
    yield _said([*start, _report(4), _report(8, breaker="too slow")])
    yield _said([_hello("one"), _ack(1, "bundle", digest, error="no"), _report(4)])
    yield _said([_hello("one")]) + _said(
        [_hello("two"), _ack(2, "manifest", trust.HOOK), _report(4)], 3
    )

    units = [_hello("one"), _ack(4, "manifest", UNITS)]
    for gain in (0.5, 2.0):
        yield _said([*units, *(_slices(5 * 2**step, 1, gain) for step in range(10))])
    yield _said([*units, _slices(5, 1), _slices(7, 2), _slices(2**29, 1), _slices(3, 1)])


def mutate(data: bytes, random: Random) -> bytes:
    parts = list(_parts(data)) or [(2, _hello("one").SerializeToString())]
    at, other = random.randrange(len(parts)), random.randrange(len(parts))
    match random.randrange(8):
        case 0:
            parts.insert(at, parts[other])
        case 1 if len(parts) > 1:
            del parts[at]
        case 2:
            parts[at], parts[other] = parts[other], parts[at]
        case 3:
            parts[at] = random.randrange(4), parts[at][1]
        case _:
            tag, content = parts[at]
            parts[at] = tag, _mutate.message(delivery_pb2.ClientMessage, content, random)
    return _joined(parts)
