"""What was acknowledged is there after a crash, once, whatever the disk and the process did."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from gnomon.recorder import spool as spool_module
from gnomon.recorder.intake import BusyError, Intake, Limits
from gnomon.recorder.publish import Seen
from gnomon.recorder.spool import _HEAD, Segment, Spool, read_segment
from gnomon.recorder.store import TraceStore
from gnomon.sdk.errors import TraceError
from gnomon.sdk.records import Record
from gnomon.sdk.telemetry.encode import Encoder, request, resource

from .fakes import FakeHook, accesses, decision, outcome


def payload(first: int, n: int = 2) -> bytes:
    """Return a request with decisions and accesses first … first + n - 1, and the outcomes."""
    encoder = Encoder(FakeHook())
    made = [decision(i, 1_700_000_000_000_000_000 + i) for i in range(first, first + n)]
    records: list[Record] = [*made, *map(outcome, made), accesses(first, n)]
    return request(resource({}), map(encoder.encode, records), first.to_bytes(16, "big"))


@given(st.lists(st.lists(st.binary(max_size=50), min_size=1, max_size=3), max_size=4), st.data())
def test_a_cut_segment_keeps_every_whole_frame(
    tmp_path_factory: pytest.TempPathFactory, groups: list[list[bytes]], data: st.DataObject
) -> None:
    spool = Spool(tmp_path_factory.mktemp("spool"))
    segment = spool.segment(1)
    for group in groups:
        segment.append(group)
    segment.close()
    spool.close()
    if not groups:
        assert not segment.path.exists()
        return
    frames = [frame for group in groups for frame in group]
    whole = read_segment(segment.path)
    assert (list(whole.frames), whole.rest) == (frames, 0)
    cut = data.draw(st.integers(0, segment.size))
    os.truncate(segment.path, cut)
    rest = read_segment(segment.path)
    ends = [sum(_HEAD + len(f) for f in frames[: i + 1]) for i in range(len(frames))]
    assert list(rest.frames) == [f for f, end in zip(frames, ends, strict=True) if end <= cut]
    assert rest.rest == cut - max([0, *(end for end in ends if end <= cut)])


def test_a_flipped_bit_costs_one_frame(tmp_path: Path) -> None:
    segment = Segment(tmp_path / "1.spool")
    segment.append([b"first", b"second", b"third"])
    segment.close()
    data = bytearray(segment.path.read_bytes())
    data[_HEAD + 5 + _HEAD + 2] ^= 1
    segment.path.write_bytes(data)
    contents = read_segment(segment.path)
    assert contents.frames == (b"first", b"third")
    assert (contents.gaps, contents.rest) == (((_HEAD + 5, _HEAD + 6),), 0)


_damage = st.tuples(
    st.sampled_from(["overwrite", "delete", "insert", "zero", "cut"]),
    st.integers(0, 600),
    st.binary(min_size=1, max_size=40),
)


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=8), st.lists(_damage, max_size=3))
def test_every_frame_that_damage_did_not_touch_is_read(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes], damages: list[Any]
) -> None:
    """Bytes overwritten, lost or put in anywhere; what is read was written, in that order."""
    frames = [bytes([number]) + each for number, each in enumerate(payloads)]
    segment = Segment(tmp_path_factory.mktemp("spool") / "1.spool")
    segment.append(frames)
    segment.close()
    owners = [number for number, frame in enumerate(frames) for _ in range(_HEAD + len(frame))]
    cells = list(zip(segment.path.read_bytes(), owners, strict=True))
    touched: set[int] = set()
    for what, start, noise in damages:
        at = min(start, len(cells))
        end = {"insert": at, "cut": len(cells)}.get(what, at + len(noise))
        touched |= {owner for _, owner in cells[at:end]}
        if 0 < at < len(cells) and cells[at - 1][1] == cells[at][1]:
            touched.add(cells[at][1])
        put = {"overwrite": noise, "insert": noise, "zero": bytes(len(noise))}.get(what, b"")
        cells[at:end] = [(byte, -1) for byte in put]
    segment.path.write_bytes(bytes(byte for byte, _ in cells))
    contents = read_segment(segment.path)
    numbers = [frame[0] for frame in contents.frames]
    assert set(range(len(frames))) - touched <= set(numbers)
    assert numbers == sorted(set(numbers))
    assert contents.frames == tuple(frames[number] for number in numbers)
    whole = sum(_HEAD + len(frame) for frame in contents.frames)
    assert whole + sum(size for _, size in contents.gaps) + contents.rest == len(cells)


def test_no_sender_can_write_a_frame_into_a_payload(tmp_path: Path) -> None:
    """A segment behind a damaged head is searched for frames; one that was smuggled in is of another name."""
    other = Segment(tmp_path / "2.spool")
    other.append([b"smuggled"])
    other.close()
    segment = Segment(tmp_path / "1.spool")
    segment.append([other.path.read_bytes(), b"good"])
    segment.close()
    data = bytearray(segment.path.read_bytes())
    data[0] ^= 1
    segment.path.write_bytes(data)
    assert read_segment(segment.path).frames == (b"good",)


def test_a_damaged_segment_is_stored_around_the_damage(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    segment = spool.segment(1)
    segment.append([payload(0), payload(2), b"\xff\xff\xff", payload(4)])
    segment.close()
    spool.close()
    data = bytearray(segment.path.read_bytes())
    data[_HEAD + len(payload(0)) + _HEAD + 9] ^= 1
    segment.path.write_bytes(data)

    async def life() -> Intake:
        intake = Intake(TraceStore(tmp_path / "store"), Spool(tmp_path / "spool"))
        await intake.start()
        await intake.close()
        return intake

    problems = list(asyncio.run(life()).counts.problems)
    table = TraceStore(tmp_path / "store").decisions()
    assert [i[-1] for i in table["decision_id"].to_pylist()] == [0, 1, 4, 5]
    (kept,) = (tmp_path / "spool").glob("*.damaged")
    assert kept.read_bytes() == bytes(data)
    assert f"{len(payload(2)) + _HEAD} bytes of {kept} are damaged" in problems[1]
    assert "not an OTLP logs request" in problems[0]
    assert f"1 requests of {kept} cannot be read" in problems[2]
    assert not list((tmp_path / "spool").glob("*.spool"))


def test_one_recorder_per_spool(tmp_path: Path) -> None:
    first = Spool(tmp_path)
    with pytest.raises(TraceError, match="another recorder uses the spool .*--spool"):
        Spool(tmp_path)
    first.close()
    Spool(tmp_path).close()


def test_a_spool_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TraceError, match="cannot use spool .*file/spool"):
        Spool(tmp_path / "file" / "spool")


def test_seen_forgets_the_oldest_first() -> None:
    seen = Seen([b"a", b"b"], limit=3)
    seen.add([b"c", b"d"])
    assert [key in seen for key in (b"a", b"b", b"c", b"d")] == [False, True, True, True]


def test_a_full_disk_refuses_and_recovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The failed append leaves no half frame; the same request is taken when there is room again."""

    async def scenario() -> None:
        intake = Intake(TraceStore(tmp_path / "store"), Spool(tmp_path / "spool"))
        await intake.start()
        await intake.submit(payload(0))
        real = os.write

        def full(descriptor: int, data: Any) -> int:
            if len(data) > 100:
                return real(descriptor, data[:100])
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(spool_module.os, "write", full)
            with pytest.raises(BusyError):
                await intake.submit(payload(2))
        assert "No space left" in intake.counts.problems[0]
        await intake.submit(payload(2))
        (segment,) = (tmp_path / "spool").glob("*.spool")
        assert read_segment(segment).frames == (payload(0), payload(2))
        await intake.close()

    asyncio.run(scenario())
    assert TraceStore(tmp_path / "store").decisions().num_rows == 4


def test_a_store_that_fails_keeps_the_spool(tmp_path: Path) -> None:
    """Nothing is lost while the store cannot be written, and it is all there once it can."""
    blocked = tmp_path / "store" / "decisions"

    async def scenario() -> None:
        limits = Limits(roll_s=0.05, retry_s=0.1)
        intake = Intake(TraceStore(tmp_path / "store"), Spool(tmp_path / "spool"), limits)
        await intake.start()
        blocked.parent.mkdir()
        blocked.write_text("in the way")
        await intake.submit(payload(0))
        while not intake.counts.problems:
            await asyncio.sleep(0.02)
        assert "is kept and tried again" in intake.counts.problems[0]
        assert intake.counts.spooled_bytes > 0
        blocked.unlink()
        while intake.counts.spooled_bytes:
            await asyncio.sleep(0.02)
        await intake.close()

    asyncio.run(scenario())
    assert TraceStore(tmp_path / "store").decisions().num_rows == 2


def test_a_damaged_leftover_is_kept_for_people(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    segment = spool.segment(1)
    segment.append([payload(0), payload(2)])
    segment.close()
    spool.close()
    os.truncate(segment.path, segment.size - 3)

    async def scenario() -> Intake:
        intake = Intake(TraceStore(tmp_path / "store"), Spool(tmp_path / "spool"))
        await intake.start()
        await intake.close()
        return intake

    intake = asyncio.run(scenario())
    assert "no whole request" in intake.counts.problems[0]
    assert TraceStore(tmp_path / "store").decisions().num_rows == 2
    assert [path.suffix for path in (tmp_path / "spool").glob("*1-*")].count(".damaged") == 1


def test_what_was_stored_is_known_after_any_number_of_lives(tmp_path: Path) -> None:
    """A recorder that died before it removed a stored segment must not forget its batches."""

    async def life(before_close: bytes | None) -> None:
        intake = Intake(TraceStore(tmp_path / "store"), Spool(tmp_path / "spool"))
        await intake.start()
        if before_close is not None:
            await intake.submit(before_close)
        await intake.close()

    asyncio.run(life(payload(0)))
    (keys,) = (tmp_path / "spool").glob("*.keys")
    left = Segment(keys.with_suffix(".spool"))  # as if it had not been removed
    left.append([payload(0)])
    left.close()
    asyncio.run(life(None))
    asyncio.run(life(payload(0)))
    assert TraceStore(tmp_path / "store").read("decisions").duplicates == 0


class CrashingRecorder(RuleBasedStateMachine):
    """Requests, repetitions, seals and crashes in any order: each acknowledged record is stored once.

    The process dies by being forgotten, at every step of publication too.
    """

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self._folder = tempfile.TemporaryDirectory()
        self.root = Path(self._folder.name)
        self.loop = asyncio.new_event_loop()
        self.acknowledged: set[int] = set()
        self.next = 0
        self._begin()

    def _begin(self) -> None:
        self.store = TraceStore(self.root / "store")
        self.spool = Spool(self.root / "spool")
        self.intake = self.loop.run_until_complete(self._started())

    async def _started(self) -> Intake:
        intake = Intake(self.store, self.spool, Limits(roll_s=3600.0))
        await intake.start()
        return intake

    @rule()
    def send(self) -> None:
        self.loop.run_until_complete(self.intake.submit(payload(self.next)))
        self.acknowledged.add(self.next)
        self.next += 2

    @precondition(lambda self: self.acknowledged)
    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        first = data.draw(st.sampled_from(sorted(self.acknowledged)))
        self.loop.run_until_complete(self.intake.submit(payload(first)))

    @rule()
    def restart(self) -> None:
        self.loop.run_until_complete(self.intake.close())
        self.nothing_is_stored_twice_or_made_up()
        self._begin()

    @rule(step=st.sampled_from(["write", "rename", "unlink", "none"]))
    def crash(self, step: str) -> None:
        """Die before the store is written, before the keys are, before the segment goes, or earlier."""
        targets = {
            "write": (self.store, "write"),
            "rename": (self.spool, "discard"),
            "unlink": (self.spool, "discard"),
        }
        if step in targets:
            owner, name = targets[step]
            real = getattr(owner, name)

            def dying(*args: Any) -> None:
                if step == "unlink":
                    path, keys = args
                    saved = path.read_bytes()
                    real(path, keys)
                    path.write_bytes(saved)
                raise OSError("killed")

            setattr(owner, name, dying)
            self.intake._seal()
            self.loop.run_until_complete(self.intake._publish_sealed())
        self._forget()
        self._begin()
        self.nothing_is_stored_twice_or_made_up()

    def _forget(self) -> None:
        for task in self.intake._tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*self.intake._tasks, return_exceptions=True))
        self.intake._disk.shutdown()
        self.intake._publisher.shutdown()
        if self.intake._segment is not None:
            self.intake._segment.close()
        self.spool.close()

    def nothing_is_stored_twice_or_made_up(self) -> None:
        if (self.root / "store").exists():
            reading = self.store.read("decisions")
            assert reading.duplicates == 0
            stored = {
                int.from_bytes(i[8:], "big") for i in reading.table["decision_id"].to_pylist()
            }
            assert stored <= {i + j for i in self.acknowledged for j in (0, 1)}
            assert self.store.read("workload").duplicates == 0

    def teardown(self) -> None:
        self.loop.run_until_complete(self.intake.close())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        if self.acknowledged:
            table = self.store.decisions()
            assert table.num_rows == 2 * len(self.acknowledged)
            assert table["outcome_status"].null_count == 0
            assert self.store.workload().num_rows == 2 * len(self.acknowledged)
        self._folder.cleanup()


CrashingRecorder.TestCase.settings = settings(max_examples=30, stateful_step_count=12)
TestCrashingRecorder = CrashingRecorder.TestCase
