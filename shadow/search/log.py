"""The append-only log of a run: JSON lines chained by their hashes, one writer at a time.

The first line is the header with the run's whole configuration, then comes one line per proposal in
the order of submission, then, once the budget is spent and the finalists are scored, one line that
closes the log. Neither times nor machine properties are in it, but for the isolation layers that all its
evaluations ran under, in the header; so the same configuration under the same isolation gives the same bytes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from ...sdk.errors import ConfigurationError, TraceError
from .records import Outcome, Record

VERSION = 2
_FORMAT = "gnomon.search"
_HEAD = len('{"id":"') + 64 + len('",')
#: Settings by their names in the header: the option that says them, and what is too long to show.
_OPTIONS = {
    "budget.evaluations": "--budget",
    "seed": "--seed",
    "start": "--start",
    "strategy": "--strategy",
    "subject.hook": "--hook",
}
_OTHERS = {
    "incumbent": "incumbent (--incumbent)",
    "subject.calibrations": "trace or seed",
    "subject.trace": "trace (--traces)",
}
Line = dict[str, Any]
_NEVER = object()
#: Fields that a line leaves out where they have these values.
_USUAL = {
    name: Record.__dataclass_fields__[name].default
    for name in (
        [
            "author",
            "place",
            "cost",
            "tokens_in",
            "tokens_out",
            "prompt",
            "feedback",
            "metrics",
            "known",
        ]
    )
}


class RunLog:
    """One run's folder, held under a lock for as long as the object is open.

    Args:
        folder: made when missing; holds ``log.jsonl`` and ``lock``.
        config: of the run; JSON values only.
        resume: continue the log that is there; otherwise the folder must not hold one.

    Raises:
        ConfigurationError: another run holds the folder, a log is there already, there is none to
            resume, or it was made with another configuration.
        TraceError: the log was edited, or written by a newer version.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], *, resume: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "log.jsonl"
        self._lock = _locked(folder / "lock")
        try:
            self.lines = self._open(dict(config), resume)
        except BaseException:  # the lock must not outlive a constructor that failed
            self._lock.close()
            raise

    def _open(self, config: Line, resume: bool) -> list[Line]:
        if self.path.exists() and self.path.stat().st_size and not resume:
            raise ConfigurationError(
                f"{self.path} holds a run already: pass --resume, or name another folder with --out"
            )
        lines, size = read_log(self.path) if resume else ([], 0)
        lines, size = _without_trailing_errors(lines, size)
        if lines:
            _require_same(lines[0]["config"], config, self.path)
        self._file = self.path.open("r+b" if self.path.exists() else "w+b")
        self._file.truncate(size)
        self._file.seek(size)
        self.hash = lines[-1]["id"] if lines else ""
        if not lines:
            self._append(
                {"type": "header", "format": _FORMAT, "version": VERSION, "config": config}
            )
        return lines[1:]

    def append(self, record: Record) -> None:
        """Append the record of one proposal."""
        self._append({"type": "proposal"} | _encode(record))

    def finish(self, values: Mapping[str, Any]) -> None:
        """Append the line that closes the log."""
        self._append({"type": "final"} | dict(values))
        os.fsync(self._file.fileno())

    def _append(self, body: Line) -> None:
        text, self.hash = _chained(body, self.hash)
        self._file.write(text.encode())
        self._file.flush()  # what reached the kernel survives SIGKILL

    @property
    def records(self) -> list[Record]:
        """The proposals that were there when the log was opened."""
        return [_decode(line) for line in self.lines if line["type"] == "proposal"]

    @property
    def hints(self) -> list[tuple[int, str]]:
        """The hints that were there when the log was opened, with the steps from which they hold."""
        return [(line["step"], line["text"]) for line in self.lines if line["type"] == "hint"]

    def hint(self, step: int, text: str) -> None:
        """Append words for the writers of all programs from a step on."""
        self._append({"type": "hint", "step": step, "text": text})

    @property
    def final(self) -> Line | None:
        """The line that closed the log before it was opened, or None."""
        return self.lines[-1] if self.lines and self.lines[-1]["type"] == "final" else None

    def close(self) -> None:
        """Close the file and release the folder."""
        self._file.close()
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_log(path: Path) -> tuple[list[Line], int]:
    """Return a log's lines, header first, and how many bytes they take.

    A last line that was cut by a crash is left out.

    Raises:
        ConfigurationError: there is no log at ``path``.
        TraceError: a line was edited, moved or removed, or a newer version wrote the log.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: no log of a run to resume ({error.strerror})") from error
    complete = data[: data.rfind(b"\n") + 1]
    lines: list[Line] = []
    previous = ""
    for number, text in enumerate(complete.splitlines(), 1):
        line = _parsed(text, number, path)
        _require_chain(text, line, previous, number, path)
        lines.append(line)
        previous = line["id"]
    if lines and lines[0].get("type") != "header":
        raise TraceError(f"{path}: the first line is no header; this is no log of a search")
    return lines, len(complete)


def _parsed(text: bytes, number: int, path: Path) -> Line:
    try:
        line = json.loads(text)
    except ValueError:
        line = None
    if not isinstance(line, dict) or not isinstance(line.get("id"), str):
        raise TraceError(f"{path}: line {number} is damaged; start a new run with another --out")
    if line.get("type") == "header" and line.get("version") != VERSION:
        raise TraceError(
            f"{path}: log version {line.get('version')!r}, this Gnomon reads {VERSION}; "
            "use the version that wrote it"
        )
    return line


def _require_chain(text: bytes, line: Line, previous: str, number: int, path: Path) -> None:
    rest = text.decode("ascii", "replace")[_HEAD:]
    if _name(previous, "{" + rest) != line["id"]:
        raise TraceError(
            f"{path}: line {number} does not follow from the lines before it; the log was edited, "
            "start a new run with another --out"
        )


def _require_same(found: Line, wanted: Line, path: Path) -> None:
    before, now = _flat(found), _flat(json.loads(json.dumps(wanted)))
    for key in sorted(before.keys() | now.keys(), key=lambda key: (key.startswith("scales."), key)):
        if before.get(key) != now.get(key):
            raise ConfigurationError(
                f"{path} was made with {_told(key, before.get(key), now.get(key))}, or name another "
                "folder with --out"
            )


def _flat(config: Line, prefix: str = "") -> Line:
    """Return a configuration as one level: what is in an object stands under ``object.name``."""
    flat: Line = {}
    for key, value in config.items():
        inner = (
            _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
        flat.update(inner)
    return flat


def _told(key: str, before: Any, now: Any) -> str:
    """Return how a setting differs; one that is long (a source, a digest) is not shown."""
    if key in _OTHERS or key.startswith("scales."):
        thing = _OTHERS.get(key, "trace (--traces)")
        return f"another {thing}; resume with the same one"
    if key in _OPTIONS:
        was = f"{_OPTIONS[key]} {before}"
        return f"{was}, not {now}; resume with {was}"
    return f"{key}={before}, not {now}; resume with the same settings"


def _without_trailing_errors(lines: list[Line], size: int) -> tuple[list[Line], int]:
    """Drop the evaluator's errors at the end: they say nothing of their programs, which get another go."""
    while lines and lines[-1].get("outcome") == Outcome.EVALUATOR_ERROR:
        body = {key: value for key, value in lines[-1].items() if key != "id"}
        previous = lines[-2]["id"]
        size -= len(_chained(body, previous)[0].encode())
        lines = lines[:-1]
    return lines, size


def _chained(body: Line, previous: str) -> tuple[str, str]:
    """Return the line of a body, with its newline, and its id."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
    name = _name(previous, text)
    return f'{{"id":"{name}",{text[1:]}\n', name


def _name(previous: str, text: str) -> str:
    """Return the id of a line: a hash over it and, through the id before, over all lines above it."""
    return hashlib.sha256(f"{previous}\n{text}".encode()).hexdigest()


def _encode(record: Record) -> Line:
    """Return a record as JSON values; what is as usual is left out."""
    values = asdict(record)
    values["score"] = None if math.isnan(record.score) else record.score
    return {name: value for name, value in values.items() if value != _USUAL.get(name, _NEVER)}


def _decode(line: Line) -> Record:
    values = {key: value for key, value in line.items() if key not in {"id", "type"}}
    values["score"] = math.nan if values["score"] is None else values["score"]
    values["outcome"] = Outcome(values["outcome"])
    for name in ("parents", "segments"):
        values[name] = tuple(values[name])
    values["metrics"] = tuple((name, value) for name, value in values.get("metrics", ()))
    return Record(**values)


def _locked(path: Path) -> TextIO:
    handle = path.open("a")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        raise ConfigurationError(
            f"{path.parent} is in use by another run: wait for it, or name another folder with --out"
        ) from None
    return handle


def proposals(path: Path) -> Iterator[Record]:
    """Yield the records of a log, for reports.

    Raises:
        ConfigurationError, TraceError: as :func:`read_log`.
    """
    for line in read_log(path)[0]:
        if line["type"] == "proposal":
            yield _decode(line)
