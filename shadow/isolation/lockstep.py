"""Lockstep: the host steps its simulators and, at every decision, asks the candidate's process.

The candidate sees the rows of the present decisions and nothing else: no trace, clock, score or future.
Many replays advance together, one frame for all, so that a border crossing costs little per decision.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from ...sdk.errors import IsolationError
from ...sdk.isolation import frames
from ...sdk.isolation.layers import IsolationMode, Limits
from ...sdk.isolation.zygote import CandidateStopped, Zygote
from ...sdk.kind import Kind
from ..evaluation import Status
from .lockstep_child import LENGTH, REQUEST, Operation

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int32]
ReplayT = TypeVar("ReplayT")
#: Called with (stream, rows of shape (m, F), picked index) before the pick takes effect.
Watch = Callable[[int, Floats, int], None]

_ENTRY = "gnomon.shadow.isolation.lockstep_child"


def lockstep_zygote(mode: IsolationMode = "strict", limits: Limits | None = None) -> Zygote:
    """Return a clean process for lockstep candidates; the caller closes it.

    Raises:
        IsolationError: the mode cannot be had on this machine.
    """
    return Zygote(_ENTRY, {}, mode=mode, limits=limits)


class LockstepCandidate:
    """One candidate in a process of its own that answers frames.

    Args:
        zygote: from :func:`lockstep_zygote`.
        source: of the candidate; checked inside.
        kind: names, order and limits of its inputs.

    Raises:
        CandidateStopped: outside the policy language (``rejected``), or it died or hung at once.
        IsolationError: our own side failed.
    """

    def __init__(self, zygote: Zygote, source: str, kind: Kind) -> None:
        self._width = len(kind.inputs)
        self._fork = zygote.fork()
        self.layers = self._fork.layers
        try:
            self._introduce(source, kind)
        except BaseException:
            self.close()
            raise

    def choose(self, batch: Floats) -> Indices:
        """Return the picked index of every decision, -1 where a score faulted.

        Args:
            batch: (K, m, F) rows of K independent decisions.

        Returns:
            (K,) indices below m.

        Raises:
            CandidateStopped: it died, took too long, or answered nonsense.
        """
        k, m, _ = self._shaped(batch, 3)
        self._send(Operation.DECIDE, k, m, batch)
        picks = np.frombuffer(self._fork.receive(4 * k), dtype="<i4")
        if k and (picks.min() < -1 or picks.max() >= m):
            self.close()
            raise CandidateStopped(Status.DIED, "its process answered an item that does not exist")
        return picks

    def scores(self, rows: Floats, *, reference: bool = False) -> Floats:
        """Return the scores of single rows, NaN for a fault.

        Args:
            rows: (n, F) feature rows.
            reference: ask the reference interpreter instead of the tier that decides.

        Returns:
            (n,) scores.

        Raises:
            CandidateStopped: it died or took too long.
        """
        n, _ = self._shaped(rows, 2)
        self._send(Operation.REFERENCE if reference else Operation.SCORE, n, 1, rows)
        return np.frombuffer(self._fork.receive(8 * n), dtype="<f8")

    def close(self) -> None:
        """Kill the candidate's process."""
        self._fork.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _shaped(self, rows: Floats, dimensions: int) -> tuple[int, ...]:
        if rows.ndim != dimensions or rows.shape[-1] != self._width:
            raise ValueError(f"rows of shape {rows.shape}; expected {self._width} features last")
        return rows.shape

    def _send(self, operation: Operation, k: int, m: int, rows: Floats) -> None:
        body = np.ascontiguousarray(rows, dtype="<f8").tobytes()
        self._fork.send(REQUEST.pack(operation, k, m) + body)

    def _introduce(self, source: str, kind: Kind) -> None:
        spec: dict[str, Any] = {
            "source": source,
            "inputs": kind.input_names,
            "order": kind.order,
            "max_nodes": kind.max_nodes,
            "max_fuel": kind.max_fuel,
        }
        body = json.dumps(spec).encode()
        self._fork.send(LENGTH.pack(len(body)) + body)
        code, answer = self._fork.message()
        text = frames.plain(answer.decode("ascii", "replace"))
        if code is frames.Code.REJECTED:
            raise CandidateStopped(Status.REJECTED, text)
        if code is not frames.Code.READY:
            raise IsolationError(f"the isolation process failed: {text}")


@contextmanager
def lockstep(
    source: str, kind: Kind, *, mode: IsolationMode = "strict", limits: Limits | None = None
) -> Iterator[LockstepCandidate]:
    """Run one candidate in a clean process of its own, for as long as the block lasts."""
    with lockstep_zygote(mode, limits) as zygote, LockstepCandidate(zygote, source, kind) as one:
        yield one


def run_lockstep(
    candidate: LockstepCandidate,
    streams: Sequence[Generator[Floats, int, ReplayT]],
    watch: Watch | None = None,
) -> list[ReplayT]:
    """Drive replays to their ends with one candidate's decisions, all together.

    Args:
        candidate: decides.
        streams: each yields the (m, F) rows of its next decision and is sent the picked index; m may
            differ from decision to decision.
        watch: sees every decision.

    Returns:
        What each stream returned, in order.

    Raises:
        CandidateStopped: the candidate faulted, died or took too long.
    """
    results: dict[int, ReplayT] = {}
    rows: dict[int, Floats] = {}
    for index, stream in enumerate(streams):
        _advance(index, stream, None, rows, results)
    decisions = 0
    while rows:
        for index, pick in _picks(candidate, rows):
            if pick < 0:
                raise CandidateStopped(Status.FAULT, f"a score faulted at decision {decisions}")
            if watch is not None:
                watch(index, rows[index], pick)
            _advance(index, streams[index], pick, rows, results)
        decisions += 1
    return [results[index] for index in range(len(streams))]


def _picks(candidate: LockstepCandidate, rows: dict[int, Floats]) -> list[tuple[int, int]]:
    """Return (stream, pick) of all present decisions, asked in one frame per number of items."""
    present: dict[int, list[int]] = {}
    for index, items in rows.items():
        present.setdefault(len(items), []).append(index)
    return [
        (index, pick)
        for group in present.values()
        for index, pick in zip(
            group, candidate.choose(np.stack([rows[i] for i in group])).tolist(), strict=True
        )
    ]


def _advance(
    index: int,
    stream: Generator[Floats, int, ReplayT],
    pick: int | None,
    rows: dict[int, Floats],
    results: dict[int, ReplayT],
) -> None:
    """Send one pick (None starts the stream) and keep the next rows, or the result at its end."""
    try:
        rows[index] = next(stream) if pick is None else stream.send(pick)
    except StopIteration as stop:
        rows.pop(index, None)
        results[index] = stop.value
