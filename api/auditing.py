"""Which policy decided at some moment, who approved it, on what evidence."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..sdk.errors import ConfigurationError
from .places import LEDGER, existing_ledger

if TYPE_CHECKING:
    from ..policies.rollout.chain import Entry
    from ..sdk.channel import Peer
    from ..shadow.report.who import Decided, Governed, Who

_CACHE_EVENT = "cache"


def who_decided(
    hook: str,
    at_ns: int,
    control_plane: str | Peer = "",
    *,
    service: str = "",
    instance: str = "",
    store: str | Path | None = None,
    within_s: float = 60.0,
    ledger: str | Path | None = None,
    project_ledger: str | Path = LEDGER,
) -> Who:
    """Say which policies decided on a hook at a moment, who approved them, and on what evidence.

    Args:
        hook: name.
        at_ns: Unix nanoseconds.
        control_plane: whose ledger is asked, as for :func:`ship`; or else
        ledger: a control plane's ledger as a file. Neither is needed with a store.
        service: only its processes.
        instance: only this process; the first characters are enough.
        store: trace store with recorded decisions.
        within_s: they are counted in so many seconds around the moment.
        project_ledger: that may hold the verdicts; need not exist.

    Raises:
        ConfigurationError: nothing to ask, both ledgers, or no such file.
        TrustError: a ledger does not hold; what it says would be worth nothing.
        UnavailableError: the control plane does not answer.
    """
    from ..policies.rollout import who
    from ..shadow.report.who import Who

    entries, name = _asked(control_plane, ledger)
    if not name and store is None:
        raise ConfigurationError("nothing to ask; name a control plane, a ledger or a store")
    ran = who.processes(entries, hook, at_ns, service, instance)
    wanted = who.ordered(entries, hook, at_ns)
    window = (at_ns - round(within_s * 5e8), at_ns + round(within_s * 5e8))
    decided, governed, notes = _recorded(store, hook, window, at_ns, (service, instance))
    named = [each.policy for each in decided] + [each.policy for each in governed]
    named += [digest for each in ran for digest in (each.stable, each.candidate)]
    if wanted is not None:
        named += [wanted.stable, wanted.candidate]
    project = _project(Path(project_ledger))
    approvals = tuple(
        who.approval(entries, project, policy, at_ns)
        for policy in dict.fromkeys(filter(None, named))
    )
    if not name:
        notes.append("Who approved is in the control plane's ledger: name it with --control-plane.")
    if name and not ran:
        notes.append(f"{name} knows no process of {hook} that had acknowledged anything by then.")
    if name and wanted is None:
        notes.append(f"{name} knows no rollout of {hook} until then: its function decided.")
    return Who(
        hook,
        at_ns,
        name,
        wanted,
        ran,
        approvals,
        str(store or ""),
        window if store is not None else (0, 0),
        decided,
        governed,
        tuple(notes),
    )


def _asked(control_plane: str | Peer, ledger: str | Path | None) -> tuple[list[Entry], str]:
    """Return a control plane's entries, verified, and where they come from."""
    from ..policies.rollout.chain import check_entries
    from ..policies.rollout.client import RolloutClient

    if control_plane and ledger is not None:
        raise ConfigurationError("name a control plane or its ledger's file, not both")
    if ledger is not None:
        with closing(existing_ledger(ledger)) as book:
            _require_whole(book.verify(), str(ledger))
            return book.list(), f"ledger {ledger}"
    if not control_plane:
        return [], ""
    with RolloutClient(control_plane) as client:
        entries = list(client.entries())
        name = f"control plane {client.peer.address}"
    _require_whole(check_entries(entries), name)
    return entries, name


def _require_whole(check: Any, name: str) -> None:
    from ..sdk.errors import TrustError

    if not check.ok:
        raise TrustError(f"{name} does not hold ({check.problem}); see gnomon audit verify")


def _project(path: Path) -> list[Entry]:
    """Return the entries of the project's ledger; none where there is no such file."""
    if not path.is_file():
        return []
    with closing(existing_ledger(path)) as book:
        _require_whole(book.verify(), str(path))
        return book.list(kind="verdict")


def _recorded(
    store: str | Path | None,
    hook: str,
    window: tuple[int, int],
    at_ns: int,
    chosen: tuple[str, str],
) -> tuple[tuple[Decided, ...], tuple[Governed, ...], list[str]]:
    """Return recorded decisions in a window, what governed a cache, and what there is to say."""
    if store is None:
        return (), (), []
    from ..recorder.store import TraceStore
    from ..shadow.report.who import counted

    held = TraceStore(store)
    reading = held.read("decisions", hook, *window, skip_damaged=True)
    columns = ["process", "service", "policy", "arm", "epoch", "reason", "detail"]
    rows = [row for row in reading.table.select(columns).to_pylist() if _is(row, chosen)]
    notes = [f"left out: {line}" for line in reading.damaged]
    governed = _cache(held, hook, at_ns, chosen)
    if not rows and not governed:
        notes.append(
            f"{store} holds no decision of {hook} in that time: none was made, or none was sampled, or "
            "what was recorded then is gone."
        )
    return counted(rows), governed, notes


def _is(row: Any, chosen: tuple[str, str]) -> bool:
    service, instance = chosen
    return service in ("", row["service"]) and str(row["process"]).startswith(instance)


def _cache(held: Any, hook: str, at_ns: int, chosen: tuple[str, str]) -> tuple[Governed, ...]:
    """Return the policy of every process's newest cache event until a moment."""
    from ..shadow.report.who import Governed

    newest: dict[str, Governed] = {}
    columns: Sequence[str] = ("process", "service", "time", "event", "texts")
    for batch in held.batches("workload", hook, columns):
        for row in _cache_events(batch):
            known = newest.get(row["process"])
            if (
                row["time"] <= at_ns
                and _is(row, chosen)
                and (not known or known.since_ns <= row["time"])
            ):
                policy = dict(row["texts"] or ()).get("policy", "")
                newest[row["process"]] = Governed(
                    row["service"], row["process"], policy, row["time"]
                )
    return tuple(newest[process] for process in sorted(newest))


def _cache_events(batch: Any) -> list[Any]:
    import pyarrow.compute as pc

    found: list[Any] = batch.filter(pc.equal(batch.column("event"), _CACHE_EVENT)).to_pylist()
    return found
