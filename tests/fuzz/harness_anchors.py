"""What is kept of a ledger's heads: files of processes, which are read as far as they can be, and signed checkpoints.

The first byte chooses: a process's file of anchors, or a checkpoint's file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

from gnomon.policies.rollout.chain import parse_anchor
from gnomon.policies.rollout.checkpoints import CHECKPOINT_TYPE, load_checkpoint, save_checkpoint
from gnomon.sdk import dsse
from gnomon.sdk.errors import ConfigurationError, TrustError
from gnomon.sdk.witness import FILE, MAX_ANCHORS, Witness, read_anchors
from gnomon.v1 import policy_pb2

from . import mutate as _mutate
from . import trust

HEAD = f"12:{'a' * 64}"
NEXT = f"13:{'b' * 64}"


def TestOneInput(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        if data[:1] == b"\1":
            _checkpoint(Path(name) / "head.checkpoint", data[1:])
        else:
            _witness(Path(name), data[1:])


def _witness(folder: Path, data: bytes) -> None:
    file = folder / FILE
    file.parent.mkdir(parents=True)
    file.write_bytes(data)
    found = read_anchors(folder)
    witness = Witness(folder)
    assert not found or witness.newest == max(found, key=lambda a: (a.seq, -a.time_ns)).text
    witness.told(NEXT, trust.NOW.unix_ns)
    witness.write(trust.NOW.unix_ns)
    again = read_anchors(folder)
    assert len(again) <= MAX_ANCHORS
    assert Witness(folder).newest == witness.newest
    for anchor in again:
        assert parse_anchor(anchor.text)[0] == anchor.seq


def _checkpoint(file: Path, data: bytes) -> None:
    """A payload is signed here, so that what reads it is reached; what is no envelope is read as it is."""
    try:
        envelope = policy_pb2.Envelope.FromString(data)
        signed = dsse.sign(CHECKPOINT_TYPE, envelope.payload, trust.PUBLISHER)
        file.write_bytes(signed.SerializeToString())
    except ValueError:
        file.write_bytes(data)
    try:
        made = load_checkpoint(file, [trust.PUBLISHER.public_key()])
        parse_anchor(made.anchor)
        assert made.signed_by
    except (ConfigurationError, TrustError) as error:
        assert "\n" not in str(error), error
    file.write_bytes(data)
    try:
        load_checkpoint(file, [trust.ROLLOUT.public_key()])
    except (ConfigurationError, TrustError) as error:
        assert "\n" not in str(error), error
    else:
        raise AssertionError("a key that signed nothing vouches for it")


def seeds() -> Iterator[bytes]:
    yield b"\0" + f"{HEAD} 1700000000\n{NEXT} 1700000001\nnonsense\n".encode()
    yield b"\0" + b"".join(b"%d:%064x %d\n" % (n, n, n) for n in range(200))
    yield b"\0" + b"\xff\n" + f"{9:018d}:{'c' * 64} {10**18}\n".encode()
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "head.checkpoint"
        save_checkpoint(file, HEAD, trust.NOW.unix_ns, trust.PUBLISHER)
        yield b"\1" + file.read_bytes()
    for payload in (
        b'{"anchor":"x","time_ns":1}',
        b'{"anchor":"1:aa","time_ns":1e999}',
        b"[" * 9000,
    ):
        yield b"\1" + policy_pb2.Envelope(payload=payload).SerializeToString()


def mutate(data: bytes, random: Random) -> bytes:
    if data[:1] != b"\1":
        return b"\0" + _mutate.source(data[1:].decode("latin-1"), random).encode("utf-8", "replace")
    envelope = policy_pb2.Envelope.FromString(data[1:])
    if random.random() < 0.5:
        envelope.payload = _mutate.json_bytes(envelope.payload, random)
        return b"\1" + envelope.SerializeToString()
    return b"\1" + _mutate.message(policy_pb2.Envelope, data[1:], random)
