"""Manifests: a guard takes one or says why not, its epoch never goes back, and its state survives a restart.

The input is a list of manifests, each with a length of two bytes before it; they are signed here, by the rollout's
key or, where the first byte is odd, by the publisher's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

from google.protobuf.message import DecodeError

from gnomon.sdk import dsse
from gnomon.sdk.errors import TrustError
from gnomon.sdk.manifest import Anchors, ManifestGuard
from gnomon.sdk.state import StateStore
from gnomon.v1 import policy_pb2

from . import mutate as _mutate
from . import trust

ANCHORS = Anchors((trust.PUBLISHER.public_key(),))
_MOST = 4


def TestOneInput(data: bytes) -> None:
    signer = trust.PUBLISHER if data[:1] == b"\1" else trust.ROLLOUT
    guard = ManifestGuard(trust.HOOK, ANCHORS)
    for payload in _parts(data[1:]):
        before = guard.epoch
        try:
            admitted = guard.check(dsse.sign(dsse.MANIFEST_TYPE, payload, signer), trust.NOW)
        except TrustError as error:
            assert "\n" not in str(error), error
            continue
        guard.commit(admitted)
        assert guard.epoch == admitted.manifest.epoch >= max(before, 1)
        _survives(guard)


def _survives(guard: ManifestGuard) -> None:
    assert guard.current is not None
    with tempfile.TemporaryDirectory() as folder:
        StateStore(Path(folder)).save(trust.HOOK, guard.current.saved)
        store = StateStore(Path(folder))
        again = ManifestGuard(trust.HOOK, ANCHORS, store.load(trust.HOOK))
    assert again.epoch == guard.epoch and not store.problems
    assert again.current is not None
    assert again.current.manifest == guard.current.manifest
    assert again.current.lease_until_ns == 0


def _parts(data: bytes) -> Iterator[bytes]:
    at = 0
    for _ in range(_MOST):
        if at + 2 > len(data):
            return
        size = int.from_bytes(data[at : at + 2], "big")
        yield data[at + 2 : at + 2 + size]
        at += 2 + size


def _joined(payloads: list[bytes]) -> bytes:
    cut = (each[:0xFFFF] for each in payloads)
    return b"".join(len(each).to_bytes(2, "big") + each for each in cut)


def seeds() -> Iterator[bytes]:
    every = [
        trust.manifest(1),
        trust.manifest(2, weight=0.5),
        trust.manifest(3, kill=True, candidate="", weight=0.0, phase=policy_pb2.PHASE_STABLE),
        trust.manifest(4, candidate="", weight=0.0, phase=policy_pb2.PHASE_STABLE),
    ]
    yield b"\0" + _joined([each.SerializeToString() for each in every])
    yield b"\0" + _joined([each.SerializeToString() for each in every[:1] * 2])
    yield b"\1" + _joined([each.SerializeToString() for each in every[2:]])


def mutate(data: bytes, random: Random) -> bytes:
    payloads = list(_parts(data[1:])) or [trust.manifest(1).SerializeToString()]
    at = random.randrange(len(payloads))
    match random.randrange(4):
        case 0:
            payloads[at] = _with_plan(payloads[at], random)
        case 1 if len(payloads) < _MOST:
            payloads.insert(at, payloads[random.randrange(len(payloads))])
        case _:
            payloads[at] = _mutate.message(policy_pb2.Manifest, payloads[at], random)
    return data[:1] + _joined(payloads)


def _with_plan(payload: bytes, random: Random) -> bytes:
    """Change the plan inside, and sign it again."""
    try:
        manifest = policy_pb2.Manifest.FromString(payload)
    except DecodeError:
        return payload
    plan = _mutate.message(policy_pb2.RampPlan, manifest.plan.payload, random)
    manifest.plan.CopyFrom(dsse.sign(dsse.PLAN_TYPE, plan, trust.PUBLISHER))
    return manifest.SerializeToString()
