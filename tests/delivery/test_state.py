"""State survives crashes whole, is never rolled back, and damage is noticed."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.sdk.state import MAX_BUNDLES, Saved, StateStore, write_atomically

HOOK = "router/pick é"
SAVED = Saved(7, b"manifest \x00\xff", b"plan")


def state_file(folder):
    (path,) = (folder / "delivery" / "hooks").glob("*.state")
    return path


def test_what_was_saved_is_loaded(tmp_path) -> None:
    StateStore(tmp_path).save(HOOK, SAVED)
    store = StateStore(tmp_path)
    assert store.load(HOOK) == SAVED
    assert store.load("another") == Saved()
    assert store.problems == 0


def test_without_a_folder_nothing_is_kept() -> None:
    store = StateStore(None)
    store.save(HOOK, SAVED)
    store.keep("a" * 64, b"x")
    assert store.load(HOOK) == Saved()
    assert store.bundles() == {}


def test_a_lower_epoch_of_another_process_does_not_win(tmp_path) -> None:
    StateStore(tmp_path).save(HOOK, SAVED)
    StateStore(tmp_path).save(HOOK, Saved(6, b"older", b""))
    assert StateStore(tmp_path).load(HOOK) == SAVED
    StateStore(tmp_path).save(HOOK, Saved(7, b"renewed", b""))
    assert StateStore(tmp_path).load(HOOK).manifest == b"renewed"


@given(st.data())
def test_any_damage_is_noticed(tmp_path_factory, data) -> None:
    folder = tmp_path_factory.mktemp("state")
    StateStore(folder).save(HOOK, SAVED)
    path = state_file(folder)
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = data.draw(
        st.sampled_from([whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], whole[:at]])
    )
    path.write_bytes(damaged)
    store = StateStore(folder)
    assert store.load(HOOK) == Saved()
    assert store.problems == 1


def test_damage_is_named_in_the_log_and_repaired_by_the_next_save(tmp_path, caplog) -> None:
    StateStore(tmp_path).save(HOOK, SAVED)
    state_file(tmp_path).write_bytes(b"gnomon-state 1 nonsense")
    store = StateStore(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert store.load(HOOK) == Saved()
    assert str(state_file(tmp_path)) in caplog.text
    assert "damaged" in caplog.text
    store.save(HOOK, Saved(1, b"m", b"p"))
    assert StateStore(tmp_path).load(HOOK).epoch == 1


def test_a_folder_that_cannot_be_written_is_only_a_warning(tmp_path, caplog) -> None:
    (tmp_path / "delivery").write_bytes(b"a file where a folder should be")
    store = StateStore(tmp_path)
    with caplog.at_level(logging.WARNING):
        store.save(HOOK, SAVED)
        store.keep("a" * 64, b"x")
    assert store.problems >= 2
    assert "kept in memory only" in caplog.text


def test_bundles_are_kept_up_to_a_number(tmp_path) -> None:
    store = StateStore(tmp_path)
    for index in range(MAX_BUNDLES + 3):
        store.keep(f"{index:064x}", b"%d" % index)
        path = tmp_path / "delivery" / "bundles" / f"{index:064x}.bundle"
        os.utime(path, ns=(index, index))
    kept = StateStore(tmp_path).bundles()
    assert len(kept) == MAX_BUNDLES
    assert kept[f"{MAX_BUNDLES + 2:064x}"] == b"%d" % (MAX_BUNDLES + 2)
    assert f"{0:064x}" not in kept


def test_a_failed_write_leaves_the_old_content_and_no_litter(tmp_path, monkeypatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


WRITER = """
import sys
from pathlib import Path
from gnomon.sdk.state import Saved, StateStore
store, epoch = StateStore(Path(sys.argv[1])), int(sys.argv[2])
while True:
    epoch += 1
    store.save("h", Saved(epoch, b"m" * (epoch % 5000), b"p"))
    sys.stdout.write(f"{epoch}\\n")
    sys.stdout.flush()
"""


def test_a_killed_process_loses_nothing_that_was_acknowledged(tmp_path) -> None:
    said = 0
    for round_ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(said)], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(5 + 7 * round_)]
        time.sleep(0.003 * round_)
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.read().splitlines()
        writer.stdout.close()
        writer.wait()
        said = max(int(line) for line in lines if line.strip())
        store = StateStore(tmp_path)
        loaded = store.load("h")
        assert loaded.epoch in (said, said + 1)
        assert loaded.manifest == b"m" * (loaded.epoch % 5000)
        assert store.problems == 0
        said = loaded.epoch


SAVER = """
import sys
from pathlib import Path
from gnomon.sdk.state import Saved, StateStore
store = StateStore(Path(sys.argv[1]))
for epoch in range(int(sys.argv[2]), 40, 3):
    store.save("h", Saved(epoch, b"%d" % epoch, b""))
"""


def test_several_processes_end_with_the_highest_epoch(tmp_path) -> None:
    command = [sys.executable, "-c", SAVER, str(tmp_path)]
    workers = [subprocess.Popen([*command, str(start)]) for start in range(3)]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    assert StateStore(tmp_path).load("h") == Saved(39, b"39", b"")
