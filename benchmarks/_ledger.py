"""The ledger: durable appends a second, and entries a second that a verification reads."""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from _timing import middle
from results import Peer, Row

_REPEATS = 5
_APPENDS = 100
_ENTRIES = 20_000
_BODY = {"hook": "router.pick", "from": "CANARY", "to": "FULL", "cause": "x" * 200, "epoch": 7}


def rows() -> list[Row]:
    """Return the rows: appends beside bare inserts of the same durability, and verification."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:  # a real disk, not a tmpfs
        appended, bare = _appends(Path(folder))
        verified = _verified(Path(folder))
    per_s, spread = middle(appended)
    peer = Peer("SQLite, one insert a transaction", sqlite3.sqlite_version, middle(bare)[0])
    durable = (
        "each synced before it returns; by turns with the peer, which hashes and looks up nothing"
    )
    read, read_spread = middle(verified)
    whole = f"{_ENTRIES} entries of 300 bytes; chain, indices and triggers; CPU time"
    return [
        Row("ledger: durable appends", per_s, "1/s", "higher", None, spread, peer, durable),
        Row("ledger: entries verified", read, "1/s", "higher", None, read_spread, None, whole),
    ]


def _appends(folder: Path) -> tuple[list[float], list[float]]:
    """Return durable appends a second, of the ledger and of bare inserts, by turns."""
    from gnomon.policies.rollout.ledger import Ledger

    with (
        closing(Ledger(folder / "ledger.db")) as ledger,
        closing(sqlite3.connect(folder / "bare.db", isolation_level=None)) as plain,
    ):
        plain.execute("pragma journal_mode=wal")
        plain.execute("pragma synchronous=full")
        plain.execute("create table t (seq integer primary key, body blob, hash blob)")
        blob = hashlib.sha256(b"x").digest()

        def append() -> None:
            ledger.append("rollout.transition", "gnomon", "r-1", _BODY)

        def insert() -> None:
            plain.execute("insert into t (body, hash) values (?, ?)", (bytes(300), blob))

        pairs = [(_rate(append, _APPENDS), _rate(insert, _APPENDS)) for _ in range(_REPEATS)]
    return [ours for ours, _ in pairs], [theirs for _, theirs in pairs]


def _rate(act: Callable[[], None], times: int) -> float:
    begin = time.perf_counter()
    for _ in range(times):
        act()
    return times / (time.perf_counter() - begin)


def _verified(folder: Path) -> list[float]:
    """Return entries a second of CPU time that a verification of a whole file takes."""
    from gnomon.policies.rollout.ledger import Ledger

    with closing(Ledger(folder / "long.db")) as ledger:
        ledger._connection.execute("pragma synchronous=off")  # filling it is not what is measured
        for _ in range(_ENTRIES):
            ledger.append("rollout.transition", "gnomon", "r-1", _BODY)
        found = []
        for _ in range(_REPEATS):
            begin = time.process_time()
            check = ledger.verify()
            found.append(_ENTRIES / (time.process_time() - begin))
            assert (check.ok, check.entries) == (True, _ENTRIES), check.problem
    return found
