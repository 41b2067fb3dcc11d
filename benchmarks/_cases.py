"""What a case study of the ADRS papers comes to: one row of ``cases.json`` and of its table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from results import Row


@dataclass(frozen=True, slots=True)
class Published:
    """A published figure: whose, and its value in the case's unit."""

    by: str
    value: float


@dataclass(frozen=True, slots=True)
class Case:
    """One case on one set of workloads.

    Attributes:
        name: kind and workloads, for example ``spot, given zones``.
        unit: of all values.
        better: ``lower`` or ``higher``.
        published: best published figure, valid or not; None where nothing was published on these workloads.
        valid: best published figure that keeps the kind's invariants, re-measured in this run where its
            policy can be run; None where there is none.
        bound: what no policy can beat, computed in this run; None where none is proven.
        ours: measured in this run.
        policy: whose ``ours`` is, as ``gnomon replay`` is told it: ``found:NAME`` or ``baseline:NAME``.
        violations: late jobs, invalid answers and failures in it.
        seconds: of the policy, for one decision or as the note says; CPU or wall, as the note says.
        target: in the same unit; None where the target is another row's.
        note: workloads, budget, what the row leaves out.
    """

    name: str
    unit: str
    better: Literal["lower", "higher"]
    published: Published | None
    valid: Published | None
    bound: float | None
    ours: float
    policy: str
    violations: int
    seconds: float
    target: float | None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target was met without a violation; None without a target."""
        met = self.row.met
        return None if met is None else met and not self.violations

    @property
    def row(self) -> Row:
        """What a case has in common with all figures."""
        ours = (self.ours, self.ours)
        return Row(self.name, self.ours, self.unit, self.better, self.target, ours, note=self.note)

    def as_json(self) -> dict[str, Any]:
        """Return the row, and what only a case has."""
        said = {"published": self.published, "valid": self.valid}
        figures = {
            name: {"by": each.by, "value": each.value} if each else None
            for name, each in said.items()
        }
        own = {
            "bound": self.bound,
            "policy": self.policy,
            "violations": self.violations,
            "seconds": self.seconds,
        }
        return self.row.as_json() | figures | own | {"met": self.met}
