"""The ledger: a file that was changed is never taken for a whole one, and entries from elsewhere are only verified.

The first byte chooses: bytes written over a ledger's file, or a list of entries as another control plane exports them,
whose bodies are JSON; these are chained here, so that what reads bodies is reached.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random

from google.protobuf.message import DecodeError

from gnomon.policies.rollout.chain import GENESIS, check_entries, entry_hash
from gnomon.policies.rollout.entries import message_entry
from gnomon.policies.rollout.explaining import explained
from gnomon.policies.rollout.ledger import Ledger
from gnomon.sdk.errors import GnomonError
from gnomon.v1 import audit_pb2

from . import mutate as _mutate

SUBJECT = "d" * 64


def TestOneInput(data: bytes) -> None:
    if data[:1] == b"\1":
        _file(data[1:])
    else:
        _entries(data[1:])


def _file(changes: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "ledger.db"
        path.write_bytes(_changed(changes))
        try:
            ledger = Ledger(path, lambda: 7)
        except GnomonError as error:
            assert "\n" not in str(error), error
            return
        try:
            _opened(ledger)
        except GnomonError as error:
            assert "\n" not in str(error), error
        finally:
            ledger.close()


def _opened(ledger: Ledger) -> None:
    check = ledger.verify()
    if not check.ok:
        assert check.problem and "\n" not in check.problem
        return
    found = list(ledger.export())
    assert len(found) == check.entries
    # A ledger that holds is one of the original's beginnings: nobody can forge what was appended.
    assert [entry.raw for entry in found] == _bodies()[: len(found)]


@cache
def _bodies() -> list[bytes]:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "ledger.db"
        path.write_bytes(_original())
        ledger = Ledger(path, lambda: 7)
        found = [entry.raw for entry in ledger.export()]
        ledger.close()
    return found


@cache
def _original() -> bytes:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "ledger.db"
        ledger = Ledger(path, lambda: 7)
        for number in range(5):
            ledger.append("verdict", "ci", SUBJECT, {"decision": "accepted", "number": number})
        ledger.close()
        with sqlite3.connect(path) as connection:
            connection.execute("pragma wal_checkpoint(truncate)")
        connection.close()
        shutil.copy(path, Path(name) / "copy")
        return (Path(name) / "copy").read_bytes()


def _changed(changes: bytes) -> bytes:
    whole = bytearray(_original())
    for at in range(0, len(changes) - 3, 4):
        place = int.from_bytes(changes[at : at + 3], "big") % len(whole)
        whole[place] = changes[at + 3]
    return bytes(whole)


def _entries(data: bytes) -> None:
    """Read a response's entries as the command line does: nothing in them is trusted."""
    try:
        response = audit_pb2.AuditEntry.FromString(data)
    except DecodeError:
        return
    texts = tuple(each.encode() for each in (response.kind, response.actor, response.subject))
    response.seq, response.previous = 1, GENESIS
    if 0 <= response.time_unix_ns < 2**63:
        response.hash = entry_hash(1, response.time_unix_ns, texts, response.body, GENESIS)  # type: ignore[arg-type]
    try:
        entry = message_entry(response)
    except GnomonError as error:
        assert "\n" not in str(error), error
        return
    check = check_entries([entry])
    assert check.ok or check.problem
    assert json.dumps(entry.as_json())
    explained([entry], SUBJECT)


def seeds() -> Iterator[bytes]:
    bodies = ({"decision": "accepted", "evidence_digest": "e" * 64}, {"a": [1, {"b": SUBJECT}]})
    for body in bodies:
        text = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
        entry = audit_pb2.AuditEntry(
            seq=1, time_unix_ns=7, kind="verdict", actor="ci", subject=SUBJECT, body=text
        )
        yield b"\0" + entry.SerializeToString()
    yield b"\1"
    yield b"\1" + bytes([0, 32, 0, 1, 0, 16, 5, 65])


def mutate(data: bytes, random: Random) -> bytes:
    if data[:1] == b"\1":
        place = random.randrange(1 << 24).to_bytes(3, "big")
        return data[:200] + place + bytes([random.randrange(256)])
    entry = audit_pb2.AuditEntry.FromString(next(seeds())[1:])
    if random.random() < 0.5:
        entry.body = _mutate.json_bytes(entry.body, random)
        return b"\0" + entry.SerializeToString()
    return b"\0" + _mutate.message(audit_pb2.AuditEntry, data[1:], random)
