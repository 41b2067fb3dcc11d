"""A recorder that is told to merges closed hours and lets old ones go, and goes on when that fails."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path

import pytest

from gnomon.commands._amounts import age, bytes_of, size
from gnomon.recorder import upkeep as upkeep_module
from gnomon.recorder.store import TraceStore
from gnomon.recorder.upkeep import Upkeep
from gnomon.sdk.errors import ConfigurationError
from gnomon.sdk.telemetry import OtlpSink

from .fakes import FakeHook, decision, outcome
from .test_process import gnomon, recording
from .test_redaction import KEY, SECRET, on_disk
from .test_retention import _HOUR, _START, filled, hours
from .test_store import SOURCE, files


def again(path: Path) -> TraceStore:
    """Return a store with two files in each hour."""
    store = filled(path)
    for hour in range(4):
        store.write_records(SOURCE, [decision(100 + hour, _START + hour * _HOUR + 1)])
    return store


def test_one_round_prunes_and_then_merges(tmp_path: Path) -> None:
    store = again(tmp_path)
    upkeep = Upkeep(compact_after_s=0.0, keep_s=3 * 3600.0)
    now = time.time_ns()
    lines = upkeep.once(store, now, lambda: False)
    assert lines[0].startswith("pruned 8 hours, ") and lines[0].endswith("; 0 bytes stay")
    store = again(tmp_path)
    lines = Upkeep(compact_after_s=0.0, keep_bytes=1 << 30).once(store, now + 10**9, lambda: False)
    assert lines == ["compacted 8 hours: 20 files into 16"]
    assert hours(store) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert upkeep.once(TraceStore(tmp_path / "none"), now, lambda: False) == []


def test_what_is_not_wanted_is_not_done(tmp_path: Path) -> None:
    store = again(tmp_path)
    upkeep = Upkeep(compact_after_s=None)
    assert not upkeep.wanted and Upkeep().wanted
    assert upkeep.once(store, time.time_ns(), lambda: False) == []
    assert len(files(store)) == 12


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    store = again(tmp_path)
    bad = files(store)[0]
    bad.write_bytes(b"")
    lines = Upkeep(compact_after_s=0.0).once(store, time.time_ns(), lambda: False)
    assert any(line.startswith(f"not compacted: {bad} is damaged") for line in lines)


def test_a_failure_is_told_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = again(tmp_path)
    told: list[str] = []
    failures = [RuntimeError("unforeseen"), OSError(28, "No space left on device")]
    real = upkeep_module.compact

    def failing(*arguments: object, **options: object) -> object:
        if failures:
            raise failures.pop(0)
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(upkeep_module, "compact", failing)

    async def life() -> None:
        stop = asyncio.Event()

        def report(line: str) -> None:
            told.append(line)
            if line.startswith("compacted"):
                stop.set()

        await asyncio.wait_for(
            Upkeep(compact_after_s=0.0, every_s=0.01).run(store, stop, report), 30
        )

    asyncio.run(life())
    assert told == [
        "upkeep of the store failed and is tried again: RuntimeError: unforeseen",
        "upkeep of the store failed and is tried again: No space left on device",
        "compacted 8 hours: 20 files into 16",
    ]


def test_a_recorder_merges_prunes_and_redacts(tmp_path: Path) -> None:
    store = again(tmp_path / "store")
    key = tmp_path / "key"
    key.write_bytes(KEY)
    old = (time.time_ns() - _START - 2 * _HOUR) // 10**9
    options = (
        *("--compact-after", "0s", "--keep", f"{old}s"),
        *("--redact", "unit=hash", "--redact", "detail=drop", "--redact-key", str(key), "--json"),
    )
    with recording(tmp_path / "store", *options) as (process, address):
        sink = OtlpSink(address, {"service.name": SECRET[:3]})
        made = decision(7, _START + 3 * _HOUR + 5, unit=SECRET, detail=SECRET)
        sink.write(FakeHook(), [made, outcome(made)])
        sink.close(20)
        assert sink.account().acknowledged == 2
        deadline = time.monotonic() + 120
        while not list((tmp_path / "store").rglob("merged-*")):  # pruning comes before
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert json.loads(out)["decisions"] == 1
    assert "pruned 4 hours" in err and "compacted" in err
    assert sorted(hours(store)) == [2, 2, 3, 3, 3]
    assert SECRET.encode() not in on_disk(tmp_path)
    (row,) = store.decisions(since=made.time_ns, until=made.time_ns + 1).to_pylist()
    assert len(row["unit"]) == 32 and row["detail"] == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("traces", "prune", "STORE"), "nothing says what to keep; give an age"),
        (("traces", "prune", "STORE", "--older-than", "30"), "'30' is no duration without a unit"),
        (("traces", "prune", "STORE", "--older-than", "soon"), "'soon' is no duration"),
        (("traces", "prune", "STORE", "--max-bytes", "50X"), "'50X' is no size; write 500M"),
        (("traces", "prune", "STORE", "--max-bytes", "-1G"), "'-1G' is no size"),
        (("traces", "compact", "STORE", "--older-than", "1"), "'1' is no duration without a unit"),
        (("traces", "compact", "NOWHERE"), "no trace store at"),
        (("traces", "prune", "STORE", "--hook", "x", "--older-than", "1d"), "no hook 'x' in"),
        (("record", "--store", "STORE", "--keep", "30"), "'30' is no duration without a unit"),
        (("record", "--store", "STORE", "--keep-bytes", "lots"), "'lots' is no size"),
        (("record", "--store", "STORE", "--compact-after", "x"), "'x' is no duration"),
        (("record", "--store", "STORE", "--redact", "unit=hash"), "--redact with hash needs a key"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    store = filled(tmp_path / "store", 1)
    named = {"STORE": store.files.root, "NOWHERE": str(tmp_path / "nowhere")}
    done = gnomon(*(named.get(argument, argument) for argument in arguments))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("gnomon: ") and words in line
    assert len(store.files.parquet()) == 6


def test_the_commands_answer_and_say_how_it_ended(tmp_path: Path) -> None:
    store = again(tmp_path)
    shown = gnomon("traces", str(tmp_path))
    assert shown.stdout.count("0 files merged, 4 of 8 hours to be compacted") == 2
    done = gnomon("traces", "compact", str(tmp_path), "--older-than", "0s", "--json")
    assert done.returncode == 0
    assert sum(hour["files_before"] for hour in json.loads(done.stdout)["hours"]) == 20
    layout = json.loads(gnomon("traces", str(tmp_path), "--json").stdout)["hooks"][1]["layout"]
    assert layout == {"hours": 8, "merged": 8, "uncompacted": 0, "replaced": 0}
    bad = files(store)[4]  # the first hour of router.pick
    bad.write_bytes(b"")
    store.write_records(SOURCE, [decision(200, _START + 9)])
    done = gnomon("traces", "compact", str(tmp_path), "--older-than", "0s")
    assert done.returncode == 1 and f"left as it is: {bad} is damaged" in done.stdout
    dry = gnomon("traces", "prune", str(tmp_path), "--max-bytes", "0", "--dry-run", "--json")
    assert dry.returncode == 0 and len(json.loads(dry.stdout)["hours"]) == 8
    store.write_records(SOURCE, [decision(300, time.time_ns() + _HOUR)])
    done = gnomon("traces", "prune", str(tmp_path), "--max-bytes", "10")
    assert done.returncode == 1 and "files stay" in done.stdout
    assert store.decisions().num_rows == 1


def test_amounts() -> None:
    assert [size(text) for text in ("10", "1K", "1.5M", "2G", "1T")] == [
        *(10, 1024, 3 << 19, 2 << 30, 1 << 40),
    ]
    assert (age(None), age("off"), age("30d"), bytes_of(None)) == (None, None, 30 * 86400.0, None)
    for text in ("", "G", "1GB", "nan", "inf", "1g", "-1"):
        with pytest.raises(ConfigurationError, match="is no size"):
            size(text)
