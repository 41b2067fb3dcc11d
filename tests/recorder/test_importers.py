"""Importers: what is in a public file comes out as accesses, and what is no such file is said to be none."""

from __future__ import annotations

import gzip
import json
import lzma
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from gnomon.commands import traces as command
from gnomon.policies.cache import cache
from gnomon.recorder.importers import (
    FORMATS,
    REQUESTS,
    ROUTING,
    Columns,
    Imported,
    Request,
    _formats,
    import_trace,
)
from gnomon.recorder.importers._formats import keys
from gnomon.recorder.store import TraceStore
from gnomon.sdk.errors import ConfigurationError, TraceError

Row = tuple[int, int, int, int]  # time s, object, size, next access
ROWS: list[Row] = [(100, 7, 512, 2), (100, 8, 4096, -1), (103, 7, 512, -1), (2**32 - 1, 9, 1, -1)]


def oracle(rows: list[Row]) -> bytes:
    return b"".join(struct.pack("<IQIq", *row) for row in rows)


def taken(folder: Path, form: str, name: str, content: bytes, **request: Any) -> Imported:
    """Import a file of this content into the store ``traces``; the capacity is 1 when not given."""
    (folder / name).write_bytes(content)
    given: dict[str, Any] = {"hook": "things", "capacity": "1"} | request
    return import_trace(TraceStore(folder / "traces"), Request(form, folder / name, **given))


def accesses(folder: Path) -> list[tuple[float, float]]:
    """Return (key, size) of the stored accesses, in order; all are lookups that missed."""
    events = TraceStore(folder / "traces").workload("things").to_pylist()
    assert [event["event"] for event in events] == ["cache"] + ["access"] * (len(events) - 1)
    rows = [dict(event["numbers"]) for event in events[1:]]
    assert all(row["op"] == 0.0 for row in rows)
    return [(row["key"], row["size"]) for row in rows]


def times(folder: Path) -> list[int]:
    found: list[int] = TraceStore(folder / "traces").workload("things")["time"].to_pylist()
    return found[1:]


def packed(name: str, content: bytes) -> bytes:
    if name.endswith(".gz"):
        return gzip.compress(content, mtime=0)
    if name.endswith(".xz"):
        return lzma.compress(content)
    if name.endswith(".zst"):
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as stream:
            stream.write(content)
        return bytes(sink.getvalue())
    return content


@pytest.mark.parametrize("name", ["t.bin", "t.bin.gz", "t.bin.xz", "t.bin.zst"])
def test_oracle_general(tmp_path: Path, name: str) -> None:
    done = taken(tmp_path, "oracleGeneral", name, packed(name, oracle(ROWS)))
    assert accesses(tmp_path) == [(7, 512), (8, 4096), (7, 512), (9, 1)]
    second = 10**9
    assert times(tmp_path) == [
        100 * second + 1, 100 * second + 2, 103 * second + 1, (2**32 - 1) * second + 1,
    ]  # fmt: skip
    assert (done.accesses, done.objects, done.capacity) == (4, None, 1.0)
    assert (done.turned_back, done.resized, done.span_s) == (0, 0, 2**32 - 1 - 100)


def test_arc(tmp_path: Path) -> None:
    done = taken(tmp_path, "arc", "t.lis", b"10 3 0 0\n7 1 0 1\n5 0 0 2\n11 1 0 3\n")
    assert accesses(tmp_path) == [(key, 1) for key in (10, 11, 12, 7, 11)]
    assert times(tmp_path) == [index * 10**6 + 1 for index in range(5)]  # 1 ms apart
    assert done.span_s == pytest.approx(0.004)


def test_big_endian_ids(tmp_path: Path) -> None:
    taken(tmp_path, "ids", "t.trace", struct.pack(">IIII", 1, 2**31, 2**32 - 1, 1))
    assert accesses(tmp_path) == [(1, 1), (2**31, 1), (2**32 - 1, 1), (1, 1)]


def test_csv_with_texts_as_keys(tmp_path: Path) -> None:
    text = b"when,what,bytes,more\n1.5,/a,10,x\n2.5,/b,,x\n2.25,/a,-3,x\n4,17,0,x\n"
    columns = Columns("what", "when", "bytes")
    done = taken(tmp_path, "csv", "t.csv", text, columns=columns, capacity="50%")
    found = accesses(tmp_path)
    assert [size for _, size in found] == [10, 1, 1, 1]
    assert found[0][0] == found[2][0] != found[1][0]
    assert all(key == int(key) < 2**53 for key, _ in found)
    assert found[3][0] == 17  # a number is its own key
    assert times(tmp_path) == [1_500_000_001, 2_500_000_001, 2_500_000_002, 4_000_000_001]
    assert (done.turned_back, done.resized, done.objects) == (1, 3, 3)
    assert done.capacity == 6.0  # half of 10 + 1 + 1


def test_csv_without_times_and_sizes(tmp_path: Path) -> None:
    taken(tmp_path, "csv", "t.csv.gz", gzip.compress(b"key\nb\na\nb\n", mtime=0))
    found = accesses(tmp_path)
    assert found[0] == found[2] != found[1]
    assert times(tmp_path) == [1, 10**6 + 1, 2 * 10**6 + 1]


def test_the_cache_begins_before_its_accesses_and_knows_no_outcomes(tmp_path: Path) -> None:
    taken(tmp_path, "oracleGeneral", "t.bin", oracle(ROWS), capacity="2.5")
    first = TraceStore(tmp_path / "traces").workload("things").slice(0, 1).to_pylist()[0]
    assert (first["event"], first["kind"], first["kind_version"]) == (
        "cache",
        "cache",
        cache.version,
    )
    assert dict(first["numbers"]) == {"capacity": 2.5, "sampled": 1.0}
    assert dict(first["texts"]) == {"policy": ""}


@pytest.mark.parametrize(
    ("capacity", "ignore_size", "expected"),
    [("50%", False, 2304.0), ("50%", True, 1.0), ("0.001%", True, 1.0), ("100%", True, 3.0)],
)
def test_a_share_of_the_working_set(
    tmp_path: Path, capacity: str, ignore_size: bool, expected: float
) -> None:
    request = {"capacity": capacity, "ignore_size": ignore_size}
    done = taken(tmp_path, "oracleGeneral", "t.bin", oracle(ROWS), **request)
    assert (done.objects, done.capacity) == (3, expected)


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 2**64 - 1), st.integers(0, 9))),
    st.integers(1, 9),
)
def test_batches_change_nothing(rows: list[tuple[int, int, int]], batch: int) -> None:
    import tempfile

    if not rows:
        return
    found = []
    for size in (batch, 1 << 18):
        with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
            patch.setattr(_formats, "BATCH", size)
            content = oracle([(time, key, size, -1) for time, key, size in rows])
            done = taken(Path(name), "oracleGeneral", "t.bin", content, capacity="30%")
            found.append((done, accesses(Path(name)), times(Path(name))))
    assert found[0] == found[1]
    done, stored, when = found[0]
    assert [size for _, size in stored] == [max(1, size) for *_, size in rows]
    assert when == sorted(set(when))
    assert done.objects == len({key for _, key, _ in rows})
    highest = np.maximum.accumulate([time for time, *_ in rows])
    assert done.turned_back == sum(
        time < top for (time, *_), top in zip(rows, highest, strict=True)
    )


@given(st.lists(st.integers(0, 2**64 - 1), unique=True))
def test_ids_beyond_53_bits_are_hashed_and_others_kept(ids: list[int]) -> None:
    found = keys(np.array(ids, np.uint64)).tolist()
    assert len(set(found)) == len(ids)
    for key, number in zip(found, ids, strict=True):
        assert key == number if number < 2**53 else 0 <= key < 2**53


def test_only_the_first_accesses(tmp_path: Path) -> None:
    done = taken(tmp_path, "ids", "t.trace", struct.pack(">9I", *range(9)), limit=4)
    assert (done.accesses, len(accesses(tmp_path))) == (4, 4)


CUT = "cannot be read|ends . bytes into a record"


@pytest.mark.parametrize(
    ("form", "name", "content", "message"),
    [
        ("oracleGeneral", "t.bin", oracle(ROWS)[:-5], "ends 19 bytes into a record of 24"),
        ("oracleGeneral", "t.bin", bytes(range(256)) * 3, "no oracleGeneral: a next access at -"),
        ("oracleGeneral", "t.bin.gz", gzip.compress(oracle(ROWS) * 99, mtime=0)[:-20], CUT),
        ("oracleGeneral", "t.bin.xz", lzma.compress(oracle(ROWS) * 99)[:-20], CUT),
        ("oracleGeneral", "t.bin.zst", packed(".zst", oracle(ROWS) * 999)[:-9], CUT),
        ("oracleGeneral", "t.bin.gz", oracle(ROWS), "cannot be read"),
        ("oracleGeneral", "t.bin.zst", oracle(ROWS), "cannot be read"),
        ("oracleGeneral", "t.bin", b"", "holds no accesses"),
        ("ids", "t.trace", b"12345", "ends 1 bytes into a record of 4"),
        ("arc", "t.lis", b"1 2 0\n", "cannot be read"),
        ("arc", "t.lis", b"1 a 0 0\n", "cannot be read"),
        ("arc", "t.lis", b"1 99999999999 0 0\n", "a line of 99999999999 blocks"),
        ("arc", "t.lis", b"1 -1 0 0\n", "a line of -1 blocks"),
        ("arc", "t.lis", b"-1 1 0 0\n", "a line without a block"),
        ("arc", "t.lis", oracle(ROWS), "cannot be read"),
        ("arc", "t.lis", b"", "holds no accesses"),
        ("csv", "t.csv", b"id\n1\n", "'key'"),
        ("csv", "t.csv", b"key,b\n1\n", "cannot be read"),
        ("csv", "t.csv", b"key,b\n", "holds no accesses"),
        ("csv", "t.csv", b"", "holds no accesses"),
        ("csv", "t.csv", b"key\n\xff\xfe\n", "cannot be read"),
    ],
)
def test_what_is_no_such_file_is_said_in_one_line(
    tmp_path: Path, form: str, name: str, content: bytes, message: str
) -> None:
    with pytest.raises(TraceError, match=message) as refused:
        taken(tmp_path, form, name, content)
    assert "\n" not in str(refused.value)
    assert name in str(refused.value)


@pytest.mark.parametrize(
    "text", [b"key,t\na,\n", b"key,t\na,nan\n", b"key,t\na,1e300\n", b"key,t\na,x\n"]
)
def test_times_that_are_none_are_refused(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(TraceError, match="a time that is missing|cannot be read"):
        taken(tmp_path, "csv", "t.csv", text, columns=Columns(time="t"))


@pytest.mark.parametrize("capacity", ["0", "-1", "nan", "inf", "much", "", "%", "101%", "0%"])
def test_capacities_that_are_none_are_refused(tmp_path: Path, capacity: str) -> None:
    with pytest.raises(ConfigurationError, match="is no capacity"):
        taken(tmp_path, "ids", "t.trace", b"1234", capacity=capacity)


def test_other_refusals(tmp_path: Path) -> None:
    taken(tmp_path, "ids", "t.trace", b"1234")
    with pytest.raises(TraceError, match="holds a hook 'things' already; name another --hook"):
        taken(tmp_path, "ids", "t.trace", b"1234")
    with pytest.raises(ConfigurationError, match="no format 'lirs'; choose one of oracleGeneral"):
        taken(tmp_path, "lirs", "t.trace", b"1234", hook="others")
    with pytest.raises(ConfigurationError, match="a limit of 0 accesses"):
        taken(tmp_path, "ids", "t.trace", b"1234", hook="others", limit=0)
    with pytest.raises(TraceError, match="no file"):
        request = Request("ids", tmp_path / "missing", "others", "1")
        import_trace(TraceStore(tmp_path / "traces"), request)


@pytest.mark.parametrize("size", ["inf", "1e300", "9007199254740992"])
def test_absurd_sizes_are_refused_and_leave_nothing(tmp_path: Path, size: str) -> None:
    text = f"key,s\na,1\nb,{size}\n".encode()
    with pytest.raises(TraceError, match=r"t\.csv has a size of .* --ignore-size"):
        taken(tmp_path, "csv", "t.csv", text, columns=Columns(size="s"), capacity="10%")
    assert not list(tmp_path.glob("traces/*"))


def test_a_working_set_that_no_cache_has_is_refused(tmp_path: Path) -> None:
    text = b"key,s\na,9e15\nb,9e15\n"
    with pytest.raises(TraceError, match="a working set of 1.8e[+]16"):
        taken(tmp_path, "csv", "t.csv", text, columns=Columns(size="s"), capacity="100%")
    assert not list(tmp_path.glob("traces/*"))


def test_a_failure_midway_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken(tmp_path, "ids", "t.trace", b"1234", hook="others")
    before = sorted(tmp_path.glob("traces/**/*"))
    monkeypatch.setattr(_formats, "BATCH", 1)
    with pytest.raises(TraceError, match="ends 2 bytes"):
        taken(tmp_path, "ids", "cut.trace", struct.pack(">3I", 1, 2, 3) + b"12")
    assert sorted(tmp_path.glob("traces/**/*")) == before
    assert taken(tmp_path, "ids", "t.trace", b"12345678").accesses == 2


@pytest.mark.parametrize("hook", ["", "a\x1b[31m", "-x", "a b"])
def test_names_that_no_hook_can_have_are_refused(tmp_path: Path, hook: str) -> None:
    with pytest.raises(ConfigurationError, match="hook name"):
        taken(tmp_path, "ids", "t.trace", b"1234", hook=hook)
    assert not (tmp_path / "traces").exists()


def run(*words: object) -> Any:
    app = typer.Typer()
    command.register(app)
    app.callback()(lambda: None)
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_command_imports_and_shows(tmp_path: Path) -> None:
    (tmp_path / "t.bin").write_bytes(oracle(ROWS))
    words = ("traces", "import", "oracleGeneral", tmp_path / "t.bin", "--hook", "things")
    where = ("--out", tmp_path / "traces")
    done = run(*words, "--capacity", "50%", *where, "--json")
    assert json.loads(done.stdout)["capacity"] == 2304.0
    assert "4 accesses" in done.stderr
    for shown in (run("traces", tmp_path / "traces"), run("traces", "show", tmp_path / "traces")):
        assert (shown.exit_code, "things" in shown.stdout) == (0, True)
    again = run(*words, "--capacity", "1", *where)
    assert (again.exit_code, "already" in again.stderr) == (2, True)
    assert run("traces", "import", "lirs", "x", "--hook", "y", "--capacity", "1").exit_code == 2
    plain = run(*words[:-1], "others", "--capacity", "1", "--limit", "2", *where)
    assert plain.stdout.startswith("2 accesses over 0.000 s as hook others")


def test_formats_of_the_command_are_those_there_are() -> None:
    from gnomon.commands._import import Format

    assert {form.value for form in Format} == {
        *FORMATS,
        "envoy",
        "mooncake",
        *REQUESTS,
        *ROUTING,
        "swf",
    }


def test_public_files(data: Path, tmp_path: Path) -> None:
    store = TraceStore(tmp_path / "traces")
    file = data / "cache" / "cache2k__web07.trace.xz"
    done = import_trace(store, Request("ids", file, "web07", "10%"))
    assert (done.accesses, done.objects, done.capacity) == (76_118, 20_484, 2048.0)
