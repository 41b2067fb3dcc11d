"""A control plane's SQLite file: opened when it is sound, written in whole transactions.

WAL mode with full synchronisation: what a transaction has written survives the death of the process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.pool import StaticPool

from ...sdk.errors import RolloutError, TrustError
from .tables import META, SCHEMA_VERSION


class Database:
    """The file, and what goes wrong with it in our own errors.

    Args:
        path: of the file; made, with its folder, when it does not exist.

    Raises:
        TrustError: the file is not such a database, or one of a newer version.
    """

    def __init__(self, path: str | Path) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._engine = sa.create_engine(f"sqlite:///{path}", poolclass=StaticPool)
        event.listen(self._engine, "connect", _pragmas)
        try:
            self._prepare()
        except (exc.DatabaseError, UnicodeDecodeError) as error:
            self.close()
            raise TrustError(
                f"{path} is not a control plane's store: {_reason(error)}; restore it, or name another folder"
            ) from error
        except TrustError:
            self.close()
            raise

    @contextlib.contextmanager
    def writing(self) -> Iterator[sa.Connection]:
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
    def reading(self) -> Iterator[sa.Connection]:
        """Hold a connection; what cannot be read, or does not make sense, is damage."""
        try:
            with self._engine.connect() as connection:
                yield connection
        except (exc.DBAPIError, ValueError, TypeError, KeyError) as error:
            raise TrustError(
                f"{self._path} cannot be read: {_reason(error)}; restore the state folder from its backup"
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._engine.dispose()

    def _prepare(self) -> None:
        self._check_own()
        self._check_sound()
        with self._engine.connect() as connection:
            connection.exec_driver_sql("pragma journal_mode=wal")
        with self._engine.begin() as connection:
            META.create_all(connection)
            connection.exec_driver_sql(f"pragma user_version={SCHEMA_VERSION}")

    def _check_own(self) -> None:
        """Refuse a newer store, and another program's database, to which nothing must be added."""
        with self._engine.connect() as connection:
            version = connection.exec_driver_sql("pragma user_version").scalar_one()
            foreign = sorted(set(sa.inspect(connection).get_table_names()) - set(META.tables))
        if version > SCHEMA_VERSION:
            raise TrustError(
                f"{self._path} is a store of version {version}, this is {SCHEMA_VERSION}; "
                "use a newer gnomon"
            )
        if foreign:
            raise TrustError(
                f"{self._path} is another program's database, with a table {foreign[0][:40]!r}; name "
                "another folder"
            )

    def _check_sound(self) -> None:
        """Refuse a file whose pages do not fit together, before anything in it is believed."""
        with self._engine.connect() as connection:
            found = connection.exec_driver_sql("pragma integrity_check(1)").scalar_one()
        if found != "ok":
            reason = " ".join(str(found).split())[:200]
            raise TrustError(
                f"{self._path} is damaged: {reason}; restore the state folder from its backup"
            )


def _reason(error: Exception) -> str:
    """Return what the driver says, on one line."""
    return " ".join(str(getattr(error, "orig", error)).split())[:200]


def _pragmas(connection: Any, record: object) -> None:
    del record
    connection.execute("pragma synchronous=full")
