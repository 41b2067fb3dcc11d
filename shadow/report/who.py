"""Who decided on a hook at some moment, as a result that shows itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .shown import Part, Shown, Table, percent, plain

if TYPE_CHECKING:
    from ...policies.rollout.who import Approval, Ordered, Ran

_SHORT = 16
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Decided:
    """Recorded decisions of one arm, policy, epoch and reason.

    Attributes:
        policy, arm, epoch, reason, detail: as recorded.
        count: recorded decisions; with sampling not all that were made.
        processes: in how many of them.
    """

    policy: str
    arm: str
    epoch: int
    reason: str
    detail: str
    count: int
    processes: int


@dataclass(frozen=True, slots=True)
class Governed:
    """The policy that a cache ran on, by its newest event before the moment.

    Attributes:
        service, process: whose cache.
        policy: as recorded.
        since_ns: Unix time of the event.
    """

    service: str
    process: str
    policy: str
    since_ns: int


@dataclass(frozen=True, slots=True, repr=False)
class Who(Shown):
    """Which policies decided on a hook at a moment, who approved them, on what evidence.

    Attributes:
        hook: name.
        at_ns: Unix nanoseconds.
        ledger: where the control plane's was read.
        ordered: what the control plane wanted; None before its first rollout.
        ran: what the processes ran, as acknowledged.
        approvals: of every policy in question.
        store: trace store that was asked; empty for none.
        window_ns: Unix nanoseconds from and to which recorded decisions were counted.
        decided: recorded decisions in it.
        governed: of a cache.
        notes: what could not be answered, and where it may stand.
    """

    hook: str
    at_ns: int
    ledger: str
    ordered: Ordered | None
    ran: tuple[Ran, ...]
    approvals: tuple[Approval, ...]
    store: str = ""
    window_ns: tuple[int, int] = (0, 0)
    decided: tuple[Decided, ...] = ()
    governed: tuple[Governed, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        """Whether anything at all is known."""
        return bool(self.ordered or self.ran or self.decided or self.governed)

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        found: dict[str, Any] = plain(asdict(self))
        return found | {"known": self.known}

    def parts(self) -> tuple[Part, ...]:
        """Return what is shown: who ran what, what was recorded, and for each policy who approved it."""
        parts: list[Part] = [f"{self.hook} at {utc(self.at_ns)}"]
        if self.ordered is not None:
            parts.append(_wanted(self.ordered))
        if self.ran:
            parts.append(_ran(self.ran))
        if self.decided:
            parts.append(_decided(self.decided, self.window_ns))
        if self.governed:
            parts.append(_governed(self.governed))
        parts += [_approved(each) for each in self.approvals]
        return (*parts, *self.notes)


def utc(time_ns: int) -> str:
    """Return a Unix time to the millisecond, in UTC."""
    moment = datetime.fromtimestamp(time_ns / 1e9, UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{time_ns // 1_000_000 % 1000:03d}Z"


def counted(rows: Sequence[Mapping[str, Any]]) -> tuple[Decided, ...]:
    """Return recorded decisions by what they have in common, the most first."""
    counts: Counter[tuple[str, str, int, str, str]] = Counter()
    processes: dict[tuple[str, str, int, str, str], set[str]] = {}
    for row in rows:
        texts = (row["reason"], row["detail"] or "")
        key = (row["policy"], row["arm"], row["epoch"], *texts)
        counts[key] += 1
        processes.setdefault(key, set()).add(row["process"])
    return tuple(Decided(*key, count, len(processes[key])) for key, count in counts.most_common())


def _wanted(found: Ordered) -> Table:
    beside = f", {found.candidate[:_SHORT]} beside it" if found.candidate else ""
    share = f" at weight {found.weight:g}" if found.candidate and found.weight is not None else ""
    by = f" by {found.order} of {found.actor}" if found.order else ""
    rows = (
        ("policies", f"{found.stable[:_SHORT]} as stable{beside}{share}, epoch {found.epoch}"),
        ("rollout", f"{found.rollout} in {found.state} since {utc(found.since_ns)}{by}"),
        ("cause", found.cause),
    )
    return Table(("", ""), rows, "What the control plane wanted", prose=True)


def _ran(ran: Sequence[Ran]) -> Table:
    """Return the processes, those that ran the same in one row."""
    groups: dict[tuple[Any, ...], list[Ran]] = {}
    for each in ran:
        key = (each.service, each.epoch, each.phase, each.stable, each.candidate, each.weight)
        groups.setdefault((*key, each.notes), []).append(each)
    rows = []
    for (service, epoch, phase, stable, candidate, weight, notes), members in groups.items():
        share = f"{candidate[:_SHORT]} ({weight:g})" if candidate else ""
        since = utc(max(each.since_ns for each in members))
        names = f"{service}: {_some([each.instance for each in members])}"
        policies = f"{stable[:_SHORT]}, beside it {share}" if share else stable[:_SHORT]
        said = "; ".join((f"epoch {epoch} since {since}", *notes))
        rows.append((names, phase or "unknown", policies, said))
    head = ("processes", "phase", "policies", "since")
    return Table(head, tuple(rows), "What the processes had acknowledged", prose=True)


def _some(names: Sequence[str]) -> str:
    if len(names) <= _MOST_NAMED:
        return ", ".join(names)
    return f"{len(names)}: {', '.join(names[:_MOST_NAMED])}, …"


def _decided(decided: Sequence[Decided], window: tuple[int, int]) -> Table:
    total = sum(each.count for each in decided)
    rows = tuple(
        (
            str(each.count),
            f"{100.0 * each.count / total:.1f} %",
            each.arm,
            each.policy[:_SHORT],
            str(each.epoch),
            each.reason + (f" ({each.detail})" if each.detail else ""),
            str(each.processes),
        )
        for each in decided
    )
    head = ("decisions", "share", "arm", "policy", "epoch", "reason", "processes")
    title = f"Recorded decisions from {utc(window[0])} to {utc(window[1])}"
    return Table(head, rows, title)


def _governed(governed: Sequence[Governed]) -> Table:
    rows = tuple(
        (each.service, each.process, each.policy[:_SHORT], utc(each.since_ns)) for each in governed
    )
    return Table(("service", "process", "policy", "since"), rows, "What governed the cache")


def _approved(found: Approval) -> Table:
    title = f"Policy {found.policy[:_SHORT]}"
    return Table(("", ""), tuple(_lines(found)), title, prose=True)


def _lines(found: Approval) -> Iterator[tuple[str, str]]:
    if found.policy == "incumbent":
        yield "approved", "nobody here: it is the function in the service's own source"
        return
    if not found.rollout:
        yield "approved", "this ledger knows no rollout of it until then"
        return
    yield "digest", found.policy
    yield "shipped by", f"{found.shipped_by}, {utc(found.shipped_ns)}, as rollout {found.rollout}"
    yield "bundle signed by", ", ".join(found.signed_by) or "no key that is known by name"
    yield "plan signed by", ", ".join(found.plan_signed_by) or "no key that is known by name"
    if found.override:
        yield "past the gates", found.override
    for order in found.orders:
        yield "ordered", order
    yield "verdict", _verdict(found)
    if found.verdict and found.verdict.get("failed"):
        for gate, why in found.verdict["failed"].items():
            yield f"gate {gate}", str(why)
    yield "rollout", f"{found.state}: {found.cause}"
    yield "evidence", _evidence(found.evidence)
    for against, interval in found.predicted.items():
        yield f"predicted against {against[:_SHORT]}", _interval(interval)
    if found.calibration is not None:
        yield "measured", _measured(found.calibration, found.calibration_ns)


def _verdict(found: Approval) -> str:
    if found.verdict is None:
        where = f"{found.verdict_digest[:_SHORT]}: in none of these ledgers"
        return f"{where}; name the project's with --project-ledger"
    said = found.verdict
    passed = said.get("passed")
    gates = f", gates passed: {', '.join(passed)}" if passed else ""
    asked = f"by {said['actor']}, {utc(said['time_ns'])}"
    return f"{found.verdict_digest[:_SHORT]} {said.get('decision')} ({said.get('summary')}), {asked}{gates}"


def _evidence(found: Mapping[str, Any]) -> str:
    if not found.get("effect"):
        return "none yet"
    numbers = [f"{found['pairs']} pairs"] if "pairs" in found else []
    for name, words in (
        ("log_e_better", "better"),
        ("log_e_worse", "worse"),
        ("log_e_mean", "mean"),
    ):
        if found.get(name) is not None:
            numbers.append(f"log e({words}) {found[name]:.2f}")
    return f"{', '.join(numbers)}; effect {_interval(found['effect'])}"


def _measured(found: Mapping[str, Any], time_ns: int) -> str:
    measured = found.get("measured") or {}
    return f"{_interval(measured)}, {found.get('calibration')} ({utc(time_ns)})"


def _interval(found: Mapping[str, Any]) -> str:
    estimate, low, high = (_signed(found.get(part)) for part in ("estimate", "low", "high"))
    return f"{estimate} ({low} to {high})"


def _signed(value: Any) -> str:
    return "open" if not isinstance(value, int | float) else percent(float(value))
