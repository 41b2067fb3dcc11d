"""What the commands on a trace are given as text: traces, hooks, incumbents, candidates, rivals."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..policies.found import found_at
from ..sdk.errors import ConfigurationError, LanguageError, TraceError

if TYPE_CHECKING:
    from ..sdk.hook import Hook
    from ..sdk.invariant import Invariant
    from ..sdk.kind import Kind
    from .gates.case import Target
    from .policy import Policy
    from .traces.trace import Trace


@dataclass(frozen=True, eq=False)
class Asked:
    """What a line about a trace names.

    Attributes:
        trace: recorded.
        kind: of the hook where that was imported, else of the trace's name.
        incumbent: policy in production, as a text.
        invariants: of the hook, or of the kind; and those of a file that somebody confirmed.
    """

    trace: Trace
    kind: Kind
    incumbent: str
    invariants: tuple[Invariant, ...]


def asked(
    traces: str | Path,
    hook: str | None = None,
    incumbent: str | None = None,
    invariants: str | Path | None = None,
) -> Asked:
    """Return a recorded trace, and who decided when it was recorded; as for :func:`opened`."""
    from ..policies.registry import kind as kind_named
    from .policy import has_function, hook_at
    from .simulators import simulator_for

    marked: Hook | None = hook_at(hook) if hook and ":" in hook else None
    trace = _trace(str(traces), marked.name if marked else hook)
    if marked and marked.kind.name != trace.kind:
        raise ConfigurationError(
            f"hook {hook!r} decides {marked.kind.name!r}, the trace is of kind {trace.kind!r}; "
            "name the hook that it was recorded from"
        )
    if not len(trace):
        raise TraceError(f"trace {trace.hook!r} is empty; record some traffic first")
    kind = marked.kind if marked else kind_named(trace.kind)
    named = hook if marked is not None and has_function(marked) else None
    text = incumbent or named or simulator_for(kind).incumbent(trace)
    own = marked.invariants if marked else kind.invariants
    return Asked(trace, kind, text, held_to(own, kind, trace.hook, invariants))


def held_to(
    own: Sequence[Invariant], kind: Kind, hook: str, file: str | Path | None
) -> tuple[Invariant, ...]:
    """Return a hook's own invariants and those of a file that somebody confirmed.

    Raises:
        ConfigurationError: the file is none, or for another hook; or two have one name.
        TrustError: a rule of the file is another than the one that was confirmed.
    """
    from ..sdk.rules.file import read_suggestions

    known = {each.name: each for each in own}
    for each in read_suggestions(file).invariants(kind, hook) if file else ():
        before = known.setdefault(each.name, each)
        # whoever loads the file beside the hook, and names it here too, means the same
        if (before.severity, before.description) != (each.severity, each.description):
            raise ConfigurationError(
                f"{file} has an invariant {each.name!r}, and hook {hook!r} has another of that name; "
                "give one of them another name"
            )
    return tuple(known.values())


@dataclass(frozen=True, eq=False)
class Contract:
    """What a hook's name alone says of it.

    Attributes:
        hook: its name.
        kind: what it decides; None where only the name is known.
        invariants: of the hook where it was imported, else of the kind; and those of a file that
            somebody confirmed.
    """

    hook: str
    kind: Kind | None
    invariants: tuple[Invariant, ...]


def contract_of(hook: str, kind: str | None, invariants: str | Path | None = None) -> Contract:
    """Return a hook's contract without any trace.

    Args:
        hook: its name, or ``module:attribute`` of the decorated function, which is imported.
        kind: name of its kind, for a hook that is only named; None where nobody knows.
        invariants: as for :func:`opened`.

    Raises:
        ConfigurationError: there is no such hook or kind.
        TrustError: an invariant was changed after it was confirmed.
    """
    from ..policies.registry import kind as kind_named
    from .policy import hook_at

    if ":" in hook:
        marked: Hook = hook_at(hook)
        own = held_to(marked.invariants, marked.kind, marked.name, invariants)
        return Contract(marked.name, marked.kind, own)
    if kind is None:
        return Contract(hook, None, ())
    found = kind_named(kind)
    return Contract(hook, found, held_to(found.invariants, found, hook, invariants))


def opened(
    traces: str | Path,
    hook: str | None = None,
    incumbent: str | None = None,
    invariants: str | Path | None = None,
) -> tuple[Trace, Target]:
    """Return a recorded trace, and what a candidate on it would be for.

    Args:
        traces: trace store (folder or URI), or a trace saved as ``.npz`` or ``.trace``.
        hook: its name, or ``module:attribute`` of the decorated function, which is imported and gives
            the kind, the invariants and the incumbent; None takes the store's only hook.
        incumbent: ``baseline:NAME``, ``found:NAME``, a policy's file, ``recorded`` or
            ``module:attribute``; None takes the hook's own function if ``hook`` names one, else what the
            kind's simulator takes it for.
        invariants: file of suggestions; those that somebody confirmed are added to the hook's own.

    Raises:
        TraceError: the trace cannot be read.
        ConfigurationError: hook, incumbent or invariants name nothing that can be used.
        LanguageError: the incumbent's file lies outside the policy language.
        TrustError: an invariant was changed after it was confirmed.
    """
    from .gates.case import Target

    found = asked(traces, hook, incumbent, invariants)
    policy = policy_named(found.incumbent, found.kind)
    return found.trace, Target(found.trace.hook, found.kind, policy, found.invariants)


def _trace(traces: str, hook: str | None) -> Trace:
    from ..policies.registry import kind as kind_named
    from .simulators import simulator_for
    from .traces.files import is_saved
    from .traces.trace import load_trace, saved_kind

    if not is_saved(traces):
        return load_trace(traces, hook)
    path = Path(traces)
    trace = simulator_for(kind_named(saved_kind(path))).trace_type.load(path)
    if hook not in (None, trace.hook):
        raise TraceError(f"{traces} holds hook {trace.hook!r}, not {hook!r}; leave --hook out")
    return trace


def policy_named(text: str, kind: Kind) -> Policy:
    """Return a trusted policy: ``baseline:NAME``, ``found:NAME``, a file, ``recorded`` or ``module:attribute``.

    Raises:
        ConfigurationError: it names nothing that can be replayed.
        LanguageError: the file lies outside the policy language; names the file.
    """
    from .policy import incumbent_policy, source_policy

    path = found_at(text, kind)
    if path.suffix != ".py" and not path.is_file():
        return incumbent_policy(text, kind)
    return source_policy(path.stem, checked_source(path, kind), kind)


def checked_source(path: Path, kind: Kind) -> str:
    """Return a policy's source; an error of the language names the file."""
    from .policy import source_of

    source = source_of(path)
    try:
        kind.checked(source)
    except LanguageError as error:
        raise LanguageError(f"{path}: {error}") from error
    return source


def isolated(texts: tuple[str, ...], kind: Kind, isolation: str, stack: ExitStack) -> list[Policy]:
    """Return policies to compare; sources from files run isolated, in forks of one clean process.

    Args:
        texts: files, ``found:NAME``, or ``baseline:NAME``.
        kind: what is decided.
        isolation: ``strict`` or ``process``.
        stack: ends the process.

    Raises:
        ConfigurationError, LanguageError: a text names nothing that can be replayed.
        IsolationError: the isolation cannot be had.
    """
    from ..policies.listing import BASELINE
    from ..sdk.isolation.layers import known_mode
    from .policy import baseline_policy, clean_process, isolated_policy

    mode = known_mode(isolation)
    files = [text for text in texts if not text.startswith(BASELINE)]
    sources = {text: checked_source(found_at(text, kind), kind) for text in files}
    zygote = stack.enter_context(clean_process(kind, mode)) if sources else None
    return [
        isolated_policy(text, sources[text], kind, zygote)
        if zygote and text in sources
        else baseline_policy(text.removeprefix(BASELINE), kind)
        for text in texts
    ]


def sources_named(texts: tuple[str, ...], kind: Kind) -> list[tuple[str, str, bool]]:
    """Return policies in score form: their names, sources, and whether they are from outside.

    Args:
        texts: files, ``found:NAME``, or ``baseline:NAME``; all baselines that the language can express when empty.
        kind: what is decided.

    Raises:
        ConfigurationError, LanguageError: a text names no policy in score form.
    """
    from ..policies.listing import BASELINE
    from .policy import baseline_policy

    known = [BASELINE + name for name, each in kind.baselines.items() if each.source]
    found = []
    for text in texts or known:
        if not text.startswith(BASELINE):
            found.append((text, checked_source(found_at(text, kind), kind), True))
            continue
        name = text.removeprefix(BASELINE)
        source = getattr(baseline_policy(name, kind), "source", None)
        if source is None:
            raise ConfigurationError(
                f"baseline {name!r} is no score, so its probabilities are unknown; replay it instead"
            )
        found.append((name, source, False))
    return found


def rivals(policies: Iterable[str | Path], target: Target) -> dict[str, str]:
    """Return sources by the name that a rollout would know them by.

    Args:
        policies: source files and ``found:NAME``, which are named by their source digest, and ``.bundle`` files, which
            are named by their bundle digest.
        target: what they must be for.

    Raises:
        ConfigurationError: a file cannot be read, or a bundle is for another hook.
        LanguageError: a source lies outside the policy language; names the file.
    """
    from ..sdk.bundle import SUFFIX

    found: dict[str, str] = {}
    for path in (found_at(str(each), target.kind) for each in policies):
        if path.suffix == SUFFIX:
            found |= _bundled(path, target)
        else:
            source = checked_source(path, target.kind)
            found[source_digest(source)] = source
    return found


def _bundled(path: Path, target: Target) -> dict[str, str]:
    """Return a bundle's source by the bundle's digest; it is run isolated, so nobody need vouch."""
    from ..sdk.bundle import bundle_digest, load_bundle, read_bundle

    payload = load_bundle(path).payload
    about = read_bundle(payload)
    wanted = (target.hook, target.kind.name, target.kind.version)
    if (about.hook, about.kind, about.kind_version) != wanted:
        raise ConfigurationError(
            f"{path} is for hook {about.hook!r} of kind {about.kind} v{about.kind_version}, not for "
            f"{target.hook!r} of {target.kind.name} v{target.kind.version}; give another bundle"
        )
    return {bundle_digest(payload): about.source}


def source_digest(source: str) -> str:
    """Return the name of a bare source: sha256 hex of its text."""
    return hashlib.sha256(source.encode()).hexdigest()
