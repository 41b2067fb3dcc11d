"""The trace of an LLM router: requests with the blocks of their prompts, and the replicas behind it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ...policies.llm_router import llm_router
from ...sdk.errors import TraceError
from .trace import LEAST_DECISIONS, FloatArray, IndexArray, Trace

if TYPE_CHECKING:
    from ...recorder.store import TraceStore

#: Fields of the event ``replicas``, all of them above 0.
SETTINGS = (
    "count",
    "block_tokens",
    "cache_blocks",
    "slots",
    "prefill_tokens_per_s",
    "decode_ms",
)
_WHOLE = ("count", "cache_blocks", "slots")
#: Blocks that a trace is cut into: longer than what neighbouring requests share.
BLOCKS = 50
#: A trace of which more events are missing is not replayed.
MOST_LOST = 0.01
#: Every replica has a cache of its own in a replay, 8 bytes for each distinct block.
MOST_REPLICAS = 4096
#: A run of hashes that is longer is taken for garbage.
_LONGEST_RUN = 1 << 20


@dataclass(frozen=True)
class PromptTrace(Trace):
    """Requests of one hook of the kind ``llm_router``; n requests of b blocks altogether.

    Only requests from ``first`` on count: a window keeps all that came before it, because caches and
    queues outlive windows. Of a workload that was imported the outcomes are unknown.

    Attributes:
        hook: name of the hook.
        kind: name of its kind.
        start_ns: Unix time that ``at`` counts from.
        members: names of the replicas.
        instances: ids of the processes that route, by index.
        settings: of the replicas, in the order of ``SETTINGS``.
        first: index of the first request that counts.
        at: arrivals, seconds since ``start_ns``, f8[n], ascending.
        instance: which process routes it, i4[n].
        tokens, output: of prompt and answer, f8[n].
        high: where a request's blocks end in ``block``; they begin where the one before ends, i8[n].
        action: index of the replica that was picked, -1 where that is unknown, i4[n].
        ttft_ms: time to first token as recorded, clipped, NaN where that is unknown, f8[n].
        new_tokens: that the picked replica had to prefill, NaN where that is unknown, f8[n].
        block: dense indices of blocks, i4[b].
        time: of the requests that count, f8[len].
        outcome: time to first token of those, f8[len].
    """

    TYPE = "llm requests"
    COLUMNS = (
        *("at", "instance", "tokens", "output", "high"),
        *("action", "ttft_ms", "new_tokens", "block"),
    )
    HEAD = ("hook", "kind", "start_ns", "members", "instances", "settings", "first")

    hook: str
    kind: str
    start_ns: int
    members: tuple[str, ...]
    instances: tuple[str, ...]
    settings: tuple[float, ...]
    first: int
    at: FloatArray
    instance: IndexArray
    tokens: FloatArray
    output: FloatArray
    high: npt.NDArray[np.int64]
    action: IndexArray
    ttft_ms: FloatArray
    new_tokens: FloatArray
    block: IndexArray
    time: FloatArray = field(init=False, repr=False, compare=False)
    outcome: FloatArray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse columns that do not fit together; derive what counts."""
        for name in self.COLUMNS[:-1]:
            if getattr(self, name).shape != self.at.shape:
                raise TraceError(
                    f"column {name!r} of trace {self.hook!r} is not {len(self.at)} long; load again"
                )
        if not np.isfinite(self.at).all() or (np.diff(self.at) < 0).any():
            raise TraceError(f"trace {self.hook!r} is not in order of time; sort it first")
        ends = np.concatenate(([0], self.high, [len(self.block)]))
        whole = (np.diff(ends) >= 0).all() and (self.block >= 0).all()
        if not (whole and self._sound()):
            raise TraceError(f"trace {self.hook!r} holds requests that are none; load again")
        if len(self.settings) != len(SETTINGS) or not all(
            map(_sound_setting, SETTINGS, self.settings)
        ):
            raise TraceError(f"trace {self.hook!r} has replicas that are none; load again")
        object.__setattr__(self, "time", self.at[self.first :])
        object.__setattr__(self, "outcome", self.ttft_ms[self.first :])

    def _sound(self) -> bool:
        """Return whether every request has tokens, a process and a replica; compiled code asks nobody."""
        lengths = (self.tokens >= 1.0) & (self.output >= 0.0)
        finite = np.isfinite(self.tokens) & np.isfinite(self.output)
        routed = (self.instance >= 0) & (self.instance < len(self.instances))
        picked = (self.action >= -1) & (self.action < len(self.members))
        known = 0 <= self.first <= len(self.at)
        return bool(known and (lengths & finite & routed & picked).all())

    @property
    def recorded(self) -> bool:
        """Whether it is known what became of every request that counts."""
        return bool((self.action[self.first :] >= 0).all() and not np.isnan(self.outcome).any())

    @property
    def picked(self) -> npt.NDArray[np.int64]:
        """Index of the replica that each request that counts was sent to, -1 where unknown, i8[len]."""
        return self.action[self.first :].astype(np.int64)

    @property
    def block_s(self) -> float:
        """Seconds of a stretch that resampling keeps together: a fiftieth of the whole."""
        return max(self.span_s / BLOCKS, 1e-9)

    @property
    def replicas(self) -> dict[str, float]:
        """Settings of the replicas by name."""
        return dict(zip(SETTINGS, self.settings, strict=True))

    def rows(self, rows: slice) -> PromptTrace:
        """Return these of the requests that count, with all that came before them."""
        low, high, _ = rows.indices(len(self))
        end = self.first + max(low, high)
        columns: dict[str, Any] = {name: getattr(self, name)[:end] for name in self.COLUMNS[:-1]}
        blocks = int(self.high[end - 1]) if end else 0
        return replace(self, first=self.first + low, block=self.block[:blocks], **columns)

    def taken(self, kept: npt.NDArray[np.int64]) -> PromptTrace:
        """Return these requests alone, by index, ascending; ``first`` is of the same request or the next."""
        lengths = np.diff(np.concatenate(([0], self.high)))
        blocks = np.zeros(len(self.at), bool)
        blocks[kept] = True
        columns: dict[str, Any] = {name: getattr(self, name)[kept] for name in self.COLUMNS[:-1]}
        columns["high"] = np.cumsum(lengths[kept])
        columns["block"] = self.block[np.repeat(blocks, lengths)]
        return replace(self, first=int(np.searchsorted(kept, self.first)), **columns)


def request_trace(stored: TraceStore, hook: str) -> PromptTrace:
    """Read a hook's requests from a store.

    Raises:
        TraceError: nothing there, too little, no settings of the replicas, or a request that is none.
    """
    table = stored.workload(hook).sort_by([("time", "ascending"), ("workload_id", "ascending")])
    kinds = pc.unique(table["kind"]).to_pylist()
    if kinds != [llm_router.name]:
        raise TraceError(
            f"hook {hook!r} holds workload of kinds {kinds}; import requests with "
            "`gnomon traces import mooncake`, or record the events of llm_router"
        )
    _refuse_gaps(table, hook)
    settings = _settings(table, hook)
    requests = table.filter(pc.equal(table["event"], "request"))
    if requests.num_rows < LEAST_DECISIONS:
        raise TraceError(
            f"trace {hook!r} has {requests.num_rows} requests, too little data; capture or import at "
            f"least {LEAST_DECISIONS}"
        )
    return _made(requests, settings, hook)


def _refuse_gaps(table: pa.Table, hook: str) -> None:
    """Refuse a trace that lacks requests: each one lost would have filled caches and queues."""
    numbers: dict[str, list[int]] = {}
    for process, each in zip(
        table["process"].to_pylist(), table["workload_id"].to_pylist(), strict=True
    ):
        numbers.setdefault(process, []).append(int.from_bytes(each[-8:], "big"))
    lost = sum(max(seq) - min(seq) + 1 - len(seq) for seq in numbers.values())
    if lost > MOST_LOST * table.num_rows:
        raise TraceError(
            f"hook {hook!r} lost {lost} events beside {table.num_rows} that were recorded; enlarge the "
            "ring, or record fewer hooks"
        )


def _sound_setting(name: str, value: float) -> bool:
    """Return whether a setting of the replicas is a number above 0, whole where it counts something."""
    return 0.0 < value < 2.0**53 and (name not in _WHOLE or value == int(value))


def _settings(table: pa.Table, hook: str) -> tuple[float, ...]:
    said = table.filter(pc.equal(table["event"], "replicas"))
    if not said.num_rows:
        raise TraceError(
            f"hook {hook!r} has no event that says what its replicas are; record `replicas` once"
        )
    found = {tuple(sorted(dict(row).items())) for row in said["numbers"].to_pylist()}
    if len(found) > 1:
        raise TraceError(
            f"the replicas of hook {hook!r} changed within the trace; keep one setting per trace store"
        )
    numbers = dict(found.pop())
    settings = tuple(float(numbers.get(name, 0.0)) for name in SETTINGS)
    for name, value in zip(SETTINGS, settings, strict=True):
        if not _sound_setting(name, value):
            whole = name in _WHOLE
            raise TraceError(
                f"hook {hook!r} has replicas with {name}={value:g}; correct it to "
                f"{'a whole number' if whole else 'a number'} above 0"
            )
    if settings[0] > MOST_REPLICAS:
        raise TraceError(
            f"hook {hook!r} has count={settings[0]:g} replicas; a replay holds {MOST_REPLICAS} at most"
        )
    return settings


def _made(requests: pa.Table, settings: tuple[float, ...], hook: str) -> PromptTrace:
    time = requests["time"].cast(pa.int64()).to_numpy()
    start_ns = int(time[0])
    coded = pc.dictionary_encode(requests["process"].combine_chunks())
    tokens, output = (_number(requests, name) for name in ("input_length", "output_length"))
    bad = np.flatnonzero(~((tokens >= 1.0) & (output >= 0.0) & (tokens < 2.0**53)))
    if len(bad):
        at = int(bad[0])
        raise TraceError(
            f"request {at} of hook {hook!r} has {tokens[at]:g} tokens of prompt and {output[at]:g} of "
            "answer; correct it to 1 and 0 at least"
        )
    hashes = pc.map_lookup(requests["texts"], pa.scalar("hash_ids"), "first").to_pylist()
    prompts = [_hashes(text or "", hook) for text in hashes]
    every = np.concatenate(prompts) if prompts else np.zeros(0, np.uint64)
    dense = np.unique(every, return_inverse=True)[1]
    return PromptTrace(
        hook=hook,
        kind=llm_router.name,
        start_ns=start_ns,
        members=tuple(f"replica-{index}" for index in range(int(settings[0]))),
        instances=tuple(coded.dictionary.to_pylist()),
        settings=settings,
        first=0,
        at=(time - start_ns) / 1e9,
        instance=coded.indices.to_numpy().astype(np.int32),
        action=np.full(len(time), -1, np.int32),
        ttft_ms=np.full(len(time), np.nan),
        new_tokens=np.full(len(time), np.nan),
        tokens=tokens,
        output=output,
        high=np.cumsum([len(each) for each in prompts], dtype=np.int64),
        block=dense.astype(np.int32),
    )


def _number(requests: pa.Table, name: str) -> FloatArray:
    found = pc.map_lookup(requests["numbers"], pa.scalar(name), "first")
    values: FloatArray = np.nan_to_num(found.to_numpy().astype(np.float64), nan=-1.0)
    return values


def _hashes(text: str, hook: str) -> npt.NDArray[np.uint64]:
    """Return the hashes that a text stands for: ``17+3,40`` is 17, 18, 19 and 40."""
    runs = []
    for part in filter(None, text.split(",")):
        begin, _, count = part.partition("+")
        try:
            first, length = int(begin), int(count or "1")
        except ValueError:
            first = length = -1
        if not (0 <= first < 2**63 and 1 <= length <= _LONGEST_RUN):
            raise TraceError(
                f"hook {hook!r} has a request with the block {part[:40]!r}, which is no hash below 2^63 "
                "nor a run of them; write `17+3,40` for 17, 18, 19 and 40"
            )
        runs.append(np.arange(length, dtype=np.uint64) + np.uint64(first))
    return np.concatenate(runs) if runs else np.zeros(0, np.uint64)
