"""From the texts that a comparison is asked for with to traces, policies and cells."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ...policies.found import found_at
from ...policies.listing import BASELINE
from ...sdk.errors import ConfigurationError
from ...sdk.isolation.layers import known_mode
from ...sdk.kind import Kind
from ..evaluation import require_seed
from ..opening import asked, checked_source, policy_named
from ..policy import FunctionPolicy, baseline_policy
from .bench import Entrant, Held, held_of, module_source
from .cells import Slo, slo_of

if TYPE_CHECKING:
    from ..traces.trace import Trace

#: Replicas in one cell, whatever the number of workers: what is measured must not depend on it.
BATCH = 10
_MOST_WORKERS = 256


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How policies are compared.

    Attributes:
        replicas: replays per policy, at least 2.
        seed: of all draws.
        isolation: of policies from files: ``strict`` or ``process``.
        sizes: shares of what the workload touches, above 0 and at most 1, that the service is brought to
            in turn; none for the size as it was recorded.
        invariants: file of suggestions; what was confirmed is asked of every replay too.
        slo: ``VALUE`` of the objective or ``METRIC=VALUE``; a good decision meets all of them.
        workers: processes; the result is the same.
        out: folder that finished cells, table and report are kept in; None keeps nothing.
        resume: whether to go on with what ``out`` holds.
    """

    replicas: int = 20
    seed: int = 0
    isolation: str = "strict"
    sizes: tuple[float, ...] = ()
    slo: tuple[str, ...] = ()
    invariants: Path | None = None
    workers: int = 1
    out: Path | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        """Refuse what no comparison can be made with."""
        if self.replicas < 2:
            raise ConfigurationError(
                f"replicas={self.replicas} says nothing of luck; give at least 2"
            )
        if not 1 <= self.workers <= _MOST_WORKERS:
            raise ConfigurationError(
                f"workers={self.workers}: choose a number from 1 to {_MOST_WORKERS}"
            )
        for size in self.sizes:
            if not 0.0 < size <= 1.0:
                raise ConfigurationError(
                    f"size {size:g} is no share; give some above 0 and at most 1 (100%)"
                )
        if self.resume and self.out is None:
            raise ConfigurationError("resume needs the folder of the run; name it with --out")
        require_seed(self.seed)
        known_mode(self.isolation)


@dataclass(frozen=True, eq=False)
class Recorded:
    """One trace, and the policy that was in production.

    Attributes:
        label: which one, for those who see several.
        source: text that named it.
        trace: as it was recorded.
        kind: its own, of the hook where that was imported.
        incumbent: policy.
        held: what policies are held to, as any process can find it.
    """

    label: str
    source: str
    trace: Trace
    kind: Kind
    incumbent: Entrant
    held: Held = field(default_factory=Held)


@dataclass(frozen=True, eq=False)
class Plan:
    """What is compared with what, on what.

    Attributes:
        recorded: traces.
        policies: to compare with each one's incumbent.
        slos: levels of service.
        options: how.
    """

    recorded: tuple[Recorded, ...]
    policies: tuple[Entrant, ...]
    slos: tuple[Slo, ...]
    options: ReplayOptions

    def entrants(self, recorded: Recorded) -> tuple[Entrant, ...]:
        """Return the policies that are compared on a trace: all but its incumbent itself."""
        return tuple(p for p in self.policies if p.text != recorded.incumbent.text)


def planned(
    traces: Sequence[str],
    policies: Sequence[str],
    hooks: Sequence[str],
    incumbent: str | None,
    options: ReplayOptions,
) -> Plan:
    """Open what is named and check all of it before anything is replayed.

    Args:
        traces: stores and saved traces.
        policies: files, ``found:NAME`` or ``baseline:NAME``; all baselines of the kind when empty.
        hooks: none; one, of every store; as many as there are traces; or several of one store.
        incumbent: of all of them; None for each one's own.
        options: how.

    Raises:
        TraceError, ConfigurationError, LanguageError: something named cannot be used.
    """
    named = [
        (source, hook, asked(source, hook, incumbent, options.invariants))
        for source, hook in _pairs(traces, hooks)
    ]
    labels = _labels([(source, found.trace.hook) for source, _, found in named])
    recorded = tuple(
        Recorded(
            label,
            source,
            found.trace,
            found.kind,
            _trusted(found.incumbent, found.kind),
            held_of(found, hook, options.invariants),
        )
        for label, (source, hook, found) in zip(labels, named, strict=True)
    )
    _require_others(recorded)
    kind = _one_kind(recorded)
    texts = dict.fromkeys(policies or (BASELINE + name for name in kind.baselines))
    entrants = tuple(_entrant(text, kind) for text in texts)
    _require_names(entrants)
    return Plan(recorded, entrants, tuple(slo_of(text, kind) for text in options.slo), options)


def _pairs(traces: Sequence[str], hooks: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    if len(hooks) <= 1:
        return ((source, next(iter(hooks), None)) for source in traces)
    if len(traces) == 1:
        return ((traces[0], hook) for hook in hooks)
    if len(traces) != len(hooks):
        raise ConfigurationError(
            f"{len(hooks)} hooks for {len(traces)} traces; give one for all, or one for each"
        )
    return zip(traces, hooks, strict=True)


def _labels(named: Sequence[tuple[str, str]]) -> list[str]:
    """Return the shortest of hook, file and both that tells all traces apart."""
    sources = [Path(source).name or source for source, _ in named]
    hooks = [hook for _, hook in named]
    for labels in (hooks, sources):
        if len({*labels}) == len(labels):
            return labels
    both = [f"{source} {hook}" for source, hook in zip((s for s, _ in named), hooks, strict=True)]
    twice = [label for label, count in Counter(both).items() if count > 1]
    if twice:
        raise ConfigurationError(f"{twice[0]} is named twice; name every trace once")
    return both


def _require_others(recorded: Sequence[Recorded]) -> None:
    """Refuse one trace under two names: what is said over all would count it twice."""
    of: dict[str, Recorded] = {}
    for each in recorded:
        other = of.setdefault(each.trace.digest, each)
        if other is not each:
            raise ConfigurationError(
                f"{other.source} and {each.source} hold the same trace; name every trace once"
            )


def _require_names(entrants: Sequence[Entrant]) -> None:
    for name, count in Counter(each.name for each in entrants).items():
        if count > 1:
            raise ConfigurationError(
                f"two policies are named {name!r}; give the file another name, or a path"
            )


def _one_kind(recorded: Sequence[Recorded]) -> Kind:
    kinds = {each.kind.name: each for each in recorded}
    if len(kinds) > 1:
        said = ", ".join(f"{each.label} is of kind {name}" for name, each in kinds.items())
        raise ConfigurationError(
            f"{said}: policies of one kind only can be compared; replay them one by one"
        )
    return recorded[0].kind


def _entrant(text: str, kind: Kind) -> Entrant:
    """Return a policy to compare; raises for one that cannot be replayed."""
    if text.startswith(BASELINE):
        return Entrant(text.removeprefix(BASELINE), text, _of_baseline(text, kind))
    return Entrant(text, text, _sha(checked_source(found_at(text, kind), kind)))


def _trusted(text: str, kind: Kind) -> Entrant:
    """Return the incumbent that a text names; raises for one that cannot be replayed."""
    policy = policy_named(text, kind)
    if text.startswith(BASELINE):
        digest = _of_baseline(text, kind)
    elif isinstance(policy, FunctionPolicy):
        digest = _sha(text + module_source(policy.function))
    else:
        digest = _sha(getattr(policy, "source", text))
    return Entrant(policy.name, text, digest, trusted=True)


def _of_baseline(text: str, kind: Kind) -> str:
    name = text.removeprefix(BASELINE)
    baseline_policy(name, kind)
    return _sha(kind.baselines[name].source or f"{kind.name} {kind.version} {name}")


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
