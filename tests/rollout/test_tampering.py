"""Any byte of a ledger's file: a change is found, or it changes nothing that anybody reads."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.policies.rollout import ledger as ledger_module
from gnomon.policies.rollout.chain import GENESIS, Entries, check_entries, entry_hash
from gnomon.policies.rollout.ledger import Ledger
from gnomon.sdk.errors import TrustError

COUNT = 24


def ticking() -> int:
    return 1


def filled(path: Path, count: int = COUNT, word: str = "") -> Ledger:
    ledger = Ledger(path, ticking)
    ledger._connection.execute("pragma synchronous=off")  # only the test need not wait for the disk
    for index in range(count):
        body = {"index": index, "why": f"é{word}" * (60 if index % 8 == 0 else 3)}
        ledger.append(f"kind.{index % 3}", f"actor-{index % 2}", f"digest-{index}", body)
    return ledger


def answers(ledger: Ledger) -> tuple[Entries, ...]:
    """Return all that anybody asks of a ledger, by its table and by each of its indices."""
    return (
        ledger.list(),
        *(ledger.list(kind=f"kind.{n}") for n in range(3)),
        *(ledger.list(subject=f"digest-{n}") for n in range(0, COUNT, 5)),
        ledger.explain("digest-7"),
    )


def looked_at(path: Path, anchor: str) -> tuple[str, tuple[Entries, ...] | None]:
    """Return what is found wrong with a file, and what it says otherwise."""
    try:
        with closing(Ledger(path, ticking)) as ledger:
            check = ledger.verify(anchor)
            return (check.problem, None) if not check.ok else ("", answers(ledger))
    except (TrustError, sqlite3.Error) as error:
        return str(error) or "refused", None


def flips(data: bytes, count: int) -> list[tuple[int, int]]:
    """Return places all over a file, the same in every run, with a bit to flip at each."""
    step = max(1, len(data) // count)
    return [(at + (at // step) % step, at % 8) for at in range(0, len(data) - step, step)]


@pytest.mark.parametrize(
    "count", [700, pytest.param(10**9, marks=pytest.mark.soak, id="every byte")]
)
def test_a_flipped_bit_anywhere_is_found_or_changes_nothing(tmp_path: Path, count: int) -> None:
    with closing(filled(tmp_path / "good.db")) as ledger:
        before, anchor = answers(ledger), ledger.list()[-1].anchor
    data = (tmp_path / "good.db").read_bytes()
    seen: Counter[str] = Counter()
    for at, bit in flips(data, count):
        changed = bytearray(data)
        changed[at] ^= 1 << bit
        path = tmp_path / "bad.db"
        for old in tmp_path.glob("bad.db*"):
            old.unlink()
        path.write_bytes(changed)
        problem, after = looked_at(path, anchor)
        assert problem or after == before, f"byte {at}, bit {bit}"
        seen["found" if problem else "without effect"] += 1
    assert seen["found"] > seen.total() / 10  # the rest is free space in pages


def test_a_flipped_bit_in_the_log_of_writes_is_found_with_an_anchor(tmp_path: Path) -> None:
    """SQLite drops a damaged frame and all behind it: a tail that is cut, which only an anchor shows."""
    live = filled(tmp_path / "live.db")
    anchor, before = live.list()[-1].anchor, answers(live)
    data = (tmp_path / "live.db-wal").read_bytes()
    for at, bit in flips(data, 60):
        folder = tmp_path / "copy"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        shutil.copy(tmp_path / "live.db", folder / "live.db")
        changed = bytearray(data)
        changed[at] ^= 1 << bit
        (folder / "live.db-wal").write_bytes(changed)
        problem, after = looked_at(folder / "live.db", anchor)
        assert problem or after == before, f"byte {at}, bit {bit}"
    live.close()


def rewritten(path: Path, *statements: str) -> None:
    """Change a ledger as its owner could, and put everything around the entries back."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("drop trigger entries_no_update")
        connection.execute("drop trigger entries_no_delete")
        for statement in statements:
            connection.execute(statement)
        connection.executescript(ledger_module._SCHEMA)
        connection.commit()


DOUBLED = (
    "insert into entries select 5, time_ns, kind, actor, subject, body, previous, x'01' "
    "from entries where seq = 4"
)
SHIFTED = "update entries set seq = seq - 1000 where seq > 1000"


@pytest.mark.parametrize(
    ("statements", "seq", "words"),
    [
        (["delete from entries where seq = 7"], 7, "entry 7 is missing"),
        (["delete from entries where seq between 5 and 9"], 5, "entry 5 is missing"),
        (["delete from entries where seq < 3"], 1, "entry 1 is missing"),
        (
            [
                "update entries set seq = 1006 where seq = 6",
                "update entries set seq = 6 where seq = 7",
                "update entries set seq = 7 where seq = 1006",
            ],
            6,
            "entry 6 does not follow entry 5",
        ),
        (
            [
                "update entries set seq = seq + 1001 where seq > 4",
                DOUBLED,
                SHIFTED,
            ],
            5,
            "entry 5 does not follow entry 4",
        ),
        (["update entries set actor = 'eve' where seq = 9"], 9, "entry 9 was changed"),
        (
            ["insert into entries select 0, 1, '', '', '', x'', x'', x'00'"],
            0,
            "1 rows stand before entry 1",
        ),
    ],
    ids=["one", "middle", "beginning", "swapped", "doubled", "edited", "before the first"],
)
def test_what_is_moved_or_removed_is_located(
    tmp_path: Path, statements: list[str], seq: int, words: str
) -> None:
    filled(tmp_path / "ledger.db").close()
    rewritten(tmp_path / "ledger.db", *statements)
    with closing(Ledger(tmp_path / "ledger.db", ticking)) as ledger:
        check = ledger.verify()
    assert (check.ok, check.problem_seq) == (False, seq)
    assert words in check.problem


@given(st.integers(1, COUNT - 1), st.integers(1, COUNT - 1))
def test_two_ledgers_spliced_are_found_at_the_seam(
    tmp_path_factory: pytest.TempPathFactory, kept: int, from_other: int
) -> None:
    """Entries of two ledgers that hold each: the seam does not, unless there is none."""
    one, other = spliceable(tmp_path_factory)
    spliced = [*one[:kept], *other[from_other:]]
    check = check_entries(spliced)
    assert (check.ok, check.problem_seq) == (False, kept + 1)


_KEPT: list[Entries] = []


def spliceable(tmp_path_factory: pytest.TempPathFactory) -> tuple[Entries, Entries]:
    if not _KEPT:
        folder = tmp_path_factory.mktemp("spliced")
        for word in ("a", "b"):
            with closing(filled(folder / f"{word}.db", word=word)) as ledger:
                _KEPT.append(ledger.list())
    return _KEPT[0], _KEPT[1]


@given(
    st.lists(st.binary(max_size=6), min_size=4, max_size=4), st.integers(0, 3), st.integers(1, 6)
)
def test_no_byte_can_move_from_one_field_to_the_next(
    fields: list[bytes], index: int, moved: int
) -> None:
    """Lengths are part of what is hashed: the same bytes divided otherwise are another entry."""
    kind, actor, subject, body = fields
    honest = entry_hash(1, 1, (kind, actor, subject), body, GENESIS)
    shifted = list(fields)
    if index < 3 and shifted[index + 1][:moved]:
        shifted[index] += shifted[index + 1][:moved]
        shifted[index + 1] = shifted[index + 1][moved:]
        kind, actor, subject, body = shifted
        assert entry_hash(1, 1, (kind, actor, subject), body, GENESIS) != honest


def test_a_hash_cannot_be_extended(tmp_path: Path) -> None:
    """SHA-256 can be extended by who knows no secret; here nothing hangs on one, and lengths come first."""
    with closing(filled(tmp_path / "ledger.db", 3)) as ledger:
        last = ledger.list()[-1]
    padding = b"\x80" + bytes(40) + (8 * len(last.raw)).to_bytes(8, "big")
    longer = last.raw + padding + b"{}"
    texts = (last.kind.encode(), last.actor.encode(), last.subject.encode())
    extended = entry_hash(last.seq, last.time_ns, texts, longer, last.previous)
    assert extended not in (last.hash, hashlib.sha256(last.hash + padding + b"{}").digest())


@pytest.mark.parametrize(
    "statement",
    ["drop trigger entries_no_update", "drop index entries_by_kind", "create table x (y integer)"],
)
def test_what_was_changed_around_the_entries_is_said(tmp_path: Path, statement: str) -> None:
    filled(tmp_path / "ledger.db").close()
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        connection.execute(statement)
    with closing(Ledger(tmp_path / "ledger.db", ticking)) as ledger:
        check = ledger.verify()
    assert (check.ok, check.entries) == (False, COUNT)
    assert "tables or triggers around them were changed" in check.problem


def test_damage_in_a_page_is_located(tmp_path: Path) -> None:
    """A page that SQLite cannot read: what comes before it holds, and the first entry in it is named."""
    filled(tmp_path / "ledger.db", 3000).close()
    data = bytearray((tmp_path / "ledger.db").read_bytes())
    at = data.index(b"actor-0digest-2000") & ~4095
    data[at : at + 8] = b"\xff" * 8  # the page's head
    (tmp_path / "ledger.db").write_bytes(data)
    told: list[int] = []
    with closing(Ledger(tmp_path / "ledger.db", ticking)) as ledger:
        check = ledger.verify(progress=told.append)
    assert not check.ok
    assert 1900 < check.problem_seq <= 2001
    assert check.entries == check.problem_seq - 1
    assert "unreadable" in check.problem
