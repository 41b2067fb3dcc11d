"""What was decided on what was seen: as recorded, or as a policy decides when the trace is replayed."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...policies.registry import kind as kind_named
from ...sdk.errors import ConfigurationError, TraceError
from ...sdk.invariant import Invariant, refused_by
from ...sdk.kind import Kind
from ...sdk.language import chooser
from ...sdk.programs.questions import outputs_of, question_of
from ..opening import asked, held_to, policy_named
from ..policy import RECORDED, Policy, PublishedProgram, ScorePolicy, hook_at
from ..program_policy import ProgramPolicy
from ..simulators import simulator_for
from ..simulators.base import Simulator, drive_to_end
from ..traces import decision_columns
from ..traces.files import is_saved
from ..traces.trace import DecisionTrace, Trace, _kind_of, _only_hook

if TYPE_CHECKING:
    import pyarrow as pa

    from ...recorder.store import TraceStore

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
#: Decisions of a replay that are looked at, and the numbers that they may hold together.
MOST_REPLAYED, _MOST_NUMBERS = 20_000, 8_000_000


@dataclass(frozen=True, eq=False)
class Picks:
    """Decisions of a kind of score form: n of them, over k items in all.

    Attributes:
        kind: what was decided.
        items: features of all items, one decision after the other, f8[k, F].
        edge: where each decision's items begin, and the end, i8[n + 1].
        picked: index of the picked one among all items, i8[n].
        places: which decision each is, in words; empty for its number.
        policies: who decided each; empty where it was always the same.
        ruled: which were made by the policy that made most, and not drawn at random, bool[n]; None where
            all were.
    """

    kind: Kind
    items: Floats
    edge: Ints
    picked: Ints
    places: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    ruled: Bools | None = None

    def __len__(self) -> int:
        """Return how many decisions there are."""
        return len(self.picked)

    @cached_property
    def telling(self) -> Bools:
        """Which decisions say what a policy does: with items, finite features and :attr:`ruled`, bool[n]."""
        bad = np.concatenate(([0], np.cumsum(~np.isfinite(self.items).all(axis=1))))
        low, high = self.edge[:-1], self.edge[1:]
        fine: Bools = (high > low) & (bad[high] == bad[low])
        return fine if self.ruled is None else fine & self.ruled

    def some(self, rows: Sequence[int] | Ints) -> Picks:
        """Return some of the decisions."""
        chosen = np.asarray(rows, np.int64)
        counts = np.diff(self.edge)[chosen]
        edge = np.concatenate(([0], np.cumsum(counts)))
        within = np.arange(edge[-1]) - np.repeat(edge[:-1], counts)
        at = np.repeat(self.edge[chosen], counts) + within
        picked = edge[:-1] + self.picked[chosen] - self.edge[chosen]
        return Picks(self.kind, self.items[at], edge, picked)

    def asked(self, index: int) -> tuple[list[Any], Any]:
        """Return the items of one decision, and the picked one, as invariants are asked."""
        low, high = int(self.edge[index]), int(self.edge[index + 1])
        rows = [*map(self.kind.item_type._make, self.items[low:high].tolist())]
        return rows, rows[int(self.picked[index]) - low]

    def shown(self, index: int) -> dict[str, Any]:
        """Return one decision as JSON values."""
        low, high = int(self.edge[index]), int(self.edge[index + 1])
        return {
            "inputs": list(self.kind.input_names),
            "items": self.items[low:high].tolist(),
            "action": int(self.picked[index]) - low,
        }


@dataclass(frozen=True, eq=False)
class Answers:
    """Decisions of a kind of program form.

    Attributes:
        kind: what was decided.
        pairs: questions and answers, as invariants are asked.
    """

    kind: Kind
    pairs: tuple[tuple[Any, Any], ...]
    places: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return how many decisions there are."""
        return len(self.pairs)

    def some(self, rows: Sequence[int] | Ints) -> Answers:
        """Return some of the decisions."""
        return Answers(self.kind, tuple(self.pairs[int(row)] for row in rows))

    def asked(self, index: int) -> tuple[Any, Any]:
        """Return one question and its answer."""
        return self.pairs[index]

    def shown(self, index: int) -> dict[str, Any]:
        """Return one decision as JSON values."""
        question, answer = self.pairs[index]
        return {"question": question._asdict(), "answer": answer._asdict()}


@dataclass(frozen=True, eq=False)
class Decided:
    """Decisions of one hook, in order of time, and what they are held to.

    Attributes:
        hook: its name.
        kind: what is decided.
        trace: digest of what they are from.
        whose: ``recorded``, or the policy that was replayed.
        invariants: of the hook, or of the kind; and those of a file that somebody confirmed.
        decisions: they themselves.
        refused: answers of shipped policies that were not used when this was recorded, by the invariant
            that they broke.
    """

    hook: str
    kind: Kind
    trace: str
    whose: str
    invariants: tuple[Invariant, ...]
    decisions: Picks | Answers
    refused: dict[str, int] = field(default_factory=dict)

    @cached_property
    def own(self) -> tuple[Invariant, ...]:
        """Those that are not the kind's."""
        return tuple(each for each in self.invariants if each not in self.kind.invariants)


def decided(
    traces: str | Path,
    hook: str | None = None,
    incumbent: str | None = None,
    invariants: str | Path | None = None,
) -> Decided:
    """Return what was decided: as recorded where decisions were, else as the incumbent decides in a replay.

    Args:
        traces, hook, incumbent, invariants: as for :func:`~gnomon.shadow.opening.opened`; ``recorded``
            insists on what was recorded.

    Raises:
        TraceError: nothing there.
        ConfigurationError: a name is none, or the policy's decisions cannot be seen.
        TrustError: an invariant was changed after it was confirmed.
    """
    text = str(traces)
    if not is_saved(text) and incumbent in (None, RECORDED):
        found = _stored(text, hook, invariants)
        if found is not None:
            return found
    named = asked(traces, hook, incumbent, invariants)
    trace = named.trace
    picks: Picks | Answers
    if isinstance(trace, DecisionTrace) and incumbent in (None, RECORDED):
        picks, whose = _of_trace(trace, named.kind), RECORDED
    else:
        picks, whose = replayed(trace, named.kind, named.incumbent), named.incumbent
    return Decided(trace.hook, named.kind, trace.digest, whose, named.invariants, picks)


def _stored(traces: str, hook: str | None, file: str | Path | None) -> Decided | None:
    """Return the decisions of a store; None where its kind has none that show items."""
    from ...recorder.store import TraceStore

    marked = hook_at(hook) if hook and ":" in hook else None
    stored = TraceStore(traces)
    name = (
        marked.name if marked else hook if hook is not None else _only_hook(stored.hooks(), traces)
    )
    kind = marked.kind if marked else kind_named(_kind_of(stored, name))
    if kind.form != "score":
        return None
    table = stored.decisions(name)
    if not table.num_rows:
        return None
    own = marked.invariants if marked else kind.invariants
    return Decided(
        name,
        kind,
        _state(stored, name),
        RECORDED,
        held_to(own, kind, name, file),
        _of_table(decision_columns.ordered(table, name), kind, name),
        _refused(table),
    )


def _state(stored: TraceStore, hook: str) -> str:
    return stored.state("decisions", hook)


def _refused(table: pa.Table) -> dict[str, int]:
    counts = Counter(table["detail"].to_pylist())
    return {name: n for detail, n in counts.items() for name in refused_by(detail or "")}


def _of_table(rows: pa.Table, kind: Kind, hook: str) -> Picks:
    import pyarrow.compute as pc

    counts = rows["n_items"].to_numpy().astype(np.int64)
    edge = np.concatenate(([0], np.cumsum(counts)))
    lengths = pc.list_value_length(rows["features"]).to_numpy()
    action = rows["action"].to_numpy().astype(np.int64)
    width = len(kind.inputs)
    if (lengths != counts * width).any() or ((action < 0) | (action >= counts)).any():
        raise TraceError(
            f"hook {hook!r} recorded decisions that are none of kind {kind.name!r} v{kind.version}; "
            "capture again"
        )
    flat = pc.list_flatten(rows["features"]).to_numpy().astype(np.float64)
    ids = (value.hex() for value in rows["decision_id"].to_pylist())
    policies = tuple(map(str, rows["policy"].to_pylist()))
    usual = Counter(policies).most_common(1)[0][0]
    reasons = rows["reason"].to_pylist()
    ruled = np.array(
        [p == usual and r != "explore" for p, r in zip(policies, reasons, strict=True)]
    )
    items, picked = flat.reshape(-1, width), edge[:-1] + action
    return Picks(kind, items, edge, picked, tuple(ids), policies, ruled)


def _of_trace(trace: DecisionTrace, kind: Kind) -> Picks:
    n, m, width = trace.features.shape
    edge = np.arange(n + 1, dtype=np.int64) * m
    items, picked = trace.features.reshape(-1, width), edge[:-1] + trace.action
    return Picks(kind, items, edge, picked, ruled=trace.propensity > 0.5)  # else it may be drawn


def replayed(trace: Trace, kind: Kind, incumbent: str) -> Picks | Answers:
    """Return what a trusted policy decides when a trace is replayed, the first 20,000 decisions.

    Raises:
        ConfigurationError: it names no policy, or one whose decisions are not picks among items.
    """
    simulator = simulator_for(kind)
    calibration = simulator.calibrate(trace)
    part = trace.rows(slice(0, MOST_REPLAYED))
    policy = policy_named(incumbent, kind)
    if kind.form == "program":
        return _answers(policy, simulator, part, calibration)
    return _picks(policy, simulator, part, calibration)


class _Seen:
    """Keeps what goes by in a stream, as far as there is room."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.answers: list[Any] = []
        self._room = _MOST_NUMBERS

    def watch(self, make: Callable[..., Any]) -> Callable[..., Any]:
        """Return a maker of streams that are watched."""

        def stream(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            inner = make(*args, **kwargs)
            try:
                asked = next(inner)
                while True:
                    kept = self._copied(asked)
                    answer = yield asked
                    if kept is not None:
                        self.rows.append(kept)
                        self.answers.append(answer)
                    asked = inner.send(answer)
            except StopIteration as stop:
                return stop.value

        return stream

    def _copied(self, asked: Any) -> Any:
        parts = asked if isinstance(asked, tuple) else (asked,)
        self._room -= sum(int(np.size(part)) for part in parts)
        if self._room < 0 or len(self.rows) >= MOST_REPLAYED:
            return None
        return copy.deepcopy(asked)


def _watched(simulator: Simulator) -> tuple[Simulator, _Seen]:
    """Return a simulator that works as the given one does, and what goes by in its streams."""
    seen, watched = _Seen(), copy.copy(simulator)
    watched.stream = seen.watch(simulator.stream)  # type: ignore[method-assign]
    return watched, seen


def _picks(policy: Policy, simulator: Simulator, trace: Trace, calibration: Any) -> Picks:
    kind = simulator.kind
    watched, seen = _watched(simulator)
    if isinstance(policy, ScorePolicy):
        choose = chooser(kind.checked(policy.source), kind)  # type: ignore[arg-type]
        drive_to_end(watched.stream(trace, calibration, 0), lambda rows: choose(rows.tolist()))
    else:
        policy.replay(watched, trace, calibration, 0)
    kept = [(rows, pick) for rows, pick in zip(seen.rows, seen.answers, strict=True) if pick >= 0]
    if not kept:
        raise ConfigurationError(
            f"what {policy.name!r} decides on a trace of kind {kind.name!r} cannot be seen; name a policy "
            "in score form with --incumbent, such as a published one"
        )
    edge = np.concatenate(([0], np.cumsum([len(rows) for rows, _ in kept])))
    picked = edge[:-1] + np.array([pick for _, pick in kept], np.int64)
    return Picks(kind, np.concatenate([rows for rows, _ in kept]), edge, picked)


def _answers(policy: Policy, simulator: Simulator, trace: Trace, calibration: Any) -> Answers:
    kind = simulator.kind
    watched, seen = _watched(simulator)
    if isinstance(policy, PublishedProgram):  # its compiled twin shows nothing
        policy = ProgramPolicy(policy.name, policy.source, kind)
    policy.replay(watched, trace, calibration, 0)
    pairs = tuple(
        (question_of(kind, arguments).asked, kind.answer_type(**outputs_of(kind, dict(outputs))))
        for arguments, outputs in zip(seen.rows, seen.answers, strict=True)
        if outputs is not None
    )
    if not pairs:
        raise ConfigurationError(
            f"what {policy.name!r} answers on a trace of kind {kind.name!r} cannot be seen; name a "
            "program with --incumbent"
        )
    return Answers(kind, pairs)
