"""Decisions that a candidate once got wrong, kept as files and asked of every candidate after it.

One folder per hook, one JSON file per case, named by the digest of what is asked. The files belong to the
project and may be edited, merged or damaged by anybody: what cannot be read or no longer applies is said,
never skipped in silence, and nothing in a file is run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ...sdk.errors import ConfigurationError
from ...sdk.files import read_regular, strict_json
from ...sdk.invariant import Invariant
from ...sdk.kind import Kind
from ...sdk.state import write_atomically
from .shrink import allowed, keepable
from .watch import blocking

FORMAT = 1
#: Bytes of one file; a question of program form may be long.
MOST_BYTES = 16_000_000
_LEAST_DIGITS = 8
_MOST_NUMBER = 1e300
#: Rows of an item table: whether any pick keeps an invariant is asked of every item over all of them.
_MOST_ITEMS = 2_000
_MOST_NAME = 200  # bytes of a folder's name
_WHOLE, _TEXTS = (
    ("kind_version", "created_ns"),
    ("hook", "kind", "form", "invariant", "detail", "source", "gate"),
)


@dataclass(frozen=True, slots=True)
class Regression:
    """A decision that a candidate got wrong.

    Attributes:
        hook, kind, kind_version, form: what it decided.
        invariant: that was broken; empty where it answered the same question in two ways.
        inputs: names of an item's features, or of the arguments.
        question: the features of every item, or the arguments by name.
        answer: index of the picked item, or outputs by name; None where there were two.
        detail: what was wrong, in words.
        source: of the candidate.
        gate: that found it.
        created_ns: Unix time.
    """

    hook: str
    kind: str
    kind_version: int
    form: str
    invariant: str
    inputs: tuple[str, ...]
    question: Any
    answer: Any
    detail: str
    source: str
    gate: str
    created_ns: int

    @property
    def digest(self) -> str:
        """sha256 hex of what is asked; who got it wrong, how and when is no part of it."""
        asks = ("hook", "kind", "kind_version", "form", "invariant", "inputs", "question")
        return hashlib.sha256(_canonical({name: getattr(self, name) for name in asks})).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """Return what the file says, with the digest."""
        return {"format": FORMAT, "digest": self.digest, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Stored:
    """A file in the folder.

    Attributes:
        path: of it.
        case: that it holds; None where it cannot be read.
        problem: why it cannot be read, or be asked any more; empty when it can.
    """

    path: Path
    case: Regression | None
    problem: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return path, problem and case as JSON values."""
        said = self.case.as_json() if self.case else None
        return {"path": str(self.path), "problem": self.problem, "case": said}


class Regressions:
    """The cases of a project.

    Args:
        folder: that holds one folder per hook; made when a case is added.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def of(self, hook: str) -> tuple[Stored, ...]:
        """Return what is stored for a hook, by digest; unreadable files are among it."""
        return tuple(_read(path, hook) for path in sorted(self._place(hook).glob("*.json")))

    def all(self) -> tuple[Stored, ...]:
        """Return what is stored for every hook."""
        return tuple(_read(path) for path in sorted(self.folder.glob("*/*.json")))

    def add(self, case: Regression) -> Path:
        """Keep a case; one that asks the same is kept as it is. Return its file.

        Raises:
            OSError: it cannot be written.
        """
        path = self._place(case.hook) / f"{case.digest}.json"
        if not path.exists():
            write_atomically(path, _canonical(case.as_json()) + b"\n")
        return path

    def remove(self, digest: str) -> Path:
        """Delete the case of a digest, of which the first 8 or more digits suffice; return its file.

        Raises:
            ConfigurationError: there is none, or several are named so.
        """
        enough = len(digest) >= _LEAST_DIGITS
        found = [each for each in self.all() if enough and each.path.stem.startswith(digest)]
        if len(found) != 1:
            raise ConfigurationError(
                f"{digest!r} names {len(found)} regression cases in {self.folder}; see: "
                "gnomon regressions list"
            )
        found[0].path.unlink(missing_ok=True)
        return found[0].path

    def _place(self, hook: str) -> Path:
        name = quote(hook, safe="")
        if len(name) > _MOST_NAME:
            name = hashlib.sha256(hook.encode("utf-8", "replace")).hexdigest()
        return self.folder / (f"%2E{name[1:]}" if name.startswith(".") else name)


def usable(
    stored: Iterable[Stored], kind: Kind, invariants: Iterable[Invariant]
) -> tuple[list[Stored], list[Stored]]:
    """Divide stored cases into those that can be asked and those that cannot, each with the reason.

    Args:
        stored: of one hook.
        kind: what the hook decides now.
        invariants: of the hook now.
    """
    known = {each.name: each for each in blocking(tuple(invariants))}
    marked = [
        Stored(each.path, each.case, each.problem or _stale(each.case, kind, known))
        for each in stored
    ]
    return [e for e in marked if not e.problem], [e for e in marked if e.problem]


def _stale(case: Regression | None, kind: Kind, known: Mapping[str, Invariant]) -> str:
    assert case is not None, "a file without a case has a problem"
    if (case.kind, case.kind_version, case.form) != (kind.name, kind.version, kind.form):
        return f"for {case.kind} v{case.kind_version}, the hook decides {kind.name} v{kind.version}"
    if case.invariant and case.invariant not in known:
        return f"no invariant {case.invariant!r} blocks here; named as module:attribute a hook gives its own"
    if kind.program is not None:
        fits = isinstance(case.question, dict) and allowed(kind, case.question) is not None
    else:
        fits = case.inputs == kind.input_names and _is_table(case.question, len(kind.inputs))
        fits = fits and (not case.invariant or _within(case.question, kind))
    if not fits:
        return "no question that the kind's contract allows"
    table: Any = case.question
    fair = kind.program is not None or not case.invariant
    if fair or keepable(kind, known[case.invariant], table):
        return ""
    return "no pick would keep the invariant"


def _is_table(question: Any, width: int) -> bool:
    return (
        isinstance(question, list)
        and 0 < len(question) <= _MOST_ITEMS
        and all(
            isinstance(row, list)
            and len(row) == width
            and all(type(v) in (int, float) and abs(v) < _MOST_NUMBER for v in row)
            for row in question
        )
    )


def _within(table: Sequence[Sequence[float]], kind: Kind) -> bool:
    """Return whether a service may ask it: outside of the features' ranges it asks no policy."""
    return all(
        feature.low <= value <= feature.high and not (feature.integer and value != int(value))
        for row in table
        for feature, value in zip(kind.inputs, row, strict=True)
    )


def _canonical(value: Mapping[str, Any]) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("ascii")


def _read(path: Path, hook: str | None = None) -> Stored:
    try:
        case = _parsed(strict_json(read_regular(path, MOST_BYTES)))
        if case.digest != path.stem:
            raise ValueError("its name is not the digest of what it asks")
        if hook is not None and case.hook != hook:
            raise ValueError("it is of another hook")
    except OSError as error:
        return Stored(path, None, f"cannot be read: {error.strerror}")
    except (ValueError, OverflowError) as error:
        return Stored(path, None, f"no regression case: {error}")
    return Stored(path, case)


def _parsed(said: Any) -> Regression:
    wanted = {field.name for field in fields(Regression)}
    if not isinstance(said, dict) or said.keys() != wanted | {"format", "digest"}:
        raise ValueError("its fields are others")
    if said["format"] != FORMAT:
        raise ValueError(f"format {str(said['format'])[:20]} is unknown")
    values: dict[str, Any] = {name: said[name] for name in wanted}
    if not all(isinstance(values[name], str) for name in _TEXTS):
        raise ValueError(f"{', '.join(_TEXTS)} are texts")
    if not all(type(values[name]) is int and abs(values[name]) < 2**63 for name in _WHOLE):
        raise ValueError(f"{', '.join(_WHOLE)} are whole numbers")
    inputs = values["inputs"]
    if not (isinstance(inputs, list) and all(isinstance(each, str) for each in inputs)):
        raise ValueError("inputs are names")
    values["inputs"] = tuple(inputs)
    return Regression(**values)
