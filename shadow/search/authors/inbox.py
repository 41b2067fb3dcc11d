"""What agents and people say to a search: files in its folder, taken up by whoever runs it.

A file comes in whole or not at all and has the name of its ticket, so that of two that are told with one
ticket the second is refused. It stays until the log holds what it says: a search that is killed in between
takes it up again, and one that finds it in its log does not.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....sdk.errors import ConfigurationError
from ....sdk.files import read_regular, strict_json
from ..log import read_run
from ..records import KEYLESS, TOLD, Draft, Record

FORMAT = 1
#: Bytes of a file in the inbox; JSON may write a character with six.
MOST_BYTES = 4_000_000
MOST_HINT = 1_000
_FOLDER = "inbox"
_TICKET = re.compile(r"([0-9a-f]{8})-([0-9a-f]{16})-([0-9a-f]{8})")
_AUTHOR = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@+:/-]{0,59}")
_NOBODY = "0" * 16


@dataclass(frozen=True, slots=True)
class Ticket:
    """What ``gnomon ask`` gives out: of which run, on which program, and a number of its own.

    Attributes:
        run: first digits of the id of the log's header.
        parent: id of the program to change; empty for a program from scratch.
        number: eight hex digits.
    """

    run: str
    parent: str
    number: str

    def __str__(self) -> str:
        """Return it as one word."""
        return f"{self.run}-{self.parent or _NOBODY}-{self.number}"

    @classmethod
    def parse(cls, text: str) -> Ticket:
        """Return the ticket that a word is; raises ConfigurationError."""
        found = _TICKET.fullmatch(text.strip())
        if found is None:
            raise ConfigurationError(f"{text[:60]!r} is no ticket; gnomon ask gives one")
        run, parent, number = found.groups()
        return cls(run, "" if parent == _NOBODY else parent, number)


def author_named(name: str) -> str:
    """Return the name of an author; raises ConfigurationError when it cannot be one."""
    if not _AUTHOR.fullmatch(name) or name == KEYLESS:
        raise ConfigurationError(
            f"--author {name[:60]!r}: give letters, digits and . _ @ + : / -, at most 60, and not "
            f"{KEYLESS!r}"
        )
    return name


def put(folder: Path, ticket: Ticket, draft: Draft) -> None:
    """Leave a program in a run's inbox.

    Raises:
        ConfigurationError: this ticket was told already.
    """
    said = {"source": draft.source, "parents": list(draft.parents), "author": draft.author}
    if not _left(folder, str(ticket), said):
        raise ConfigurationError(f"ticket {ticket} was told already; ask for another")


def put_hint(folder: Path, run: str, text: str) -> None:
    """Leave a hint in a run's inbox; the same one twice is one."""
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    _left(folder, f"hint-{run}-{name}", {"hint": text})


def waiting(folder: Path, ticket: Ticket) -> bool:
    """Return whether a program waits in a run's inbox."""
    return _path(folder, str(ticket)).exists()


def taken_back(folder: Path, ticket: Ticket) -> None:
    """Remove a program that somebody told a ticket of which the log knows already."""
    _path(folder, str(ticket)).unlink(missing_ok=True)


class FolderInbox:
    """The inbox of a run, for the search that runs it; see :class:`.driver.Inbox`.

    Files that are of another run, or that cannot be read, are left where they are.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._run = ""
        self._known: set[str] = set()  # operators of told programs, and hints, that the log holds
        self._offered: set[str] = set()

    def new(self) -> Iterator[Draft | str]:
        """Yield programs and hints that came since, the earliest first, each once."""
        place = self._folder / _FOLDER
        try:
            found = sorted(place.glob("[0-9a-h]*.json"), key=_age)
        except OSError:
            return
        for path in found:
            if path.name not in self._offered:
                self._offered.add(path.name)
                yield from self._said(path)

    def _said(self, path: Path) -> Iterator[Draft | str]:
        if not self._run:
            self._read_log()
        said = _read(path)
        hint = path.name.startswith(f"hint-{self._run}-")
        operator = TOLD + path.stem
        if hint and isinstance(said.get("hint"), str):
            text = said["hint"][:MOST_HINT]
            if text not in self._known:
                self._known.add(text)
                yield text  # the log has it when the generator goes on
            path.unlink(missing_ok=True)
        elif operator in self._known:
            path.unlink(missing_ok=True)
        elif path.name.startswith(f"{self._run}-") and _is_program(said):
            yield Draft(said["source"], operator, tuple(said["parents"]), said["author"])

    def _read_log(self) -> None:
        history = read_run(self._folder / "log.jsonl")
        self._run = history.run[:8]
        told = (record.operator for record in history.records)
        self._known |= {operator for operator in told if operator.startswith(TOLD)}
        self._known |= {text for _, text in history.hints}

    def kept(self, record: Record) -> None:
        """Forget the file of a program that the log holds."""
        if record.operator.startswith(TOLD):
            self._known.add(record.operator)
            _path(self._folder, record.operator.removeprefix(TOLD)).unlink(missing_ok=True)


def _is_program(said: dict[str, Any]) -> bool:
    parents = said.get("parents")
    return (
        all(isinstance(said.get(name), str) for name in ("source", "author"))
        and bool(_AUTHOR.fullmatch(said["author"]))
        and said["author"] != KEYLESS
        and isinstance(parents, list)
        and all(isinstance(each, str) for each in parents)
    )


def _path(folder: Path, name: str) -> Path:
    return folder / _FOLDER / f"{name}.json"


def _age(path: Path) -> tuple[int, str]:
    return path.stat().st_mtime_ns, path.name


def _left(folder: Path, name: str, said: dict[str, Any]) -> bool:
    """Write a file whole, or not at all where one of this name is there; return whether it was written."""
    path = _path(folder, name)
    path.parent.mkdir(exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=".told-", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps({"format": FORMAT} | said).encode("ascii"))
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # unlike a rename this replaces nothing
    except FileExistsError:
        return False
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
    return True


def _read(path: Path) -> dict[str, Any]:
    try:
        said = strict_json(read_regular(path, MOST_BYTES))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) and said.get("format") == FORMAT else {}
