"""With redaction no raw value reaches the disk, whatever a sender sends; and repetitions are still known."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from gnomon.recorder.decode import decode
from gnomon.recorder.intake import Intake, Limits
from gnomon.recorder.redaction import Redaction, parse, without
from gnomon.recorder.spool import Spool
from gnomon.recorder.store import TraceStore
from gnomon.sdk.errors import ConfigurationError, TraceError
from gnomon.sdk.records import Record, Workload
from gnomon.sdk.telemetry import names
from gnomon.sdk.telemetry.encode import Encoder, request, resource

from .fakes import FakeHook, decision, outcome, packed
from .fakes import records as everything

KEY = b"0123456789abcdef"
SECRET = "s3cret-of-anna"
TRACE = int.from_bytes(SECRET.encode()[:14] + b"ab", "big")
SPAN = int.from_bytes(b"s3cretsp", "big")
ALL = Redaction(
    {
        "unit": "hash",
        "items": "hash",
        "trace": "hash",
        "detail": "drop",
        "outcome.salary": "drop",
        "workload.user": "hash",
        "workload.key": "hash",
        "workload.note": "drop",
    },
    KEY,
)


def secret_records(first: int = 0) -> list[Record]:
    made = decision(first, unit=SECRET, detail=f"for {SECRET}", trace_id=TRACE, span_id=SPAN)
    number = struct.unpack("<d", SECRET.encode()[:8])[0]
    return [
        made,
        outcome(made, values=(("latency_ms", 1.0), ("salary", number))),
        Workload(first, made.time_ns, "members", (("names", f"a\n{SECRET}"),)),
        Workload(first + 1, made.time_ns, "seen", (("user", SECRET), ("note", SECRET), ("n", 2.0))),
        packed(first + 2, "access", [made.time_ns] * 3, {"key": [number, number, 1.0]}),
    ]


def payload(records: list[Record], batch: bytes = b"b" * 16, **attributes: str) -> bytes:
    encoder = Encoder(FakeHook())
    return request(resource(attributes), map(encoder.encode, records), batch)


def run(folder: Path, payloads: list[bytes], redaction: Redaction | None) -> Intake:
    async def life() -> Intake:
        spool = Spool(folder / "spool")
        intake = Intake(
            TraceStore(folder / "store"), spool, Limits(roll_s=3600.0), redaction=redaction
        )
        await intake.start()
        try:
            for each in payloads:
                await intake.submit(each)
            for segment in (folder / "spool").glob("*.spool"):
                (folder / f"seen-{segment.name}").write_bytes(segment.read_bytes())
        finally:
            await intake.close()
        return intake

    return asyncio.run(life())


def on_disk(folder: Path) -> bytes:
    """Return all bytes of all files, and all that Parquet files hold, unpacked."""
    found = b""
    for path in folder.rglob("*"):
        if path.is_file():
            found += path.name.encode() + path.read_bytes()
            if path.suffix == ".parquet":
                for row in pq.ParquetFile(path).read().to_pylist():
                    found += repr(row).encode()
                    found += b"".join(v for v in row.values() if isinstance(v, bytes))
                    numbers = [*(row.get("values") or ()), *(row.get("numbers") or ())]
                    found += b"".join(struct.pack("<d", number) for _, number in numbers)
    return found


def test_no_raw_value_reaches_the_disk(tmp_path: Path) -> None:
    data = payload(secret_records(), **{"service.name": "router", "host.name": SECRET})
    raw = on_disk_of(tmp_path / "raw", data, None)
    assert raw.count(b"s3cret") > 10  # the search finds it where nothing is redacted
    assert struct.pack("<Q", SPAN)[::-1] in raw
    redacted = on_disk_of(tmp_path / "redacted", data, ALL)
    assert b"s3cret" not in redacted and b"anna" not in redacted
    assert b"router.pick" in redacted and b"latency_ms" in redacted


def on_disk_of(folder: Path, data: bytes, redaction: Redaction | None) -> bytes:
    intake = run(folder, [data], redaction)
    assert intake.counts.records == 7 and not intake.counts.malformed
    return on_disk(folder)


def test_what_is_hashed_can_still_be_told_apart(tmp_path: Path) -> None:
    other = decision(50, unit="bob", trace_id=5, span_id=6)
    same = decision(51, unit=SECRET, trace_id=TRACE, span_id=SPAN)
    run(tmp_path, [payload([*secret_records(), other, same])], ALL)
    store = TraceStore(tmp_path / "store")
    rows = store.decisions().to_pylist()
    units = [row["unit"] for row in rows]
    assert units[0] == units[2] != units[1] and all(len(unit) == 32 for unit in units)
    assert rows[0]["trace_id"] == rows[2]["trace_id"] != rows[1]["trace_id"]
    assert [len(row["trace_id"]) + len(row["span_id"]) for row in rows] == [24] * 3
    assert [row["detail"] for row in rows] == [""] * 3
    assert dict(rows[0]["values"]) == {"latency_ms": 1.0}
    events = {row["event"]: row for row in store.workload().to_pylist()}
    members = dict(events["members"]["texts"])["names"].split("\n")
    assert len(set(members)) == 2 and all(len(name) == 32 for name in members)
    assert dict(events["seen"]["texts"])["user"] == units[0] == members[1]
    assert dict(events["seen"]["numbers"]) == {"n": 2.0}
    keys = [
        dict(row["numbers"])["key"]
        for row in store.workload().to_pylist()
        if row["event"] == "access"
    ]
    assert len(set(keys)) == 2 and all(0 <= key < 2**53 and key.is_integer() for key in keys)


def test_dropping_leaves_nothing(tmp_path: Path) -> None:
    rules = {"unit": "drop", "trace": "drop", "workload.user": "drop", "workload.key": "drop"}
    run(tmp_path, [payload(secret_records())], Redaction(rules))
    store = TraceStore(tmp_path / "store")
    (row,) = store.decisions().to_pylist()
    assert (row["unit"], row["trace_id"], row["span_id"]) == ("", None, None)
    assert row["detail"] == f"for {SECRET}"  # was not named
    events = [row for row in store.workload().to_pylist() if row["event"] == "access"]
    assert [row["numbers"] for row in events] == [[]] * 3


def test_a_repeated_batch_is_known_also_after_a_restart(tmp_path: Path) -> None:
    data = payload(secret_records())
    first = run(tmp_path, [data, data], ALL)
    again = run(tmp_path, [data], Redaction(dict(ALL.rules), KEY))
    assert (first.counts.decisions, first.counts.duplicates) == (1, 7)
    assert (again.counts.decisions, again.counts.duplicates) == (0, 7)
    other = run(tmp_path, [data], Redaction(dict(ALL.rules), b"another key, of enough bytes"))
    assert other.counts.decisions == 1  # another digest; its id is the same
    assert TraceStore(tmp_path / "store").decisions().num_rows == 1


def test_what_is_foreign_or_malformed_reaches_no_disk(tmp_path: Path) -> None:
    """Neither do attributes, bodies and fields that Gnomon does not know."""
    message = ExportLogsServiceRequest.FromString(payload(secret_records()))
    scope = message.resource_logs[0].scope_logs[0]
    scope.log_records.add(event_name="somebody.else").body.string_value = SECRET
    malformed = scope.log_records.add()
    malformed.CopyFrom(scope.log_records[0])
    for pair in malformed.attributes:
        if pair.key == names.DECISION_ACTION:
            pair.value.string_value = SECRET
    first = scope.log_records[0]
    first.body.string_value = SECRET
    first.severity_text = SECRET
    first.attributes.add(key="user.name").value.string_value = SECRET
    first.attributes.add(key=names.OUTCOME_VALUE + "x").value.string_value = SECRET
    scope.scope.name = SECRET
    scope.scope.attributes.add(key=names.BATCH_ID).value.array_value.values.add(string_value=SECRET)
    message.resource_logs[0].scope_logs.add().log_records.add().body.string_value = SECRET
    data = message.SerializeToString() + b"\xfa\x3f\x0e" + SECRET.encode()  # an unknown field
    assert SECRET.encode() in ExportLogsServiceRequest.FromString(data).SerializeToString()[-20:]
    intake = run(tmp_path, [data], ALL)
    assert (intake.counts.foreign, intake.counts.malformed.total()) == (2, 1)
    assert intake.counts.records == 7
    assert TraceStore(tmp_path / "store").decisions().num_rows == 1
    assert b"s3cret" not in on_disk(tmp_path)


def test_a_request_of_others_only_is_not_spooled(tmp_path: Path) -> None:
    message = ExportLogsServiceRequest()
    message.resource_logs.add().scope_logs.add().log_records.add().body.string_value = SECRET
    intake = run(tmp_path, [message.SerializeToString()], ALL)
    assert (intake.counts.foreign, intake.counts.requests) == (1, 1)
    assert not list(tmp_path.glob("seen-*"))


def test_what_an_earlier_recorder_left_raw_is_redacted_when_it_is_stored(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    segment = spool.segment(1)
    segment.append([payload(secret_records())])
    segment.close()
    spool.close()
    run(tmp_path, [], ALL)
    assert TraceStore(tmp_path / "store").decisions().num_rows == 1
    assert b"s3cret" not in on_disk(tmp_path)


def test_what_was_redacted_before_a_crash_is_not_hashed_again(tmp_path: Path) -> None:
    run(tmp_path / "whole", [payload(secret_records())], ALL)
    (seen,) = (tmp_path / "whole").glob("seen-*")
    spool = tmp_path / "killed" / "spool"
    spool.mkdir(parents=True)
    (spool / seen.name.removeprefix("seen-")).write_bytes(seen.read_bytes())
    run(tmp_path / "killed", [], ALL)
    tables = [TraceStore(tmp_path / name / "store").decisions() for name in ("whole", "killed")]
    assert tables[0] == tables[1]


@given(st.lists(everything, max_size=5))
def test_what_is_not_named_stays_as_it_is(records: list[Any]) -> None:
    data = payload(records)
    redacted = Redaction({"unit": "hash"}, KEY).apply(data)
    if not records:
        assert redacted.payload == b""
        return
    (before,) = decode(data).batches
    (after,) = decode(redacted.payload).batches
    assert before.records.keys() == after.records.keys()
    for source, mine in before.records.items():
        for one, other in zip(mine, after.records[source], strict=True):
            if hasattr(one, "unit"):
                assert (one.unit == "") == (other.unit == "")
                one, other = one._replace(unit=""), other._replace(unit="")
            assert repr(one) == repr(other)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_request_are_refused(data: bytes) -> None:
    try:
        decode(data)
    except TraceError:
        with pytest.raises(TraceError, match="not an OTLP logs request"):
            ALL.apply(data)
    else:
        assert ALL.apply(data).payload == b""


def test_records_are_left_out_one_by_one() -> None:
    records = [decision(0), decision(1), outcome(decision(0))]
    data = payload(records)

    def of(data: bytes) -> list[Record]:
        return [
            one for batch in decode(data).batches for some in batch.records.values() for one in some
        ]

    assert of(without(data, lambda one: of(one)[0].seq == 0)) == [records[0], records[2]]
    assert of(without(data, lambda _one: True)) == records
    assert of(without(data, lambda _one: False)) == []


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (["unit"], "--redact 'unit' does not say how; write FIELD=hash or FIELD=drop"),
        (["unit=mask"], "unit='mask' is unknown; write unit=hash or unit=drop"),
        (
            ["name=hash"],
            "'name' cannot be redacted; it is one of unit, items, trace, detail, outcome",
        ),
        (["workload.=drop"], "'workload.' cannot be redacted"),
        (["items=drop"], "items=drop would leave replays nothing to tell items apart by"),
        (["unit=drop", "unit=hash"], "--redact says hash and drop of 'unit'; leave one out"),
        (["unit=hash"], "--redact with hash needs a key"),
    ],
)
def test_rules_that_cannot_be_kept_are_refused(rules: list[str], words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(rules, None)
    assert words in str(caught.value)


def test_the_key_is_read_from_a_file(tmp_path: Path) -> None:
    key = tmp_path / "key"
    with pytest.raises(ConfigurationError, match=r"cannot read .*key: No such file"):
        parse(["unit=hash"], key)
    key.write_bytes(b"short")
    with pytest.raises(ConfigurationError, match="a redaction key of 5 bytes can be guessed"):
        parse(["unit=hash"], key)
    key.write_bytes(KEY)
    assert parse(["unit=hash"], key) == Redaction({"unit": "hash"}, KEY)
    assert parse([], None) is None
    with pytest.raises(ConfigurationError, match="nothing to redact; add --redact"):
        parse([], key)
    assert KEY.decode() not in repr(parse(["unit=hash"], key))
