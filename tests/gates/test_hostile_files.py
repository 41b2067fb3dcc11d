"""Files that nobody vouches for: policies, verdicts, ledgers. Each is refused in one line, and none hangs."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gnomon import api
from gnomon.policies.load_balancer import load_balancer
from gnomon.policies.rollout.ledger import Ledger
from gnomon.sdk import keys
from gnomon.sdk.bundle import load_bundle
from gnomon.sdk.errors import ConfigurationError, GnomonError, RolloutError, TrustError
from gnomon.sdk.files import MOST_DEPTH, read_regular, strict_json
from gnomon.shadow.bundling import bundle_for
from gnomon.shadow.gates.verdict import load_verdict
from gnomon.shadow.policy import source_of

from .test_bundling import VERDICT

KEY = keys.generate()
SCORE = "def score(inflight):\n    return inflight\n"


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _loop(path: Path) -> None:
    path.symlink_to(path.with_name("other"))
    path.with_name("other").symlink_to(path)


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(100_000_000)  # sparse: 100 MB that take no room


UNREADABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda _: None, "No such file"),
    "a folder": (Path.mkdir, "Is a directory|no regular file"),
    "a pipe": (_fifo, "no regular file"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "no regular file"),
    "a loop of links": (_loop, "symbolic links"),
    "100 MB": (_huge, "longer than"),
}


@pytest.mark.parametrize("what", UNREADABLE)
@pytest.mark.timeout(20)
def test_what_is_no_file_is_refused_unread(tmp_path: Path, what: str) -> None:
    make, says = UNREADABLE[what]
    path = tmp_path / "p.py"
    make(path)
    with pytest.raises(ConfigurationError, match=says):
        source_of(path)
    with pytest.raises(ConfigurationError, match=says):
        load_bundle(path)
    ledger = Ledger(tmp_path / "ledger.db")
    with pytest.raises(TrustError, match=says):
        load_verdict(path, ledger)
    ledger.close()


def test_a_pipe_is_refused_even_while_somebody_writes_to_it(tmp_path: Path) -> None:
    path = tmp_path / "p.py"
    os.mkfifo(path)
    held = os.open(path, os.O_RDWR)
    os.write(held, SCORE.encode())
    with pytest.raises(OSError, match="no regular file"):
        read_regular(path, 1000)
    os.close(held)


def test_a_file_that_grows_meanwhile_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "p.py"
    path.write_bytes(b"x" * 10)
    assert read_regular(path, 10) == b"x" * 10
    with pytest.raises(OSError, match="longer than 9 bytes"):
        read_regular(path, 9)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_may_end_as_on_any_system(tmp_path: Path, end: str) -> None:
    path = tmp_path / "p.py"
    path.write_bytes(SCORE.replace("\n", end).encode())
    assert source_of(path) == SCORE


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\xff\xfe\x00\x01", "no UTF-8 text"),
        (SCORE.encode("utf-16"), "no UTF-8 text"),
        (b"\xef\xbb\xbf" + SCORE.encode(), "U\\+FEFF"),
        (b"def score(inflight):\0\n    return inflight\n", "U\\+0000"),
        (b"\x7fELF\x02\x01\x01", "U\\+007F"),
        (b"(" * 900_000, "characters"),
        (b"", "score"),
    ],
)
def test_odd_bytes_are_refused_with_a_line(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "p.py"
    path.write_bytes(data)
    with pytest.raises(GnomonError, match=says) as refused:
        load_balancer.checked(source_of(path))
    assert "\n" not in str(refused.value)


@given(st.binary(max_size=300))
@settings(max_examples=60)
def test_any_bytes_are_a_policy_or_a_refusal(data: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "p.py"
        path.write_bytes(data)
        try:
            load_balancer.checked(source_of(path))
        except GnomonError as refused:
            assert str(refused)


def test_text_that_is_no_unicode_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no Unicode text"):
        api.verify("def score(x):\n    return '\ud800'\n", tmp_path / "none")


@given(st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab\\\"", max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=2), inner)))  # fmt: skip
def test_strict_json_reads_what_json_writes(value: Any) -> None:
    assert strict_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    "data",
    [
        b'{"a": 1, "a": 2}',
        b'[{"a": {"b": 1, "b": 1}}]',
        b"[NaN]",
        b"-Infinity",
        b"[1e999]",
        b'"\\ud800"',
        b"\xff",
        b"",
        b"[1] [2]",
        b"[" * (MOST_DEPTH + 2) + b"]" * (MOST_DEPTH + 2),
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 10_000,
    ],
)
def test_strict_json_refuses_what_is_ambiguous_or_endless(data: bytes) -> None:
    with pytest.raises(ValueError):
        strict_json(data)


def test_strict_json_takes_all_levels_that_it_allows() -> None:
    assert strict_json(b"[" * MOST_DEPTH + b"]" * MOST_DEPTH)


# --- verdicts that a ledger vouches for, whatever they say -------------------------------------------

FULL = json.loads(VERDICT.to_bytes())
ODD = st.sampled_from(
    [None, True, False, 0, -1, 2**70, 10**400, 0.5, -0.0, 1e308, "", "x", "nan", "inf", "\u0000",
     "\u202e", "accepted", [], [[]], {}, {"a": {}}, [None], "y" * 10_000]
)  # fmt: skip


def paths_in(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at] if at else []
    if isinstance(value, dict | list):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            found += paths_in(each, (*at, key))
    return found


def put(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    if not at:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[at[0]] = put(value[at[0]], at[1:], new)
    return copy


Vouched = Callable[[bytes], Any]


@pytest.fixture(scope="module")
def vouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vouched]:
    """Load bytes that a ledger knows as a verdict."""
    folder = tmp_path_factory.mktemp("vouched")
    ledger = Ledger(folder / "l.db", clock=lambda: 1)
    ledger._connection.execute("pragma synchronous=off")  # hundreds of entries, none to survive

    def load(data: bytes) -> Any:
        (folder / "v.json").write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        if not ledger.list(subject=digest):
            ledger.append("verdict", "me", digest, {})
        return load_verdict(folder / "v.json", ledger)

    yield load
    ledger.close()


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"


@given(st.sampled_from(paths_in(FULL)), ODD)
@example(("gates", 0, "evidence"), {"counterexample": {"items": 3}})
@example(
    ("gates", 8, "evidence"),
    {"counterexample": {"items": [[1]], "inputs": [], "action": 0, "invariant": []}},
)
@example(
    ("gates", 8, "evidence"), {"counterexample": {"question": 1, "answer": {}, "invariant": 0}}
)
@example(("predicted",), {"incumbent": {"estimate": "nan", "low": "inf", "high": "-inf"}})
@settings(max_examples=150, deadline=None)
def test_a_field_of_another_value_is_refused_or_a_whole_verdict(
    vouched: Vouched, at: Any, new: Any
) -> None:
    data = canonical(put(FULL, at, new))
    try:
        found = vouched(data)
    except TrustError as refused:
        assert "\n" not in str(refused)
        return
    # what is taken is exactly what stands there, can be shown, and is a bundle or a refusal
    assert found.to_bytes() == data
    assert str(found)
    try:
        bundle_for(found, KEY)
    except GnomonError as refused:
        assert isinstance(refused, RolloutError | ConfigurationError | TrustError)


@pytest.mark.parametrize("name", FULL)
def test_a_field_that_is_missing_or_unknown_is_refused(vouched: Vouched, name: str) -> None:
    without = {key: value for key, value in FULL.items() if key != name}
    for said in (without, FULL | {f"{name}_": 1}):
        with pytest.raises(TrustError):
            vouched(canonical(said))


@pytest.mark.parametrize(
    "data",
    [
        canonical(FULL)[:-1],
        canonical(FULL).replace(b'"seed":0', b'"seed":0,"seed":0'),
        canonical(FULL).replace(b'"seed":0', b'"seed":0.0'),
        canonical(FULL).replace(b'"seed":0', b'"seed":NaN'),
        canonical(FULL).replace(b'"seed":0', b'"seed": 0'),
        canonical(FULL).replace(b'"format":2', b'"format":1'),
        canonical(FULL).replace(b'"format":2', b'"format":true'),
        canonical(FULL).replace(b"load_balancer", b"load\xffbalancer"),
        canonical(FULL).replace(b'"fidelity":{}', b'"fidelity":' + b'{"a":' * 90 + b"1" + b"}" * 90),
        json.dumps(FULL).encode(),
        b"",
        b"null",
        b"[]",
        b'"verdict"',
    ],
)  # fmt: skip
def test_bytes_that_gnomon_would_not_write_are_refused(vouched: Vouched, data: bytes) -> None:
    assert vouched(canonical(FULL)) == replace(VERDICT, path=None)
    with pytest.raises(TrustError):
        vouched(data)


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_a_damaged_ledger_vouches_for_nothing(data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "l.db"
        ledger = Ledger(path, clock=lambda: 1)
        VERDICT.record(ledger, "me")
        saved = VERDICT.save(Path(folder) / "v.json")
        ledger.close()
        content = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(1, 64))] = data.draw(st.binary(max_size=64))
        for extra in path.parent.glob("l.db-*"):
            extra.unlink()
        path.write_bytes(content)
        try:
            hurt = Ledger(path)
        except TrustError:
            return
        try:
            found = load_verdict(saved.path, hurt)  # type: ignore[arg-type]
            assert found == VERDICT  # the bytes that were hit say nothing of the entry
        except TrustError as refused:
            assert "\n" not in str(refused)
        finally:
            hurt.close()


def test_a_thread_that_reads_a_pipe_ends(tmp_path: Path) -> None:
    """Were it opened as a file is, it would wait for a writer for ever."""
    path = tmp_path / "v.json"
    os.mkfifo(path)
    ledger, ended = Ledger(tmp_path / "l.db"), threading.Event()

    def read() -> None:
        with pytest.raises(TrustError, match="no regular file"):
            load_verdict(path, ledger)
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    assert ended.wait(5.0)
    ledger.close()
