"""Disks that fill up, and processes that die between any two writes."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Literal

from gnomon.policies.rollout.blocks import Report
from gnomon.policies.rollout.ledger import Entry, Ledger, LedgerFullError
from gnomon.policies.rollout.store import ClientRow, Happened, Row, Store
from gnomon.sdk.errors import RolloutError
from gnomon.sdk.state import Saved
from gnomon.sdk.witness import Witness

#: What becomes of a write: nothing, the process dies before or after it, or the disk is full.
Fault = Literal["", "dies before", "dies after", "full"]


_FREQUENT = ("store.put_clients", "store.put_reports", "store.put_sums")


class Died(BaseException):
    """The process is gone; nothing in it may catch this."""


class Fuse:
    """Says of every write of one process what becomes of it.

    Args:
        rng: decides.
        rate: share of writes at which the process dies; four times that of those that matter most.
        met: counts what became of writes, by place.
    """

    def __init__(self, rng: random.Random, rate: float, met: Counter[str]) -> None:
        self.rate = rate
        self.full: tuple[str, ...] = ()  # places that have no room, by how their names begin
        self._rng = rng
        self._met = met

    def next(self, place: str) -> Fault:
        """Return what becomes of the next write."""
        if place.startswith(self.full) and self.full:
            self._met["disk full"] += 1
            return "full"
        if self._rng.random() >= self.rate * (1.0 if place in _FREQUENT else 4.0):
            return ""
        fault: Fault = self._rng.choice(("dies before", "dies after"))
        self._met[f"{fault} {place}"] += 1
        return fault


def _guarded(place: str, full: Callable[[], Exception]) -> Callable[[Any], Any]:
    """Return a decorator that puts a write under its object's fuse."""

    def decorate(write: Any) -> Any:
        def guarded(self: Any, *args: Any, **kwargs: Any) -> Any:
            fault = self.fuse.next(place)
            if fault == "full":
                raise full()
            if fault == "dies before":
                raise Died(place)
            result = write(self, *args, **kwargs)
            if fault == "dies after":
                raise Died(place)
            return result

        return guarded

    return decorate


def _store_full() -> Exception:
    return RolloutError("the store cannot be written: database or disk is full")


def _ledger_full() -> Exception:
    return LedgerFullError("the ledger takes no entry: database or disk is full")


class SimStore(Store):
    """The store in memory: it outlives the control planes that write to it."""

    def __init__(self, fuse: Fuse) -> None:
        self.fuse = fuse
        super().__init__(":memory:")

    save = _guarded("store.save", _store_full)(Store.save)
    note = _guarded("store.note", _store_full)(Store.note)
    put_bundle = _guarded("store.put_bundle", _store_full)(Store.put_bundle)

    def copied(self) -> SimStore:
        """Return a store with the same content."""
        other = SimStore(self.fuse)
        engines = self._database._engine, other._database._engine
        with engines[0].connect() as own, engines[1].connect() as new:
            raw: Any = own.connection.driver_connection
            raw.backup(new.connection.driver_connection)
        return other

    put_clients = _guarded("store.put_clients", _store_full)(Store.put_clients)
    put_reports = _guarded("store.put_reports", _store_full)(Store.put_reports)
    put_sums = _guarded("store.put_sums", _store_full)(Store.put_sums)
    drop_clients = _guarded("store.drop_clients", _store_full)(Store.drop_clients)


class _Tables:
    """What :class:`Store` does, in dictionaries: most worlds are played on it, because it is faster.

    That it makes no difference is tested: a seed's history is the same on either.
    """

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}
        self._epochs: dict[str, int] = {}
        self._events: list[Happened] = []
        self._requests: dict[str, str] = {}
        self._bundles: dict[str, bytes] = {}
        self._clients: dict[tuple[str, str], ClientRow] = {}
        self._reports: dict[tuple[str, int], dict[tuple[Any, ...], Report]] = {}
        self._sums: dict[tuple[str, int], dict[str, bytes]] = {}

    def copied(self) -> Any:
        """Return tables with the same content; rows and reports are never changed, only replaced."""
        other = type(self).__new__(type(self))
        other.__dict__.update(self.__dict__)
        for name in ("_rows", "_epochs", "_requests", "_bundles", "_clients"):
            setattr(other, name, dict(getattr(self, name)))
        for name in ("_reports", "_sums"):
            setattr(other, name, {key: dict(kept) for key, kept in getattr(self, name).items()})
        other._events = list(self._events)
        return other

    def save(self, row: Row, happened: Iterable[Happened], request_id: str = "") -> list[Happened]:
        self._rows[row.id] = row
        self._epochs[row.hook] = row.epoch
        if request_id:
            assert request_id not in self._requests, "a request's id is unique"
            self._requests[request_id] = row.id
        return [_Tables.note(self, event) for event in happened]

    def note(self, event: Happened) -> Happened:
        body = json.loads(json.dumps(event.body))
        self._events.append(replace(event, number=len(self._events) + 1, body=body))
        return self._events[-1]

    def rollouts(self) -> list[Row]:
        # As text only when somebody reads it: a row is made anew for every write, and nobody changes one.
        found = [
            (row, *json.loads(json.dumps([row.marks, row.state]))) for row in self._rows.values()
        ]
        return [replace(row, marks=marks, state=state) for row, marks, state in found]

    def epochs(self) -> dict[str, int]:
        return dict(self._epochs)

    def last_event(self) -> int:
        return len(self._events)

    def events(self, after: int) -> list[Happened]:
        return self._events[after:]

    def request(self, request_id: str) -> str:
        return self._requests.get(request_id, "")

    def put_bundle(self, digest: str, envelope: bytes) -> None:
        self._bundles[digest] = envelope

    def bundles(self) -> dict[str, bytes]:
        return dict(self._bundles)

    def put_clients(self, clients: Iterable[ClientRow]) -> None:
        self._clients.update({(client.hook, client.instance): client for client in clients})

    def drop_clients(self, hook: str, instances: Iterable[str]) -> None:
        for instance in instances:
            self._clients.pop((hook, instance), None)

    def clients(self) -> list[ClientRow]:
        return list(self._clients.values())

    def put_reports(self, rollout: str, attempt: int, reports: Iterable[Report]) -> None:
        kept = self._reports.setdefault((rollout, attempt), {})
        kept.update({(r.instance, r.cell, r.block, r.arm): r for r in reports})

    def reports(self, rollout: str, attempt: int) -> list[Report]:
        kept = self._reports.get((rollout, attempt), {})
        return [kept[key] for key in sorted(kept)]  # as the primary key has it

    def put_sums(self, rollout: str, attempt: int, sums: Iterable[tuple[str, bytes]]) -> None:
        self._sums.setdefault((rollout, attempt), {}).update(sums)

    def sums(self, rollout: str, attempt: int) -> list[tuple[str, bytes]]:
        return sorted(self._sums.get((rollout, attempt), {}).items())


class SimTables(_Tables):
    """The tables under a fuse."""

    def __init__(self, fuse: Fuse) -> None:
        self.fuse = fuse
        super().__init__()

    save = _guarded("store.save", _store_full)(_Tables.save)
    put_bundle = _guarded("store.put_bundle", _store_full)(_Tables.put_bundle)
    put_clients = _guarded("store.put_clients", _store_full)(_Tables.put_clients)
    put_reports = _guarded("store.put_reports", _store_full)(_Tables.put_reports)
    put_sums = _guarded("store.put_sums", _store_full)(_Tables.put_sums)
    drop_clients = _guarded("store.drop_clients", _store_full)(_Tables.drop_clients)
    #: Of events that change no rollout; within ``save`` they belong to its transaction.
    note = _guarded("store.note", _store_full)(_Tables.note)


class SimLedger(Ledger):
    """The ledger in memory, likewise."""

    def __init__(self, fuse: Fuse, clock: Callable[[], int]) -> None:
        self.fuse = fuse
        super().__init__(":memory:", clock)

    def copied(self) -> SimLedger:
        """Return a ledger with the same content."""
        other = SimLedger(self.fuse, self._clock)
        self._connection.backup(other._connection)
        return other

    def append(self, kind: str, actor: str, subject: str, body: Any) -> Entry:
        """Append under the fuse."""
        entry: Entry = _guarded("ledger.append", _ledger_full)(Ledger.append)(
            self, kind, actor, subject, body
        )
        return entry


class Folder:
    """A process's state folder, as ``StateStore`` keeps it: whole writes, the highest epoch wins."""

    def __init__(self, fuse: Fuse) -> None:
        self.fuse = fuse
        #: Heads of the ledger that the process was told.
        self.witness = Witness(None)
        self._saved: dict[str, Saved] = {}
        self._bundles: dict[str, bytes] = {}

    def load(self, hook: str) -> Saved:
        """Return what was saved."""
        return self._saved.get(hook, Saved())

    def save(self, hook: str, saved: Saved) -> None:
        """Save; a full disk keeps the old state, as it does in a process."""
        fault = self.fuse.next("state.save")
        if fault == "dies before":
            raise Died("state.save")
        if fault != "full" and self.load(hook).epoch <= saved.epoch:
            self._saved[hook] = saved
        if fault == "dies after":
            raise Died("state.save")

    def forget(self, hook: str) -> None:
        """Forget what was saved, as after a revocation."""
        self._saved.pop(hook, None)

    def bundles(self) -> dict[str, bytes]:
        """Return what was kept."""
        return dict(self._bundles)

    def keep(self, digest: str, envelope: bytes) -> None:
        """Keep a bundle."""
        fault = self.fuse.next("state.keep")
        if fault == "dies before":
            raise Died("state.keep")
        if fault != "full":
            self._bundles[digest] = envelope
        if fault == "dies after":
            raise Died("state.keep")
