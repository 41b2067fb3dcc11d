"""The state of a service on disk: whatever the file holds, the hook starts, with that state or anew."""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

from gnomon.sdk.manifest import Anchors, ManifestGuard
from gnomon.sdk.state import Saved, StateStore

from . import mutate as _mutate
from . import trust

ANCHORS = Anchors((trust.PUBLISHER.public_key(),))


def TestOneInput(data: bytes) -> None:
    """The input is the file's body; its checksum is made here, unless the first byte says not to."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "delivery" / "hooks" / f"{trust.HOOK}.state"
        file.parent.mkdir(parents=True)
        file.write_bytes(data[1:] if data[:1] == b"\1" else _sealed(data[1:]))
        store = StateStore(Path(name))
        saved = store.load(trust.HOOK)
        assert isinstance(saved, Saved)
        assert saved == Saved() or not store.problems
        guard = ManifestGuard(trust.HOOK, ANCHORS, saved)
        assert guard.epoch == saved.epoch
        store.save(trust.HOOK, saved)
        assert StateStore(Path(name)).load(trust.HOOK) == saved


def _sealed(body: bytes) -> bytes:
    return b"gnomon-state 1 " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def seeds() -> Iterator[bytes]:
    envelope = trust.dsse.sign(
        trust.dsse.MANIFEST_TYPE, trust.manifest(1).SerializeToString(), trust.ROLLOUT
    )
    said = {"epoch": 1, "manifest": base64.b64encode(envelope.SerializeToString()).decode()}
    body = json.dumps(said | {"plan": ""}).encode()
    yield b"\0" + body
    yield b"\1" + _sealed(body)


def mutate(data: bytes, random: Random) -> bytes:
    return data[:1] + _mutate.json_bytes(data[1:], random)
