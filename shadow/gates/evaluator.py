"""Who scores: the simulator of a hook's kind, by digest; and its quarantine when it was caught lying.

A mean beyond a proven bound cannot be a policy's merit. Whatever gave it is broken, and all else that it
says may be wrong in the same way. Hence the whole evaluator is set aside, in the ledger, until a person
has found the reason and says so, or until its code is another.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...policies.rollout.chain import Entries, Entry
from ...policies.rollout.ledger import Ledger
from ...sdk.errors import ConfigurationError, TrustError
from ...sdk.kind import Kind
from ..simulators.base import Simulator
from .questions import code_digest

QUARANTINED, RELEASED = "evaluator.quarantined", "evaluator.released"
#: A policy may reach a tight bound; two sums of the same outcomes then differ by rounding.
ROUNDING = 1e-9
#: Digits of a digest that are enough to name an evaluator.
LEAST_DIGITS = 8
_SIMULATORS = Path(inspect.getfile(Simulator)).parent
_BESIDE = re.compile(r"^from \.\.(\w+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Evaluator:
    """What a score came from.

    Attributes:
        hook: whose traffic is replayed.
        kind, kind_version: what is decided.
        simulator: digest of the simulator's code.
    """

    hook: str
    kind: str
    kind_version: int
    simulator: str

    @classmethod
    def of(cls, hook: str, kind: Kind, simulator: Simulator) -> Evaluator:
        """Return the identity of what scores candidates for a hook."""
        return cls(hook, kind.name, kind.version, simulator_digest(simulator))

    @property
    def digest(self) -> str:
        """sha256 hex of all of it."""
        words = (self.hook, self.kind, str(self.kind_version), self.simulator)
        return hashlib.sha256("\0".join(words).encode()).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """Return the identity and its digest as JSON values."""
        return asdict(self) | {"digest": self.digest}


def simulator_digest(simulator: Simulator) -> str:
    """Return sha256 hex over a simulator's code.

    That is the source file of every class that it is, with the whole package where that is one of this
    project's; and, of a simulator made of plain functions, those functions' code.
    """
    digest = hashlib.sha256()
    files = {f"{path.parent.name}/{path.name}": path for path in _files(simulator)}
    for name, path in sorted(files.items()):
        digest.update(f"{name}\0".encode() + path.read_bytes())
    for name, value in sorted(_functions(vars(simulator)), key=lambda pair: pair[0]):
        digest.update(f"{name}\0{code_digest(value)}".encode())
    return digest.hexdigest()


def _files(simulator: Simulator) -> set[Path]:
    found: set[Path] = set()
    for cls in type(simulator).__mro__:
        path = _file(cls)
        if path is not None:
            found |= _package(path.parent) if path.is_relative_to(_SIMULATORS) else {path}
    return found


def _file(cls: type) -> Path | None:
    """Return the file of a class; None for what has none, or was typed at a prompt."""
    try:
        path = Path(inspect.getfile(cls))
    except (TypeError, OSError):
        return None
    return path if path.is_file() and cls.__module__ != "abc" else None


def _package(folder: Path) -> set[Path]:
    """Return a package's source files, and those of the packages beside it that it takes parts from."""
    found = {*folder.glob("*.py")}
    if folder != _SIMULATORS:
        beside = {name for path in found for name in _BESIDE.findall(path.read_text("utf-8"))}
        found |= {path for name in beside for path in (_SIMULATORS / name).glob("*.py")}
    return found


def _functions(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _functions(value, f"{prefix}{name}.")
        elif callable(value):
            yield f"{prefix}{name}", value


@dataclass(frozen=True, slots=True)
class Beyond:
    """A mean that no policy can have.

    Attributes:
        mean, bound: it, and the proven limit below which it lies.
        source: of the policy that was given it.
        trace, window: digests of the whole trace, and of what was replayed.
        unit: of the mean.
    """

    mean: float
    bound: float
    source: str
    trace: str
    window: str
    unit: str

    def __str__(self) -> str:
        """Return it in words."""
        return f"a mean of {self.mean:.6g} {self.unit} beyond the proven bound of {self.bound:.6g}"


def beyond(mean: float, bound: float) -> bool:
    """Return whether a mean is better than a proven bound, by more than sums of the same numbers differ."""
    return math.isfinite(bound) and mean < bound - ROUNDING * abs(bound)


@dataclass(frozen=True, slots=True)
class Quarantine:
    """An evaluator that is set aside.

    Attributes:
        evaluator: digest.
        hook, kind: of it.
        since_ns: Unix time.
        why: what it was caught at.
        actor: who ran it then.
        released_by, reason: who let it work again, and why; empty while it is set aside.
    """

    evaluator: str
    hook: str
    kind: str
    since_ns: int
    why: str
    actor: str
    released_by: str = ""
    reason: str = ""

    @property
    def stands(self) -> bool:
        """Whether nothing that it says counts."""
        return not self.released_by

    def as_json(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return asdict(self) | {"stands": self.stands}


def quarantine(ledger: Ledger, evaluator: Evaluator, at: Beyond, actor: str) -> None:
    """Set an evaluator aside, once; what is set aside already stays as it is.

    Args:
        ledger: takes the entry, with the evaluator's digest as its subject.
        evaluator: that was caught.
        at: what it was caught at.
        actor: who ran it.
    """
    body = {
        "summary": str(at),
        **evaluator.as_json(),
        "bound": at.bound,
        "mean": at.mean,
        "candidate": hashlib.sha256(at.source.encode("utf-8", "surrogatepass")).hexdigest(),
        "trace": at.trace,
        "window": at.window,
    }
    if standing(ledger, evaluator.digest) is None:
        ledger.append(QUARANTINED, actor, evaluator.digest, body)


def standing(ledger: Ledger, digest: str) -> Quarantine | None:
    """Return the quarantine of an evaluator while it stands, or None."""
    entries = ledger.list(kind="evaluator", subject=digest)
    return next((one for one in _folded(entries) if one.stands), None)


def quarantines(ledger: Ledger) -> tuple[Quarantine, ...]:
    """Return all evaluators that were ever set aside, as they are now, oldest first."""
    return tuple(_folded(ledger.list(kind="evaluator")))


def release(ledger: Ledger, digest: str, by: str, reason: str) -> Quarantine:
    """Let an evaluator work again; return its quarantine as it ended.

    Args:
        ledger: that holds the quarantine; takes the release.
        digest: of the evaluator, or its first 8 or more digits.
        by: who answers for it.
        reason: why what it says counts again.

    Raises:
        ConfigurationError: no such evaluator is set aside, or nobody or no reason is named.
        TrustError: the ledger does not hold.
    """
    if not by.strip() or not reason.strip():
        raise ConfigurationError("a release needs a name and a reason; give --by and --reason")
    require_holds(ledger)
    held = {one.evaluator: one for one in quarantines(ledger) if one.stands}
    enough = len(digest) >= LEAST_DIGITS
    matching = [found for found in held if enough and found.startswith(digest)]
    if len(matching) != 1:
        raise ConfigurationError(
            f"{digest!r} names {len(matching)} evaluators in quarantine; see: gnomon quarantine list"
        )
    found = matching[0]
    ledger.append(RELEASED, by, found, {"reason": reason, "hook": held[found].hook})
    return next(one for one in reversed(quarantines(ledger)) if one.evaluator == found)


def require_trusted(ledger: Ledger, digest: str, what: str) -> None:
    """Refuse what rests on an evaluator that is set aside.

    Args:
        ledger: of the project.
        digest: of the evaluator.
        what: rests on it, for the message.

    Raises:
        TrustError: it is.
    """
    found = standing(ledger, digest) if digest else None
    if found is not None:
        raise TrustError(
            f"{what} rests on evaluator {digest[:16]}, which is in quarantine ({found.why}); "
            "find the fault, then: gnomon quarantine release"
        )


def require_holds(ledger: Ledger) -> None:
    """Refuse a ledger that was tampered with; raises TrustError."""
    check = ledger.verify()
    if not check.ok:
        raise TrustError(f"ledger {ledger.path} does not hold ({check.problem}); restore it first")


def _folded(entries: Entries) -> list[Quarantine]:
    """Return the quarantines that entries tell of, in order; each release ends the one before it."""
    found: list[Quarantine] = []
    for entry in entries:
        if entry.kind == QUARANTINED:
            found.append(_begun(entry))
        elif entry.kind == RELEASED:
            for index, one in enumerate(found):
                if one.evaluator == entry.subject and one.stands:
                    found[index] = _ended(one, entry)
    return found


def _begun(entry: Entry) -> Quarantine:
    words = {name: str(entry.body.get(name, "")) for name in ("hook", "kind", "summary")}
    return Quarantine(
        entry.subject, words["hook"], words["kind"], entry.time_ns, words["summary"], entry.actor
    )


def _ended(one: Quarantine, entry: Entry) -> Quarantine:
    reason = str(entry.body.get("reason", ""))
    return replace(one, released_by=entry.actor or "nobody", reason=reason)
