"""The verdict: what the gates said about a candidate, with its evidence, as one file and one ledger entry."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ...policies.rollout.ledger import Ledger
from ...sdk.errors import TrustError
from ...sdk.files import read_regular, strict_json
from ...sdk.state import write_atomically
from ..report.shown import Part, Shown, Table, plain
from .fields import checked_fields

Decision = Literal["accepted", "refused", "inconclusive"]
Answer = Literal["passed", "failed", "inconclusive", "skipped"]

FORMAT = 2
_MOST_BYTES = 64_000_000  # of a file; a counterexample of program form may be long
_MOST_SHOWN = 100  # characters of one argument in a table; the file holds all of it
KIND = "verdict"  # of the ledger's entry
#: Names of all gates, in the order in which they are asked.
GATES = (
    "language",
    "determinism",
    "invariants",
    "fidelity",
    "sampled replay",
    "full replay",
    "holdout",
    "bound",
    "budget",
)


@dataclass(frozen=True, slots=True)
class GateResult:
    """What one gate said.

    Attributes:
        name: of the gate.
        answer: ``passed``, ``failed``, ``inconclusive`` (the evidence does not reach) or ``skipped``
            (there is no such gate for this kind).
        summary: one sentence, with the numbers that decided.
        evidence: the numbers, and a counterexample where there is one; JSON values.
        seconds: it took.
    """

    name: str
    answer: Answer
    summary: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether the candidate may go on."""
        return self.answer in ("passed", "skipped")


@dataclass(frozen=True, slots=True, repr=False)
class Verdict(Shown):
    """The gates' answer on one candidate.

    Attributes:
        decision: ``accepted``, ``refused`` or ``inconclusive``.
        reason: name of the gate that decided, or ``simulator`` or ``evaluator`` where these, not the
            candidate, stood in the way; empty when accepted.
        summary: for people, one or two sentences.
        hook, kind, kind_version: what it was verified for.
        source, source_digest, form: what was verified.
        gates: in the order in which they were asked; those after the deciding one were not.
        fidelity: the fidelity table, as JSON values; empty when it was not reached.
        trace: digest of the whole trace.
        splits: digest by split.
        calibration: digest over all calibrations.
        predicted: by ``incumbent`` and by digest of every other policy compared with: relative change
            of the objective on holdout (``estimate``, ``low``, ``high``; below 0 is better).
        layers: isolation layers in force; empty when the candidate was never run.
        isolation: the mode.
        seed: of all draws.
        tool: version of gnomon.
        created_ns: Unix time.
        evaluator: digest of what scored it, see :class:`~gnomon.shadow.gates.evaluator.Evaluator`; empty
            where nothing was asked to.
        golden: digest of the golden vectors that a bundle of it must hold; empty when they were not made.
        profile: of the trace's features, see :func:`~gnomon.shadow.profiles.profile_of`; empty where it was
            not accepted, and in files of earlier versions.
        path: of the file that it was written to or read from; no part of what the file says.
    """

    decision: Decision
    reason: str
    summary: str
    hook: str
    kind: str
    kind_version: int
    source: str
    source_digest: str
    form: str
    gates: tuple[GateResult, ...]
    fidelity: Mapping[str, Any]
    trace: str
    splits: Mapping[str, str]
    calibration: str
    predicted: Mapping[str, Mapping[str, float]]
    layers: tuple[str, ...]
    isolation: str
    seed: int
    tool: str
    created_ns: int
    evaluator: str = ""
    golden: str = ""
    profile: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = field(default=None, compare=False)

    @property
    def digest(self) -> str:
        """sha256 hex of the file's bytes."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return what the file says, as finite JSON values."""
        said = {"format": FORMAT, **finite(asdict(self))}
        del said["path"]
        if not self.profile:  # as files were before there were profiles, so that their digests hold
            del said["profile"]
        return said

    def as_json(self) -> dict[str, Any]:
        """Return what the file says, with its digest and its path."""
        return self.to_json() | {"digest": self.digest, "path": plain(self.path)}

    def parts(self) -> tuple[Part, ...]:
        """Return what is shown: every gate's answer, a counterexample, the summary, the effect."""
        layers = ", ".join(self.layers) or "the candidate was not run"
        place = f" in {self.path}" if self.path else ""
        return (
            _gates(self.gates),
            *_counterexample(self.gates),
            self.summary,
            *_predicted(self.predicted),
            f"Isolation: {self.isolation} ({layers}).",
            f"Verdict {self.digest[:16]}{place}",
        )

    def to_bytes(self) -> bytes:
        """Return the canonical JSON of the file: sorted keys, ASCII, one line."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return text.encode("ascii") + b"\n"

    def save(self, path: Path) -> Verdict:
        """Write the file, with its folder, whole or not at all; return the verdict with its path."""
        write_atomically(path, self.to_bytes())
        return replace(self, path=path)

    def _asked(self, gate: str) -> bool:
        return any(answer.name == gate for answer in self.gates)

    def record(self, ledger: Ledger, actor: str) -> None:
        """Append the verdict to a ledger, under its digest."""
        body = {
            "decision": self.decision,
            "reason": self.reason,
            "summary": self.summary,
            "hook": self.hook,
            "kind": self.kind,
            "source_digest": self.source_digest,
            "trace": self.trace,
            "evaluator": self.evaluator,
            "holdout": self.splits.get("holdout", "") if self._asked("holdout") else "",
            "passed": [gate.name for gate in self.gates if gate.answer == "passed"],
            "skipped": [gate.name for gate in self.gates if gate.answer == "skipped"],
            "failed": {g.name: f"{g.answer}: {g.summary}" for g in self.gates if not g.passed},
        }
        ledger.append(KIND, actor, self.digest, body)


def load_verdict(path: Path, ledger: Ledger) -> Verdict:
    """Read a verdict that a ledger vouches for.

    Raises:
        TrustError: the file is no verdict; the ledger does not hold, or does not know a verdict of exactly
            these bytes.
    """
    data = read_bytes(path)
    digest = hashlib.sha256(data).hexdigest()
    check = ledger.verify()
    if not check.ok:
        raise TrustError(f"ledger {ledger.path} does not hold ({check.problem}); restore it first")
    if not ledger.list(kind=KIND, subject=digest):
        if not _looks_like_one(data):
            raise TrustError(
                f"{path} is no verdict, or a damaged one; name the file that gnomon verify wrote (--out)"
            )
        raise TrustError(
            f"ledger {ledger.path} knows no verdict {digest[:12]}: {path} was edited, or another "
            "ledger holds it; verify again"
        )
    return _parse(data, path)


def read_bytes(path: Path) -> bytes:
    """Return what a verdict's file holds, be it one or not.

    Raises:
        TrustError: it cannot be read.
    """
    try:
        return read_regular(path, _MOST_BYTES)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise TrustError(f"{path} cannot be read ({why}); verify again") from error


def _looks_like_one(data: bytes) -> bool:
    """Return whether somebody may take these bytes for a verdict, be it an edited one."""
    try:
        values = strict_json(data)
    except ValueError:
        return False
    return isinstance(values, dict) and {"decision", "gates"} <= values.keys()


def _parse(data: bytes, path: Path) -> Verdict:
    try:
        values = strict_json(data)
        stored = values if isinstance(values, dict) else {}
        if (found := stored.pop("format", None)) != FORMAT or isinstance(found, bool):
            raise TrustError(f"{path} has a format of another version; verify again or upgrade")
        said = checked_fields(stored)
        said["gates"] = tuple(GateResult(**gate) for gate in said["gates"])
        found = Verdict(**said, path=path)
        if found.to_bytes() != data:  # its digest would be another than the one that is vouched for
            raise ValueError("not as gnomon writes one")
    except ValueError as error:
        raise TrustError(f"{path} is not a verdict ({error}); verify again") from error
    return found


def _gates(gates: tuple[GateResult, ...]) -> Table:
    return Table(
        ("gate", "answer", "why", "seconds"),
        tuple((gate.name, gate.answer, gate.summary, f"{gate.seconds:.1f}") for gate in gates),
        prose=True,
    )


def _counterexample(gates: tuple[GateResult, ...]) -> tuple[Table, ...]:
    """Return the decision on which the last gate failed, where there is one."""
    case = gates[-1].evidence.get("counterexample") if gates else None
    if not case:
        return ()
    try:
        return (_answered(case) if "question" in case else _picked(case),)
    except (KeyError, TypeError, ValueError, AttributeError):  # a file may say anything there
        return (Table(("counterexample",), ((_short(case),),)),)


def _picked(case: Mapping[str, Any]) -> Table:
    """Return an item table and which item was picked, an item a line."""
    width = len(case["inputs"])
    rows = tuple(
        (f"{index} picked" if index == case["action"] else str(index), *(f"{v:g}" for v in row))
        for index, row in enumerate(case["items"])
    )
    if any(len(row) != width + 1 for row in rows):
        raise ValueError("rows of another length")
    title = f"counterexample: {case['invariant']}"
    return Table(("item", *map(str, case["inputs"])), rows, title)


def _answered(case: Mapping[str, Any]) -> Table:
    """Return a call of a program and what it answered, an argument a line."""
    rows = [("asked", name, _short(value)) for name, value in case["question"].items()]
    rows += [("answered", name, _short(value)) for name, value in case["answer"].items()]
    return Table(("", "name", "value"), tuple(rows), f"counterexample: {case['invariant']}")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 3]}..."


def _predicted(effects: Mapping[str, Mapping[str, float]]) -> tuple[Table, ...]:
    rows = tuple(
        (name[:16], *(f"{float(effect[part]):+.1%}" for part in ("estimate", "low", "high")))
        for name, effect in effects.items()
    )
    head = ("against", "estimate", "low", "high")
    return (Table(head, rows, "Predicted change of the objective"),) if rows else ()


def finite(value: Any) -> Any:
    """Return JSON values with whatever JSON cannot say as text (``nan``, ``inf``)."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    return value
