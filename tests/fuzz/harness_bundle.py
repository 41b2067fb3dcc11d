"""Bundles: what a service opens is a bundle that decides here as it says, or a TrustError.

The first byte says whether the rest is a payload, which is signed here so that every check behind the signature is
reached, or an envelope as it comes over the wire.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from google.protobuf.message import DecodeError

from gnomon.sdk import dsse
from gnomon.sdk.bundle import bundle_digest, open_bundle
from gnomon.sdk.errors import TrustError
from gnomon.v1 import policy_pb2

from . import mutate as _mutate
from . import trust

KEYS = (trust.PUBLISHER.public_key(),)


def TestOneInput(data: bytes) -> None:
    try:
        envelope = _envelope(data)
    except DecodeError:
        return
    try:
        bundle, program = open_bundle(envelope, KEYS, trust.HOOK, trust.KIND)
    except TrustError as error:
        assert "\n" not in str(error), error
        return
    assert bundle.source == program.source
    assert len(bundle_digest(envelope.payload)) == 64


def _envelope(data: bytes) -> policy_pb2.Envelope:
    if data[:1] == b"\0":
        return dsse.sign(dsse.BUNDLE_TYPE, data[1:], trust.PUBLISHER)
    return policy_pb2.Envelope.FromString(data[1:])


def seeds() -> Iterator[bytes]:
    yield b"\0" + trust.bundle()
    yield b"\1" + dsse.sign(dsse.BUNDLE_TYPE, trust.bundle(), trust.PUBLISHER).SerializeToString()


def mutate(data: bytes, random: Random) -> bytes:
    kind = policy_pb2.Bundle if data[:1] == b"\0" else policy_pb2.Envelope
    made = _mutate.message(kind, data[1:], random)
    if kind is policy_pb2.Bundle and random.random() < 0.2:
        bundle = policy_pb2.Bundle.FromString(trust.bundle())
        bundle.source = _mutate.source(bundle.source, random).encode("utf-8", "replace").decode()
        made = bundle.SerializeToString()
    return data[:1] + made
