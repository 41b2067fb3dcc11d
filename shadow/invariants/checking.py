"""Every decision invariant on every decision, and every one over a replay on what was replayed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from ...policies.rollout.ledger import Ledger
from ...sdk.invariant import Invariant
from ..report.shown import Part, Shown, Table, plain
from .decisions import Decided
from .limits import upper_share

#: Kind of the ledger's entry of a check; its subject is the digest of what was looked at.
ENTRY = "invariant.checked"
#: Violations that are shown of an invariant, if nobody says otherwise.
SHOWN = 3


@dataclass(frozen=True, slots=True)
class Checked:
    """What one invariant found in the decisions of one policy.

    Attributes:
        invariant: its name.
        severity: ``block`` or ``warn``.
        source: ``kind``, ``hook`` (its own and those of a file).
        policy: who decided; empty where it was always the same.
        decisions: how many it was asked about.
        broken: on how many it did not hold.
        share: part of them.
        upper: upper limit of that share, exact at 95 %, as if decisions did not depend on each other.
        refused: answers of shipped policies that it kept from being used when this was recorded.
    """

    invariant: str
    severity: str
    source: str
    policy: str
    decisions: int
    broken: int
    share: float
    upper: float
    refused: int


@dataclass(frozen=True, slots=True, repr=False)
class InvariantCheck(Shown):
    """Decisions held to their invariants.

    Attributes:
        hook, kind: whose.
        trace: digest of what was looked at.
        whose: ``recorded``, or the policy that was replayed.
        decisions: how many.
        rows: per invariant and policy.
        violations: the first of every invariant, with what was seen and decided, as JSON values.
    """

    hook: str
    kind: str
    trace: str
    whose: str
    decisions: int
    rows: tuple[Checked, ...]
    violations: tuple[dict[str, Any], ...]

    @property
    def broken(self) -> bool:
        """Whether an invariant of severity ``block`` did not hold."""
        return any(row.broken and row.severity == "block" for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        values: dict[str, Any] = plain(asdict(self))
        return values | {"broken": self.broken}

    def record(self, ledger: Ledger, actor: str) -> None:
        """Append the check to a ledger: what failed one by one, what passed by name alone."""
        failed = [plain(asdict(row)) for row in self.rows if row.broken or row.refused]
        names = {row["invariant"] for row in failed}
        body = {
            "hook": self.hook,
            "kind": self.kind,
            "whose": self.whose,
            "decisions": self.decisions,
            "failed": failed,
            "passed": sorted({row.invariant for row in self.rows} - names),
        }
        ledger.append(ENTRY, actor, self.trace, body)

    def parts(self) -> tuple[Part, ...]:
        """Return what is shown: the table, then the first violations."""
        said = f"{self.decisions} decisions of {self.hook}, {self.whose}"
        if not self.rows:
            return (f"{said}: no decision-level invariant to hold them to.",)
        several = len({row.policy for row in self.rows}) > 1
        head = ("invariant", "severity", "from", *(("policy",) if several else ()))
        table = Table(
            (*head, "decisions", "broken", "share", "at most", "refused"),
            tuple(_cells(row, several) for row in self.rows),
            said,
        )
        return (table, *map(_shown, self.violations))


def _cells(row: Checked, several: bool) -> tuple[str, ...]:
    policy = (row.policy[:16],) if several else ()
    counts = (str(row.decisions), str(row.broken), f"{row.share:.2%}", f"{row.upper:.2%}")
    return (row.invariant, row.severity, row.source, *policy, *counts, str(row.refused))


def _shown(case: dict[str, Any]) -> Table:
    title = f"{case['invariant']} at {case['place']}"
    if "items" not in case:
        rows = [(name, str(value)[:100]) for name, value in case["question"].items()]
        rows += [(f"-> {name}", str(value)[:100]) for name, value in case["answer"].items()]
        return Table(("name", "value"), tuple(rows), title)
    rows_ = tuple(
        (f"{index} picked" if index == case["action"] else str(index), *(f"{v:g}" for v in row))
        for index, row in enumerate(case["items"])
    )
    return Table(("item", *case["inputs"]), rows_, title)


def check(found: Decided, most: int = SHOWN) -> InvariantCheck:
    """Ask every decision invariant about every decision.

    Args:
        found: decisions, and what they are held to.
        most: violations that are kept of each invariant.
    """
    asked = [each for each in found.invariants if each.scope == "decision"]
    policies = found.decisions.policies or ("",) * len(found.decisions)
    broken = {each.name: list(_broken(found, each)) for each in asked}
    rows = [
        _row(found, each, policy, broken[each.name], policies)
        for each in asked
        for policy in sorted({*policies})
    ]
    violations = [
        {"invariant": each.name, "policy": policies[index], "place": _place(found, index)}
        | found.decisions.shown(index)
        for each in asked
        for index in broken[each.name][:most]
    ]
    return InvariantCheck(
        found.hook,
        found.kind.name,
        found.trace,
        found.whose,
        len(found.decisions),
        tuple(rows),
        tuple(violations),
    )


def _broken(found: Decided, invariant: Invariant) -> Iterator[int]:
    """Yield the decisions on which an invariant does not hold; one that raises does not."""
    for index in range(len(found.decisions)):
        try:
            holds = invariant.holds(*found.decisions.asked(index))
        except Exception:  # noqa: BLE001 - a user's predicate; its failure is a failed check
            holds = False
        if not holds:
            yield index


def _row(
    found: Decided, invariant: Invariant, policy: str, broken: list[int], policies: tuple[str, ...]
) -> Checked:
    of = sum(each == policy for each in policies)
    theirs = sum(policies[index] == policy for index in broken)
    return Checked(
        invariant.name,
        invariant.severity,
        "hook" if invariant in found.own else "kind",
        policy,
        of,
        theirs,
        theirs / of if of else 0.0,
        upper_share(theirs, of),
        found.refused.get(invariant.name, 0),
    )


def _place(found: Decided, index: int) -> str:
    return found.decisions.places[index] if found.decisions.places else f"decision {index}"
