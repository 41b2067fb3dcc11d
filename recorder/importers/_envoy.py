"""Envoy's access logs: requests that reached a host become decisions of a hook of ``load_balancer``.

Read is the default format string of the HTTP access log (Envoy's documentation, *Access logging*)::

    [%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE%
    %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%
    "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"

A line is written when its request ends; decisions are put in order of their beginning. What the balancer
saw is no part of the log and is reconstructed, as one process would have seen it.
"""

from __future__ import annotations

import hashlib
import heapq
import io
import re
from array import array
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...sdk.errors import ConfigurationError, TraceError
from ...sdk.records import INCUMBENT, Decision, Outcome, Workload
from ...sdk.spec import check_name
from ..rows import Joined, Source, tables
from ..store import TraceStore
from ._streams import BROKEN, broken, opened
from ._writing import Progress, refuse_existing

#: Name and version of the kind that is written; the recorder does not import the kinds.
_KIND = ("load_balancer", 1)
#: Of the reconstructed moving average: ``average += GAIN (latency - average)``; the first answer sets it.
GAIN = 0.1
#: Hosts of one cluster; every decision holds the features of all of them.
MOST_HOSTS = 1024
_MOST_AVERAGE_MS = 600_000.0  # as the kind's feature is bounded
_FEATURES = 5  # inflight, ewma_ms, weight, since_picked, noise
_CELLS = 1 << 19  # features of a batch
_LONGEST = 1 << 20  # characters of a line; Envoy bounds headers to 60 KiB by default
_LATEST_MS = 9_200_000_000_000  # what Unix nanoseconds can say
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)

#: Up to the request's headers: those may hold quotes and blanks, what comes before may not.
_HEAD = re.compile(
    r"\[(?P<start>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3})Z\] "
    r'"(?P<method>[^ ]+) [^ ]+ [^ ]+" (?P<code>\d{1,3}) [^ ]+ (?:\d+|-) (?:\d+|-) (?P<ms>\d{1,13}|-) [^ ]+ "',
    re.ASCII,
)
_HOST = re.compile(r'[^\s"]+')


@dataclass(frozen=True, slots=True)
class LogImported:
    """What an import came to.

    Attributes:
        hook: name of the hook.
        requests: decisions that were written.
        members: the hosts, sorted, in the order of the items.
        unsent: lines of requests that reached no host, which are left out.
        failures: requests without an answer, or with one of 500 or more.
        span_s: seconds from the first beginning to the last.
    """

    hook: str
    requests: int
    members: tuple[str, ...]
    unsent: int
    failures: int
    span_s: float


def import_envoy(
    store: TraceStore,
    file: Path,
    hook: str,
    limit: int | None = None,
    progress: Progress = lambda _line: None,
) -> LogImported:
    """Write an access log of Envoy into a store as decisions of a hook of the kind ``load_balancer``.

    Args:
        store: must not hold the hook yet.
        file: lines of the default format; ``.gz``, ``.zst`` and ``.xz`` are decompressed.
        hook: name that the trace is to have.
        limit: the most requests to read, the first that ended; None for all.
        progress: is told how far it is.

    Raises:
        TraceError: the file is missing, cut, or not of that format; or the hook exists.
        ConfigurationError: a limit that is none.
    """
    if limit is not None and limit < 1:
        raise ConfigurationError(f"a limit of {limit} requests is none; give 1 or more")
    check_name(hook)
    refuse_existing(store, hook)
    log = _log(file, limit)
    written: list[str] = []
    try:
        _write(store, file, hook, log, written, progress)
    except BaseException:  # an interruption too: half a trace would be taken for a whole one
        for path in written:
            store.files.remove(path)
        raise
    return LogImported(
        hook=hook,
        requests=len(log.start),
        members=log.members,
        unsent=log.unsent,
        failures=int((~log.ok).sum()),
        span_s=float(log.start[-1] - log.start[0]) / 1e3,
    )


# --- reading --------------------------------------------------------------------------------------


class _Log(NamedTuple):
    """Requests in order of their beginning.

    Attributes:
        members: the hosts, sorted.
        start, took: Unix ms and ms, i8[n].
        host: position among the members, i8[n].
        ok: bool[n].
        unsent: lines without a host.
    """

    members: tuple[str, ...]
    start: npt.NDArray[np.int64]
    took: npt.NDArray[np.int64]
    host: npt.NDArray[np.int64]
    ok: npt.NDArray[np.bool_]
    unsent: int


class _Line(NamedTuple):
    start: int
    took: int
    ok: bool
    host: str


def _log(file: Path, limit: int | None) -> _Log:
    start, took, host, ok = array("q"), array("q"), array("q"), array("b")
    hosts: dict[str, int] = {}
    unsent = 0
    with closing(_lines(file)) as lines:
        for line in lines:
            if line.host == "-":
                unsent += 1
                continue
            start.append(line.start)
            took.append(line.took)
            ok.append(line.ok)
            host.append(hosts.setdefault(line.host, len(hosts)))
            if len(hosts) > MOST_HOSTS:
                raise TraceError(
                    f"{file} has more than {MOST_HOSTS} upstream hosts; import the log of one cluster"
                )
            if limit is not None and len(start) >= limit:
                break
    if not len(start):
        raise TraceError(
            f"{file} holds no request that reached a host ({unsent} did not); name another file"
        )
    members = tuple(sorted(hosts))
    place = np.empty(len(hosts), np.int64)
    place[[hosts[name] for name in members]] = np.arange(len(members))
    begun = np.array(start, np.int64)
    order = np.argsort(begun, kind="stable")
    return _Log(
        members,
        begun[order],
        np.array(took, np.int64)[order],
        place[np.array(host, np.int64)][order],
        np.array(ok, np.bool_)[order],
        unsent,
    )


def _lines(file: Path) -> Generator[_Line, None, None]:
    """Yield what a file's lines say; headers may hold any bytes."""
    with opened(file) as stream:
        lines = io.TextIOWrapper(stream, "utf-8", errors="replace", newline="\n")
        try:
            number = 0
            while text := lines.readline(_LONGEST):
                number += 1
                if text.strip():
                    yield _line(text.rstrip("\r\n"), file, number)
        except BROKEN as error:
            raise broken(file, error) from error


def _line(text: str, file: Path, number: int) -> _Line:
    head = _HEAD.match(text)
    # five quoted fields end a line; a header that holds quotes itself only makes more of them
    fields = text[head.end() :].split('" "') if head else []
    host = fields[-1].removesuffix('"') if fields and text.endswith('"') else ""
    if head is None or len(fields) < 5 or not _HOST.fullmatch(host):
        raise TraceError(
            f"line {number} of {file} is none of Envoy's default access log; name its format, or correct "
            "the line"
        )
    if host == "-":
        return _Line(0, 0, False, host)
    if head["method"] == "-":
        raise TraceError(
            f"line {number} of {file} is of a connection and not of a request; import a log of HTTP"
        )
    try:
        start = (datetime.fromisoformat(head["start"] + "+00:00") - _EPOCH) // _MS
    except ValueError:
        start = -1
    took = int(head["ms"]) if head["ms"] != "-" else -1
    if not 0 <= start <= start + took < _LATEST_MS:
        raise TraceError(
            f"line {number} of {file} has time {head['start']} and duration {head['ms']}, one of which is none; "
            "correct the line"
        )
    return _Line(start, took, 0 < int(head["code"]) < 500, host)


# --- writing --------------------------------------------------------------------------------------


def _write(
    store: TraceStore, file: Path, hook: str, log: _Log, written: list[str], progress: Progress
) -> None:
    """Store the members and then the decisions in batches; ``written`` gets the paths."""
    named = f"{hook}\nenvoy\n{file.name}".encode()
    process = hashlib.blake2b(named, digest_size=8).hexdigest()
    source = Source(process, file.name, hook, *_KIND)
    first_ns = int(log.start[0]) * 10**6
    names = Workload(0, first_ns, "members", (("names", "\n".join(log.members)),))
    written += store.write(tables(source, Joined(workload=[names])), f"import-{process}")
    batch = max(1, _CELLS // (_FEATURES * len(log.members)))
    pairs: list[tuple[Decision, Outcome | None]] = []
    for at, seen in enumerate(_seen(log, int(process, 16))):
        pairs.append(_pair(log, at, seen))
        if len(pairs) == batch or at == len(log.start) - 1:
            content = tables(source, Joined(decisions=pairs))
            written += store.write(content, f"import-{process}-{pairs[0][0].seq:016d}")
            pairs = []
            progress(f"{at + 1} requests")


def _seen(log: _Log, seed: int) -> Iterator[npt.NDArray[np.float64]]:
    """Yield the features of every decision, f8[members, 5], as one process would have seen them.

    An answer of the same millisecond has come.
    """
    rng = np.random.default_rng(seed)
    n_items = len(log.members)
    inflight, average = np.zeros(n_items), np.zeros(n_items)
    last = np.full(n_items, -1.0)
    waiting: list[tuple[int, int]] = []  # end, index
    start, took, host = log.start.tolist(), log.took.tolist(), log.host.tolist()
    for at, now in enumerate(start):
        while waiting and waiting[0][0] <= now:
            _, ended = heapq.heappop(waiting)
            member = host[ended]
            inflight[member] -= 1.0
            gain = GAIN if average[member] else 1.0
            average[member] += gain * (took[ended] - average[member])
        rows = np.empty((n_items, _FEATURES))
        rows[:, 0] = inflight
        rows[:, 1] = np.minimum(average, _MOST_AVERAGE_MS)
        rows[:, 2] = 1.0
        rows[:, 3] = at - last
        rows[:, 4] = rng.random(n_items)
        yield rows
        inflight[host[at]] += 1.0
        last[host[at]] = at
        heapq.heappush(waiting, (now + took[at], at))


def _pair(log: _Log, at: int, seen: npt.NDArray[np.float64]) -> tuple[Decision, Outcome]:
    time_ns, took = int(log.start[at]) * 10**6, int(log.took[at])
    decision = Decision(
        seq=at,
        time_ns=time_ns,
        duration_ns=-1,
        unit="",
        arm=INCUMBENT,
        reason="static",
        detail="",
        policy=INCUMBENT,
        epoch=0,
        block=-1,
        action=int(log.host[at]),
        n_items=len(log.members),
        features=tuple(seen.ravel().tolist()),
        propensity=1.0,
        inclusion="sampled",
        trace_id=0,
        span_id=0,
    )
    values = (("latency_ms", float(took)),)
    ended_ns = time_ns + took * 10**6
    ok = bool(log.ok[at])
    return decision, Outcome(at, ended_ns, ok, "reported", values, INCUMBENT, -1, time_ns)
