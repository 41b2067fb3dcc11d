"""Write, late outcome, merge, prune, read, and a death at any operation: always what a plain model says."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from pyarrow import fs

from gnomon.recorder import files as files_module
from gnomon.recorder.compaction import When, compact
from gnomon.recorder.retention import Keep, prune
from gnomon.recorder.rows import Joined, Source, tables
from gnomon.recorder.schema import TABLES
from gnomon.recorder.store import TraceStore
from gnomon.sdk.records import Decision, Outcome, Workload

from .fakes import decision, outcome
from .faulty import OBJECT, Faulty, Killed, Spot, at

_HOUR = 3_600 * 10**9
_START = 1_700_000_000_000_000_000 // _HOUR * _HOUR
_HOOKS = ("a", "b/c")
_SOURCES = {hook: Source("00c0ffee00c0ffee", "s", hook, "k", 1) for hook in _HOOKS}
_SPOTS = st.tuples(
    st.sampled_from(["create", "close", "move", "delete_file", "list"]), st.integers(1, 6)
) | st.tuples(st.just(""), st.integers(1, 60))


class Model:
    """What was stored, without files: per hook decisions, the earliest outcome of each, and events."""

    def __init__(self) -> None:
        self.decisions: dict[str, dict[int, Decision]] = {hook: {} for hook in _HOOKS}
        self.outcomes: dict[str, dict[int, Outcome]] = {hook: {} for hook in _HOOKS}
        self.events: dict[str, dict[int, Workload]] = {hook: {} for hook in _HOOKS}

    def add(self, hook: str, joined: Joined) -> None:
        late = [*joined.outcomes, *(o for _, o in joined.decisions if o is not None)]
        for made, _ in joined.decisions:
            self.decisions[hook][made.seq] = made
        for each in late:
            known = self.outcomes[hook].setdefault(each.seq, each)
            if each.time_ns < known.time_ns:
                self.outcomes[hook][each.seq] = each
        for event in joined.workload:
            assert isinstance(event, Workload)
            self.events[hook][event.seq] = event

    def prune(self, before_ns: int) -> None:
        for hook in _HOOKS:
            for kept in (self.decisions[hook], self.events[hook]):
                for seq in [seq for seq, each in kept.items() if each.time_ns < before_ns]:  # type: ignore[attr-defined]
                    del kept[seq]  # type: ignore[attr-defined]
            late = self.outcomes[hook]
            for seq in [seq for seq, each in late.items() if each.decision_ns < before_ns]:
                del late[seq]

    def rows(self, hook: str) -> list[tuple[Any, ...]]:
        found = []
        for seq, made in self.decisions[hook].items():
            its = self.outcomes[hook].get(seq)
            found.append((made.time_ns, seq, made.unit, its and its.time_ns, its and its.ok))
        return sorted(found)


class Store(RuleBasedStateMachine):
    """One store; every rule leaves it in a state in which each reader gets exactly what the model says."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.written: list[tuple[str, str, Joined]] = []
        self.next = 0
        self.faulty = Faulty(*self.place())
        self.store = TraceStore("/store", self.faulty.filesystem())
        self._store("0", _HOOKS[0], Joined([(self._decision(2), None)]))

    def place(self) -> tuple[fs.FileSystem, str]:
        raise NotImplementedError

    # --- what recorders do

    @rule(
        hook=st.sampled_from(_HOOKS),
        n=st.integers(0, 4),
        late=st.integers(0, 3),
        hours=st.lists(st.integers(0, 2), min_size=4, max_size=4),
        data=st.data(),
    )
    def write(self, hook: str, n: int, late: int, hours: list[int], data: st.DataObject) -> None:
        """Store new decisions, some with an outcome, and outcomes of any decisions, twice too."""
        made = [self._decision(hours[i]) for i in range(n)]
        known = [*self.model.decisions[hook].values(), *made]
        delays = st.integers(1, 50)
        outcomes = [
            outcome(
                data.draw(st.sampled_from(known)), data.draw(delays), ok=data.draw(st.booleans())
            )
            for _ in range(late if known else 0)
        ]
        # the earliest is to be one of a kind: what else could be told of the others
        outcomes = [each for each in outcomes if not self._tied(hook, each, outcomes)]
        own = {seq: data.draw(st.booleans()) for seq in (each.seq for each in made)}
        pairs = [(each, outcome(each, 60, ok=True) if own[each.seq] else None) for each in made]
        events = [Workload(self.next + i, _START + i % 3 * _HOUR, "e", ()) for i in range(n)]
        self.next += n
        self._store(f"{len(self.written):020d}", hook, Joined(pairs, outcomes, events))

    def _tied(self, hook: str, each: Outcome, fresh: list[Outcome]) -> bool:
        rivals = [other for other in fresh if other.seq == each.seq and other is not each]
        known = self.model.outcomes[hook].get(each.seq)
        return any(r.time_ns == each.time_ns for r in [*rivals, *([known] if known else [])])

    def _decision(self, hour: int) -> Decision:
        self.next += 1
        at = _START + hour * _HOUR + self.next // 3  # three of one moment
        return decision(self.next, at, unit=str(self.next))

    def _store(self, name: str, hook: str, joined: Joined) -> None:
        self.written.append((name, hook, joined))
        self.model.add(hook, joined)
        self._put(name, hook, joined)

    def _put(self, name: str, hook: str, joined: Joined) -> None:
        self.store.write(tables(_SOURCES[hook], joined), name)

    @rule(data=st.data(), spot=_SPOTS)
    def a_recorder_dies_and_writes_again(self, data: st.DataObject, spot: Spot) -> None:
        """It does not know that it was done with a segment; the model knows the segment already."""
        name, hook, joined = data.draw(st.sampled_from(self.written))
        if self._pruned(joined):
            return
        self._killed(spot, lambda: self._put(name, hook, joined))
        self._put(name, hook, joined)

    @rule(data=st.data())
    def another_recorder_was_sent_the_same(self, data: st.DataObject) -> None:
        name, hook, joined = data.draw(st.sampled_from(self.written))
        if not self._pruned(joined):
            self._store(f"{name}-{len(self.written)}", hook, joined)

    def _pruned(self, joined: Joined) -> bool:
        known = [self.model.decisions[hook] for hook in _HOOKS]
        seqs = [*(each.seq for each, _ in joined.decisions), *(o.seq for o in joined.outcomes)]
        return not all(any(seq in some for some in known) for seq in seqs) or not all(
            any(e.seq in self.model.events[hook] for hook in _HOOKS)
            for e in joined.workload
            if isinstance(e, Workload)
        )

    # --- upkeep

    def _compact(self) -> None:
        compact(TraceStore("/store", self.faulty.filesystem()), When(time.time_ns() + _HOUR, 0.0))

    @rule()
    def merge(self) -> None:
        self._compact()
        self._plain_readers_see_each_row_once()

    @rule(spot=_SPOTS)
    def merge_and_die(self, spot: Spot) -> None:
        self._killed(spot, self._compact)

    @rule(spot=_SPOTS, data=st.data())
    def merge_while_others_work(self, spot: Spot, data: st.DataObject) -> None:
        """At one of its operations another merger runs, or a reader, or a recorder."""
        what = data.draw(st.sampled_from(["merge", "read", "again", "late", "late and merge"]))
        again = data.draw(st.sampled_from(self.written))
        others: dict[str, Callable[[], None]] = {
            "merge": self._compact,
            "read": self.reads_are_right,
            "again": lambda: None if self._pruned(again[2]) else self._put(*again),
            "late": self._late_ones,
            "late and merge": lambda: (self._late_ones(), self._compact())[1],
        }
        self._meanwhile(spot, others[what], self._compact)

    def _late_ones(self) -> None:
        for hook in _HOOKS:
            made = [each for each in self.model.decisions[hook].values()]
            late = [
                outcome(each, 1000) for each in made if each.seq not in self.model.outcomes[hook]
            ]
            if late:
                self._store(f"{len(self.written):020d}", hook, Joined(outcomes=late[:2]))

    @rule(spot=_SPOTS)
    def read_while_others_merge(self, spot: Spot) -> None:
        self._meanwhile(spot, self._compact, self.reads_are_right)

    @rule(hours=st.integers(0, 2), spot=_SPOTS)
    def prune(self, hours: int, spot: Spot) -> None:
        """Remove the first hours; die within it first. What stays is never touched."""
        until = _START + hours * _HOUR
        keep = Keep(until, older_than_s=0.0)
        self._killed(spot, lambda: prune(self.store, keep))
        kept = [row for hook in _HOOKS for row in self.model.rows(hook) if row[0] >= until]
        assert set(kept) <= {row for hook in _HOOKS for row in self._rows(hook)}
        prune(self.store, keep)
        self.model.prune(until)
        self.reads_are_right()

    # --- at every moment

    def reads_are_right(self) -> None:
        for hook in _HOOKS:
            assert self._rows(hook) == self.model.rows(hook)
        if self.store.files.is_folder("workload"):
            events = self.store.workload()["workload_id"].to_pylist()
            assert sorted(int.from_bytes(i[8:], "big") for i in events) == sorted(
                seq for hook in _HOOKS for seq in self.model.events[hook]
            )

    def _rows(self, hook: str) -> list[tuple[Any, ...]]:
        store = TraceStore("/store", self.faulty.filesystem())
        if not store.files.is_folder() or hook not in store.hooks():
            return []
        rows = store.decisions(hook).to_pylist()
        return [
            (
                row["time"],
                int.from_bytes(row["decision_id"][8:], "big"),
                row["unit"],
                row["outcome_time"],
                row["ok"],
            )
            for row in rows
        ]

    def _plain_readers_see_each_row_once(self) -> None:
        """After a merge that lived, a reader that knows nothing of lineages counts right."""
        for table in ("decisions", "workload"):
            parts = [TABLES[table].schema.empty_table()]
            for path, _ in self.store.files.parquet(table):
                with self.store.files.open(path) as file:
                    parts.append(pq.read_table(file))
            ids = pa.concat_tables(parts)[TABLES[table].key].to_pylist()
            assert len(ids) == len(set(ids)) or table == "workload"

    def _killed(self, spot: Spot, work: Callable[[], Any]) -> None:
        def die() -> None:
            raise Killed

        self.faulty.watch(at(spot, die))
        try:
            work()
        except Killed:
            pass
        finally:
            self.faulty.watch(None)
        self.reads_are_right_unless_pruning(work)

    def reads_are_right_unless_pruning(self, work: Callable[[], Any]) -> None:
        if "prune" not in work.__qualname__:
            self.reads_are_right()

    def _meanwhile(self, spot: Spot, other: Callable[[], None], work: Callable[[], None]) -> None:
        def interrupt() -> None:
            self.faulty.at = None
            other()

        self.faulty.watch(at(spot, interrupt))
        work()
        self.faulty.watch(None)
        self.reads_are_right()

    def teardown(self) -> None:
        self.reads_are_right()
        self._compact()
        self.reads_are_right()
        self._plain_readers_see_each_row_once()


class OnRenames(Store):
    """A filesystem with folders, on which files are renamed into place."""

    def place(self) -> tuple[fs.FileSystem, str]:
        return fs._MockFileSystem(), "renames"


class OnUploads(Store):
    """An object store: a file appears when its upload ends, and is never renamed."""

    def __init__(self) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(files_module, "_OBJECT_STORES", (OBJECT,))
        super().__init__()

    def place(self) -> tuple[fs.FileSystem, str]:
        return fs._MockFileSystem(), "object"

    def teardown(self) -> None:
        super().teardown()
        self.patch.undo()


class OnRenamesAtLength(OnRenames):
    """The full counts."""


class OnUploadsAtLength(OnUploads):
    """The full counts."""


for _machine in (OnRenames, OnUploads):
    _machine.TestCase.settings = settings(max_examples=25, stateful_step_count=12)
for _machine in (OnRenamesAtLength, OnUploadsAtLength):
    _machine.TestCase.settings = settings(max_examples=1000, stateful_step_count=20)
TestOnRenames = OnRenames.TestCase
TestOnUploads = OnUploads.TestCase
TestOnRenamesAtLength = pytest.mark.soak(OnRenamesAtLength.TestCase)
TestOnUploadsAtLength = pytest.mark.soak(OnUploadsAtLength.TestCase)
