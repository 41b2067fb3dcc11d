"""Nothing that one request holds, and no error in the background, stops the recorder for the others."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from gnomon.recorder import files as files_module
from gnomon.recorder import spool as spool_module
from gnomon.recorder.decode import decode
from gnomon.recorder.faults import of_the_place, words
from gnomon.recorder.files import Files
from gnomon.recorder.intake import BusyError, Intake, Limits
from gnomon.recorder.spool import Segment, Spool, read_segment
from gnomon.recorder.store import TraceStore
from gnomon.sdk.errors import TraceError
from gnomon.sdk.telemetry.encode import Encoder, request, resource

from .fakes import FakeHook, decision
from .test_spool import payload

_QUICK = Limits(roll_s=0.04, retry_s=0.001, tries=3)


def of_hook(name: str, first: int) -> bytes:
    """Return a request with one decision of a hook of this name."""
    encoder = Encoder(FakeHook(name=name))
    return request(resource({}), [encoder.encode(decision(first))], first.to_bytes(16, "big"))


def run(folder: Path, scenario: Callable[[Intake], Awaitable[None]], limits: Limits) -> Intake:
    """Start a recorder in a folder, let it live through a scenario, and close it."""

    async def life() -> Intake:
        intake = Intake(TraceStore(folder / "store"), Spool(folder / "spool"), limits)
        await intake.start()
        try:
            await asyncio.wait_for(scenario(intake), 20)
        finally:
            await intake.close()
        return intake

    return asyncio.run(life())


async def until(condition: Callable[[], Any]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


async def nothing(intake: Intake) -> None:
    """Live for no longer than it takes to start and to close."""


def stored(folder: Path) -> int:
    rows: int = TraceStore(folder / "store").decisions().num_rows
    return rows


def suffixes(folder: Path) -> list[str]:
    return sorted(path.suffix for path in (folder / "spool").iterdir() if path.suffix != ".keys")


def refuse(patch: pytest.MonkeyPatch, owner: Any, name: str, errors: Callable[..., Any]) -> None:
    """Let a function first ask ``errors(*arguments)`` whether it should raise, and what."""
    real = getattr(owner, name)

    def refusing(*arguments: Any) -> Any:
        error = errors(*arguments)
        if error is not None:
            raise error
        return real(*arguments)

    patch.setattr(owner, name, refusing)


def test_a_hook_name_that_no_folder_takes_stops_nobody(tmp_path: Path) -> None:
    async def scenario(intake: Intake) -> None:
        decoded = await intake.submit(of_hook("h" * 300, 0))
        assert decoded.malformed.total() == 1
        await intake.submit(payload(2))
        await until(lambda: intake.counts.decisions == 2)

    intake = run(tmp_path, scenario, _QUICK)
    assert "has 300 bytes" in next(iter(intake.counts.malformed))
    assert stored(tmp_path) == 2
    assert suffixes(tmp_path) == [""]  # the lock


def test_the_longest_hook_name_that_is_taken_is_stored(tmp_path: Path) -> None:
    async def scenario(intake: Intake) -> None:
        await intake.submit(of_hook("☃" * 27 + "x" * 7, 0))

    assert run(tmp_path, scenario, _QUICK).counts.decisions == 1


def test_a_record_that_an_earlier_recorder_took_stops_no_start(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    for time, data in ((1, of_hook("h" * 300, 0)), (2, payload(2))):
        segment = spool.segment(time)
        segment.append([data])
        segment.close()
    spool.close()
    intake = run(tmp_path, nothing, _QUICK)
    assert "1 records of" in intake.counts.problems[0]
    assert "has 300 bytes" in intake.counts.problems[0]
    assert (stored(tmp_path), suffixes(tmp_path)) == (2, [""])


def bad_folder(error: BaseException) -> Callable[..., Any]:
    return lambda files, folder, *_: error if "hook=bad" in folder else None


@pytest.mark.parametrize(
    "error",
    [
        TraceError("cannot be written"),
        OSError(errno.ENAMETOOLONG, "File name too long"),
        RuntimeError("unforeseen"),
        pa.ArrowInvalid("column of another length"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_segment_that_the_store_never_takes_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The next one is stored at once, and the bad one too when the cause is gone."""

    async def scenario(intake: Intake) -> None:
        await intake.submit(of_hook("bad", 0))
        await until(lambda: intake.counts.problems)
        await intake.submit(payload(2))
        await until(lambda: intake.counts.spooled_bytes == 0)
        assert intake.counts.decisions == 2

    with monkeypatch.context() as patch:
        refuse(patch, Files, "publish", bad_folder(error))
        intake = run(tmp_path, scenario, _QUICK)
    problems = list(intake.counts.problems)
    assert [("tried again" in line) for line in problems] == [True, True, False]
    assert words(error) in problems[-1]
    assert (stored(tmp_path), suffixes(tmp_path)) == (2, ["", ".damaged"])
    (kept,) = (tmp_path / "spool").glob("*.damaged")
    assert str(kept) in problems[-1]
    assert read_segment(kept).frames == (of_hook("bad", 0),)
    kept.rename(kept.with_suffix(".spool"))
    run(tmp_path, nothing, _QUICK)
    assert (stored(tmp_path), suffixes(tmp_path)) == (3, [""])


def test_what_the_store_takes_of_a_segment_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hook that the store never takes keeps no other hook's records of the same segment away."""

    async def scenario(intake: Intake) -> None:
        for data in (of_hook("bad", 0), payload(2), of_hook("worse", 0)):
            await intake.submit(data)
        await until(lambda: intake.counts.spooled_bytes == 0)

    refuse(monkeypatch, Files, "publish", bad_folder(RuntimeError("unforeseen")))
    run(tmp_path, scenario, Limits(roll_s=0.2, retry_s=0.001, tries=2))
    store = TraceStore(tmp_path / "store")
    assert store.hooks() == ["router.pick", "worse"]
    assert store.decisions("router.pick").num_rows == 2 and store.workload().num_rows == 2
    assert suffixes(tmp_path) == ["", ".damaged"]


@pytest.mark.parametrize(
    "error",
    [
        *(OSError(number, os.strerror(number)) for number in (errno.ENOSPC, errno.EDQUOT)),
        *(OSError(number, os.strerror(number)) for number in (errno.EIO, errno.EACCES)),
        OSError("AWS Error NETWORK_CONNECTION"),
    ],
    ids=words,
)
def test_what_the_place_refuses_is_kept_for_as_long_as_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    refused: list[str] = []

    def errors(publication: Any) -> BaseException | None:
        refused.append(publication.path)
        return error

    async def scenario(intake: Intake) -> None:
        with monkeypatch.context() as patch:
            refuse(patch, files_module._Rename, "commit", errors)
            await intake.submit(payload(0))
            await until(lambda: len(refused) > 4 * _QUICK.tries)
            assert suffixes(tmp_path) == ["", ".spool"]
        await until(lambda: intake.counts.decisions == 2)

    run(tmp_path, scenario, _QUICK)
    assert (stored(tmp_path), suffixes(tmp_path)) == (2, [""])


def test_a_place_refused_to_one_hook_is_no_matter_to_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(intake: Intake) -> None:
        await intake.submit(of_hook("bad", 0))
        await until(lambda: intake.counts.problems)
        await intake.submit(payload(2))
        await until(lambda: intake.counts.decisions == 2)

    refuse(monkeypatch, Files, "publish", bad_folder(PermissionError(errno.EACCES, "denied")))
    run(tmp_path, scenario, _QUICK)
    assert suffixes(tmp_path) == ["", ".spool"]


def test_the_filesystem_says_itself_whose_fault_it_was(tmp_path: Path) -> None:
    """pyarrow passes the number of the error on; without it everything would count as the place's."""
    with pytest.raises(TraceError) as caught:
        Files(tmp_path).publish("x" * 300, "name", b"data")
    assert not of_the_place(caught.value)
    assert of_the_place(PermissionError(errno.EACCES, "denied"))


def test_what_takes_more_memory_than_there_is_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be tried at every start, for ever."""

    async def scenario(intake: Intake) -> None:
        await intake.submit(of_hook("bad", 0))
        await intake.submit(payload(2))
        await until(lambda: ".damaged" in suffixes(tmp_path))

    refuse(monkeypatch, Files, "publish", bad_folder(MemoryError()))
    run(tmp_path, scenario, _QUICK)


def test_a_segment_that_cannot_be_set_aside_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(intake: Intake) -> None:
        await intake.submit(of_hook("bad", 0))
        await until(lambda: any("aside" in line for line in intake.counts.problems))
        assert intake.counts.spooled_bytes > 0

    refuse(monkeypatch, Files, "publish", bad_folder(RuntimeError("unforeseen")))
    refuse(monkeypatch, Spool, "take_out", lambda *_: OSError(errno.EIO, "broken"))
    run(tmp_path, scenario, _QUICK)
    assert suffixes(tmp_path) == ["", ".spool"]


@pytest.mark.parametrize("error", [TraceError("no request"), RuntimeError("unforeseen")])
def test_a_leftover_that_cannot_be_decoded_stops_no_start(tmp_path: Path, error: Exception) -> None:
    spool = Spool(tmp_path / "spool")
    for time, data in ((1, b"\xff\xff\xff"), (2, payload(2))):
        segment = spool.segment(time)
        segment.append([data])
        segment.close()
    spool.close()
    with pytest.MonkeyPatch.context() as patch:
        wrong = lambda data: error if data == b"\xff\xff\xff" else None
        import gnomon.recorder.intake as intake_module

        refuse(patch, intake_module, "decode", wrong)
        intake = run(tmp_path, nothing, _QUICK)
    assert words(error) in intake.counts.problems[0]
    assert (stored(tmp_path), suffixes(tmp_path)) == (2, ["", ".damaged"])


def test_a_leftover_that_cannot_be_read_is_left_for_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path / "spool")
    segment = spool.segment(1)
    segment.append([payload(0)])
    segment.close()
    spool.close()
    with monkeypatch.context() as patch:
        broken = lambda path: OSError(errno.EIO, "broken") if path.suffix == ".spool" else None
        refuse(patch, Path, "read_bytes", broken)
        intake = run(tmp_path, nothing, _QUICK)
    assert "the next start tries again" in intake.counts.problems[0]
    assert suffixes(tmp_path) == ["", ".spool"]
    run(tmp_path, nothing, _QUICK)
    assert (stored(tmp_path), suffixes(tmp_path)) == (2, [""])


@pytest.mark.parametrize("error", [RuntimeError("unforeseen"), MemoryError()])
def test_senders_are_answered_whatever_the_write_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def scenario(intake: Intake) -> None:
        with monkeypatch.context() as patch:
            refuse(patch, Segment, "_write", lambda *_: error)
            with pytest.raises(BusyError):
                await asyncio.wait_for(intake.submit(payload(0)), 5)
        await asyncio.wait_for(intake.submit(payload(0)), 5)

    run(tmp_path, scenario, _QUICK)
    assert (stored(tmp_path), suffixes(tmp_path)) == (2, [""])


@pytest.mark.parametrize("step", ["_seal", "_commit", "_publish_sealed"])
def test_an_error_in_the_background_is_told_and_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """What was asked for before the error is answered or refused, and what comes after is stored."""
    once = [RuntimeError("unforeseen")]

    async def scenario(intake: Intake) -> None:
        with monkeypatch.context() as patch:
            refuse(patch, Intake, step, lambda *_: once.pop() if once else None)
            lost = asyncio.ensure_future(intake.submit(payload(0)))
            await until(lambda: intake.counts.problems)
            await asyncio.wait([lost], timeout=5)
            assert lost.done()
        assert "goes on after RuntimeError: unforeseen" in intake.counts.problems[0]
        if lost.exception() is not None:
            assert isinstance(lost.exception(), BusyError)
            await intake.submit(payload(0))
        await intake.submit(payload(2))
        await until(lambda: intake.counts.decisions == 4)

    run(tmp_path, scenario, _QUICK)
    assert stored(tmp_path) == 4


def half_written(patch: pytest.MonkeyPatch) -> None:
    """Let every write end half-way, and the half stay."""
    real = os.write

    def write(descriptor: int, data: Any) -> int:
        if len(data) > 20:
            return real(descriptor, data[:20])
        raise OSError(errno.ENOSPC, "No space left on device")

    patch.setattr(spool_module.os, "write", write)
    refuse(patch, spool_module.os, "ftruncate", lambda *_: OSError(errno.EIO, "broken"))


def test_a_write_that_cannot_be_undone_ends_the_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is acknowledged after it lies in another segment and is found after a crash."""

    async def scenario(intake: Intake) -> None:
        await intake.submit(payload(0))
        with monkeypatch.context() as patch:
            half_written(patch)
            with pytest.raises(BusyError):
                await intake.submit(payload(2))
        await intake.submit(payload(4))
        frames = [
            read_segment(path).frames for path in sorted((tmp_path / "spool").glob("*.spool"))
        ]
        assert frames == [(payload(0),), (payload(4),)]

    run(tmp_path, scenario, Limits(roll_s=3600.0))
    assert (stored(tmp_path), suffixes(tmp_path)) == (4, [""])


def test_a_segment_whose_first_write_failed_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(intake: Intake) -> None:
        with monkeypatch.context() as patch:
            half_written(patch)
            for _ in range(3):
                with pytest.raises(BusyError):
                    await intake.submit(payload(0))
        assert suffixes(tmp_path) == [""]
        await intake.submit(payload(0))
        assert suffixes(tmp_path) == ["", ".spool"]

    run(tmp_path, scenario, Limits(roll_s=3600.0))
    assert stored(tmp_path) == 2


def test_a_broken_segment_takes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = Segment(tmp_path / "x.spool")
    segment.append([payload(0)])
    with monkeypatch.context() as patch:
        half_written(patch)
        with pytest.raises(OSError, match="No space left"):
            segment.append([payload(2)])
    with pytest.raises(OSError, match="could not be undone"):
        segment.append([payload(4)])
    segment.close()
    assert read_segment(segment.path).frames == (payload(0),)
    assert decode(read_segment(segment.path).frames[0]).batches
