"""The ledger: an append-only, hash-chained record of verdicts, failed checks and transitions.

Every entry's hash covers a canonical, length-prefixed encoding of all its fields and the hash before
it, so a changed, removed, inserted or reordered entry is found and named. What a chain cannot show is
that its tail was cut off or that the whole file was written anew: for that, keep an *anchor*
(``SEQ:HASH`` of the head) outside the file; the control plane logs one with every entry.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ...sdk.errors import ConfigurationError, TrustError

SCHEMA_VERSION = 1
GENESIS = bytes(32)  # what the first entry names as its predecessor
_WAL_TRIES = 250  # of 20 ms
_DOMAIN = b"gnomon.ledger.v1\x00"
#: Keys of a body under which stands what an entry rests on.
_LINKS = (
    "evidence_digest",
    "source_digest",
    "candidate",
    "verdict",
    "bundle",
    "rollout",
    "holdout",
    "evaluator",
)

_SCHEMA = """
create table if not exists entries (
  seq integer primary key,
  time_ns integer not null,
  kind text not null,
  actor text not null,
  subject text not null,
  body blob not null,
  previous blob not null,
  hash blob not null unique
) strict;
create index if not exists entries_by_subject on entries (subject);
create index if not exists entries_by_kind on entries (kind);
create trigger if not exists entries_no_update before update on entries
  begin select raise(abort, 'the ledger is append-only'); end;
create trigger if not exists entries_no_delete before delete on entries
  begin select raise(abort, 'the ledger is append-only'); end;
"""
# Text is read as bytes so that a damaged byte is a failed hash, never a decoding error.
_COLUMNS = (
    "seq, time_ns, cast(kind as blob), cast(actor as blob), cast(subject as blob), "
    "cast(body as blob), previous, hash"
)


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


class _Row(NamedTuple):
    """One row as stored, nothing about it trusted."""

    seq: int
    time_ns: int
    kind: bytes
    actor: bytes
    subject: bytes
    body: bytes
    previous: bytes
    hash: bytes


_ROW_TYPES = (int, int, bytes, bytes, bytes, bytes, bytes, bytes)


class LedgerFullError(TrustError):
    """A ledger takes no entry at present: its disk is full or broken, or another process holds it."""


#: What SQLite raises on a damaged file; it also fails to decode the names that it complains of.
_DAMAGED = (sqlite3.DatabaseError, UnicodeDecodeError)


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


class Ledger:
    """An append-only ledger in one SQLite file; safe for several threads and processes.

    Args:
        path: the file; made, with its folder, when it does not exist.
        clock: gives Unix nanoseconds.

    Attributes:
        path: of the file.
        emptied: whether it was there, with nothing in it.

    Raises:
        TrustError: the file is not a ledger, or one of a newer version.
    """

    def __init__(self, path: str | Path, clock: Callable[[], int] = time.time_ns) -> None:
        self.path = Path(path)
        self._clock = clock
        self._lock = threading.Lock()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.emptied = self.path.is_file() and not self.path.stat().st_size
        self._connection = _connected(self.path)
        try:
            self._prepare()
        except _DAMAGED as error:
            self._connection.close()
            reason = " ".join(str(error).split())[:200]
            raise TrustError(f"{self.path} is not a ledger: {reason}; name another file") from error
        except TrustError:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        version = int(self._connection.execute("pragma user_version").fetchone()[0])
        if version > SCHEMA_VERSION:
            raise TrustError(
                f"{self.path} is a ledger of version {version}, this is {SCHEMA_VERSION}; "
                "use a newer gnomon"
            )
        self._check_own()
        self._switch_to_wal()
        self._connection.execute("pragma synchronous=full")
        if version < SCHEMA_VERSION:
            self._connection.executescript(_SCHEMA)
            self._connection.execute(f"pragma user_version={SCHEMA_VERSION}")

    def _check_own(self) -> None:
        """Refuse another program's database, to which nothing must be added."""
        question = "select cast(name as blob) from sqlite_master where type = 'table'"
        for (name,) in self._connection.execute(question):
            if name != b"entries":
                raise TrustError(
                    f"{self.path} is another program's database, with a table "
                    f"{name.decode(errors='replace')[:40]!r}; name another file"
                )

    def _switch_to_wal(self) -> None:
        """Switch the journal; SQLite does not wait here for another process that does the same."""
        for _ in range(_WAL_TRIES):
            try:
                self._connection.execute("pragma journal_mode=wal")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise
                time.sleep(0.02)
            else:
                return
        raise TrustError(f"{self.path} stays locked by another process; stop that one")

    def append(self, kind: str, actor: str, subject: str, body: Mapping[str, Any]) -> Entry:
        """Append one entry and return it once it is durable.

        Raises:
            ConfigurationError: the body is not finite plain JSON.
            LedgerFullError: it cannot be written at present; nothing was appended.
        """
        raw = canonical(body)
        texts = (kind.encode(), actor.encode(), subject.encode())
        with self._writing():
            row = self._insert(texts, raw)
        return _entry(row)

    def append_if(
        self,
        kind: str,
        actor: str,
        subject: str,
        decide: Callable[[Entries], Mapping[str, Any] | None],
    ) -> Entry | None:
        """Append what follows from earlier entries; no other writer comes between.

        Args:
            kind: of the new entry, and of the earlier ones that are looked at.
            actor: who or what causes it.
            subject: digest or rollout id that it is about.
            decide: is given all entries of the kind, in order, and returns the new one's body, or
                None for no new entry; it must not use the ledger.

        Raises:
            ConfigurationError: the body is not finite plain JSON.
            LedgerFullError: it cannot be written at present; nothing was appended.
        """
        with self._writing():
            cursor = self._connection.execute(
                f"select {_COLUMNS} from entries where kind = ? order by seq", (kind,)
            )
            body = decide([_entry(_Row(*row)) for row in cursor.fetchall()])
            if body is None:
                return None
            texts = (kind.encode(), actor.encode(), subject.encode())
            row = self._insert(texts, canonical(body))
        return _entry(row)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the file's only write transaction; what fails leaves nothing behind."""
        try:
            with self._lock, self._transaction():
                yield
        except sqlite3.Error as error:
            raise LedgerFullError(
                f"{self.path} takes no entry: {error}; free space or mend the disk, then repeat"
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("begin immediate")
        try:
            yield
            self._connection.execute("commit")
        except BaseException:
            if self._connection.in_transaction:  # some errors have ended it
                self._connection.execute("rollback")
            raise

    def _insert(self, texts: tuple[bytes, bytes, bytes], raw: bytes) -> _Row:
        head = self._connection.execute(
            "select seq, hash from entries order by seq desc limit 1"
        ).fetchone()
        last, previous = head or (0, GENESIS)
        now = self._clock()
        digest = entry_hash(last + 1, now, texts, raw, previous)
        row = _Row(last + 1, now, *texts, raw, previous, digest)
        values = (row.seq, now, *(text.decode() for text in texts), raw, previous, digest)
        self._connection.execute("insert into entries values (?, ?, ?, ?, ?, ?, ?, ?)", values)
        return row

    def head(self) -> Entry | None:
        """Return the last entry, or None for an empty ledger."""
        for row in self._rows("order by seq desc limit 1"):
            return _entry(row)
        return None

    def verify(self, anchor: str = "") -> LedgerCheck:
        """Read the whole chain and say whether it holds.

        Args:
            anchor: ``SEQ:HASH`` kept outside; that entry must be there with that hash, which also
                shows a tail that was cut off.

        Raises:
            ConfigurationError: the anchor is not of that form.
        """
        return _check(self._rows("order by seq"), anchor)

    def list(
        self, *, kind: str = "", subject: str = "", from_seq: int = 0, limit: int = -1
    ) -> Entries:
        """Return entries in order.

        Args:
            kind: only this kind, or kinds below it (``rollout`` gives ``rollout.transition`` too).
            subject: only entries about exactly this digest or rollout.
            from_seq: only from this entry on.
            limit: at most so many, the newest ones; -1 for all.

        Raises:
            TrustError: the file is damaged where they stand.
        """
        where, values = ["seq >= ?"], [from_seq]
        parameters: list[Any] = list(values)
        if kind:
            where.append("(kind = ? or substr(kind, 1, ?) = ?)")
            parameters += [kind, len(kind) + 1, kind + "."]
        if subject:
            where.append("subject = ?")
            parameters.append(subject)
        clause = f"where {' and '.join(where)} order by seq desc limit ?"
        rows = list(self._rows(clause, (*parameters, limit)))
        return [_entry(row) for row in reversed(rows)]

    def naming(self, name: str, from_seq: int = 0) -> Entries:
        """Return the entries about a digest or rollout, or whose body names it anywhere."""
        return [entry for entry in self.list(from_seq=from_seq) if _names(entry, name)]

    def explain(self, subject: str) -> Entries:
        """Return everything that led to a digest or rollout: entries that name it, and their evidence.

        Args:
            subject: a digest or rollout id, or the first 8 or more characters of one.
        """
        return explained(self.list(), subject)

    def export(self, from_seq: int = 0, subject: str = "") -> Iterator[Entry]:
        """Yield entries in order, those naming ``subject`` only when it is given."""
        yield from self.naming(subject, from_seq) if subject else self.list(from_seq=from_seq)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _rows(self, clause: str, parameters: tuple[Any, ...] = ()) -> Iterator[_Row]:
        question = f"select {_COLUMNS} from entries {clause}"
        try:
            with self._lock:
                rows = self._connection.execute(question, parameters).fetchall()
        except _DAMAGED as error:
            reason = " ".join(str(error).split())[:200]
            raise TrustError(f"unreadable: {reason}; restore {self.path}") from error
        for row in rows:
            if tuple(map(type, row)) != _ROW_TYPES:
                raise TrustError(f"unreadable: a row that is no entry; restore {self.path}")
            yield _Row(*row)


def _connected(path: Path) -> sqlite3.Connection:
    try:
        return sqlite3.connect(path, isolation_level=None, timeout=10.0, check_same_thread=False)
    except sqlite3.OperationalError as error:
        raise TrustError(f"{path} is not a ledger: {error}; name another file") from error


def explained(entries: Sequence[Entry], subject: str) -> Entries:
    """Return those of a ledger's entries that :meth:`Ledger.explain` returns.

    These are: what names the subject; what names a verdict among that, such as the rollouts that rest
    on it; and what all of it rests on in turn, down to the openings of a holdout.
    """
    found = [entry for entry in entries if _names(entry, subject)]
    verdicts = {entry.subject for entry in found if entry.kind == "verdict"}
    chosen = {entry.seq for entry in found}
    chosen |= {e.seq for e in entries for verdict in verdicts if _names(e, verdict)}
    while True:
        linked = {link for e in entries if e.seq in chosen for link in _links(e)}
        more = chosen | {entry.seq for entry in entries if entry.subject in linked}
        if more == chosen:
            return [entry for entry in entries if entry.seq in chosen]
        chosen = more


def elsewhere(entries: Sequence[Entry]) -> tuple[str, ...]:
    """Return the verdicts that explained entries rest on and that are not among them, in order."""
    here = {entry.subject for entry in entries}
    named = (str(entry.body.get("evidence_digest", "")) for entry in entries)
    return tuple(dict.fromkeys(digest for digest in named if digest and digest not in here))


def check_entries(entries: Iterable[Entry], anchor: str = "") -> LedgerCheck:
    """Verify entries that came from elsewhere as :meth:`Ledger.verify` verifies a file's."""
    rows = (
        _Row(
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
    return _check(rows, anchor)


def _check(rows: Iterable[_Row], anchor: str) -> LedgerCheck:
    wanted = _parse_anchor(anchor)
    previous, count = GENESIS, 0
    try:
        for row in rows:
            problem = _problem(row, count + 1, previous) or _unanchored(row, wanted)
            if problem:
                return LedgerCheck(False, count, previous, problem, count + 1)
            previous, count = row.hash, count + 1
    except TrustError as error:
        return LedgerCheck(False, count, previous, str(error), count + 1)
    if wanted and wanted[0] > count:
        problem = f"the anchor names entry {wanted[0]}, the ledger ends at {count}"
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


def _entry(row: _Row) -> Entry:
    body = read_body(row.body, row.seq)
    texts = (row.kind, row.actor, row.subject)
    kind, actor, subject = (text.decode("utf-8", "replace") for text in texts)
    return Entry(row.seq, row.time_ns, kind, actor, subject, body, row.body, row.previous, row.hash)


def _problem(row: _Row, seq: int, previous: bytes) -> str:
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


def _parse_anchor(anchor: str) -> tuple[int, str] | None:
    """Return number and hash, or its first digits: 8 at least."""
    if not anchor:
        return None
    found = _ANCHOR.fullmatch(anchor)
    if found is None:
        raise ConfigurationError(
            f"anchor {anchor!r} is not SEQ:HASH; give at least 8 hexadecimal digits of the hash"
        )
    return int(found[1]), found[2].lower()


def _unanchored(row: _Row, wanted: tuple[int, str] | None) -> str:
    if wanted and row.seq == wanted[0] and not row.hash.hex().startswith(wanted[1]):
        return f"entry {row.seq} is not the one that the anchor names: the chain was rewritten"
    return ""


def _names(entry: Entry, name: str) -> bool:
    return _matches(entry.subject, name) or any(_matches(v, name) for v in _strings(entry.body))


def _matches(value: str, name: str) -> bool:
    return value == name or (len(name) >= 8 and value.startswith(name))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _links(entry: Entry) -> Iterator[str]:
    for key in _LINKS:
        value = entry.body.get(key)
        if isinstance(value, str) and value not in ("", "incumbent"):
            yield value
