"""Key files: a key that can be used, or a ConfigurationError that says what is wrong."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from gnomon.sdk import keys
from gnomon.sdk.errors import ConfigurationError

from . import trust


def TestOneInput(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "key.pub"
        file.write_bytes(data)
        file.chmod(0o600)
        try:
            public = keys.load_public(file)
            assert len(keys.raw(public)) == 32
            assert keys.describe(file).keyid == keys.keyid(public)
            assert keys.raw(keys.from_raw(keys.raw(public))) == keys.raw(public)
        except ConfigurationError as error:
            assert "\n" not in str(error), error
        try:
            private = keys.load_private(file)
            assert keys.valid(private.public_key(), private.sign(b"x"), b"x")
        except ConfigurationError as error:
            assert "\n" not in str(error), error


def seeds() -> Iterator[bytes]:
    with tempfile.TemporaryDirectory() as name:
        for role in ("publisher", "rollout"):
            for path in keys.save(trust.PUBLISHER, Path(name), f"{role}-key", role):  # type: ignore[arg-type]
                yield path.read_bytes()
