"""Invariants of a hook: which there are, whether they are kept, and which could be."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from ..sdk.errors import ConfigurationError
from .places import TRACES, acting, existing_ledger, ledger_at, writable

if TYPE_CHECKING:
    from ..sdk.invariant import Invariant, Severity
    from ..shadow.invariants.checking import InvariantCheck
    from ..shadow.invariants.listing import InvariantList
    from ..shadow.invariants.suggesting import Suggested


def list_invariants(
    hook: str = "", *, kind: str = "", invariants: str | Path | None = None
) -> InvariantList:
    """Return which invariants a hook is held to, and where each is asked.

    Args:
        hook: ``module:attribute`` of the decorated function or cache, which is imported.
        kind: name of a kind, for its own alone.
        invariants: file of suggestions, confirmed or not.

    Raises:
        ConfigurationError: not one of hook and kind, or one that names nothing; a bad file.
        TrustError: an invariant was changed after it was confirmed.
    """
    from ..policies.registry import kind as kind_named
    from ..shadow.invariants.listing import listed
    from ..shadow.policy import hook_at

    if bool(hook) == bool(kind):
        raise ConfigurationError("name either a hook, as module:attribute, or a kind")
    if kind:
        return listed(kind_named(kind), file=invariants)
    found = hook_at(hook)
    return listed(found.kind, tuple(found.invariants), found.name, invariants)


def check_invariants(
    traces: str | Path = TRACES,
    *,
    hook: str | None = None,
    incumbent: str | None = None,
    invariants: str | Path | None = None,
    show: int = 3,
    ledger: str | Path | None = None,
) -> InvariantCheck:
    """Ask every decision invariant about every decision: recorded ones, or those of a replay.

    Args:
        traces, hook, invariants: as for :func:`opened`.
        incumbent: ``recorded``, or a policy to replay; None takes what was recorded where decisions
            were, else the incumbent as :func:`opened` finds it.
        show: violations that are kept of each invariant.
        ledger: file that takes an entry of the check, by :func:`acting`; None takes none.

    Raises:
        TraceError, ConfigurationError, LanguageError, TrustError: as :func:`opened`; or the policy's
            decisions cannot be seen.
    """
    from ..shadow.invariants.checking import check
    from ..shadow.invariants.decisions import decided

    found = check(decided(traces, hook, incumbent, invariants), show)
    if ledger is not None:
        with closing(ledger_at(ledger)) as book:
            found.record(book, acting())
    return found


def suggest_invariants(
    traces: str | Path = TRACES,
    out: str | Path | None = None,
    *,
    hook: str | None = None,
    incumbent: str | None = None,
    invariants: str | Path | None = None,
    seed: int = 0,
) -> Suggested:
    """Say which rules the decisions of a trace keep; none of them counts before somebody confirms it.

    Args:
        traces, hook, incumbent, invariants: as for :func:`check_invariants`.
        out: file to be written; None writes none.
        seed: of the other choices that rules are tried on.

    Raises:
        TraceError: too few decisions, or none had a choice; and as :func:`check_invariants`.
        ConfigurationError: the file exists already; and as :func:`check_invariants`.
    """
    from ..shadow.invariants.decisions import decided
    from ..shadow.invariants.mining import mine
    from ..shadow.invariants.suggesting import Suggested

    path = writable(Path(out)) if out is not None else None
    if path is not None and path.exists():
        raise ConfigurationError(f"{path} exists already; name another file, or remove it")
    found = mine(decided(traces, hook, incumbent, invariants), seed)
    if path is not None:
        found.file.save(path)
    return Suggested(found.file, path, found.tested, found.refuted, found.trivial, found.implied)


def confirm_invariants(
    file: str | Path,
    names: Sequence[str],
    *,
    by: str = "",
    severity: Severity = "block",
    ledger: str | Path | None = None,
) -> Suggested:
    """Confirm suggestions of a file, so that they count from now on.

    Args:
        file: that :func:`suggest_invariants` wrote.
        names: of the suggestions.
        by: who confirms; see :func:`acting` when empty.
        severity: ``block`` or ``warn``; what only describes the traffic warns in any case.
        ledger: file that takes an entry of each; None takes none.

    Raises:
        ConfigurationError: no such file, suggestion or severity.
        TrustError: a suggestion was changed after it was confirmed; or the ledger is none.
    """
    from ..shadow.invariants.confirming import confirmed
    from ..shadow.invariants.suggesting import Suggested

    with ExitStack() as stack:
        book = stack.enter_context(closing(ledger_at(ledger))) if ledger is not None else None
        path = Path(file)
        made = confirmed(path, names, by or acting(), severity, time.time_ns(), book)
    return Suggested(made, path)


def load_invariants(
    marked: object, file: str | Path, *, ledger: str | Path | None = None
) -> tuple[Invariant, ...]:
    """Hold a hook to what somebody confirmed in a file of suggestions; for a service, beside the hook.

    Args:
        marked: the decorated function, or a cache.
        file: that :func:`confirm_invariants` wrote.
        ledger: file that must know every confirmation; None asks none.

    Returns:
        The invariants that were added.

    Raises:
        ConfigurationError: not a hook, a bad file, one for another hook, or a name that is taken.
        TrustError: an invariant was changed after it was confirmed, or the ledger does not know it.
    """
    from ..sdk.hook import held_by
    from ..sdk.rules.file import read_suggestions

    hook = held_by(marked)
    found = read_suggestions(file)
    if ledger is not None:
        from ..shadow.invariants.confirming import require_recorded

        with closing(existing_ledger(ledger)) as book:
            require_recorded(found, Path(file), book)
    made = found.invariants(hook.kind, hook.name)
    taken = {each.name for each in hook.invariants}
    # one whose name is taken is refused before any is added
    for each in sorted(made, key=lambda one: one.name not in taken):
        hook.add_invariant(each)
    return made
