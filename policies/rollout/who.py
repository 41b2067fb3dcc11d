"""Who decided at some moment: what every process of a hook ran, who approved that, on what evidence.

Pure over a ledger's entries. What the ledger cannot know is said: a process that had lost its stream, a
control plane that was down, an entry that covers a stretch of time and not a moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...sdk.records import INCUMBENT
from .chain import Entry

_TRANSITIONS = ("rollout.transition", "rollout.override")


@dataclass(frozen=True, slots=True)
class Ran:
    """What one process ran at the moment, as far as the ledger knows.

    Attributes:
        service, instance, cell: the process.
        epoch: acknowledged.
        phase: ``stable``, ``shadow``, ``canary``, ``full`` or ``killed``; empty where unknown.
        stable, candidate: digests, ``incumbent``, or empty.
        weight: share of the candidate.
        since_ns: Unix time of the acknowledgement; at the latest, of many processes in one entry.
        notes: what is uncertain, or stood against it.
    """

    service: str
    instance: str
    cell: str
    epoch: int
    phase: str
    stable: str
    candidate: str
    weight: float
    since_ns: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ordered:
    """What the control plane wanted to run at the moment.

    Attributes:
        rollout: id.
        state: of it.
        epoch, stable, candidate: of the manifest.
        weight: share of the candidate; None where the entry does not say.
        since_ns: Unix time of the transition.
        cause, actor, order: of the transition.
    """

    rollout: str
    state: str
    epoch: int
    stable: str
    candidate: str
    weight: float | None
    since_ns: int
    cause: str
    actor: str
    order: str


@dataclass(frozen=True, slots=True)
class Approval:
    """Who let a policy run, and on what.

    Attributes:
        policy: digest.
        rollout: by which it came; empty where the ledger knows none.
        shipped_by, shipped_ns: who began it, when.
        signed_by: names of the publisher keys on the bundle, or their keyids.
        plan_signed_by: of those on the plan.
        override: reason for shipping past a refusal; empty for an accepted one.
        orders: what people ordered of it until then, one line each.
        verdict: entry of its verdict; None where none of the ledgers holds it.
        verdict_digest: that the bundle names.
        state, cause: of the rollout's last transition until then.
        evidence: e-values, pairs and effect at that transition.
        predicted: interval of the verdict, by what it is against.
        calibration: predicted beside measured, once the attempt had ended; may be later than the moment.
        calibration_ns: Unix time of that.
    """

    policy: str
    rollout: str = ""
    shipped_by: str = ""
    shipped_ns: int = 0
    signed_by: tuple[str, ...] = ()
    plan_signed_by: tuple[str, ...] = ()
    override: str = ""
    orders: tuple[str, ...] = ()
    verdict: Mapping[str, Any] | None = field(default=None, hash=False)
    verdict_digest: str = ""
    state: str = ""
    cause: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict, hash=False)
    predicted: Mapping[str, Any] = field(default_factory=dict, hash=False)
    calibration: Mapping[str, Any] | None = field(default=None, hash=False)
    calibration_ns: int = 0


def processes(
    entries: Sequence[Entry], hook: str, at_ns: int, service: str = "", instance: str = ""
) -> tuple[Ran, ...]:
    """Return what the processes of a hook ran at a moment, by service and instance.

    Args:
        entries: of the control plane's ledger.
        hook: name.
        at_ns: Unix nanoseconds.
        service: only its processes.
        instance: only this process, or those that begin with it.
    """
    found: dict[str, Ran] = {}
    about = [e for e in entries if e.kind == "control.started" or e.body.get("hook") == hook]
    for entry in about:
        if _since(entry) <= at_ns:
            _take(entry, found, at_ns, entries)
    chosen = [
        ran
        for ran in found.values()
        if service in ("", ran.service) and ran.instance.startswith(instance)
    ]
    return tuple(sorted(chosen, key=lambda ran: (ran.service, ran.cell, ran.instance)))


def _since(entry: Entry) -> int:
    """Return the Unix time of what an entry is about; it may be written a little later."""
    found = entry.body.get("from_ns")
    return found if entry.kind.startswith("delivery.") and isinstance(found, int) else entry.time_ns


def _take(entry: Entry, found: dict[str, Ran], at_ns: int, entries: Sequence[Entry]) -> None:
    if entry.kind == "control.started":
        for name, ran in found.items():
            note = f"the control plane began anew at {entry.time_ns}; not heard of since"
            found[name] = replace(ran, notes=_with(ran.notes, "the control plane", note))
    elif entry.kind == "delivery.acknowledged":
        found |= {ran.instance: ran for ran in _acknowledged(entry, at_ns, entries)}
    elif entry.kind == "delivery.left":
        for _, _, name in _members(entry.body):
            if name in found:
                found[name] = _left(found[name], entry, at_ns, entries)
    elif entry.actor in found:
        ran = found[entry.actor]
        if entry.kind == "delivery.killed":
            note = f"policies were stopped on the host: {entry.body.get('why', '')}"
            found[entry.actor] = replace(ran, notes=_with(ran.notes, "policies were stopped", note))
        elif entry.kind == "delivery.unkilled":
            found[entry.actor] = replace(ran, notes=_with(ran.notes, "policies were stopped", ""))
        elif entry.kind == "delivery.refused":
            note = f"refused {entry.body.get('resource', '')}: {entry.body.get('error', '')}"
            found[entry.actor] = replace(ran, notes=_with(ran.notes, "refused", note))


def _with(notes: tuple[str, ...], beginning: str, note: str) -> tuple[str, ...]:
    """Return notes with one in place of those that begin alike; an empty one only removes them."""
    others = tuple(each for each in notes if not each.startswith(beginning))
    return (*others, note) if note else others


def _acknowledged(entry: Entry, at_ns: int, entries: Sequence[Entry]) -> Iterator[Ran]:
    body = entry.body
    epoch, until = int(body.get("epoch", 0)), int(body.get("to_ns", entry.time_ns))
    runs = body.get("runs") or _ordered_by(entries, str(body.get("hook", "")), epoch)
    notes: tuple[str, ...] = ()
    if until > at_ns:
        notes = (f"took it up within {(until - _since(entry)) / 1e9:.1f} s, not all yet perhaps",)
    if not runs:
        notes = (*notes, "what this epoch said is not in the ledger")
    for service, cell, instance in _members(body):
        yield Ran(
            service,
            instance,
            cell,
            epoch,
            str(runs.get("phase", "")),
            str(runs.get("stable", "")),
            str(runs.get("candidate", "")),
            float(runs.get("weight") or 0.0),
            until,
            notes,
        )


def _members(body: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for service, cells in body.get("processes", {}).items():
        for cell, instances in cells.items():
            for instance in instances:
                yield service, cell, instance


def _ordered_by(entries: Iterable[Entry], hook: str, epoch: int) -> dict[str, Any]:
    """Return what the transition to an epoch says of it."""
    for entry in entries:
        body = entry.body
        if entry.kind in _TRANSITIONS and (body.get("hook"), body.get("epoch")) == (hook, epoch):
            if body.get("order") == "kill":
                return {"phase": "killed", "stable": INCUMBENT, "candidate": "", "weight": 0.0}
            running = body.get("to") in ("SHADOW", "CANARY", "RAMP", "FULL")
            phase = str(body["to"]).lower().replace("ramp", "canary") if running else "stable"
            stable = body.get("candidate") if body.get("to") == "STABLE" else body.get("stable")
            candidate = body.get("candidate") if running else ""
            said = {"phase": phase, "stable": stable, "candidate": candidate}
            return {**said, "weight": body.get("weight")}
    return {}


def _left(ran: Ran, entry: Entry, at_ns: int, entries: Sequence[Entry]) -> Ran:
    """Return what a process that lost its stream may still have run: a candidate until its lease ended."""
    gone = _since(entry)
    lease = _lease(entries, ran.candidate) if ran.candidate else 0
    if not ran.candidate:
        note = "stream lost before; if it still ran, this stayed"
    elif at_ns < gone + lease:
        note = f"stream lost {(at_ns - gone) / 1e9:.0f} s before; its lease held up to {lease / 1e9:.0f} s"
    else:
        note = "stream lost before; if it still ran, its lease had ended and stable decided"
        ran = replace(ran, phase="stable", candidate="", weight=0.0)
    return replace(ran, notes=_with(ran.notes, "stream lost", note))


def _lease(entries: Iterable[Entry], candidate: str) -> int:
    leases = [
        int(entry.body.get("lease_ns", 0))
        for entry in entries
        if entry.kind == "rollout.created" and entry.body.get("candidate") == candidate
    ]
    return leases[-1] if leases else 0


def ordered(entries: Iterable[Entry], hook: str, at_ns: int) -> Ordered | None:
    """Return what the control plane wanted on a hook at a moment; None before its first rollout."""
    found = None
    for entry in entries:
        body = entry.body
        if entry.kind not in _TRANSITIONS or body.get("hook") != hook or entry.time_ns > at_ns:
            continue
        runs = _ordered_by([entry], hook, int(body.get("epoch", 0)))
        found = Ordered(
            entry.subject,
            str(body.get("to", "")),
            int(body.get("epoch", 0)),
            str(runs["stable"]),
            str(runs["candidate"]),
            body.get("weight"),
            entry.time_ns,
            str(body.get("cause", "")),
            entry.actor,
            str(body.get("order", "")),
        )
    return found


def approval(
    entries: Sequence[Entry], project: Sequence[Entry], policy: str, at_ns: int
) -> Approval:
    """Return who let a policy run until a moment, and on what.

    Args:
        entries: of the control plane's ledger.
        project: of the project's, which holds verdicts; may be empty.
        policy: digest.
        at_ns: Unix nanoseconds.
    """
    created = [
        entry
        for entry in entries
        if entry.kind == "rollout.created"
        and entry.body.get("candidate") == policy
        and entry.time_ns <= at_ns
    ]
    if policy == INCUMBENT or not created:
        return Approval(policy)
    begun = created[-1]
    own = [e for e in entries if e.subject == begun.subject and e.kind.startswith("rollout.")]
    past = [e for e in own if e.kind in _TRANSITIONS and e.time_ns <= at_ns]
    last = past[-1].body if past else {}
    calibrations = [e for e in own if e.kind == "rollout.calibration"]
    measured = calibrations[-1] if calibrations else None
    digest = str(begun.body.get("evidence_digest", ""))
    return Approval(
        policy,
        begun.subject,
        begun.actor,
        begun.time_ns,
        _names(begun.body.get("bundle_signed_by", {})),
        _names(begun.body.get("plan_signed_by", {})),
        str(begun.body.get("provenance", {}).get("override", "")),
        tuple(_order(e) for e in past if e.body.get("order")),
        _verdict([*project, *entries], digest),
        digest,
        str(last.get("to", "")),
        str(last.get("cause", "")),
        last.get("evidence", {}),
        begun.body.get("predicted", {}),
        measured.body if measured else None,
        measured.time_ns if measured else 0,
    )


def _names(signers: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(name or keyid[:16] for keyid, name in signers.items())


def _order(entry: Entry) -> str:
    body = entry.body
    past = ", past the evidence" if entry.kind == "rollout.override" else ""
    return f"{body['order']} by {entry.actor}{past}: {body.get('cause', '')}"


def _verdict(entries: Iterable[Entry], digest: str) -> Mapping[str, Any] | None:
    for entry in entries:
        if entry.kind == "verdict" and digest and entry.subject == digest:
            return {**entry.body, "actor": entry.actor, "time_ns": entry.time_ns}
    return None
