"""The kill file of a host: whatever it holds, it is read as it was written, or it kills every hook."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator

from gnomon.sdk.errors import ConfigurationError
from gnomon.sdk.kill import Kill, KillFile

_ORDERS = (
    Kill("router.pick", "slow", "ann", 5, "file"),
    Kill("", "an \N{SNOWMAN} of it", "", 0, "file"),
)


def TestOneInput(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        file = KillFile(name)
        file.path.write_bytes(data)
        found = KillFile(name).kills()
        try:
            written = json.loads(data)["kills"]
        except (ValueError, KeyError, TypeError, RecursionError):
            written = None
        odd = len(found) == 1 and not found[0].hook and "cannot be read" in found[0].reason
        assert odd or [each.hook for each in found] == [each["hook"] for each in written]
        assert all(each.words.isprintable() for each in found)
        try:
            stays = file.add(Kill("other.pick", "why", "by", 1, "file"))
        except ConfigurationError as error:
            assert odd and "\n" not in str(error), error
        else:
            assert stays == KillFile(name).kills() and any(e.covers("other.pick") for e in stays)
        file.lift()
        assert KillFile(name).kills() == ()


def seeds() -> Iterator[bytes]:
    with tempfile.TemporaryDirectory() as name:
        file = KillFile(name)
        for order in _ORDERS:
            file.add(order)
            yield file.path.read_bytes()
    yield b"\n"
    yield b'{"format": "gnomon kill 1", "kills": [], "kills": []}'
