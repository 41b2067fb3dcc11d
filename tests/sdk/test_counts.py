"""Packed counts: what was packed comes back; what was not is refused."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.sdk.counts import pack_counts, unpack_counts
from gnomon.sdk.errors import ConfigurationError, TraceError

widths = st.sampled_from([7, 15, 31, 63])
tables = st.tuples(st.integers(0, 5), st.integers(1, 7), widths).flatmap(
    lambda shape: st.lists(
        st.lists(
            st.integers(-(2 ** shape[2]), 2 ** shape[2] - 1), min_size=shape[1], max_size=shape[1]
        ),
        min_size=shape[0],
        max_size=shape[0],
    )
)


@given(tables)
def test_what_was_packed_comes_back(rows: list[list[int]]) -> None:
    columns = len(rows[0]) if rows else 0
    cells = unpack_counts(pack_counts(rows), len(rows), columns)
    assert cells.tolist() == [cell for row in rows for cell in row]


@given(tables.filter(len), st.integers(0, 9), st.integers(0, 9))
def test_another_shape_is_refused(rows: list[list[int]], more: int, columns: int) -> None:
    if more * columns != len(rows) * len(rows[0]):
        with pytest.raises(TraceError, match=f"are not {more} x {columns}"):
            unpack_counts(pack_counts(rows), more, columns)


def test_numbers_are_as_narrow_as_they_can_be() -> None:
    heads = [pack_counts([[n, -1]])[:2] for n in (127, 128, 2**15, 2**31)]
    assert heads == ["1:", "2:", "4:", "8:"]


def test_any_kind_of_whole_number_is_taken() -> None:
    same = {pack_counts(rows) for rows in ([[1, 2]], [[1.0, 2.0]], np.array([[1, 2]], np.uint8))}
    assert len(same) == 1


@pytest.mark.parametrize(
    "rows", [[[1, 2], [3]], [[1.5]], [[float("nan")]], [[2**63]], [["a"]], [1, 2], [[None]]]
)
def test_what_is_no_table_of_whole_numbers_is_refused(rows: object) -> None:
    with pytest.raises(ConfigurationError, match="whole numbers below"):
        pack_counts(rows)


@given(st.text(max_size=40))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(TraceError, match="packed counts"):
        unpack_counts(text, 2, 2)


def test_what_unpacks_to_more_is_not_unpacked() -> None:
    bomb = base64.b64encode(zlib.compress(bytes(1 << 26))).decode()
    with pytest.raises(TraceError, match="not 2 x 2"):
        unpack_counts(f"8:{bomb}", 2, 2)


def test_a_cut_text_is_refused() -> None:
    whole = pack_counts(np.arange(4096).reshape(64, 64))
    with pytest.raises(TraceError, match="packed counts"):
        unpack_counts(whole[: len(whole) // 2 // 4 * 4 + 2], 64, 64)
