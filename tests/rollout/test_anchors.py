"""Processes remember the ledger's heads: a cut, rewritten or restored ledger is found by them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.policies.rollout.anchors import MAX_DISPUTES, Witnesses
from gnomon.policies.rollout.checkpoints import load_checkpoint, save_checkpoint
from gnomon.policies.rollout.ledger import Ledger
from gnomon.sdk import keys
from gnomon.sdk.errors import ConfigurationError, RolloutError, TrustError
from gnomon.sdk.witness import FILE, MAX_ANCHORS, WRITE_NS, Witness, read_anchors

SECOND = 1_000_000_000


def filled(path: Path, count: int, word: str = "a") -> Ledger:
    ledger = Ledger(path, lambda: 1)
    for index in range(count):
        ledger.append("verdict", word, f"digest-{index}", {})
    return ledger


def anchor(seq: int, letter: str = "a") -> str:
    return f"{seq}:{letter * 64}"


def test_a_head_of_this_ledger_is_no_dispute(tmp_path: Path) -> None:
    ledger = filled(tmp_path / "a.db", 5)
    witnesses = Witnesses(ledger)
    assert witnesses.head == ledger.list()[-1].anchor
    for entry in ledger.list():
        assert witnesses.say("aa", entry.anchor, 7) is None
    assert (witnesses.said["aa"].anchor, witnesses.disputes) == (witnesses.head, {})
    for said in ("", "5", "5:xyz", "-1:" + "a" * 64, "9" * 400):
        assert witnesses.say("bb", said, 7) is None
    assert "bb" not in witnesses.said


@pytest.mark.parametrize(("count", "words"), [(3, "ends at 3, before entry 5"), (9, "is another")])
def test_a_cut_or_rewritten_ledger_is_disputed_once(
    tmp_path: Path, count: int, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    old = filled(tmp_path / "old.db", 5).list()[-1].anchor
    witnesses = Witnesses(filled(tmp_path / "new.db", count, "b"))
    with caplog.at_level(logging.ERROR):
        happened = witnesses.say("aa", old, 7)
    assert happened is not None
    assert (happened.kind, happened.actor, happened.subject) == ("ledger.disputed", "aa", old)
    assert words in happened.body["problem"]
    assert "was it cut, rewritten or restored" in caplog.text
    assert witnesses.say("bb", old, 8) is None
    assert witnesses.disputes[old].instances == ["aa", "bb"]


def test_strangers_cannot_fill_the_ledger(tmp_path: Path) -> None:
    witnesses = Witnesses(filled(tmp_path / "a.db", 1))
    told = [witnesses.say("aa", anchor(seq), 7) for seq in range(2, 100)]
    assert sum(each is not None for each in told) == MAX_DISPUTES


def test_a_restored_backup_is_found_accepted_and_stays_so(world: Any) -> None:
    world.ship()
    ledger = world.ledger
    lost = f"{ledger.head().seq + 3}:{'f' * 64}"

    def told() -> None:
        ack = world.processes[0].receive(
            world.control.pushes("router.pick", ())[-1], world.clock.now
        )
        ack.anchor = lost
        world.control.ack("aa", ack)

    told()
    assert list(world.control.witnesses.disputes) == [lost]
    assert ledger.list(kind="ledger.disputed")[0].subject == lost
    world.restart()
    assert list(world.control.witnesses.disputes) == [lost]  # not forgotten
    with pytest.raises(RolloutError, match="say why"):
        world.control.accept("ann", "")
    world.control.accept("ann", "restored the backup of 11:00")
    accepted = world.ledger.list(kind="ledger.accepted")[0]
    assert (accepted.actor, accepted.body["lost"][0]["anchor"]) == ("ann", lost)
    ledger = world.ledger
    told()
    world.restart()
    told()
    assert world.control.witnesses.disputes == {}
    assert len(world.ledger.list(kind="ledger.disputed")) == 1
    with pytest.raises(RolloutError, match="nothing is in dispute"):
        world.control.accept("ann", "again")


def test_what_cannot_be_written_is_not_accepted(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.ship()
    ack = world.processes[0].receive(world.control.pushes("router.pick", ())[-1], world.clock.now)
    ack.anchor = lost = anchor(world.ledger.head().seq + 3, "f")
    world.control.ack("aa", ack)

    def full(*args: Any) -> None:
        raise RolloutError("the store cannot be written: database or disk is full")

    with monkeypatch.context() as disk:
        disk.setattr(world.control._store, "note", full)
        with pytest.raises(RolloutError, match="is full"):
            world.control.accept("ann", "restored the backup of 11:00")
    assert list(world.control.witnesses.disputes) == [lost]
    world.control.accept("ann", "restored the backup of 11:00")
    assert world.control.witnesses.disputes == {}


def test_a_process_returns_what_it_held_before(tmp_path: Path) -> None:
    witness = Witness(tmp_path)
    assert witness.newest == ""
    witness.told(anchor(50), SECOND)
    witness.told(anchor(41, "b"), 3 * SECOND)  # a ledger that was cut
    assert witness.newest == anchor(50)
    assert Witness(tmp_path).newest == anchor(50)
    witness.told(anchor(50, "c"), 5 * SECOND)  # and grew anew
    assert witness.newest == anchor(50)
    witness.told(anchor(51, "c"), 7 * SECOND)
    assert witness.newest == anchor(51, "c")
    assert [each.text for each in read_anchors(tmp_path)][-1] == anchor(51, "c")
    assert anchor(50) in [each.text for each in read_anchors(tmp_path)]


def test_processes_share_a_folder_and_damage_costs_lines(tmp_path: Path) -> None:
    one, other = Witness(tmp_path), Witness(tmp_path)
    one.told(anchor(1), SECOND)
    other.told(anchor(2), SECOND)
    assert [each.seq for each in read_anchors(tmp_path)] == [1, 2]
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes() + b"\xff\x00 nonsense\n3:short 5\n")
    assert [each.seq for each in read_anchors(tmp_path)] == [1, 2]
    for nonsense in ("", "x", "3:" + "g" * 64, "9" * 30 + ":" + "a" * 64):
        one.told(nonsense, 9 * SECOND)
    assert one.newest == anchor(1)


def test_an_unwritable_folder_costs_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "delivery").write_text("a file where a folder must be")
    witness = Witness(tmp_path)
    witness.told(anchor(1), SECOND)
    assert witness.newest == anchor(1)
    assert "kept in memory only" in caplog.text


def test_the_file_is_written_at_most_once_a_second(tmp_path: Path) -> None:
    witness = Witness(tmp_path)
    witness.told(anchor(1), SECOND)
    witness.told(anchor(2), SECOND + 1)
    assert [each.seq for each in read_anchors(tmp_path)] == [1]
    witness.write(SECOND + 2)
    assert [each.seq for each in read_anchors(tmp_path)] == [1, 2]


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=400, unique=True))
def test_first_and_newest_always_stay(seqs: list[int]) -> None:
    witness = Witness(None)
    for step, seq in enumerate(seqs):
        witness.told(anchor(seq), step * WRITE_NS)
        assert len(witness._kept) <= MAX_ANCHORS
    assert witness._kept[0].seq == seqs[0]
    assert witness.newest == anchor(max(seqs))
    assert witness._kept[-1].seq == seqs[-1]


def test_a_checkpoint_is_believed_only_from_a_trusted_key(tmp_path: Path) -> None:
    ledger = filled(tmp_path / "a.db", 3)
    head, key, path = ledger.list()[-1].anchor, keys.generate(), tmp_path / "head.checkpoint"
    save_checkpoint(path, head, 5, key)
    found = load_checkpoint(path, [keys.generate().public_key(), key.public_key()])
    assert (found.anchor, found.time_ns) == (head, 5)
    assert found.signed_by == (keys.keyid(key.public_key()),)
    with pytest.raises(TrustError, match="not a trusted key"):
        load_checkpoint(path, [keys.generate().public_key()])
    data = path.read_bytes()
    path.write_bytes(data.replace(b"3:", b"2:"))
    with pytest.raises(TrustError, match="does not match"):
        load_checkpoint(path, [key.public_key()])
    path.write_bytes(b"\xff" * 40)
    with pytest.raises(ConfigurationError, match="cannot read checkpoint"):
        load_checkpoint(path, [key.public_key()])
    with pytest.raises(ConfigurationError, match="is not SEQ:HASH"):
        save_checkpoint(path, "5", 5, key)
