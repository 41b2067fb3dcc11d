"""Public traces of requests to LLM servers become the workload of a hook of the kind ``llm_scheduler``.

* ``azure-llm``: the Azure public dataset's CSV files, ``TIMESTAMP,ContextTokens,GeneratedTokens``. Nothing was
  measured.
* ``vllm-requests``: LLMServingSim's ``requests.jsonl`` of a real vLLM server: arrival, admission, first and last
  token of every request. A ``meta.json`` beside it says the engine's settings.
* ``burstgpt``: BurstGPT's logs of a real vLLM server, one JSON object by event: first chunk and whole time. The
  length of an answer is told in characters of prompt and answer together; its tokens are estimated.

``.gz``, ``.zst`` and ``.xz`` are decompressed. Requests are put in order of arrival. Tokens below 1 count as 1 (their
number is reported). Nobody predicted lengths of answers there: all requests get the mean, unless ``exact`` gives each
its own, which no service knows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from ...sdk.errors import ConfigurationError, TraceError
from ...sdk.records import Workload
from ...sdk.spec import check_name
from ..rows import Joined, Source, tables
from ..store import TraceStore
from ._streams import broken, opened
from ._writing import refuse_existing

FloatArray = npt.NDArray[np.float64]
Expected = Literal["mean", "exact"]

#: Name and version of the kind whose events are written; the recorder does not import the kinds.
_KIND = ("llm_scheduler", 1)
SETTINGS = (
    "max_num_batched_tokens",
    "max_num_seqs",
    "kv_blocks",
    "block_tokens",
    "steps_in_advance",
)
_NEVER_MS = 86_400_000.0
_UNKNOWN = -1.0
#: Characters of a token, as BurstGPT's longest prompts and answers have them.
CHARACTERS = 4.8
#: A first chunk that is also the last comes within so many seconds of the whole time.
_ONE_CHUNK_S = 0.005


class Requests(NamedTuple):
    """Requests as a file tells of them, n in any order.

    Attributes:
        arrival: Unix seconds, or seconds of another clock, f8[n].
        prompt, output: tokens, f8[n].
        queue_s, ttft_s, latency_s: as measured, NaN where they were not, f8[n].
        settings: of the engine, those that are known.
    """

    arrival: FloatArray
    prompt: FloatArray
    output: FloatArray
    queue_s: FloatArray
    ttft_s: FloatArray
    latency_s: FloatArray
    settings: Mapping[str, int]


_COLUMNS = ("arrival", "prompt", "output", "queue_s", "ttft_s", "latency_s")


@dataclass(frozen=True, slots=True)
class RequestImport:
    """What to import.

    Attributes:
        format: a name of :data:`~gnomon.recorder.importers.REQUESTS`.
        file: the trace; ``.gz``, ``.zst`` and ``.xz`` are decompressed.
        hook: name that the trace is to have.
        limit: the most requests to take, the first ones; None for all.
        settings: of the engine, by the names of :data:`SETTINGS`; what the file says does not count then.
        expected: what a policy is told of the length of an answer: ``mean`` or ``exact``.
    """

    format: str
    file: Path
    hook: str
    limit: int | None = None
    settings: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    expected: Expected = "mean"


@dataclass(frozen=True, slots=True)
class ImportedRequests:
    """What an import came to.

    Attributes:
        hook: name of the hook.
        requests: how many.
        measured: of how many latencies were measured.
        resized: prompts and answers of less than a token, which count as 1.
        turned_back: requests that the file holds after a later one.
        span_s: seconds from the first arrival to the last.
        settings: of the engine; 0 where unknown.
    """

    hook: str
    requests: int
    measured: int
    resized: int
    turned_back: int
    span_s: float
    settings: dict[str, int]


#: What reading a file of another form raises.
_NOT_IT = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


def import_requests(store: TraceStore, request: RequestImport) -> ImportedRequests:
    """Write a public trace of requests into a store as the workload of a hook of the kind ``llm_scheduler``.

    Args:
        store: must not hold the hook yet.
        request: what to read, and what for.

    Raises:
        TraceError: the file is missing, cut, or not of that format; or the hook exists.
        ConfigurationError: an unknown format, setting or expectation.
    """
    read = REQUESTS.get(request.format)
    if read is None:
        raise ConfigurationError(
            f"no format {request.format!r}; choose one of {', '.join(REQUESTS)}"
        )
    _check(request)
    refuse_existing(store, request.hook)
    try:
        found = read(request.file)
    except _NOT_IT as error:
        raise broken(request.file, error) from error
    return _written(store, request, found)


def _check(request: RequestImport) -> None:
    check_name(request.hook)
    if request.limit is not None and request.limit < 1:
        raise ConfigurationError(f"a limit of {request.limit} requests is none; give 1 or more")
    if request.expected not in get_args(Expected):
        raise ConfigurationError(
            f"expected={request.expected!r}; a policy is told the mean length of answers, or the exact one"
        )
    for name, value in request.settings.items():
        if name not in SETTINGS or not 0 <= value < 2**53:
            raise ConfigurationError(
                f"{name}={value} is no setting of an engine; give one of {', '.join(SETTINGS)}, 0 where "
                "unknown"
            )


def _written(store: TraceStore, request: RequestImport, found: Requests) -> ImportedRequests:
    if not len(found.arrival):
        raise TraceError(f"{request.file} holds no requests; name another file")
    if not np.isfinite(found.arrival).all():
        raise TraceError(f"{request.file} has a request without a time; fetch it again")
    order = np.argsort(found.arrival, kind="stable")[: request.limit]
    kept = found._replace(**{name: getattr(found, name)[order] for name in _COLUMNS})
    tokens = np.concatenate((kept.prompt, kept.output))
    settings = {name: 0 for name in SETTINGS} | dict(found.settings) | dict(request.settings)
    named = f"{request.hook}\n{request.format}\n{request.file.name}".encode()
    process = hashlib.blake2b(named, digest_size=8).hexdigest()
    source = Source(process, request.file.name, request.hook, *_KIND)
    events = _events(kept, settings, request.expected)
    store.write(tables(source, Joined(workload=list(events))), f"import-{process}")
    return ImportedRequests(
        hook=request.hook,
        requests=len(order),
        measured=int(np.isfinite(kept.latency_s).sum()),
        resized=int((~(tokens >= 1.0)).sum()),
        turned_back=int((np.diff(found.arrival) < 0.0).sum()),
        span_s=float(kept.arrival[-1] - kept.arrival[0]),
        settings=settings,
    )


def _events(found: Requests, settings: Mapping[str, int], expected: Expected) -> list[Workload]:
    """Return the engine's settings, then every arrival with what was measured of it."""
    prompt, output = (np.maximum(np.nan_to_num(each, nan=1.0), 1.0) for each in found[1:3])
    told = output if expected == "exact" else np.full(len(output), max(1.0, float(output.mean())))
    times = np.round(found.arrival * 1e9).astype(np.int64)
    said = tuple((name, float(value)) for name, value in settings.items())
    events = [Workload(0, int(times[0]), "engine", said)]
    for at, time_ns in enumerate(times.tolist()):
        events.append(
            Workload(
                2 * at + 1,
                time_ns,
                "arrival",
                (
                    ("job", str(at)),
                    ("prompt_tokens", float(prompt[at])),
                    ("answered_tokens", float(output[at])),
                    ("output_tokens", float(told[at])),
                    ("priority", 1.0),
                    ("deadline_ms", _NEVER_MS),
                ),
            )
        )
        measured = [_ms(each[at]) for each in (found.queue_s, found.ttft_s, found.latency_s)]
        if max(measured) >= 0.0:
            queue_ms, ttft_ms, latency_ms = measured
            events.append(
                Workload(
                    2 * at + 2,
                    time_ns,
                    "served",
                    (
                        ("job", str(at)),
                        ("queue_ms", queue_ms),
                        ("ttft_ms", ttft_ms),
                        ("latency_ms", latency_ms),
                    ),
                )
            )
    return events


def _ms(seconds: Any) -> float:
    return float(seconds) * 1e3 if np.isfinite(seconds) else _UNKNOWN


# --- formats --------------------------------------------------------------------------------------


def azure(path: Path) -> Requests:
    """Read ``TIMESTAMP,ContextTokens,GeneratedTokens``; raises ValueError or KeyError when it is none."""
    lines = _text(path).split("\n")
    columns = [name.strip() for name in lines[0].removeprefix("\ufeff").split(",")]
    time, prompt, output = (
        columns.index(name) for name in ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
    )
    rows = [line.split(",") for line in lines[1:] if line.strip()]
    if any(len(row) != len(columns) for row in rows):
        raise ValueError(f"a line has not {len(columns)} fields")
    stamps = np.array([row[time].strip().removesuffix("Z") for row in rows], "datetime64[ns]")
    n = len(rows)
    return Requests(
        stamps.astype(np.int64) / 1e9,
        np.array([float(row[prompt]) for row in rows]),
        np.array([float(row[output]) for row in rows]),
        *_nothing(n),
        {},
    )


def vllm(path: Path) -> Requests:
    """Read LLMServingSim's ``requests.jsonl``; raises ValueError or KeyError when it is none.

    Arrivals are on another clock than the engine's times: a request cannot have been queued before it
    arrived, and the one that was queued soonest is taken to have been queued at once.
    """
    rows = [json.loads(line) for line in _text(path).split("\n") if line.strip()]
    names = (
        "arrival_time", "input_toks", "output_toks", "queued_ts", "scheduled_ts", "first_token_ts",
        "last_token_ts",
    )  # fmt: skip
    columns = [np.array([float(row[name]) for row in rows]) for name in names]
    arrival, prompt, output, queued, admitted, first, last = columns
    began = arrival + ((queued - arrival).min() if len(rows) else 0.0)
    settings = _settings(path.parent / "meta.json")
    return Requests(
        arrival, prompt, output, admitted - began, first - began, last - began, settings
    )


def _settings(meta: Path) -> dict[str, int]:
    """Return an engine's settings as far as a ``meta.json`` tells them."""
    if not meta.is_file():
        return {}
    said = json.loads(meta.read_text("utf-8"))
    engine, memory = said.get("engine_kwargs", {}), said.get("kv_cache", {})
    resolved = said.get("resolved_config", {}).get("scheduler_config", {})
    found = {
        "max_num_batched_tokens": engine.get("max_num_batched_tokens"),
        "max_num_seqs": engine.get("max_num_seqs"),
        "kv_blocks": memory.get("num_gpu_blocks"),
        "block_tokens": memory.get("block_size"),
        "steps_in_advance": {True: 2, False: 1}.get(resolved.get("async_scheduling")),
    }
    return {name: int(value) for name, value in found.items() if value}


def burstgpt(path: Path) -> Requests:
    """Read a BurstGPT log; raises ValueError or KeyError when it is none.

    ``record_time`` is when the answer was complete. ``out_len`` counts the characters of the prompt and the
    answer, so the answer has ``out_len / 4.8 - in_len`` tokens, from 1 (one chunk) to those that were allowed.
    """
    rows = list(json.loads(_text(path)).values())
    names = (
        "record_time", "in_len", "out_len", "out_len_expected", "first_chunk_time", "total_chunk_time",
    )  # fmt: skip
    columns = [np.array([float(row[name]) for row in rows]) for name in names]
    ended, prompt, characters, most, first, whole = columns
    tokens = np.clip(np.round(characters / CHARACTERS - prompt), 1.0, most)
    output = np.where(whole - first <= _ONE_CHUNK_S, 1.0, np.maximum(tokens, 2.0))
    unknown = np.full(len(rows), np.nan)
    return Requests(ended - whole, prompt, output, unknown, first, whole, {})


def _nothing(n: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    return np.full(n, np.nan), np.full(n, np.nan), np.full(n, np.nan)


def _text(path: Path) -> str:
    with opened(path) as stream:
        content: bytes = stream.read()
        return bytes(content).decode("utf-8").replace("\r\n", "\n")


#: Readers by the name of their format.
REQUESTS: Mapping[str, Callable[[Path], Requests]] = MappingProxyType(
    {"azure-llm": azure, "vllm-requests": vllm, "burstgpt": burstgpt}
)
