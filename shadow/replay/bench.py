"""Where cells of a comparison are measured: what a process keeps between two of them, and how one is named.

A cell is some replicas of one policy on one trace at one size. It is described by texts and numbers, so that
any process can measure it, and named by the digest of all that its result depends on.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

from ...policies.registry import kind as kind_named
from ...sdk.invariant import Invariant
from ...sdk.kind import Kind
from ..fidelity import Fidelity, Row, compared
from ..gates.questions import invariant_digest
from ..opening import Asked, held_to, isolated, policy_named
from ..policy import Policy, hook_at
from ..simulators import load_calibrations, simulator_for
from ..simulators.base import Simulator
from ..traces.trace import Trace, saved_kind
from .cells import (
    Measured,
    Setting,
    Slo,
    bound_of,
    measured,
    measured_of,
    merged,
    replayed,
    tier_of,
)

#: Of what a cell's result looks like and how it is computed; another one makes kept cells stale.
_RESULTS = 3


@dataclass(frozen=True, slots=True)
class Entrant:
    """A policy as a text, with the digest of what it stands for.

    Attributes:
        name: for tables.
        text: ``baseline:NAME``, a file, ``recorded`` or ``module:attribute``.
        digest: of its source, or of whatever says what it does.
        trusted: whether it runs in the process that measures: the incumbent does.
    """

    name: str
    text: str
    digest: str
    trusted: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """What replays are held to besides the kind's invariants, as any process can find it.

    Attributes:
        hook: ``module:attribute`` whose own they are; empty for none.
        name: of the hook.
        file: of suggestions; empty for none.
        digest: over what they are.
    """

    hook: str = ""
    name: str = ""
    file: str = ""
    digest: str = ""

    def invariants(self, kind: Kind) -> tuple[Invariant, ...]:
        """Return all that hold over a replay, the kind's included."""
        own = hook_at(self.hook).invariants if self.hook else kind.invariants
        return held_to(own, kind, self.name, self.file or None)


def held_of(found: Asked, hook: str | None, file: Path | None) -> Held:
    """Return what the replays of a trace are held to; as little as there is, so that cells are kept."""
    own = [each for each in found.invariants if each not in found.kind.invariants]
    if not any(each.scope == "replay" for each in own):
        return Held()
    digests = "".join(map(invariant_digest, own))
    marked = hook if hook and ":" in hook else ""
    digest = hashlib.sha256(digests.encode()).hexdigest()
    return Held(marked, found.trace.hook, str(file or ""), digest)


@dataclass(frozen=True, slots=True)
class Job:
    """A cell.

    Attributes:
        trace: path of the saved trace.
        size: share that it is brought to, or None for the trace as it was recorded.
        calibration: file of the one that was fitted at that size.
        entrant: policy.
        first, count: seeds, from the first on.
        slos: levels of service.
        faithful: whether the replays are compared with the recording, which takes all at once.
        bounded: whether the bound is wanted too.
        isolation: of files.
        files: all files that are compared, which share a clean process.
        held: what replays are held to.
    """

    trace: str
    size: float | None
    calibration: str
    entrant: Entrant
    first: int
    count: int
    slos: tuple[Slo, ...]
    faithful: bool
    bounded: bool
    isolation: str
    files: tuple[str, ...]
    held: Held = Held()

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @staticmethod
    def of_json(data: dict[str, Any]) -> Job:
        """Return what :meth:`as_json` was made of."""
        slos = tuple(Slo(**slo) for slo in data["slos"])
        rest = {"slos": slos, "files": tuple(data["files"]), "entrant": Entrant(**data["entrant"])}
        rest["held"] = Held(**data["held"])
        return Job(**{**data, **rest})

    def key(self, trace: str, calibration: str, code: str = "") -> str:
        """Return sha256 hex over all that the result depends on.

        Args:
            trace, calibration: digests.
            code: source of whatever simulates.
        """
        parts = {
            "results": _RESULTS,
            "gnomon": _version(),
            "trace": trace,
            "calibration": calibration,
            "code": hashlib.sha256(code.encode()).hexdigest(),
            "size": self.size,
            "policy": [self.entrant.text.startswith("baseline:"), self.entrant.digest],
            "trusted": self.entrant.trusted,
            "seeds": [self.first, self.count],
            "slos": [asdict(slo) for slo in self.slos],
            "asked": [self.faithful, self.bounded, self.isolation],
            "held": self.held.digest,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def module_source(made: Any) -> str:
    """Return the source of the module that holds a function or class; what it imports is not looked at."""
    try:
        return Path(inspect.getfile(made)).read_text("utf-8")
    except (OSError, TypeError, UnicodeDecodeError):
        return ""


def code_of(simulator: Simulator) -> str:
    """Return the source of the module that a simulator was written in, or of its only function."""
    return module_source(getattr(simulator, "world", type(simulator)))


@cache
def _version() -> str:
    try:
        return version("gnomon")
    except PackageNotFoundError:  # a checkout on the path
        return ""


@dataclass(frozen=True)
class Result:
    """What a cell gave.

    Attributes:
        measured: numbers of the replays.
        fidelity: where it was asked for.
        bound: where it was asked for; else None.
    """

    measured: Measured
    fidelity: Fidelity | None = None
    bound: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as values that :meth:`of_json` takes back, bit for bit."""
        return {
            "measured": self.measured.as_json(),
            "fidelity": self.fidelity.as_json() if self.fidelity else None,
            "bound": self.bound,
        }

    @staticmethod
    def of_json(data: dict[str, Any]) -> Result:
        """Return what :meth:`as_json` was made of."""
        said = data["fidelity"]
        faithful = said and Fidelity(**said | {"rows": tuple(Row(**row) for row in said["rows"])})
        return Result(Measured.of_json(data["measured"]), faithful, data["bound"])


@dataclass
class Bench:
    """Measures cells, and keeps open what the next one needs again; close it.

    Attributes:
        traces: by the path that jobs name; others are loaded when they are first named.
    """

    traces: dict[str, Trace] = field(default_factory=dict)
    _settings: dict[tuple[str, float | None, str], Setting] = field(default_factory=dict)
    _policies: dict[tuple[str, bool], Policy] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def run(self, job: Job) -> Result:
        """Measure a cell; raises what opening and replaying raise."""
        setting = self._setting(job)
        held = job.held.invariants(setting.simulator.kind)
        setting = replace(setting, slos=job.slos, invariants=held)
        policy = self._policy(job, setting)
        seeds = range(job.first, job.first + job.count)
        bound = bound_of(setting, seeds) if job.bounded else None
        if not job.faithful:
            return Result(measured(policy, setting, seeds), None, bound)
        runs = list(replayed(policy, setting, seeds))
        faithful = compared(
            setting.trace,
            runs,
            setting.simulator,
            policy=job.entrant.name,
            calibration=setting.calibration.digest,
            seed=job.first,
        )
        return Result(
            measured_of(tier_of(policy, setting.simulator), runs, setting), faithful, bound
        )

    def _setting(self, job: Job) -> Setting:
        key = (job.trace, job.size, job.calibration)
        if key not in self._settings:
            trace = self._trace(job.trace)
            simulator = simulator_for(kind_named(trace.kind))
            sized = trace if job.size is None else simulator.sized(trace, job.size)
            (calibration,) = load_calibrations(Path(job.calibration), simulator)
            self._settings = {key: Setting(sized, simulator, calibration)}  # jobs come by setting
        return self._settings[key]

    def _trace(self, path: str) -> Trace:
        if path not in self.traces:
            simulator = simulator_for(kind_named(saved_kind(Path(path))))
            self.traces = {path: simulator.trace_type.load(Path(path))}
        return self.traces[path]

    def _policy(self, job: Job, setting: Setting) -> Policy:
        text, kind = job.entrant.text, setting.simulator.kind
        key = (text, job.entrant.trusted)
        if key not in self._policies and job.entrant.trusted:
            self._policies[key] = policy_named(text, kind)
        elif key not in self._policies:
            texts = job.files if text in job.files else (text,)
            made = isolated(texts, kind, job.isolation, self._stack)
            self._policies |= {(t, False): policy for t, policy in zip(texts, made, strict=True)}
        return self._policies[key]

    def close(self) -> None:
        """End the processes of candidates."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def joined(results: list[Result]) -> Result:
    """Return the results of all batches of one policy as one."""
    first = results[0]
    return Result(merged([result.measured for result in results]), first.fidelity, first.bound)
