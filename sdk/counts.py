"""Whole numbers in rows and columns as one short text: how a load or a placement is recorded.

``W:`` and base64 of zlib of the numbers in row-major order, each W bytes wide (1, 2, 4 or 8), signed and
little-endian. Pure standard library, because services record with it.
"""

from __future__ import annotations

import base64
import binascii
import sys
import zlib
from array import array
from collections.abc import Sequence
from typing import Any

from .errors import ConfigurationError, TraceError

_CODES = {
    1: "b",
    2: "h",
    4: "i",
    8: "q",
}  # type codes of array, whose sizes these are wherever we run
_LEVEL = 6  # a higher one takes twice the time for 1 % less


def pack_counts(rows: Any) -> str:
    """Return rows of whole numbers as text.

    Args:
        rows: sequences, or a two-dimensional array or tensor, rows x columns; whole numbers, of any
            number type.

    Raises:
        ConfigurationError: rows differ in length, or hold what is no whole number of 63 bits.
    """
    plain: Sequence[Sequence[Any]] = rows.tolist() if hasattr(rows, "tolist") else rows
    try:
        cells = [int(cell) for row in plain for cell in row]
        if cells != [cell for row in plain for cell in row] or len({*map(len, plain)}) > 1:
            raise ValueError
        width = _width(cells)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigurationError(
            "counts must be rows of equally many whole numbers below 2**63; round them first"
        ) from error
    packed = array(_CODES[width], cells)
    if sys.byteorder == "big":
        packed.byteswap()
    return f"{width}:{base64.b64encode(zlib.compress(packed.tobytes(), _LEVEL)).decode()}"


def _width(cells: Sequence[int]) -> int:
    low, high = min(cells, default=0), max(cells, default=0)
    for width in _CODES:
        if -(1 << (8 * width - 1)) <= low and high < 1 << (8 * width - 1):
            return width
    raise OverflowError


def unpack_counts(text: str, rows: int, columns: int) -> array[int]:
    """Return the numbers that :func:`pack_counts` packed, in row-major order.

    Args:
        text: what it returned; nothing in it is trusted.
        rows, columns: how many there have to be; nothing longer is unpacked.

    Raises:
        TraceError: the text is anything else, or of another shape.
    """
    head, colon, body = text.partition(":")
    width = int(head) if head in ("1", "2", "4", "8") else 0
    if not (colon and width):
        raise TraceError(
            f"packed counts begin with {head[:20]!r}, not 1:, 2:, 4: or 8:; record again"
        )
    size = rows * columns * width
    unzip = zlib.decompressobj()
    try:
        raw = unzip.decompress(base64.b64decode(body, validate=True), size + 1)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise TraceError(f"packed counts are damaged ({error}); record again") from error
    if len(raw) != size or not unzip.eof:
        raise TraceError(f"packed counts are not {rows} x {columns}; record again")
    cells = array(_CODES[width], raw)
    if sys.byteorder == "big":
        cells.byteswap()
    return cells
