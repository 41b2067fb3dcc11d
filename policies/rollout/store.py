"""What the control plane must not forget: rollouts, epochs, bundles, events and block reports.

SQLAlchemy Core on SQLite in WAL mode with full synchronisation: what a method has returned from
survives the death of the process.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.pool import StaticPool

from ...sdk.errors import TrustError
from .blocks import Report
from .evidence import Arm

SCHEMA_VERSION = 1

_meta = sa.MetaData()
_hooks = sa.Table(
    "hooks",
    _meta,
    sa.Column("hook", sa.Text, primary_key=True),
    sa.Column("epoch", sa.Integer, nullable=False),
)
_rollouts = sa.Table(
    "rollouts",
    _meta,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("id", sa.Text, unique=True, nullable=False),
    sa.Column("hook", sa.Text, nullable=False),
    sa.Column("plan", sa.LargeBinary, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("first_epoch", sa.Integer, nullable=False),
    sa.Column("marks", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
)
_events = sa.Table(
    "events",
    _meta,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)
_requests = sa.Table(
    "requests",
    _meta,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("rollout", sa.Text, nullable=False),
)
_bundles = sa.Table(
    "bundles",
    _meta,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("envelope", sa.LargeBinary, nullable=False),
)
_clients = sa.Table(
    "clients",
    _meta,
    sa.Column("hook", sa.Text, primary_key=True),
    sa.Column("instance", sa.Text, primary_key=True),
    sa.Column("service", sa.Text, nullable=False),
    sa.Column("cell", sa.Text, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
)
_reports = sa.Table(
    "reports",
    _meta,
    sa.Column("rollout", sa.Text, primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("instance", sa.Text, primary_key=True),
    sa.Column("cell", sa.Text, primary_key=True),
    sa.Column("block", sa.Integer, primary_key=True),
    sa.Column("arm", sa.Text, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
)
_sums = sa.Table(
    "sums",
    _meta,
    sa.Column("rollout", sa.Text, primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("instance", sa.Text, primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
)


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
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._engine = sa.create_engine(f"sqlite:///{path}", poolclass=StaticPool)
        event.listen(self._engine, "connect", _pragmas)
        try:
            self._prepare(path)
        except exc.DatabaseError as error:
            self.close()
            raise TrustError(
                f"{path} is not a control plane's store: {error.orig}; restore it, or name another folder"
            ) from error
        except TrustError:
            self.close()
            raise

    def _prepare(self, path: str | Path) -> None:
        with self._engine.begin() as connection:
            version = connection.exec_driver_sql("pragma user_version").scalar_one()
            if version > SCHEMA_VERSION:
                raise TrustError(
                    f"{path} is a store of version {version}, this is {SCHEMA_VERSION}; "
                    "use a newer gnomon"
                )
            _meta.create_all(connection)
            connection.exec_driver_sql(f"pragma user_version={SCHEMA_VERSION}")

    def save(self, row: Row, happened: Iterable[Happened], request_id: str = "") -> list[Happened]:
        """Store a rollout with what happened to it, in one transaction; return the numbered events."""
        values = {
            "id": row.id,
            "hook": row.hook,
            "plan": row.plan,
            "epoch": row.epoch,
            "first_epoch": row.first_epoch,
            "marks": json.dumps(row.marks),
            "state": json.dumps(row.state),
        }
        with self._engine.begin() as connection:
            changed = {name: values[name] for name in ("epoch", "first_epoch", "marks", "state")}
            connection.execute(
                insert(_rollouts).values(values).on_conflict_do_update(["id"], set_=changed)
            )
            epoch = {"hook": row.hook, "epoch": row.epoch}
            connection.execute(
                insert(_hooks).values(epoch).on_conflict_do_update(["hook"], set_=epoch)
            )
            if request_id:
                connection.execute(insert(_requests).values(id=request_id, rollout=row.id))
            return [self._event(connection, event) for event in happened]

    def _event(self, connection: sa.Connection, event: Happened) -> Happened:
        values = {"kind": event.kind, "actor": event.actor, "subject": event.subject}
        made = connection.execute(insert(_events).values(**values, body=json.dumps(event.body)))
        key = made.inserted_primary_key
        assert key is not None
        return replace(event, number=int(key[0]))

    def note(self, event: Happened) -> Happened:
        """Store an event that changed no rollout."""
        with self._engine.begin() as connection:
            return self._event(connection, event)

    def rollouts(self) -> list[Row]:
        """Return all rollouts, oldest first."""
        with self._engine.connect() as connection:
            found = connection.execute(sa.select(_rollouts).order_by(_rollouts.c.number)).all()
        return [
            Row(
                row.id,
                row.hook,
                row.plan,
                row.epoch,
                row.first_epoch,
                json.loads(row.marks),
                json.loads(row.state),
            )
            for row in found
        ]

    def epochs(self) -> dict[str, int]:
        """Return the highest epoch of every hook."""
        with self._engine.connect() as connection:
            return {row.hook: row.epoch for row in connection.execute(sa.select(_hooks))}

    def events(self, after: int) -> list[Happened]:
        """Return the events after a number, in order."""
        query = sa.select(_events).where(_events.c.number > after).order_by(_events.c.number)
        with self._engine.connect() as connection:
            return [
                Happened(row.kind, row.actor, row.subject, json.loads(row.body), row.number)
                for row in connection.execute(query)
            ]

    def request(self, request_id: str) -> str:
        """Return the rollout that a request was carried out on; empty for a new one."""
        query = sa.select(_requests.c.rollout).where(_requests.c.id == request_id)
        with self._engine.connect() as connection:
            return connection.execute(query).scalar_one_or_none() or ""

    def put_bundle(self, digest: str, envelope: bytes) -> None:
        """Keep a bundle's signed envelope; a known digest is left alone."""
        with self._engine.begin() as connection:
            values = {"digest": digest, "envelope": envelope}
            connection.execute(insert(_bundles).values(values).on_conflict_do_nothing())

    def bundles(self) -> dict[str, bytes]:
        """Return the signed envelopes of all bundles by digest."""
        with self._engine.connect() as connection:
            return {row.digest: row.envelope for row in connection.execute(sa.select(_bundles))}

    def put_clients(self, clients: Iterable[ClientRow]) -> None:
        """Keep the last that is known of processes."""
        names = ClientRow.__dataclass_fields__
        values = [{name: getattr(client, name) for name in names} for client in clients]
        self._upsert(_clients, ["hook", "instance"], values)

    def drop_clients(self, hook: str, instances: Iterable[str]) -> None:
        """Forget processes of a hook."""
        with self._engine.begin() as connection:
            for instance in instances:
                connection.execute(
                    sa.delete(_clients).where(
                        _clients.c.hook == hook, _clients.c.instance == instance
                    )
                )

    def clients(self) -> list[ClientRow]:
        """Return the last that is known of every process."""
        with self._engine.connect() as connection:
            return [ClientRow(*row) for row in connection.execute(sa.select(_clients))]

    def put_reports(self, rollout: str, attempt: int, reports: Iterable[Report]) -> None:
        """Keep block reports of an attempt, each in place of its earlier one."""
        keys = ["rollout", "attempt", "instance", "cell", "block", "arm"]
        rows = [_report_row(rollout, attempt, report) for report in reports]
        self._upsert(_reports, keys, rows)

    def reports(self, rollout: str, attempt: int) -> list[Report]:
        """Return the block reports of an attempt."""
        query = sa.select(_reports).where(
            _reports.c.rollout == rollout, _reports.c.attempt == attempt
        )
        with self._engine.connect() as connection:
            return [_report(row) for row in connection.execute(query)]

    def put_sums(self, rollout: str, attempt: int, sums: Iterable[tuple[str, bytes]]) -> None:
        """Keep processes' sums by slice, serialised, each in place of the process's earlier ones."""
        keys = ["rollout", "attempt", "instance"]
        rows = [
            {"rollout": rollout, "attempt": attempt, "instance": instance, "body": body}
            for instance, body in sums
        ]
        self._upsert(_sums, keys, rows)

    def sums(self, rollout: str, attempt: int) -> list[tuple[str, bytes]]:
        """Return the processes' sums by slice of an attempt, serialised, by instance."""
        query = sa.select(_sums.c.instance, _sums.c.body).where(
            _sums.c.rollout == rollout, _sums.c.attempt == attempt
        )
        with self._engine.connect() as connection:
            return [(row.instance, row.body) for row in connection.execute(query)]

    def _upsert(self, table: sa.Table, keys: list[str], rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        statement = insert(table)
        changed = {name: statement.excluded[name] for name in rows[0] if name not in keys}
        with self._engine.begin() as connection:
            connection.execute(statement.on_conflict_do_update(keys, set_=changed), rows)

    def close(self) -> None:
        """Close the file."""
        self._engine.dispose()


def _pragmas(connection: Any, record: object) -> None:
    del record
    connection.execute("pragma journal_mode=wal")
    connection.execute("pragma synchronous=full")


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
    count, total, failures, histogram, unresolved, fallbacks = json.loads(row.body)
    outcomes = Arm(count, total, failures, tuple(histogram))
    return Report(row.instance, row.cell, row.block, row.arm, outcomes, unresolved, fallbacks)
