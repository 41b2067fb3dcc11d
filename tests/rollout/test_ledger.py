"""The ledger: what is appended stays, and any change to it is found and located."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.policies.rollout import ledger as ledger_module
from gnomon.policies.rollout.chain import GENESIS, canonical
from gnomon.policies.rollout.explaining import elsewhere
from gnomon.policies.rollout.ledger import Ledger
from gnomon.sdk.errors import ConfigurationError, TrustError

COLUMNS = ("time_ns", "kind", "actor", "subject", "body", "previous", "hash")


def ticking(start: int = 1_000) -> Callable[[], int]:
    """Return a clock that advances by one at every reading."""
    now = start

    def clock() -> int:
        nonlocal now
        now += 1
        return now

    return clock


def filled(path: Path, count: int = 5) -> Ledger:
    ledger = Ledger(path, ticking())
    for index in range(count):
        ledger.append("verdict", "verify", f"digest-{index}", {"index": index, "why": "é"})
    return ledger


def tampered(path: Path, statement: str, *parameters: object) -> None:
    """Change a ledger's file as its owner could: without the triggers."""
    connection = sqlite3.connect(path)
    connection.execute("drop trigger entries_no_update")
    connection.execute("drop trigger entries_no_delete")
    connection.execute(statement, parameters)
    connection.executescript(ledger_module._SCHEMA)  # and leave no trace of that
    connection.commit()
    connection.close()


def test_appended_entries_come_back_in_order(tmp_path: Path) -> None:
    ledger = filled(tmp_path / "ledger.db", 3)
    entries = ledger.list()
    assert [entry.seq for entry in entries] == [1, 2, 3]
    assert [entry.time_ns for entry in entries] == [1001, 1002, 1003]
    assert entries[0].previous == GENESIS
    assert entries[1].previous == entries[0].hash
    assert entries[2].body == {"index": 2, "why": "é"}
    assert ledger.head() == entries[2]


def test_an_empty_ledger_holds(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "deep" / "ledger.db", ticking())
    check = ledger.verify()
    assert (check.ok, check.entries, check.head) == (True, 0, GENESIS)
    assert ledger.head() is None


def test_reopening_continues_the_chain(tmp_path: Path) -> None:
    filled(tmp_path / "ledger.db", 2).close()
    ledger = Ledger(tmp_path / "ledger.db", ticking())
    ledger.append("verdict", "verify", "later", {})
    assert ledger.verify().ok
    assert ledger.verify().entries == 3


def test_triggers_forbid_update_and_delete(tmp_path: Path) -> None:
    filled(tmp_path / "ledger.db").close()
    connection = sqlite3.connect(tmp_path / "ledger.db")
    for statement in ("update entries set actor = 'x'", "delete from entries where seq = 2"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)
    connection.close()


@given(
    seq=st.integers(1, 5),
    column=st.sampled_from(COLUMNS),
    position=st.integers(0, 1000),
    bit=st.integers(0, 7),
)
def test_any_flipped_bit_is_found_and_located(
    tmp_path_factory: pytest.TempPathFactory, seq: int, column: str, position: int, bit: int
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    filled(path).close()
    connection = sqlite3.connect(path)
    query = f"select cast({column} as blob), {column} from entries where seq = ?"
    raw, value = connection.execute(query, (seq,)).fetchone()
    connection.close()
    if isinstance(value, int):
        tampered(path, f"update entries set {column} = ? where seq = ?", value ^ (1 << bit), seq)
    else:
        changed = bytearray(raw)
        changed[position % len(raw)] ^= 1 << bit
        kind = "text" if isinstance(value, str) else "blob"
        update = f"update entries set {column} = cast(? as {kind}) where seq = ?"
        tampered(path, update, bytes(changed), seq)
    check = Ledger(path, ticking()).verify()
    assert not check.ok
    assert check.problem_seq == seq
    assert f"entry {seq}" in check.problem


def test_a_removed_entry_is_located(tmp_path: Path) -> None:
    filled(tmp_path / "ledger.db").close()
    tampered(tmp_path / "ledger.db", "delete from entries where seq = 3")
    check = Ledger(tmp_path / "ledger.db", ticking()).verify()
    assert (check.ok, check.problem_seq) == (False, 3)
    assert "missing" in check.problem


def test_a_cut_tail_is_found_with_an_anchor_only(tmp_path: Path) -> None:
    ledger = filled(tmp_path / "ledger.db")
    head = ledger.head()
    assert head is not None
    assert ledger.verify(head.anchor).ok
    ledger.close()
    tampered(tmp_path / "ledger.db", "delete from entries where seq = 5")
    cut = Ledger(tmp_path / "ledger.db", ticking())
    assert cut.verify().ok
    check = cut.verify(head.anchor)
    assert not check.ok
    assert "ends at 4" in check.problem


def test_a_rewritten_ledger_is_found_with_an_anchor(tmp_path: Path) -> None:
    anchor = filled(tmp_path / "a.db").list()[3].anchor
    other = Ledger(tmp_path / "b.db", ticking())
    for index in range(5):
        other.append("verdict", "verify", f"digest-{index}", {"index": -index})
    check = other.verify(anchor)
    assert (check.ok, check.problem_seq) == (False, 4)
    assert "rewritten" in check.problem


def test_a_bad_anchor_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'five' is not SEQ:HASH"):
        filled(tmp_path / "ledger.db").verify("five")


def test_lists_filter_by_kind_subject_and_count(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", ticking())
    ledger.append("verdict", "verify", "a", {})
    ledger.append("rollout.transition", "machine", "r", {})
    ledger.append("rollouts", "machine", "r", {})
    ledger.append("rollout", "machine", "a", {})
    assert [entry.seq for entry in ledger.list(kind="rollout")] == [2, 4]
    assert [entry.seq for entry in ledger.list(subject="a")] == [1, 4]
    assert [entry.seq for entry in ledger.list(limit=2)] == [3, 4]
    assert [entry.seq for entry in ledger.export(from_seq=3)] == [3, 4]


def test_explain_follows_a_rollout_to_its_evidence(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", ticking())
    verdict, bundle = "a" * 64, "b" * 64
    ledger.append("verdict", "verify", verdict, {"decision": "accepted"})
    ledger.append("verdict", "verify", "c" * 64, {"decision": "refused"})
    ledger.append("rollout.created", "ci", "r1", {"candidate": bundle, "evidence_digest": verdict})
    assert [entry.seq for entry in ledger.explain(bundle)] == [1, 3]
    assert [entry.seq for entry in ledger.explain("bbbbbbbb")] == [1, 3]
    assert [entry.seq for entry in ledger.naming(bundle)] == [3]
    assert ledger.explain("dddddddd") == []


def told(ledger: Ledger, verdict: str, source: str, holdout: str) -> None:
    ledger.append("holdout.opened", "ann", holdout, {"question": "q", "opening": 1})
    ledger.append("verdict", "ann", verdict, {"source_digest": source, "holdout": holdout})


def test_explain_goes_on_from_the_evidence_to_what_that_rests_on(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", ticking())
    verdict, bundle, source, holdout = (letter * 64 for letter in "abcd")
    told(ledger, verdict, source, holdout)
    told(ledger, "e" * 64, "f" * 64, "9" * 64)  # of another candidate
    ledger.append("rollout.created", "ci", "r1", {"candidate": bundle, "evidence_digest": verdict})
    for subject in (source, bundle, verdict, "r1", holdout):
        assert [entry.seq for entry in ledger.explain(subject)] == [1, 2, 5]
    ledger.append("rollout.refused", "ci", "8" * 64, {"reason": "no"})
    assert [entry.seq for entry in ledger.explain("8" * 64)] == [6]


def test_a_verdict_that_another_ledger_holds_is_named(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", ticking())
    verdict = "a" * 64
    for rollout in ("r1", "r2"):
        ledger.append("rollout.created", "ci", rollout, {"evidence_digest": verdict})
    assert elsewhere(ledger.list()) == (verdict,)
    ledger.append("verdict", "ann", verdict, {})
    assert elsewhere(ledger.list()) == ()


def test_bodies_must_be_finite_json(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", ticking())
    for value in (float("nan"), float("inf"), object()):
        with pytest.raises(ConfigurationError, match="finite plain JSON"):
            ledger.append("verdict", "verify", "a", {"value": value})
    assert ledger.list() == []


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.booleans() | st.none()))
def test_canonical_bytes_do_not_depend_on_key_order(body: dict[str, object]) -> None:
    assert canonical(body) == canonical(dict(reversed(body.items())))


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"not a database, but long enough to be looked at" * 30)
    with pytest.raises(TrustError, match="is not a ledger"):
        Ledger(tmp_path / "ledger.db", ticking())


def test_a_ledger_from_the_future_is_refused(tmp_path: Path) -> None:
    filled(tmp_path / "ledger.db").close()
    connection = sqlite3.connect(tmp_path / "ledger.db")
    connection.execute("pragma user_version=99")
    connection.close()
    with pytest.raises(TrustError, match="version 99"):
        Ledger(tmp_path / "ledger.db", ticking())


APPENDING = """
import sys
from gnomon.policies.rollout.ledger import Ledger

ledger = Ledger(sys.argv[1])
for index in range(20):
    ledger.append("verdict", sys.argv[2], sys.argv[2], {"index": index})
"""


def test_two_processes_append_to_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    workers = [subprocess.Popen([sys.executable, "-c", APPENDING, path, name]) for name in "ab"]
    assert [worker.wait(30) for worker in workers] == [0, 0]
    check = Ledger(path, ticking()).verify()
    assert (check.ok, check.entries) == (True, 40)
