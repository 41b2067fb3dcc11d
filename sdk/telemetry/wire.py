"""The few parts of the protocol buffers wire format that encoding and answering OTLP need."""

from __future__ import annotations

import struct
from collections.abc import Iterator

VARINT = 0
FIXED64 = 1
LENGTH = 2
FIXED32 = 5

_MASK64 = 2**64 - 1


#: Bytes of a varint that others follow, and varints of the numbers that occur all the time.
_MORE = tuple(bytes((value | 128,)) for value in range(128))
SMALL = tuple(
    bytes((value,)) if value < 128 else _MORE[value & 127] + bytes((value >> 7,))
    for value in range(4096)
)


def varint(value: int) -> bytes:
    """Return an integer as protobuf's int64 does: negative numbers as two's complement in ten bytes."""
    if 0 <= value < 2**19:
        return SMALL[value] if value < 4096 else _MORE[value & 127] + SMALL[value >> 7]
    value &= _MASK64
    head = b""
    while value >= 2**19:
        head += _MORE[value & 127] + _MORE[value >> 7 & 127]
        value >>= 14
    return head + varint(value)


def tag(number: int, kind: int) -> bytes:
    """Return the key of a field."""
    return varint(number << 3 | kind)


def field(number: int, content: bytes) -> bytes:
    """Return a length-delimited field."""
    return tag(number, LENGTH) + varint(len(content)) + content


def text(value: str) -> bytes:
    """Return a string as UTF-8; what cannot be encoded becomes a question mark."""
    return value.encode("utf-8", "replace")


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield (number, value) of every field: an int for varints and fixed, bytes otherwise.

    Raises:
        ValueError: the data is no protobuf message.
    """
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        value: int | bytes
        if key & 7 == VARINT:
            value, at = _read_varint(data, at)
        else:
            value, at = _read_bytes(data, at, key & 7)
        yield key >> 3, value


def signed(value: int | bytes) -> int:
    """Return a varint read by :func:`fields` as int64.

    Raises:
        ValueError: the field held something else.
    """
    if not isinstance(value, int):
        raise ValueError("expected a varint")  # noqa: TRY004 - bad data, not a bad call
    return value - 2**64 if value >= 2**63 else value


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        if at >= len(data):
            raise ValueError("truncated message")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & _MASK64, at
        shift += 7
    raise ValueError("varint too long")


def _read_bytes(data: bytes, at: int, kind: int) -> tuple[int | bytes, int]:
    if kind == LENGTH:
        size, at = _read_varint(data, at)
    elif kind in (FIXED64, FIXED32):
        size = 8 if kind == FIXED64 else 4
    else:
        raise ValueError(f"unknown wire type {kind}")
    content = data[at : at + size]
    if len(content) < size:
        raise ValueError("truncated message")
    at += size
    if kind == LENGTH:
        return content, at
    return struct.unpack("<Q" if kind == FIXED64 else "<I", content)[0], at
