"""Mooncake's request traces: prompts as hashed blocks become the workload of a hook of ``llm_router``.

A line of such a file is a JSON object with ``timestamp`` in ms, ``input_length`` and ``output_length`` in
tokens and ``hash_ids``, the hashes of the prompt's blocks of 512 tokens; equal hashes mean equal prefixes.
What the replicas are is no part of it, so it is said with the import.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from ...sdk.errors import ConfigurationError, TraceError
from ...sdk.records import Workload
from ...sdk.spec import check_name
from ..rows import Joined, Source, tables
from ..store import TraceStore
from ._streams import BROKEN, broken, opened
from ._writing import Progress, refuse_existing

#: Name and version of the kind whose events are written; the recorder does not import the kinds.
_KIND = ("llm_router", 1)
_HOUR_NS = 3_600 * 10**9
_BATCH = 1 << 14
_LATEST_MS = 9.2e12  # what Unix nanoseconds can say

#: Replicas where nothing else is said: eight, of 512-token blocks, that hold 2,000 of them each (one million
#: tokens), run 64 requests at once, prefill 10,000 tokens a second and take 30 ms a token of an answer.
REPLICAS: Mapping[str, float] = MappingProxyType(
    {
        "count": 8.0,
        "block_tokens": 512.0,
        "cache_blocks": 2000.0,
        "slots": 64.0,
        "prefill_tokens_per_s": 10_000.0,
        "decode_ms": 30.0,
    }
)
_WHOLE = ("count", "cache_blocks", "slots")


@dataclass(frozen=True, slots=True)
class RequestsImported:
    """What an import of requests came to.

    Attributes:
        hook: name of the hook.
        requests: how many.
        blocks: of all prompts together.
        turned_back: times that went back and take the latest before them.
        span_s: seconds from the first request to the last.
        replicas: what was said of them, by name.
    """

    hook: str
    requests: int
    blocks: int
    turned_back: int
    span_s: float
    replicas: Mapping[str, float]


def replicas(settings: Mapping[str, str]) -> dict[str, float]:
    """Return the settings of the replicas, defaults where nothing is said.

    Raises:
        ConfigurationError: a name or a value that is none.
    """
    said = dict(REPLICAS)
    for name, text in settings.items():
        if name not in said:
            raise ConfigurationError(
                f"{name!r} is no setting of replicas; there are {', '.join(said)}"
            )
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0.0 < value < 2.0**53 or (name in _WHOLE and value != int(value)):
            kind = "whole number" if name in _WHOLE else "number"
            raise ConfigurationError(f"{name}={text} is no setting; give a {kind} above 0")
        said[name] = value
    return said


def import_mooncake(
    store: TraceStore,
    file: Path,
    hook: str,
    settings: Mapping[str, str] = MappingProxyType({}),
    limit: int | None = None,
    progress: Progress = lambda _line: None,
) -> RequestsImported:
    """Write a Mooncake trace into a store as the workload of a hook of the kind ``llm_router``.

    Args:
        store: must not hold the hook yet.
        file: JSON lines; ``.gz``, ``.zst`` and ``.xz`` are decompressed.
        hook: name that the trace is to have.
        settings: of the replicas, over ``REPLICAS``.
        limit: the most requests to read; None for all.
        progress: is told how far it is.

    Raises:
        TraceError: the file is missing, cut, or not of that format; or the hook exists.
        ConfigurationError: a setting or a limit that is none.
    """
    said = replicas(settings)
    if limit is not None and limit < 1:
        raise ConfigurationError(f"a limit of {limit} requests is none; give 1 or more")
    check_name(hook)
    refuse_existing(store, hook)
    writer = _Writer(store, file, hook, progress)
    try:
        for number, request in enumerate(_requests(file)):
            if limit is not None and number >= limit:
                break
            writer.add(request)
        return writer.finish(said)
    except BaseException:  # an interruption too: half a trace would be taken for a whole one
        writer.withdraw()
        raise


class _Request(NamedTuple):
    time_ns: int
    tokens: float
    output: float
    hashes: tuple[int, ...]


def _requests(file: Path) -> Iterator[_Request]:
    """Yield the requests of a file in its order."""
    with opened(file) as stream:
        lines = io.TextIOWrapper(stream, "utf-8", errors="strict")
        try:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _request(line, file, number)
        except (UnicodeDecodeError, *BROKEN) as error:
            raise broken(file, error) from error


def _request(line: str, file: Path, number: int) -> _Request:
    try:
        found: Any = json.loads(line)
        time, tokens = float(found["timestamp"]), float(found["input_length"])
        output, hashes = float(found["output_length"]), found["hash_ids"]
        whole = isinstance(hashes, list) and all(type(each) is int for each in hashes)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        reason = " ".join(str(error).split())[:80]
        raise TraceError(
            f"line {number} of {file} is no request ({type(error).__name__}: {reason}); name its "
            "format, or correct the line"
        ) from error
    sound = 0.0 <= time < _LATEST_MS and 1.0 <= tokens < 2.0**53 and 0.0 <= output < 2.0**53
    if not (sound and whole and all(0 <= each < 2**63 for each in hashes)):
        raise TraceError(
            f"line {number} of {file} has timestamp {time:g}, {tokens:g} tokens of prompt, {output:g} of "
            "answer and hashes, one of which is none; correct the line"
        )
    return _Request(round(time * 1e6), tokens, output, tuple(hashes))


def packed(hashes: tuple[int, ...]) -> str:
    """Return hashes as a text, in which ``17+3`` stands for 17, 18 and 19."""
    parts: list[str] = []
    place = 0
    while place < len(hashes):
        end = place + 1
        while end < len(hashes) and hashes[end] == hashes[end - 1] + 1:
            end += 1
        run = end - place
        parts.append(str(hashes[place]) if run == 1 else f"{hashes[place]}+{run}")
        place = end
    return ",".join(parts)


class _Writer:
    """Writes requests in batches, one file per batch and hour, and keeps the counts."""

    def __init__(self, store: TraceStore, file: Path, hook: str, progress: Progress) -> None:
        self._store, self._file, self._hook, self._progress = store, file, hook, progress
        named = f"{hook}\nmooncake\n{file.name}".encode()
        process = hashlib.blake2b(named, digest_size=8).hexdigest()
        self._source = Source(process, file.name, hook, *_KIND)
        self._written: list[str] = []
        self._waiting: list[Workload] = []
        self._seq = 1  # 0 is the event that says what the replicas are
        self._first_ns: int | None = None
        self._last_ns = self._latest_ns = 0
        self._turned_back = self._blocks = 0

    def add(self, request: _Request) -> None:
        time_ns = request.time_ns + 1
        if self._first_ns is None:
            self._first_ns = self._last_ns = time_ns - 1
            self._latest_ns = time_ns
        self._turned_back += time_ns < self._latest_ns
        self._latest_ns = max(self._latest_ns, time_ns)
        # requests of one time keep their order: each is a nanosecond after the one before
        time_ns = max(self._latest_ns, self._last_ns + 1)
        if self._waiting and (
            len(self._waiting) >= _BATCH or time_ns // _HOUR_NS != self._last_ns // _HOUR_NS
        ):
            self._flush()
        values = (
            ("input_length", request.tokens),
            ("output_length", request.output),
            ("hash_ids", packed(request.hashes)),
        )
        self._waiting.append(Workload(self._seq, time_ns, "request", values))
        self._seq, self._last_ns = self._seq + 1, time_ns
        self._blocks += len(request.hashes)

    def finish(self, said: Mapping[str, float]) -> RequestsImported:
        """Store the rest, and the event that says what the replicas are."""
        if self._first_ns is None:
            raise TraceError(f"{self._file} holds no requests; name another file")
        self._flush()
        self._publish([Workload(0, self._first_ns, "replicas", tuple(said.items()))])
        return RequestsImported(
            hook=self._hook,
            requests=self._seq - 1,
            blocks=self._blocks,
            turned_back=self._turned_back,
            span_s=(self._last_ns - self._first_ns - 1) / 1e9,
            replicas=dict(said),
        )

    def withdraw(self) -> None:
        """Remove what was stored, so that a failed import leaves no trace."""
        for path in self._written:
            self._store.files.remove(path)

    def _flush(self) -> None:
        self._publish(self._waiting)
        self._waiting = []
        self._progress(f"{self._seq - 1} requests")

    def _publish(self, records: list[Workload]) -> None:
        content = tables(self._source, Joined(workload=list(records)))
        name = f"import-{self._source.process}-{records[0].seq:016d}"
        self._written += self._store.write(content, name)
