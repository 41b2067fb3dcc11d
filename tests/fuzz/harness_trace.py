"""Saved traces: a file is loaded as the trace that it says it is, or refused; what is loaded can be used.

The first byte chooses the type of trace, the second whether the rest is a file's bytes or JSON of a head and columns,
which are saved with the digest that they have: then the trace's own checks stand alone.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from gnomon.sdk.errors import TraceError
from gnomon.shadow.traces import files
from gnomon.shadow.traces.access_trace import AccessTrace
from gnomon.shadow.traces.job_trace import JobTrace, RequestTrace
from gnomon.shadow.traces.load_trace import LoadTrace
from gnomon.shadow.traces.prompt_trace import PromptTrace
from gnomon.shadow.traces.trace import DecisionTrace, Trace, saved_kind

from . import mutate as _mutate

TYPES: tuple[type[Trace], ...] = (
    AccessTrace, DecisionTrace, JobTrace, LoadTrace, PromptTrace, RequestTrace,
)  # fmt: skip
_START = 1_700_000_000_000_000_000
_MOST = 1 << 16


def TestOneInput(data: bytes) -> None:
    if len(data) < 2:
        return
    kind = TYPES[data[0] % len(TYPES)]
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / ("trace.npz" if data[1] % 2 else "some.trace")
        if data[1] % 4 < 2:
            path = Path(name) / "trace.npz"
            path.write_bytes(data[2:])
        elif not _written(path, data[2:], kind):
            return
        try:
            saved_kind(path)
            trace = kind.load(path)
        except TraceError as error:
            assert "\n" not in str(error), error
            return
        _used(trace, Path(name))


def _written(path: Path, said: bytes, kind: type[Trace]) -> bool:
    """Write a head and columns with their digest; return whether the JSON is of that form."""
    try:
        found = json.loads(said)
        head = json.dumps(found["head"])
        columns = {name: _column(*told) for name, told in found["columns"].items()}
        known = [columns[each] for each in kind.COLUMNS if each in columns]
        files.write(path, head, files.digest_of(head, known), columns)
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
        OSError,
    ):
        return False
    return True


def _column(dtype: str, shape: list[int], values: list[Any]) -> Any:
    if dtype not in (
        "float64",
        "int64",
        "int32",
        "int8",
        "bool",
        "uint64",
        "float32",
        "<U3",
        ">f8",
    ):
        raise ValueError("a type that no column has")
    with np.errstate(all="ignore"):  # what does not fit the type is what is wanted here
        return np.array(values).astype(dtype).reshape(shape)


def _used(trace: Trace, folder: Path) -> None:
    assert len(trace.digest) == 64 and trace.span_s >= 0.0 and trace.block_s >= 0.0
    assert isinstance(trace.recorded, bool) and len(trace.picked) <= len(trace)
    part = trace.rows(slice(0, len(trace)))
    assert len(part) == len(trace)
    trace.save(folder / "again.npz")
    assert type(trace).load(folder / "again.npz").digest == trace.digest


def _traces() -> Iterator[Trace]:
    n, names = 6, ("0" * 16, "1" * 16)
    at, nothing = np.arange(n) / 10.0, np.full(n, np.nan)
    own = (np.arange(n) % 2).astype(np.int32)
    yield AccessTrace(
        hook="things", kind="cache", start_ns=_START, policy="", first=0, instances=names, at=at,
        instance=own, key=np.array([0, 1, 0, 1, 2, 1], np.int32), size=np.ones(n),
        op=np.zeros(n, np.int8), hit=np.full(n, -1, np.int8), capacity=np.full(2, 5.0),
        sampled=np.ones(2),
    )  # fmt: skip
    yield DecisionTrace(
        hook="pick", kind="load_balancer", start_ns=_START, members=("a", "b"), instances=names,
        time=at, instance=own, action=own, features=np.ones((n, 2, 5)), outcome=np.ones(n),
        ok=np.ones(n, bool),
    )  # fmt: skip
    queue: dict[str, Any] = {
        "arrival": at, "instance": own, "held": np.zeros(n, bool), "priority": np.ones(n),
        "due": np.full(n, np.inf), "latency_ms": nothing, "ok": np.ones(n, bool),
    }  # fmt: skip
    job = {"size_ms": np.ones(n), "begun": nothing, "service": np.ones(n)}
    yield JobTrace("next", "scheduler", _START, names, -np.inf, 0, **queue, **job)
    yield LoadTrace(
        hook="place", kind="expert_placement", start_ns=0, replicas=4, groups=1, nodes=1, ranks=2,
        delay=0, policy="", first=1, at=at, index=np.arange(n), counts=np.ones((n, 1, 4), np.int64),
        imbalance=nothing, placement=np.array([[0, 1, 2, 3]]),
    )  # fmt: skip
    yield PromptTrace(
        hook="route", kind="llm_router", start_ns=_START, members=("r0", "r1"), instances=names,
        settings=(2, 16.0, 40, 3, 2000.0, 5.0), first=0, at=at, instance=own,
        tokens=np.full(n, 16.0), output=np.ones(n), high=np.arange(1, n + 1),
        action=np.full(n, -1, np.int32), ttft_ms=nothing, new_tokens=nothing,
        block=np.arange(n, dtype=np.int32),
    )  # fmt: skip
    request = {
        "prompt": np.full(n, 9), "output": np.full(n, 3), "expected": np.full(n, 3.0),
        "admitted": nothing, "answered": nothing, "done": nothing,
    }  # fmt: skip
    head = ("admit", "llm_scheduler", _START, names, -np.inf, 0, (0, 0, 0, 0, 0))
    yield RequestTrace(*head, **queue, **request)


def _said(path: Path) -> bytes:
    head, _, columns = files.read(path)
    told = {
        name: (str(each.dtype), each.shape, each.ravel().tolist()) for name, each in columns.items()
    }
    return json.dumps({"head": json.loads(head), "columns": told}).encode()


def seeds() -> Iterator[bytes]:
    for number, trace in enumerate(_traces()):
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "trace.npz"
            trace.save(path)
            yield bytes([number, 2 + number % 2]) + _said(path)
            if number < 2:
                stored = files.arrays_in(path)
                packed = io.BytesIO()
                np.savez_compressed(packed, allow_pickle=False, **stored)
                yield bytes([number, 1]) + packed.getvalue()


def mutate(data: bytes, random: Random) -> bytes:
    if len(data) > 2 and data[1] % 4 >= 2:
        return data[:2] + _mutate.json_bytes(data[2:], random)[:_MOST]
    changed = bytearray(data)
    for _ in range(random.choice((1, 2, 4))):
        changed[random.randrange(len(changed))] = random.choice((0, 1, 127, 128, 255))
    return bytes(changed)
