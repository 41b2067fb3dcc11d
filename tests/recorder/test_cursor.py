"""A cursor marks what is not there as bad, reads the others, and never reads beyond a message."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gnomon.recorder.cursor import Cursor, Octets
from gnomon.sdk.telemetry.encode import attribute, int_prefixes, text_prefix

_NUMBER = int_prefixes("n")
_TEXT = text_prefix("t", 0)


def cursor(messages: list[bytes]) -> Cursor:
    """Return a cursor over messages that lie one behind the other."""
    sizes = np.array([len(message) for message in messages], np.int64)
    ends = np.cumsum(sizes)
    return Cursor(Octets(b"".join(messages)), ends - sizes, ends)


def test_a_literal_must_be_there() -> None:
    found = cursor([b"abcd", b"abxd", b"ab", b"", b"abc"])
    found.literal(b"abc")
    assert found.good.tolist() == [True, False, False, False, True]
    found.finish()
    assert found.good.tolist() == [False, False, False, False, True]


def test_a_literal_does_not_reach_into_the_next_message() -> None:
    found = cursor([b"ab", b"cd"])
    found.literal(b"abc")
    assert not found.good.any()


def test_optional_bytes_are_zero_where_they_are_not() -> None:
    found = cursor([b"p12", b"p1", b"34", b"p56"])
    rows, here = found.optional(b"p", 2)
    assert here.tolist() == [True, False, False, True]
    assert rows[here].tobytes() == b"1256"
    assert found.good.all()
    assert found.room.tolist() == [0, 2, 2, 0]


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.none(), max_size=8))
def test_integers_are_read_where_they_are(values: list[int | None]) -> None:
    found = cursor([b"" if v is None else attribute("n", v) for v in values])
    numbers, here = found.integer(_NUMBER, -7)
    found.finish()
    assert found.good.all()
    assert numbers.tolist() == [-7 if v is None else v for v in values]
    assert here.tolist() == [v is not None for v in values]


@given(st.lists(st.binary(max_size=14).map(lambda tail: _NUMBER[2] + tail), max_size=6))
def test_an_integer_that_lies_about_its_size_is_bad(messages: list[bytes]) -> None:
    found = cursor(messages)
    numbers, _ = found.integer(_NUMBER, 0)
    found.finish()
    again = [attribute("n", int(number)) for number in numbers]
    for good, message, whole in zip(found.good, messages, again, strict=True):
        assert good == (message == whole)


@given(st.lists(st.text(max_size=30), max_size=8))
def test_texts_are_read_where_they_are(values: list[str]) -> None:
    messages = [attribute("t", v) if v else b"" for v in values]
    found = cursor(messages)
    texts = found.text(_TEXT)
    found.finish()
    for good, value, read in zip(found.good, values, texts.to_pylist(), strict=True):
        assert good
        assert read == value.encode("utf-8", "replace").decode()


def test_bytes_that_are_no_text_are_bad_and_their_neighbours_are_read() -> None:
    broken = attribute("t", "ab").replace(b"ab", b"\xff\xfe")
    found = cursor([attribute("t", "é"), broken, attribute("t", "c")])
    texts = found.text(_TEXT)
    assert found.good.tolist() == [True, False, True]
    assert [texts[0].as_py(), texts[2].as_py()] == ["é", "c"]


@given(st.lists(st.lists(st.floats(allow_nan=False), max_size=4), max_size=6))
def test_doubles_may_differ_in_number(values: list[list[float]]) -> None:
    packed = [np.array(row, "<f8").tobytes() for row in values]
    found = cursor(packed)
    numbers = found.doubles(np.array([len(row) for row in values], np.int64))
    found.finish()
    assert found.good.all()
    assert numbers.to_pylist() == values


def test_more_doubles_than_a_message_has_are_bad() -> None:
    found = cursor([bytes(16), bytes(16)])
    numbers = found.doubles(np.array([3, 2]))
    assert found.good.tolist() == [False, True]
    assert numbers[1].as_py() == [0.0, 0.0]


@given(st.binary(max_size=40), st.integers(0, 5), st.integers(0, 50))
def test_nothing_is_read_beyond_the_end(data: bytes, start: int, count: int) -> None:
    start = min(start, len(data))
    found = Cursor(Octets(data), np.array([start]), np.array([len(data)]))
    found.doubles(np.array([count]))
    found.integer(_NUMBER, 0)
    found.text(_TEXT)
    found.tagged(b"x", count + 1)
    assert not found.good[0] or found.at[0] <= len(data)
