"""The ledger's file: an append-only record of verdicts, failed checks and transitions in SQLite.

What its entries are and what their hashes cover is in :mod:`.chain`.
"""

from __future__ import annotations

import functools
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from ...sdk.errors import TrustError
from .chain import (
    GENESIS,
    ROW_TYPES,
    Entries,
    Entry,
    LedgerCheck,
    Progress,
    Row,
    canonical,
    check_rows,
    entry_hash,
    entry_of,
    parse_anchor,
    silent,
)
from .explaining import explained, names

SCHEMA_VERSION = 1
_WAL_TRIES = 250  # of 20 ms


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
#: Rows that a verification reads at once.
_PAGE = 1000
# Text is read as bytes so that a damaged byte is a failed hash, never a decoding error.
_COLUMNS = (
    "seq, time_ns, cast(kind as blob), cast(actor as blob), cast(subject as blob), "
    "cast(body as blob), previous, hash"
)


class LedgerFullError(TrustError):
    """A ledger takes no entry at present: its disk is full or broken, or another process holds it."""


#: What SQLite raises on a damaged file; it also fails to decode the names that it complains of.
_DAMAGED = (sqlite3.DatabaseError, UnicodeDecodeError)


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
            remedy = (
                "it is damaged, keep it as evidence and restore its backup"
                if "malformed" in reason
                else "name another file"
            )
            raise TrustError(f"{self.path} is not a ledger: {reason}; {remedy}") from error
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
        return entry_of(row)

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
            body = decide([entry_of(Row(*row)) for row in cursor.fetchall()])
            if body is None:
                return None
            texts = (kind.encode(), actor.encode(), subject.encode())
            row = self._insert(texts, canonical(body))
        return entry_of(row)

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

    def _insert(self, texts: tuple[bytes, bytes, bytes], raw: bytes) -> Row:
        head = self._connection.execute(
            "select seq, hash from entries order by seq desc limit 1"
        ).fetchone()
        last, previous = head or (0, GENESIS)
        now = self._clock()
        digest = entry_hash(last + 1, now, texts, raw, previous)
        row = Row(last + 1, now, *texts, raw, previous, digest)
        values = (row.seq, now, *(text.decode() for text in texts), raw, previous, digest)
        self._connection.execute("insert into entries values (?, ?, ?, ?, ?, ?, ?, ?)", values)
        return row

    def head(self) -> Entry | None:
        """Return the last entry, or None for an empty ledger."""
        for row in self._rows("order by seq desc limit 1"):
            return entry_of(row)
        return None

    def verify(self, *anchors: str, progress: Progress = silent) -> LedgerCheck:
        """Read the whole chain and say whether it holds, and whether the file says the same everywhere.

        Args:
            anchors: ``SEQ:HASH`` each, kept outside; those entries must be there with those hashes, which
                also shows a tail that was cut off.
            progress: is told how many entries hold, now and then.

        Raises:
            ConfigurationError: an anchor is not of that form.
        """
        check = check_rows(self._chain(), anchors, progress)
        if not check.ok:
            return check
        problem = self._around()
        return LedgerCheck(not problem, check.entries, check.head, problem)

    def contains(self, anchor: str) -> str:
        """Return an empty string where an anchor's entry is in the file, else what is there instead.

        Raises:
            ConfigurationError: the anchor is not ``SEQ:HASH``.
        """
        seq, digits = parse_anchor(anchor)
        for row in self._rows("where seq = ?", (seq,)):
            same = row.hash.hex().startswith(digits)
            return "" if same else f"entry {seq} of the ledger is another: it was rewritten"
        head = self.head()
        return f"the ledger ends at {head.seq if head else 0}, before entry {seq}"

    def _chain(self, last: int = 0) -> Iterator[Row]:
        """Yield all rows after one in order; one that cannot be read is found by its number."""
        while True:
            clause = "where seq > ? order by seq limit ?"
            try:
                page = list(self._rows(clause, (last, _PAGE)))
            except TrustError:
                yield from self._up_to_the_damage(last)
                raise
            yield from page
            if not page:
                return
            last = page[-1].seq

    def _up_to_the_damage(self, last: int) -> Iterator[Row]:
        for seq in range(last + 1, last + _PAGE + 1):
            try:
                yield from list(self._rows("where seq = ?", (seq,)))
            except TrustError:
                return

    def _around(self) -> str:
        """Say what is wrong beside the chain: with the indices, the triggers, the file's structure."""
        try:
            with self._lock:
                said = self._connection.execute("pragma integrity_check(1)").fetchone()[0]
                made = self._connection.execute("select sql from sqlite_schema").fetchall()
                listed = self._connection.execute(
                    "select count(*) from entries where seq < 1"
                ).fetchone()[0]
        except _DAMAGED as error:
            said, made, listed = str(error), [], 0
        if said != "ok":
            reason = " ".join(str(said).split())[:200]
            return f"the entries hold, the file around them does not ({reason}); restore it"
        if {row[0] for row in made} != _schema():
            return "the entries hold, but tables or triggers around them were changed; restore it"
        return f"{listed} rows stand before entry 1; restore it" if listed else ""

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
        return [entry_of(row) for row in reversed(rows)]

    def naming(self, name: str, from_seq: int = 0) -> Entries:
        """Return the entries about a digest or rollout, or whose body names it anywhere."""
        return [entry for entry in self.list(from_seq=from_seq) if names(entry, name)]

    def explain(self, subject: str) -> Entries:
        """Return everything that led to a digest or rollout: entries that name it, and their evidence.

        Args:
            subject: a digest or rollout id, or the first 8 or more characters of one.
        """
        return explained(self.list(), subject)

    def export(self, from_seq: int = 0, subject: str = "") -> Iterator[Entry]:
        """Yield entries in order, a page of them in memory; those naming ``subject`` only when given.

        Raises:
            TrustError: the file is damaged; entries before the damage were yielded.
        """
        for row in self._chain(from_seq - 1):
            entry = entry_of(row)
            if not subject or names(entry, subject):
                yield entry

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _rows(self, clause: str, parameters: tuple[Any, ...] = ()) -> Iterator[Row]:
        question = f"select {_COLUMNS} from entries {clause}"
        try:
            with self._lock:
                rows = self._connection.execute(question, parameters).fetchall()
        except _DAMAGED as error:
            reason = " ".join(str(error).split())[:200]
            raise TrustError(f"unreadable: {reason}; restore {self.path}") from error
        for row in rows:
            if tuple(map(type, row)) != ROW_TYPES:
                raise TrustError(f"unreadable: a row that is no entry; restore {self.path}")
            yield Row(*row)


@functools.cache
def _schema() -> frozenset[str | None]:
    """Return how SQLite words what :data:`_SCHEMA` makes."""
    with closing(sqlite3.connect(":memory:")) as fresh:
        fresh.executescript(_SCHEMA)
        return frozenset(row[0] for row in fresh.execute("select sql from sqlite_schema"))


def _connected(path: Path) -> sqlite3.Connection:
    try:
        return sqlite3.connect(path, isolation_level=None, timeout=10.0, check_same_thread=False)
    except sqlite3.OperationalError as error:
        raise TrustError(f"{path} is not a ledger: {error}; name another file") from error
