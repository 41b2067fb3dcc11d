"""What the control plane must not forget: rollouts, epochs, bundles, events and block reports.

SQLAlchemy Core on SQLite in WAL mode with full synchronisation: what a method has returned from
survives the death of the process.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.pool import StaticPool

from ...sdk.errors import RolloutError, TrustError
from .blocks import Report
from .evidence import Arm

SCHEMA_VERSION = 1
#: Under which a stored state holds the checksum of its row.
_SEAL = "seal"

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
        self._path = path
        self._engine = sa.create_engine(f"sqlite:///{path}", poolclass=StaticPool)
        event.listen(self._engine, "connect", _pragmas)
        try:
            self._prepare(path)
        except (exc.DatabaseError, UnicodeDecodeError) as error:
            self.close()
            reason = " ".join(str(getattr(error, "orig", error)).split())[:200]
            raise TrustError(
                f"{path} is not a control plane's store: {reason}; restore it, or name another folder"
            ) from error
        except TrustError:
            self.close()
            raise

    def _prepare(self, path: str | Path) -> None:
        self._check_own(path)
        self._check_sound(path)
        with self._engine.connect() as connection:
            connection.exec_driver_sql("pragma journal_mode=wal")
        with self._engine.begin() as connection:
            _meta.create_all(connection)
            connection.exec_driver_sql(f"pragma user_version={SCHEMA_VERSION}")

    def _check_own(self, path: str | Path) -> None:
        """Refuse a newer store, and another program's database, to which nothing must be added."""
        with self._engine.connect() as connection:
            version = connection.exec_driver_sql("pragma user_version").scalar_one()
            foreign = sorted(set(sa.inspect(connection).get_table_names()) - set(_meta.tables))
        if version > SCHEMA_VERSION:
            raise TrustError(
                f"{path} is a store of version {version}, this is {SCHEMA_VERSION}; "
                "use a newer gnomon"
            )
        if foreign:
            raise TrustError(
                f"{path} is another program's database, with a table {foreign[0][:40]!r}; name "
                "another folder"
            )

    def _check_sound(self, path: str | Path) -> None:
        """Refuse a file whose pages do not fit together, before anything in it is believed."""
        with self._engine.connect() as connection:
            found = connection.exec_driver_sql("pragma integrity_check(1)").scalar_one()
        if found != "ok":
            reason = " ".join(str(found).split())[:200]
            raise TrustError(
                f"{path} is damaged: {reason}; restore the state folder from its backup"
            )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """Hold one transaction; what fails leaves nothing behind."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except exc.DBAPIError as error:
            raise RolloutError(
                f"{self._path} cannot be written: {error.orig}; nothing was changed: free space or "
                "mend the disk, then repeat"
            ) from error

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        """Hold a connection; what cannot be read, or does not make sense, is damage."""
        try:
            with self._engine.connect() as connection:
                yield connection
        except (exc.DBAPIError, ValueError, TypeError, KeyError) as error:
            reason = " ".join(str(getattr(error, "orig", error)).split())[:200]
            raise TrustError(
                f"{self._path} cannot be read: {reason}; restore the state folder from its backup"
            ) from error

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
        with self._writing() as connection:
            names = ("plan", "epoch", "first_epoch", "marks", "state")
            changed = {name: values[name] for name in names}
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
        with self._writing() as connection:
            return self._event(connection, event)

    def rollouts(self) -> list[Row]:
        """Return all rollouts, oldest first."""
        query = sa.select(_rollouts).order_by(_rollouts.c.number)
        with self._reading() as connection:
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
        newest = sa.select(_rollouts.c.hook, sa.func.max(_rollouts.c.epoch)).group_by("hook")
        with self._reading() as connection:
            found = {row.hook: int(row.epoch) for row in connection.execute(sa.select(_hooks))}
            if found != {hook: epoch for hook, epoch in connection.execute(newest)}:
                raise ValueError("the hooks' epochs are not as they were written")
            return found

    def last_event(self) -> int:
        """Return the number of the last event; 0 where there is none."""
        with self._reading() as connection:
            return int(connection.execute(sa.select(sa.func.max(_events.c.number))).scalar() or 0)

    def events(self, after: int) -> list[Happened]:
        """Return the events after a number, in order."""
        query = sa.select(_events).where(_events.c.number > after).order_by(_events.c.number)
        with self._reading() as connection:
            return [
                Happened(row.kind, row.actor, row.subject, json.loads(row.body), row.number)
                for row in connection.execute(query)
            ]

    def request(self, request_id: str) -> str:
        """Return the rollout that a request was carried out on; empty for a new one."""
        query = sa.select(_requests.c.rollout).where(_requests.c.id == request_id)
        with self._reading() as connection:
            return connection.execute(query).scalar_one_or_none() or ""

    def put_bundle(self, digest: str, envelope: bytes) -> None:
        """Keep a bundle's signed envelope; of a known digest it replaces the other."""
        self._upsert(_bundles, ["digest"], [{"digest": digest, "envelope": envelope}])

    def bundles(self) -> dict[str, bytes]:
        """Return the signed envelopes of all bundles by digest."""
        with self._reading() as connection:
            return {row.digest: row.envelope for row in connection.execute(sa.select(_bundles))}

    def put_clients(self, clients: Iterable[ClientRow]) -> None:
        """Keep the last that is known of processes."""
        names = ClientRow.__dataclass_fields__
        values = [{name: getattr(client, name) for name in names} for client in clients]
        self._upsert(_clients, ["hook", "instance"], values)

    def drop_clients(self, hook: str, instances: Iterable[str]) -> None:
        """Forget processes of a hook."""
        with self._writing() as connection:
            for instance in instances:
                connection.execute(
                    sa.delete(_clients).where(
                        _clients.c.hook == hook, _clients.c.instance == instance
                    )
                )

    def clients(self) -> list[ClientRow]:
        """Return the last that is known of every process."""
        with self._reading() as connection:
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
        with self._reading() as connection:
            return [_report(row) for row in connection.execute(query)]

    def _upsert(self, table: sa.Table, keys: list[str], rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        statement = insert(table)
        changed = {name: statement.excluded[name] for name in rows[0] if name not in keys}
        with self._writing() as connection:
            connection.execute(statement.on_conflict_do_update(keys, set_=changed), rows)

    def close(self) -> None:
        """Close the file."""
        self._engine.dispose()


def _pragmas(connection: Any, record: object) -> None:
    del record
    connection.execute("pragma synchronous=full")


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
