"""The ledger's chain: what an entry is, what its hash covers, and whether a row of them holds.

Every entry's hash covers a canonical, length-prefixed encoding of all its fields and the hash before it, so a
changed, removed, inserted or reordered entry is found and named, and no byte can move from one field to the
next. What a chain cannot show is that its tail was cut off or that it was written anew as a whole: for that
there are anchors, ``SEQ:HASH`` of some entry, kept elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ...sdk.errors import ConfigurationError, TrustError

GENESIS = bytes(32)  # what the first entry names as its predecessor
_DOMAIN = b"gnomon.ledger.v1\x00"
#: Entries between two words of progress.
_STEP = 10_000

Progress = Callable[[int], object]


def silent(count: int) -> None:
    """Say nothing of the progress of a verification."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the ledger.

    Attributes:
        seq: from 1, without gaps.
        time_ns: Unix time when it was appended.
        kind: what happened, for example ``verdict`` or ``rollout.transition``.
        actor: who or what caused it.
        subject: digest or rollout id that it is about.
        body: details.
        raw: the canonical JSON of ``body`` that the hash covers.
        previous: hash of the entry before; 32 zero bytes for the first.
        hash: SHA-256 of the canonical encoding of all the above.
    """

    seq: int
    time_ns: int
    kind: str
    actor: str
    subject: str
    body: Mapping[str, Any] = field(hash=False)
    raw: bytes
    previous: bytes
    hash: bytes

    @property
    def anchor(self) -> str:
        """``SEQ:HASH``, to be kept outside the ledger's file."""
        return f"{self.seq}:{self.hash.hex()}"

    def as_json(self) -> dict[str, Any]:
        """Return the entry as plain JSON values, hashes in hexadecimal."""
        return {
            "seq": self.seq,
            "time_ns": self.time_ns,
            "kind": self.kind,
            "actor": self.actor,
            "subject": self.subject,
            "body": dict(self.body),
            "previous": self.previous.hex(),
            "hash": self.hash.hex(),
        }


Entries = list[Entry]


@dataclass(frozen=True, slots=True)
class LedgerCheck:
    """What a verification of a whole ledger found.

    Attributes:
        ok: whether the chain holds from its first entry to its last, and the anchor with it.
        entries: how many entries were read.
        head: hash of the last good entry; 32 zero bytes for an empty ledger.
        problem: one line that names what does not hold; empty when ``ok``.
        problem_seq: sequence number of the entry in question; 0 when it is not one entry.
    """

    ok: bool
    entries: int
    head: bytes
    problem: str = ""
    problem_seq: int = 0


class Row(NamedTuple):
    """One row as stored, nothing about it trusted."""

    seq: int
    time_ns: int
    kind: bytes
    actor: bytes
    subject: bytes
    body: bytes
    previous: bytes
    hash: bytes


ROW_TYPES = (int, int, bytes, bytes, bytes, bytes, bytes, bytes)


def canonical(body: Mapping[str, Any]) -> bytes:
    """Return the canonical JSON of a body: sorted keys, no spaces, ASCII, finite numbers only.

    Raises:
        ConfigurationError: the body holds something that JSON cannot say exactly.
    """
    try:
        text = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"a ledger entry's body must be finite plain JSON, got {error}"
        ) from error
    return text.encode("ascii")


def entry_hash(
    seq: int, time_ns: int, texts: tuple[bytes, bytes, bytes], body: bytes, previous: bytes
) -> bytes:
    """Return the SHA-256 over the canonical encoding of an entry.

    Args:
        seq: sequence number, 8 bytes big-endian in the encoding.
        time_ns: Unix time, 8 bytes big-endian.
        texts: kind, actor and subject in UTF-8, each after its length in 4 bytes.
        body: canonical JSON, after its length.
        previous: hash of the entry before, after its length.
    """
    parts = [_DOMAIN, seq.to_bytes(8, "big", signed=True), time_ns.to_bytes(8, "big", signed=True)]
    for part in (*texts, body, previous):
        parts += (len(part).to_bytes(4, "big"), part)
    return hashlib.sha256(b"".join(parts)).digest()


def check_entries(
    entries: Iterable[Entry], anchors: Sequence[str] = (), progress: Progress = silent
) -> LedgerCheck:
    """Verify entries that came from elsewhere as :meth:`Ledger.verify` verifies a file's."""
    rows = (
        Row(
            entry.seq,
            entry.time_ns,
            entry.kind.encode(),
            entry.actor.encode(),
            entry.subject.encode(),
            entry.raw,
            entry.previous,
            entry.hash,
        )
        for entry in entries
    )
    return check_rows(rows, anchors, progress)


def check_rows(
    rows: Iterable[Row], anchors: Sequence[str] = (), progress: Progress = silent
) -> LedgerCheck:
    """Verify rows as stored, in the order in which they lie.

    Args:
        rows: from the first on.
        anchors: ``SEQ:HASH`` each, kept outside; all must be in the chain.
        progress: is told how many entries hold, now and then.

    Raises:
        ConfigurationError: an anchor is not of that form.
    """
    wanted: dict[int, list[str]] = {}
    for anchor in anchors:
        seq, digits = parse_anchor(anchor)
        wanted.setdefault(seq, []).append(digits)
    previous, count = GENESIS, 0
    try:
        for row in rows:
            problem = _problem(row, count + 1, previous) or _unanchored(row, wanted)
            if problem:
                return LedgerCheck(False, count, previous, problem, count + 1)
            previous, count = row.hash, count + 1
            if count % _STEP == 0:
                progress(count)
    except TrustError as error:
        return LedgerCheck(False, count, previous, str(error), count + 1)
    beyond = [seq for seq in wanted if seq > count]
    if beyond:
        problem = f"the anchor names entry {max(beyond)}, the ledger ends at {count}"
        return LedgerCheck(False, count, previous, problem, count + 1)
    return LedgerCheck(True, count, previous)


def read_body(raw: bytes, seq: int) -> dict[str, Any]:
    """Return the body of an entry from its JSON; raises TrustError where it is none."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise TrustError(
            f"entry {seq} has a body that is no JSON object; it was changed: run gnomon audit verify"
        )
    return body


def entry_of(row: Row) -> Entry:
    """Return the entry of a row, unverified; raises TrustError where its body is no JSON object."""
    body = read_body(row.body, row.seq)
    texts = (row.kind, row.actor, row.subject)
    kind, actor, subject = (text.decode("utf-8", "replace") for text in texts)
    return Entry(row.seq, row.time_ns, kind, actor, subject, body, row.body, row.previous, row.hash)


def _problem(row: Row, seq: int, previous: bytes) -> str:
    """Say what is wrong with a row that should be entry ``seq`` after ``previous``."""
    if row.seq != seq:
        return f"entry {seq} is missing, the next one is {row.seq}"
    if row.previous != previous:
        return f"entry {seq} does not follow entry {seq - 1}: the hash that it names is another"
    texts = (row.kind, row.actor, row.subject)
    if entry_hash(row.seq, row.time_ns, texts, row.body, row.previous) != row.hash:
        return f"entry {seq} was changed: its hash does not match its content"
    return ""


_ANCHOR = re.compile(r"(\d{1,18}):([0-9a-fA-F]{8,64})")


def parse_anchor(anchor: str) -> tuple[int, str]:
    """Return number and hash, or the hash's first digits: 8 at least.

    Raises:
        ConfigurationError: it is not ``SEQ:HASH``.
    """
    found = _ANCHOR.fullmatch(anchor)
    if found is None:
        raise ConfigurationError(
            f"anchor {anchor!r} is not SEQ:HASH; give at least 8 hexadecimal digits of the hash"
        )
    return int(found[1]), found[2].lower()


def _unanchored(row: Row, wanted: Mapping[int, Sequence[str]]) -> str:
    if all(row.hash.hex().startswith(digits) for digits in wanted.get(row.seq, ())):
        return ""
    return f"entry {row.seq} is not the one that the anchor names: the chain was rewritten"
