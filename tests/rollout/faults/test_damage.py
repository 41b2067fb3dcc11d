"""State folders with lost bits, missing parts and foreign files: refused by name, or as they were."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gnomon.policies.rollout.ledger import Ledger
from gnomon.policies.rollout.store import Store
from gnomon.sdk.errors import GnomonError, TrustError

from .processes import Keys, Plane


@pytest.fixture
def held(world: Any) -> Any:
    """A control plane that measured for a while and was held; its files are whole."""
    world.ship()
    world.run(20, lambda arm, block: 50.0 + block % 7, until="CANARY")
    world.run(8, lambda arm, block: 50.0 + block % 7)
    world.control.act(world.control.get().plan.id, "hold", "op", "drill", "r1")
    return world


def everything(world: Any) -> list[Any]:
    """Return what an opened control plane knows."""
    desk = world.control._desks["router.pick"]
    return [
        world.control.rollouts(),
        desk.epoch,
        desk.first_epoch,
        desk.marks,
        desk.plan,
        desk.blocks.since(0),
        world.control._bundles.envelopes,
        world.store.request("r1"),
        world.ledger.list(),
    ]


def reopened(world: Any) -> list[Any]:
    """Open the folder as it is; raises GnomonError where it is refused."""
    world.control = world.open()
    try:
        return everything(world)
    finally:
        world.close()


@pytest.mark.parametrize("name", ["rollouts.db", "ledger.db"])
@pytest.mark.parametrize("flips", [40, pytest.param(3000, marks=pytest.mark.soak)])
def test_a_lost_bit_is_refused_or_makes_no_difference(held: Any, name: str, flips: int) -> None:
    held.close()
    known = reopened(held)
    path, rng, refused = held.folder / name, random.Random(11), 0
    whole = path.read_bytes()
    for _ in range(flips):
        place, bit = rng.randrange(len(whole)), 1 << rng.randrange(8)
        broken = bytearray(whole)
        broken[place] ^= bit
        path.write_bytes(broken)
        for rest in ("-wal", "-shm"):
            path.with_name(name + rest).unlink(missing_ok=True)
        try:
            assert reopened(held) == known, f"bit {bit} of byte {place}"
        except GnomonError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > flips / 10


def emptied(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"")


def foreign(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with contextlib.closing(sqlite3.connect(folder / name)) as connection:
        connection.execute("create table cookies (host text)")
        connection.commit()


def half(folder: Path, name: str) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("harm", "name", "message"),
    [
        (emptied, "rollouts.db", r"ledger .* tells of event \d+, the store ends at 0: .*restore"),
        (emptied, "ledger.db", r"ledger .* was emptied, the store has \d+ events; restore"),
        (foreign, "rollouts.db", "another program's database, with a table 'cookies'; name"),
        (foreign, "ledger.db", "another program's database, with a table 'cookies'; name"),
        (half, "rollouts.db", r"rollouts\.db is (damaged|not a control plane's store): .*restore"),
        (half, "ledger.db", r"ledger\.db.*(restore|name another|keep it)"),
    ],
)
def test_a_file_that_is_not_what_it_was_is_refused_by_name(
    held: Any, harm: Callable[[Path, str], None], name: str, message: str
) -> None:
    held.close()
    harm(held.folder, name)
    before = (held.folder / name).read_bytes()
    with pytest.raises(TrustError, match=message):
        held.open()
    if harm is foreign:
        assert (held.folder / name).read_bytes() == before, "nothing is added to it"


@pytest.fixture
def torn(held: Any, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Take the folder as a power cut leaves it, the write-ahead log of one file lost or cut short."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in held.folder.glob("*.db*"):
        shutil.copy(path, copy / path.name)
    held.close()

    def tear(name: str, keep: float) -> None:
        log = copy / f"{name}-wal"
        data = log.read_bytes()
        assert data, "what was written last is in the log"
        log.write_bytes(data[: round(len(data) * keep)])
        (copy / f"{name}-shm").unlink(missing_ok=True)
        if not keep:
            log.unlink()
        held.folder = copy

    yield tear


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.9])
def test_a_store_that_lost_its_newest_transactions_is_refused(
    held: Any, torn: Callable[[str, float], None], keep: float
) -> None:
    torn("rollouts.db", keep)
    with pytest.raises(TrustError, match="it is older than its ledger"):
        held.open()


@pytest.mark.parametrize("keep", [0.5, 0.9])
def test_a_ledger_that_lost_its_newest_entries_gets_them_again(
    held: Any, torn: Callable[[str, float], None], keep: float
) -> None:
    """The store knows them; that they are written anew, an anchor shows."""
    torn("ledger.db", keep)
    known = held.open()
    try:
        told = [e for e in held.ledger.list() if e.kind == "rollout.transition"]
        assert len(told) == len(known.get().transitions)
        assert held.ledger.verify().ok
    finally:
        held.close()


def test_recovery_a_new_ledger_is_written_from_the_store(held: Any) -> None:
    count = len(held.ledger.list())
    held.close()
    for path in held.folder.glob("ledger.db*"):
        path.rename(path.with_name("evidence-" + path.name))
    held.control = held.open()
    assert len(held.ledger.list()) == count
    assert held.ledger.verify().ok
    held.close()


def test_recovery_an_empty_folder_begins_anew_and_processes_lift_the_epoch(held: Any) -> None:
    process = held.processes[0]
    known = process.policy.guard.epoch
    held.close()
    for path in held.folder.glob("*.db*"):
        path.rename(path.with_name("evidence-" + path.name))
    held.control = held.open()
    held.greet(process)
    held.ship()
    assert held.control.epoch("router.pick") > known
    assert process.policy.guard.epoch > known
    held.close()


@pytest.mark.parametrize("name", ["rollouts.db", "ledger.db"])
def test_gnomon_serve_says_it_in_one_line_and_touches_nothing(
    made: Keys, plane: Plane, name: str
) -> None:
    Store(plane.state / "rollouts.db").close()
    Ledger(plane.state / "ledger.db").close()
    half(plane.state, name)
    before = (plane.state / name).read_bytes()
    said = plane.refused()
    assert said.startswith("gnomon: ")
    assert said.count("\n") == 1, said
    assert name in said
    assert (plane.state / name).read_bytes() == before
