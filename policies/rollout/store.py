"""What the control plane must not forget: rollouts, epochs, bundles, events and block reports.

SQLAlchemy Core on SQLite in WAL mode with full synchronisation: what a method has returned from
survives the death of the process.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from . import tables
from .blocks import Report
from .database import Database
from .outcomes import Arm

#: Under which a stored state holds the checksum of its row.
_SEAL = "seal"


@dataclass(frozen=True, slots=True)
class Row:
    """A rollout as stored.

    Attributes:
        id, hook: of the plan.
        plan: the signed envelope, serialised.
        epoch: of the last manifest for it.
        first_epoch: of this attempt's first manifest.
        marks: every process's counters when the phase began, by instance.
        state: as in ``codec.py``.
    """

    id: str
    hook: str
    plan: bytes
    epoch: int
    first_epoch: int
    marks: dict[str, dict[str, int]]
    state: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Happened:
    """What the ledger must say about a change.

    Attributes:
        kind, actor, subject, body: as in the ledger.
        number: order of events, from 1; 0 until stored.
    """

    kind: str
    actor: str
    subject: str
    body: dict[str, Any]
    number: int = 0


@dataclass(frozen=True, slots=True)
class ClientRow:
    """The last that is known of a process's hook.

    Attributes:
        hook, instance, service, cell: who it is.
        epoch: acknowledged.
        error: of the last NACK.
    """

    hook: str
    instance: str
    service: str
    cell: str
    epoch: int = 0
    error: str = ""


class Store:
    """The control plane's database.

    Args:
        path: the file; made, with its folder, when it does not exist.

    Raises:
        TrustError: the file is not such a database, or one of a newer version.
    """

    def __init__(self, path: str | Path) -> None:
        self._database = Database(path)

    def save(self, row: Row, happened: Iterable[Happened], request_id: str = "") -> list[Happened]:
        """Store a rollout with what happened to it, in one transaction; return the numbered events."""
        values = {
            "id": row.id,
            "hook": row.hook,
            "plan": row.plan,
            "epoch": row.epoch,
            "first_epoch": row.first_epoch,
            "marks": json.dumps(row.marks),
            "state": json.dumps({**row.state, _SEAL: _seal(row)}),
        }
        with self._database.writing() as connection:
            names = ("plan", "epoch", "first_epoch", "marks", "state")
            changed = {name: values[name] for name in names}
            connection.execute(
                insert(tables.rollouts).values(values).on_conflict_do_update(["id"], set_=changed)
            )
            epoch = {"hook": row.hook, "epoch": row.epoch}
            connection.execute(
                insert(tables.hooks).values(epoch).on_conflict_do_update(["hook"], set_=epoch)
            )
            if request_id:
                connection.execute(insert(tables.requests).values(id=request_id, rollout=row.id))
            return [self._event(connection, event) for event in happened]

    def _event(self, connection: sa.Connection, event: Happened) -> Happened:
        values = {"kind": event.kind, "actor": event.actor, "subject": event.subject}
        made = connection.execute(
            insert(tables.events).values(**values, body=json.dumps(event.body))
        )
        key = made.inserted_primary_key
        assert key is not None
        return replace(event, number=int(key[0]))

    def note(self, event: Happened) -> Happened:
        """Store an event that changed no rollout."""
        with self._database.writing() as connection:
            return self._event(connection, event)

    def rollouts(self) -> list[Row]:
        """Return all rollouts, oldest first."""
        query = sa.select(tables.rollouts).order_by(tables.rollouts.c.number)
        with self._database.reading() as connection:
            return [self._row(found) for found in connection.execute(query)]

    def _row(self, found: Any) -> Row:
        marks, state = json.loads(found.marks), json.loads(found.state)
        seal = state.pop(_SEAL, "")  # rows of earlier versions have none
        row = Row(found.id, found.hook, found.plan, found.epoch, found.first_epoch, marks, state)
        if seal not in ("", _seal(row)):
            raise ValueError(f"rollout {row.id} is not as it was written")
        return row

    def epochs(self) -> dict[str, int]:
        """Return the highest epoch of every hook."""
        newest = sa.select(tables.rollouts.c.hook, sa.func.max(tables.rollouts.c.epoch)).group_by(
            "hook"
        )
        with self._database.reading() as connection:
            found = {
                row.hook: int(row.epoch) for row in connection.execute(sa.select(tables.hooks))
            }
            if found != {hook: epoch for hook, epoch in connection.execute(newest)}:
                raise ValueError("the hooks' epochs are not as they were written")
            return found

    def last_event(self) -> int:
        """Return the number of the last event; 0 where there is none."""
        with self._database.reading() as connection:
            return int(
                connection.execute(sa.select(sa.func.max(tables.events.c.number))).scalar() or 0
            )

    def events(self, after: int) -> list[Happened]:
        """Return the events after a number, in order."""
        query = (
            sa.select(tables.events)
            .where(tables.events.c.number > after)
            .order_by(tables.events.c.number)
        )
        with self._database.reading() as connection:
            return [
                Happened(row.kind, row.actor, row.subject, json.loads(row.body), row.number)
                for row in connection.execute(query)
            ]

    def request(self, request_id: str) -> str:
        """Return the rollout that a request was carried out on; empty for a new one."""
        query = sa.select(tables.requests.c.rollout).where(tables.requests.c.id == request_id)
        with self._database.reading() as connection:
            return connection.execute(query).scalar_one_or_none() or ""

    def put_bundle(self, digest: str, envelope: bytes) -> None:
        """Keep a bundle's signed envelope; of a known digest it replaces the other."""
        self._upsert(tables.bundles, ["digest"], [{"digest": digest, "envelope": envelope}])

    def bundles(self) -> dict[str, bytes]:
        """Return the signed envelopes of all bundles by digest."""
        with self._database.reading() as connection:
            return {
                row.digest: row.envelope for row in connection.execute(sa.select(tables.bundles))
            }

    def put_clients(self, clients: Iterable[ClientRow]) -> None:
        """Keep the last that is known of processes."""
        names = ClientRow.__dataclass_fields__
        values = [{name: getattr(client, name) for name in names} for client in clients]
        self._upsert(tables.clients, ["hook", "instance"], values)

    def drop_clients(self, hook: str, instances: Iterable[str]) -> None:
        """Forget processes of a hook."""
        with self._database.writing() as connection:
            for instance in instances:
                connection.execute(
                    sa.delete(tables.clients).where(
                        tables.clients.c.hook == hook, tables.clients.c.instance == instance
                    )
                )

    def clients(self) -> list[ClientRow]:
        """Return the last that is known of every process."""
        with self._database.reading() as connection:
            return [ClientRow(*row) for row in connection.execute(sa.select(tables.clients))]

    def put_reports(self, rollout: str, attempt: int, reports: Iterable[Report]) -> None:
        """Keep block reports of an attempt, each in place of its earlier one."""
        keys = ["rollout", "attempt", "instance", "cell", "block", "arm"]
        rows = [_report_row(rollout, attempt, report) for report in reports]
        self._upsert(tables.reports, keys, rows)

    def reports(self, rollout: str, attempt: int) -> list[Report]:
        """Return the block reports of an attempt."""
        query = sa.select(tables.reports).where(
            tables.reports.c.rollout == rollout, tables.reports.c.attempt == attempt
        )
        with self._database.reading() as connection:
            return [_report(row) for row in connection.execute(query)]

    def put_sums(self, rollout: str, attempt: int, sums: Iterable[tuple[str, bytes]]) -> None:
        """Keep processes' sums by slice, serialised, each in place of the process's earlier ones."""
        keys = ["rollout", "attempt", "instance"]
        rows = [
            {"rollout": rollout, "attempt": attempt, "instance": instance, "body": body}
            for instance, body in sums
        ]
        self._upsert(tables.sums, keys, rows)

    def sums(self, rollout: str, attempt: int) -> list[tuple[str, bytes]]:
        """Return the processes' sums by slice of an attempt, serialised, by instance."""
        query = sa.select(tables.sums.c.instance, tables.sums.c.body).where(
            tables.sums.c.rollout == rollout, tables.sums.c.attempt == attempt
        )
        with self._database.reading() as connection:
            return [(row.instance, row.body) for row in connection.execute(query)]

    def _upsert(self, table: sa.Table, keys: list[str], rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        statement = insert(table)
        changed = {name: statement.excluded[name] for name in rows[0] if name not in keys}
        with self._database.writing() as connection:
            connection.execute(statement.on_conflict_do_update(keys, set_=changed), rows)

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _seal(row: Row) -> str:
    """Return a checksum over all of a rollout's row: SQLite keeps none, and a bit is easily lost."""
    words = [row.id, row.hook, row.plan.hex(), row.epoch, row.first_epoch, row.marks, row.state]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()


def _checksum(*words: Any) -> int:
    return zlib.crc32(json.dumps(words).encode())


def _report_row(rollout: str, attempt: int, report: Report) -> dict[str, Any]:
    outcomes = report.outcomes
    body = [
        outcomes.count,
        outcomes.sum,
        outcomes.failures,
        list(outcomes.histogram),
        report.unresolved,
        report.fallbacks,
    ]
    body.append(_checksum(report.instance, report.cell, report.block, report.arm, *body))
    return {
        "rollout": rollout,
        "attempt": attempt,
        "instance": report.instance,
        "cell": report.cell,
        "block": report.block,
        "arm": report.arm,
        "body": json.dumps(body),
    }


def _report(row: Any) -> Report:
    count, total, failures, histogram, unresolved, fallbacks, *seal = json.loads(row.body)
    words = (count, total, failures, histogram, unresolved, fallbacks)
    if seal not in ([], [_checksum(row.instance, row.cell, row.block, row.arm, *words)]):
        raise ValueError(f"a report of process {row.instance} is not as it was written")
    outcomes = Arm(count, total, failures, tuple(histogram))
    return Report(row.instance, row.cell, row.block, row.arm, outcomes, unresolved, fallbacks)
