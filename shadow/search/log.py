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
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from ...sdk.errors import ConfigurationError, TraceError
from ..report.shown import printable
from .holder import LOCK, sign, unsign
from .lines import (
    Final,
    decoded,
    decoded_final,
    decoded_hint,
    encoded,
    encoded_final,
)
from .records import Outcome, Record

VERSION = 2
_FORMAT = "gnomon.search"
_HEAD = len('{"id":"') + 64 + len('",')
#: Settings by their names in the header: the option that says them, and what is too long to show.
_OPTIONS = {
    "budget.dollars": "--max-cost",
    "budget.evaluations": "--budget",
    "seed": "--seed",
    "start": "--start",
    "strategy": "--strategy",
    "subject.hook": "--hook",
}
_SWITCHES = {"racing": "--racing"}
_OTHERS = {
    "authors.written.prompts": "set of prompts (--prompts, or another version)",
    "authors": "set of models (--model and what is said of them)",
    "incumbent": "incumbent (--incumbent)",
    "layers": "isolation (--isolation, or another machine)",
    "scales": "trace (--traces)",
    "subject.calibrations": "trace or seed",
    "subject.problem": "problem (--problem)",
    "subject.trace": "trace (--traces)",
}
#: What differs where something else does, which says more.
_LATE = ("authors.", "scales.")
Line = dict[str, Any]
#: Bytes of a line; a program is far shorter.
_MOST = 1 << 24


@dataclass(frozen=True, slots=True)
class History:
    """What a log holds.

    Attributes:
        config: of the run; JSON values.
        records: of all proposals, by step.
        hints: words that were given while it ran, with the steps from which they hold.
        final: the line that closed the log, or None.
        hash: id of the last line.
        run: id of the header, which names the run.
    """

    config: Line
    records: tuple[Record, ...]
    hints: tuple[tuple[int, str], ...]
    final: Final | None
    hash: str
    run: str = ""


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
        self._lock = _locked(folder / LOCK)
        try:
            self._before = self._open(dict(config), resume)
        except BaseException:  # the lock must not outlive a constructor that failed
            unsign(self._lock)
            self._lock.close()
            raise

    def _open(self, config: Line, resume: bool) -> History:
        if self.path.exists() and self.path.stat().st_size and not resume:
            raise ConfigurationError(
                f"{self.path} holds a run already: pass --resume, or name another folder with --out"
            )
        lines, size = read_log(self.path) if resume else ([], 0)
        lines, size = _without_trailing_errors(lines, size)
        before = History(config, (), (), None, "")
        if lines:
            _require_same(lines[0]["config"], config, self.path)
            before = _history(lines, self.path)
        self._file = self.path.open("r+b" if self.path.exists() else "w+b")
        self._file.truncate(size)
        self._file.seek(size)
        self.hash = before.hash
        if not lines:
            self._append(
                {"type": "header", "format": _FORMAT, "version": VERSION, "config": config}
            )
        return before

    def append(self, record: Record) -> None:
        """Append the record of one proposal."""
        self._append({"type": "proposal"} | encoded(record))

    def finish(self, final: Final) -> None:
        """Append the line that closes the log."""
        self._append({"type": "final"} | encoded_final(final))
        os.fsync(self._file.fileno())

    def _append(self, body: Line) -> None:
        text, self.hash = _chained(body, self.hash)
        self._file.write(text.encode())
        self._file.flush()  # what reached the kernel survives SIGKILL

    @property
    def records(self) -> list[Record]:
        """The proposals that were there when the log was opened."""
        return list(self._before.records)

    @property
    def hints(self) -> list[tuple[int, str]]:
        """The hints that were there when the log was opened, with the steps from which they hold."""
        return list(self._before.hints)

    @property
    def final(self) -> Final | None:
        """What closed the log before it was opened, or None."""
        return self._before.final

    def hint(self, step: int, text: str) -> None:
        """Append words for the writers of all programs from a step on."""
        self._append({"type": "hint", "step": step, "text": text})

    def close(self) -> None:
        """Close the file and release the folder."""
        self._file.close()
        unsign(self._lock)
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
    if lines and (lines[0].get("type") != "header" or not isinstance(lines[0].get("config"), dict)):
        raise TraceError(f"{path}: the first line is no header; this is no log of a search")
    return lines, len(complete)


def _parsed(text: bytes, number: int, path: Path) -> Line:
    if len(text) > _MOST:
        raise TraceError(
            f"{path}: line {number} has {len(text)} bytes, and no search writes more than {_MOST}; "
            "start a new run with another --out"
        )
    try:
        line = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        line = None
    if not isinstance(line, dict) or not isinstance(line.get("id"), str):
        raise TraceError(f"{path}: line {number} is damaged; start a new run with another --out")
    if line.get("type") == "header" and line.get("version") != VERSION:
        raise TraceError(
            f"{path}: log version {line.get('version')!r}, this Gnomon reads {VERSION}; "
            "use the version that wrote it"
        )
    return line


def _no_number(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity are no JSON


def _require_chain(text: bytes, line: Line, previous: str, number: int, path: Path) -> None:
    rest = text.decode("ascii", "replace")[_HEAD:]
    if _name(previous, "{" + rest) != line["id"]:
        raise TraceError(
            f"{path}: line {number} does not follow from the lines before it; the log was edited, "
            "start a new run with another --out"
        )


def _require_same(found: Line, wanted: Line, path: Path) -> None:
    before, now = _flat(found), _flat(json.loads(json.dumps(wanted)))
    for key in sorted(before.keys() | now.keys(), key=lambda key: (key.startswith(_LATE), key)):
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
    for start, thing in _OTHERS.items():
        if key == start or key.startswith(f"{start}."):
            return f"another {thing}; resume with the same one"
    if key in _SWITCHES:
        was, other = (_SWITCHES[key], f"--no-{_SWITCHES[key][2:]}")[:: 1 if before else -1]
        return f"{was}, not {other}; resume with {was}"
    if key in _OPTIONS:
        was, other = (_short("none" if value is None else value) for value in (before, now))
        return f"{_OPTIONS[key]} {was}, not {other}; resume with {_OPTIONS[key]} {was}"
    return f"{key}={_short(before)}, not {_short(now)}; resume with the same settings"


def _short(value: Any) -> str:
    return printable(f"{value!s:.60}").replace("\n", " ")


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


def _locked(path: Path) -> TextIO:
    handle = path.open("a")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        raise ConfigurationError(
            f"{path.parent} is in use by another run: wait for it, or name another folder with --out"
        ) from None
    sign(handle)
    return handle


def read_run(path: Path) -> History:
    """Return what a log holds, for whoever only reads it; it may still be written.

    Raises:
        ConfigurationError, TraceError: as :func:`read_log`.
    """
    lines = read_log(path)[0]
    if not lines:
        raise TraceError(f"{path}: the log has no header yet; wait for the run, or start it again")
    return _history(lines, path)


def _history(lines: list[Line], path: Path) -> History:
    """Return what lines say, each checked for types and for its place."""
    records: list[Record] = []
    hints: list[tuple[int, str]] = []
    final: Final | None = None
    for number, line in enumerate(lines[1:], 2):
        try:
            if final is not None:
                raise ValueError("a line after the one that closes the log")
            match line.get("type"):
                case "proposal":
                    records.append(_following(decoded(line), len(records)))
                case "hint":
                    hints.append(decoded_hint(line))
                case "final":
                    final = decoded_final(line)
                case other:
                    raise ValueError(f"type={other!r:.60}")
        except ValueError as error:
            raise TraceError(
                f"{path}: line {number} is none that a search writes ({error}); start a new run with "
                "another --out"
            ) from None
    first = lines[0]
    return History(
        first["config"], tuple(records), tuple(hints), final, lines[-1]["id"], first["id"]
    )


def _following(record: Record, step: int) -> Record:
    if record.step != step:
        raise ValueError(f"step={record.step} in the place of {step}")
    return record


def proposals(path: Path) -> Iterator[Record]:
    """Yield the records of a log, for reports.

    Raises:
        ConfigurationError, TraceError: as :func:`read_log`.
    """
    yield from read_run(path).records
