"""Logs of batch systems become the workload of a hook of the kind ``scheduler``.

``swf`` is the Standard Workload Format, version 2.2, of the Parallel Workloads Archive (Chapin et al., JSSPP 1999;
Feitelson, Tsafrir and Krakov, JPDC 74 (10), 2014): a line of 18 numbers per job, -1 where one is unknown, and comments
after ``;``, of which ``MaxProcs`` says how many processors there were and ``UnixStartTime`` when the log begins.
``.gz``, ``.zst`` and ``.xz`` are decompressed.

A worker runs one job at a time, so a job of one processor is a job of the kind. Its work as the policy knows it is the
time that its user asked for; where nobody asked, the mean of the times that were asked for, and where nobody ever did,
the mean run time. Left out and counted are jobs of several processors (unless ``processors`` is ``ignore``) or of an
unknown number, jobs that never ran, lines that are a part of a job which another line has whole (status 2, 3 and 4),
and jobs without a submit time. Jobs are put in order of their submit times.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import pyarrow as pa

from ...sdk.errors import ConfigurationError, TraceError
from ...sdk.records import Workload
from ...sdk.spec import check_name
from ..rows import Source, workload_table
from ..schema import WORKLOAD
from ..store import TraceStore
from ._streams import opened
from ._writing import refuse_existing

Processors = Literal["one", "ignore"]

SWF = "swf"
#: Name and version of the kind whose events are written; the recorder does not import the kinds.
_KIND = ("scheduler", 1)
#: Longest latency that the kind tells apart, ms.
_CLIP_MS = 60_000.0
_NEVER_MS = 86_400_000.0
_UNKNOWN = -1.0
_FIELDS = 18
_PARTS = (2, 3, 4)
_MOST_WORKERS = 2**20
_MOST_S = 1e9
#: Latest Unix time in ns that 64 bits hold, in seconds.
_LAST_S = 9.2e9
#: Events that are made into a table at a time.
_BATCH = 50_000
_COMMENT = re.compile(r";\s*(MaxProcs|UnixStartTime):\s*(\d{1,12})\b")


class Job(NamedTuple):
    """A line that is taken; times in seconds, below 0 where they are unknown."""

    submit: float
    wait: float
    run: float
    asked: float
    failed: bool


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What to import.

    Attributes:
        file: the log; ``.gz``, ``.zst`` and ``.xz`` are decompressed.
        hook: name that the trace is to have.
        limit: the most jobs to take, the first ones of the file; None for all.
        workers: that run the jobs; None for as many as ``MaxProcs`` says.
        processors: ``one`` takes jobs of one processor, ``ignore`` takes all as if they were.
        speedup: what all times are divided by.
    """

    file: Path
    hook: str
    limit: int | None = None
    workers: int | None = None
    processors: Processors = "one"
    speedup: float = 1.0


@dataclass(frozen=True, slots=True)
class ImportedJobs:
    """What an import came to.

    Attributes:
        hook: name of the hook.
        jobs: how many.
        measured: of how many the wait is known.
        failed: how many failed or were cancelled after they had begun.
        unsized: how many whose user asked for no time.
        clipped: latencies beyond the longest that the kind tells apart, 60 s.
        turned_back: jobs that the file holds after a later one.
        several, uncounted, never_ran, parts, undated: lines left out: of several processors, of an unknown
            number, without a run time above 0, parts of a job, and without a submit time.
        span_s: seconds from the first arrival to the last.
        workers: that run the jobs.
    """

    hook: str
    jobs: int
    measured: int
    failed: int
    unsized: int
    clipped: int
    turned_back: int
    several: int
    uncounted: int
    never_ran: int
    parts: int
    undated: int
    span_s: float
    workers: int


def import_jobs(store: TraceStore, request: JobRequest) -> ImportedJobs:
    """Write a log in the Standard Workload Format into a store as the workload of a hook.

    Args:
        store: must not hold the hook yet.
        request: what to read, and what for.

    Raises:
        TraceError: the file is missing, cut, of another format or without jobs; or the hook exists.
        ConfigurationError: an impossible setting, or workers that neither it nor the file says.
    """
    _check(request)
    refuse_existing(store, request.hook)
    head: dict[str, int] = {}
    left: Counter[str] = Counter()
    read = list(_jobs(request, head, left))
    if not read:
        raise TraceError(
            f"{request.file} holds no jobs that can be taken ({sum(left.values())} left out); name another "
            "file, or take jobs of several processors with --set processors=ignore"
        )
    workers = head.get("MaxProcs", 0) if request.workers is None else request.workers
    if not 1 <= workers <= _MOST_WORKERS:
        raise ConfigurationError(
            f"{request.file} says MaxProcs {workers or 'nowhere'}; give --set workers=N, from 1 to {_MOST_WORKERS}"
        )
    jobs = _faster(sorted(read, key=lambda job: job.submit), request.speedup)
    start_s = head.get("UnixStartTime", 0)
    if start_s + jobs[-1].submit > _LAST_S:
        raise TraceError(
            f"{request.file} ends {start_s + jobs[-1].submit:g} s after 1970, which no clock shows; correct "
            "UnixStartTime, or give a larger --set speedup=X"
        )
    _write(store, request, jobs, workers, start_s)
    return ImportedJobs(
        hook=request.hook,
        jobs=len(jobs),
        measured=sum(job.wait >= 0.0 for job in jobs),
        failed=sum(job.failed for job in jobs),
        unsized=sum(job.asked <= 0.0 for job in jobs),
        clipped=sum((max(job.wait, 0.0) + job.run) * 1e3 > _CLIP_MS for job in jobs),
        turned_back=sum(b.submit < a.submit for a, b in pairwise(read)),
        **{name: left[name] for name in ("several", "uncounted", "never_ran", "parts", "undated")},
        span_s=jobs[-1].submit - jobs[0].submit,
        workers=workers,
    )


def _check(request: JobRequest) -> None:
    check_name(request.hook)
    if request.limit is not None and request.limit < 1:
        raise ConfigurationError(f"a limit of {request.limit} jobs is none; give 1 or more")
    if request.workers is not None and not 1 <= request.workers <= _MOST_WORKERS:
        raise ConfigurationError(
            f"workers={request.workers}: nobody runs the jobs, or too many do; give 1 to {_MOST_WORKERS}"
        )
    if request.processors not in get_args(Processors):
        raise ConfigurationError(
            f"processors={request.processors!r}; take jobs of one processor, or ignore how many they have"
        )
    if not 1e-6 <= request.speedup <= 1e6:
        raise ConfigurationError(
            f"speedup={request.speedup}: times are divided by it; give a number from 1e-6 to 1e6"
        )


# --- reading --------------------------------------------------------------------------------------


def _jobs(request: JobRequest, head: dict[str, int], left: Counter[str]) -> Iterator[Job]:
    """Yield the jobs to take; note what comments say, and how many lines are left out and why."""
    taken = 0
    for number, line in enumerate(_lines(request.file), 1):
        said, _, comment = line.partition(";")
        if not said.strip():
            found = _COMMENT.match(f";{comment}")
            if found:
                head.setdefault(found[1], int(found[2]))
            continue
        values = _values(said, number, request.file)
        why = _left_out(values, request.processors)
        if why:
            left[why] += 1
            continue
        _, submit, wait, run, *_ = values
        yield Job(submit, wait, run, values[8], values[10] not in (1.0, _UNKNOWN))
        taken += 1
        if taken == request.limit:
            return


def _lines(path: Path) -> Iterator[str]:
    """Yield lines; comments of old logs are in many encodings, and numbers are the same in all."""
    rest = b""
    with opened(path) as stream:
        while block := bytes(stream.read(1 << 20)):
            *whole, rest = (rest + block).split(b"\n")
            if len(rest) > 1 << 16:
                raise TraceError(f"{path} has a line of more than 64 KiB; name its format")
            yield from (line.decode("latin-1") for line in whole)
    yield rest.decode("latin-1")


def _values(line: str, number: int, path: Path) -> list[float]:
    words = line.split()
    if len(words) != _FIELDS:
        raise TraceError(
            f"line {number} of {path} has {len(words)} fields, not {_FIELDS}; fetch it again, or name its "
            "format"
        )
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        raise TraceError(
            f"line {number} of {path} is no job ({ascii(str(error))[:80]}); correct it, or name its format"
        ) from error
    if not all(map(math.isfinite, values)) or max(values[1:4] + values[8:9]) > _MOST_S:
        raise TraceError(
            f"line {number} of {path} has a value that is infinite, or a time beyond {_MOST_S:g} s; correct it"
        )
    return values


def _left_out(values: list[float], processors: Processors) -> str:
    """Return why a line is no job to take; empty where it is one."""
    count = values[4] if values[4] > 0.0 else values[7]
    if values[10] in _PARTS:
        return "parts"
    if values[1] < 0.0:
        return "undated"
    if values[3] <= 0.0:
        return "never_ran"
    if processors == "one" and count != 1.0:
        return "several" if count > 1.0 else "uncounted"
    return ""


# --- writing --------------------------------------------------------------------------------------


def _faster(jobs: list[Job], speedup: float) -> list[Job]:
    return [
        Job(
            job.submit / speedup,
            job.wait / speedup,
            job.run / speedup,
            job.asked / speedup,
            job.failed,
        )
        for job in jobs
    ]


def _write(
    store: TraceStore, request: JobRequest, jobs: list[Job], workers: int, start_s: int
) -> None:
    named = f"{request.hook}\n{SWF}\n{request.file.name}".encode()
    process = hashlib.blake2b(named, digest_size=8).hexdigest()
    source = Source(process, request.file.name, request.hook, *_KIND)
    asked = [job.asked for job in jobs if job.asked > 0.0] or [job.run for job in jobs]
    usual = sum(asked) / len(asked)
    base_ns = start_s * 10**9
    first = Workload(
        0, base_ns + round(jobs[0].submit * 1e9), "workers", (("workers", float(workers)),)
    )
    parts = [workload_table(source, [first])]
    for begin in range(0, len(jobs), _BATCH):
        some = enumerate(jobs[begin : begin + _BATCH], begin)
        events = [event for at, job in some for event in _events(at, job, usual, base_ns)]
        parts.append(workload_table(source, events))
    store.write({WORKLOAD: pa.concat_tables(parts)}, f"import-{process}")


def _events(at: int, job: Job, usual: float, base_ns: int) -> tuple[Workload, Workload]:
    """Return a job's arrival and what came of it."""
    time_ns, name = base_ns + round(job.submit * 1e9), ("job", str(at))
    size_ms = (job.asked if job.asked > 0.0 else usual) * 1e3
    wait_ms = job.wait * 1e3 if job.wait >= 0.0 else _UNKNOWN
    arrival = (name, ("size_ms", size_ms), ("priority", 1.0), ("deadline_ms", _NEVER_MS))
    served = (
        name, ("wait_ms", wait_ms), ("service_ms", job.run * 1e3), ("failed", float(job.failed)),
    )  # fmt: skip
    return (
        Workload(2 * at + 1, time_ns, "arrival", arrival),
        Workload(2 * at + 2, time_ns, "served", served),
    )
