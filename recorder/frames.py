"""The frames of an OTLP logs request: where each log record lies, without looking into it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..sdk.telemetry.wire import varint

# Keys of length-delimited fields.
_FIRST, _SECOND, _THIRD = 0x0A, 0x12, 0x1A
_LONGEST = 4  # bytes of a length
_two = struct.Struct("<BH").unpack_from  # a key, and a length of two bytes


@dataclass(slots=True)
class ScopeFrame:
    """One ``ScopeLogs``.

    Attributes:
        start, end: where its content lies in the request.
        starts, ends: where the content of each log record lies.
        rest: its other fields, as they came.
    """

    start: int
    end: int
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    rest: bytes = b""


@dataclass(slots=True)
class ResourceFrame:
    """One ``ResourceLogs``.

    Attributes:
        resource: content of its resource; empty when there is none.
        scopes: in order.
        rest: its fields other than the scopes, as they came.
    """

    resource: bytes = b""
    scopes: list[ScopeFrame] = field(default_factory=list)
    rest: bytes = b""


class _OddError(Exception):
    """The request is not made as serialisers make it."""


def frames(data: bytes) -> list[ResourceFrame] | None:
    """Return the frames of a serialised ``ExportLogsServiceRequest``.

    None for what serialisers do not make: unknown fields, a resource in two parts, or a length that
    leads beyond the end.
    """
    try:
        found = []
        for key, _, start, end in _fields(data, 0, len(data)):
            if key != _FIRST:
                return None
            found.append(_resource_logs(data, start, end))
            if len(found) > _MANY:
                return None
    except (_OddError, IndexError, struct.error):
        return None
    return found


def without(data: bytes, frame: ResourceFrame, kept: list[list[int]]) -> bytes:
    """Return a ``ResourceLogs`` as a field of a request, with some of its log records only.

    Args:
        data: the request.
        frame: from :func:`frames`.
        kept: by scope, the positions of those log records.
    """
    parts = [frame.rest]
    for scope, positions in zip(frame.scopes, kept, strict=True):
        logs = (data[scope.starts[i] : scope.ends[i]] for i in positions)
        content = [scope.rest, *(part for log in logs for part in (_start(len(log)), log))]
        parts += [_start(sum(map(len, content))), *content]
    return b"\x0a" + varint(sum(map(len, parts))) + b"".join(parts)


#: Resources of a request or scopes of a resource, and bytes beside the records of one, up to which a request
#: is worth reading in columns; honest ones have one, and some hundreds.
_MANY, _REST = 256, 16_384


def _start(size: int) -> bytes:
    return b"\x12" + varint(size)


def _resource_logs(data: bytes, at: int, end: int) -> ResourceFrame:
    frame = ResourceFrame()
    for key, begin, start, stop in _fields(data, at, end):
        if key == _SECOND:
            frame.scopes.append(_scope_logs(data, start, stop))
            if len(frame.scopes) > _MANY:
                raise _OddError
            continue
        if key == _FIRST:
            if frame.resource:
                raise _OddError
            frame.resource = data[start:stop]
        elif key != _THIRD:
            raise _OddError
        frame.rest = _more(frame.rest, data[begin:stop])
    return frame


def _more(rest: bytes, part: bytes) -> bytes:
    """Return what lies beside records with one more field; each is copied again and again, so they are few."""
    if len(rest) + len(part) > _REST:
        raise _OddError
    return rest + part


def _scope_logs(data: bytes, at: int, end: int) -> ScopeFrame:
    frame = ScopeFrame(at, end)
    starts, ends = frame.starts, frame.ends
    while at < end:
        # A log record of 128 to 16,383 bytes, as nearly all are.
        key, size = _two(data, at)
        if key == _SECOND and size & 0x8080 == 0x80:
            at += 3
            starts.append(at)
            at += size & 127 | size >> 8 << 7
            ends.append(at)
            continue
        key, begin, start, at = _field(data, at, end)
        if key == _SECOND:
            starts.append(start)
            ends.append(at)
        elif key in (_FIRST, _THIRD):
            frame.rest = _more(frame.rest, data[begin:at])
        else:
            raise _OddError
    if at != end:
        raise _OddError
    return frame


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (key, begin, start of the content, end) of every field."""
    while at < end:
        found = _field(data, at, end)
        at = found[3]
        yield found


def _field(data: bytes, begin: int, end: int) -> tuple[int, int, int, int]:
    key = data[begin]
    size = shift = 0
    for at in range(begin + 1, begin + 1 + _LONGEST):
        size |= (data[at] & 127) << shift
        shift += 7
        if data[at] < 128:
            break
    else:
        raise _OddError
    if key not in (_FIRST, _SECOND, _THIRD) or at + 1 + size > end:
        raise _OddError
    return key, begin, at + 1, at + 1 + size
