"""Measuring what a call costs: our hook in every mode and form of call, and the peers, by one method."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import _hooks as hooks
import _timing as timing
from _hooks import Item, Router, bare
from _peers import Other
from _timing import Loop, Plan, Timed
from results import REFERENCE_CALL_NS

import gnomon

MODES = ("off", "sampled out", "recorded", "canary")
STABLE = "canary, stable block"
#: With sticky arms, of a unit of the candidate's and of one of the stable arm's.
STICKY = ("canary, sticky", "canary, sticky stable")
#: What makes a hook's arms sticky; the first also without a canary.
BY_UNIT: Mapping[str, Any] = {
    "kind": replace(gnomon.load_balancer, name="sticky_balancer", arms="sticky"),
    "unit": lambda request: request,
}
#: Shortly before a window that may be recorded, when every call looks at the clock.
NEAR = "sampled out, a window near"


@dataclass(frozen=True, slots=True)
class Form:
    """A form of call.

    Attributes:
        name: added to the row's; empty for the plain one.
        loop: calls the hook.
        bare: what is called without a hook,
        bare_loop: and how.
        items: to pick from.
        per: parts that a call's cost is divided by.
        make: makes the hook; returns what the loop calls and what is decorated.
    """

    name: str
    loop: Loop
    bare: Any = bare
    bare_loop: Loop = timing.positional
    items: Sequence[Item] = field(default_factory=lambda: [Item()])
    per: int = 1
    make: Callable[..., tuple[Any, Any]] = field(default=lambda **how: (hooks.hooked(**how),) * 2)


def _as_method(**how: Any) -> tuple[Any, Any]:
    made = hooks.hooked(Router.pick, **how)
    return type("HookedRouter", (), {"pick": made})(), made


def _as_coroutine(**how: Any) -> tuple[Any, Any]:
    return (hooks.hooked(hooks.bare_async, **how),) * 2


PLAIN = Form("", timing.positional)
MANY = Form("8 items", timing.positional, items=[Item() for _ in range(8)], per=8)
FORMS = (
    PLAIN,
    Form("keywords", timing.keywords, bare_loop=timing.keywords),
    Form("method", timing.method, Router(), timing.method, make=_as_method),
    Form("async", timing.awaited, hooks.bare_async, timing.awaited, make=_as_coroutine),
    Form("decide and outcome", timing.decided),
    MANY,
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What something adds to the bare call.

    Attributes:
        added: ns per call and part of it, one figure per repeat.
        bare: median ns of the bare call, of this form and in the same repeats.
        reference: ns of the call that targets are scaled by, in the same repeats.
    """

    added: list[float]
    bare: float
    reference: list[float]

    @property
    def value(self) -> float:
        """Return the median of what was added, in ns."""
        return statistics.median(self.added)

    @property
    def standard(self) -> float:
        """Return the median of what would be added on a machine as fast as the targets' is.

        Every repeat is scaled by itself: the machine's speed may change between two of them.
        """
        pairs = zip(self.added, self.reference, strict=True)
        return statistics.median(extra * REFERENCE_CALL_NS / call for extra, call in pairs)

    @property
    def scale(self) -> float:
        """Return how many times as long things took as on that machine."""
        return self.value / self.standard if self.standard > 0.0 else 1.0


def _three(a: int, b: int, c: int) -> int:
    return a


def _beside(form: Form) -> dict[str, Timed]:
    return {
        "reference": Timed(timing.reference, _three, form.items),
        "bare": Timed(form.bare_loop, form.bare, form.items),
    }


def _cost(found: Mapping[str, list[float]], name: str, per: int) -> Cost:
    added = [extra / per for extra in timing.differences(found, name, "bare")]
    return Cost(added, statistics.median(found["bare"]), found["reference"])


def ours(mode: str, form: Form = PLAIN, plan: Plan | None = None, **how: Any) -> Cost:
    """Measure one hook, alone but for the bare call.

    Args:
        mode: one of ``MODES``.
        form: of the call.
        plan: how much is measured.
        how: further arguments of ``gnomon.hook``.
    """
    return together((mode,), form, plan, **how)[mode]


def together(
    modes: Sequence[str], form: Form = PLAIN, plan: Plan | None = None, **how: Any
) -> dict[str, Cost]:
    """Measure hooks of several modes by turns; they must agree on whether hooks are on.

    Raises RuntimeError when a hook did something else in any call than its mode says.
    """
    plan = plan or Plan()
    made = {mode: form.make(**how) for mode in modes}
    for mode in modes:
        if mode.startswith("canary"):
            hooks.start_canary(made[mode][1], candidate=mode in ("canary", STICKY[0]))
    timed = {mode: Timed(form.loop, made[mode][0], form.items) for mode in modes}
    with _switched(modes[0]) as kept:
        found = timing.by_turns({**_beside(form), **timed}, plan, hooks.drain)
        for mode in modes:
            last = kept.last.get(hooks.name_of(made[mode][1])) if kept else None
            hooks.prove(made[mode][1], mode, plan.calls + plan.repeats * plan.each, last)
    return {mode: _cost(found, mode, form.per) for mode in modes}


def _switched(mode: str) -> Any:
    if mode == "off":
        return nullcontext()
    out = mode.startswith("sampled out")
    return hooks.on(sample=0.0 if out else 1.0, seldom=mode != "sampled out")


def theirs(other: Other, form: Form = PLAIN, plan: Plan | None = None) -> Cost:
    """Measure one peer beside the bare call."""
    timed = {**_beside(form), "peer": Timed(timing.positional, other.function, form.items)}
    found = timing.by_turns(timed, plan or Plan(), other.settle)
    return _cost(found, "peer", form.per)


def share(candidate: Cost, stable: Cost, weight: float) -> Cost:
    """Return the cost of an average call when the candidate has a share of them."""
    pairs = zip(candidate.added, stable.added, strict=True)
    added = [weight * a + (1.0 - weight) * b for a, b in pairs]
    return Cost(added, candidate.bare, candidate.reference)
