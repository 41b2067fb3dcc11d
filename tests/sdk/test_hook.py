"""What a decorated function does for its callers, in every shape a function may have."""

from __future__ import annotations

import asyncio
import inspect
import pickle
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import pytest

import gnomon
from gnomon.sdk.hook import Hook
from gnomon.testing import FakeClock, Recording, recording

from .common import KIND, READ, SWITCHBACK, Item, accounted, items, run


def least(request: Any, backends: list[Item]) -> Item:
    """Pick the least loaded."""
    return min(backends, key=lambda b: b.inflight)


module_level = gnomon.hook("module.level", **READ)(least)


@gnomon.hook("module.picklable", **READ)
def picklable(request: Any, backends: list[Item], *, strict: bool = True) -> Item:
    """Pick the first."""
    return backends[0]


def test_metadata_is_the_function_s_own() -> None:
    assert module_level.__name__ == "least"
    assert module_level.__doc__ == "Pick the least loaded."
    assert module_level.__wrapped__ is least
    assert inspect.signature(module_level) == inspect.signature(least)
    assert pickle.loads(pickle.dumps(picklable)) is picklable


def test_unconfigured_it_only_calls() -> None:
    pick = gnomon.hook("a", **READ)(least)
    backends = items()
    assert pick(None, backends) is backends[0]
    with pick.decide(None, backends) as decision:
        assert decision.action is backends[0]
        decision.outcome(latency_ms=1.0)
    assert decision.id == b""
    assert pick.hook.counters["decisions"] == 0
    pick.outcome(decision.id, latency_ms=2.0)


def test_disabled_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNOMON_DISABLED", "1")
    pick = gnomon.hook("a", **READ)(least)
    sink = Recording()
    gnomon.configure(sink=sink)
    assert pick(None, items()).name == "item-0"
    gnomon.flush()
    assert sink.records == []
    assert pick.hook.counters["decisions"] == 0


def test_what_was_seen_is_recorded() -> None:
    """The features are those from before the incumbent changed the items."""

    @gnomon.hook("a", unit=lambda request: request, **READ)
    def pick(request: str, backends: list[Item]) -> Item:
        backends[1].inflight += 5
        backends[0].ewma_ms = -1.0
        return backends[1]

    backends = items(2)
    with recording() as seen:
        assert pick("u1", backends) is backends[1]
        (decision,) = seen.decisions
    assert decision.features[0:3] == (0.0, 10.0, 1.0)
    assert decision.features[4:7] == (0.0, 10.0, 1.0)
    assert 0.0 <= decision.features[3] < 1.0
    assert (decision.action, decision.n_items, decision.unit) == (1, 2, "u1")
    assert (decision.arm, decision.reason, decision.policy) == ("incumbent", "static", "incumbent")
    assert (decision.epoch, decision.block, decision.propensity) == (0, -1, 1.0)
    assert accounted(pick)


def test_since_picked_counts_decisions() -> None:
    pick = gnomon.hook("a", **READ)(lambda request, backends: backends[request])
    backends = items(3)
    with recording() as seen:
        for index in (0, 1, 1, 2, 0):
            pick(index, backends)
        since = [tuple(d.features[i * 4 + 2] for i in range(3)) for d in seen.decisions]
    assert since == [(1, 1, 1), (1, 2, 2), (2, 1, 3), (3, 1, 4), (4, 2, 1)]


def test_members_are_recorded_once_per_change() -> None:
    pick = gnomon.hook("a", **READ)(least)
    backends = items(2)
    with recording() as seen:
        pick(None, backends)
        pick(None, list(backends))
        pick(None, [Item("item-0"), Item("item-1")])
        pick(None, items(3))
        names = [dict(event.values)["names"] for event in seen.workload]
    assert names == ["item-0\nitem-1", "item-0\nitem-1\nitem-2"]
    assert all(event.event == "members" for event in seen.workload)


def test_members_are_recorded_again_for_a_store_that_began_later() -> None:
    pick = gnomon.hook("a", **READ)(least)
    backends, clock = items(2), FakeClock()
    with recording(clock=clock) as seen:
        for _ in range(4):
            pick(None, backends)
            assert seen.decisions
            clock.advance(16.0)
        clock.advance(90.0)  # idle: nothing is said
        told = [event.time_ns for event in seen.workload]
    assert len(told) == 2
    assert 30e9 <= told[1] - told[0] <= 48e9


def test_an_item_that_stays_keeps_its_last_pick() -> None:
    pick = gnomon.hook("a", **READ)(lambda request, backends: backends[request])
    old = items(3)
    with recording() as seen:
        pick(0, old)
        pick(1, old)
        pick(0, [old[2], Item("new"), old[0]])
        last = seen.decisions[-1]
    assert tuple(last.features[i * 4 + 2] for i in range(3)) == (3.0, 1.0, 2.0)


def test_async_plain_and_decide() -> None:
    @gnomon.hook("a", **READ)
    async def pick(request: Any, backends: list[Item]) -> Item:
        await asyncio.sleep(0)
        return backends[1]

    async def use() -> None:
        backends = items()
        assert await pick(None, backends) is backends[1]
        async with pick.decide(None, backends) as decision:
            await asyncio.sleep(0)
            decision.outcome(latency_ms=3.0)
        refused = pytest.raises(gnomon.ConfigurationError, match="async with")
        with refused, pick.decide(None, backends):
            raise AssertionError

    assert inspect.iscoroutinefunction(pick)
    with recording() as seen:
        asyncio.run(use())
        assert [d.action for d in seen.decisions] == [1, 1]
        assert [o.values for o in seen.outcomes] == [(("latency_ms", 3.0),)]
    asyncio.run(use())  # off again


def test_methods_of_every_sort() -> None:
    class Router:
        @gnomon.hook("method", **READ)
        def pick(self, request: Any, backends: list[Item]) -> Item:
            assert isinstance(self, Router)
            return backends[0]

        @classmethod
        @gnomon.hook("class", **READ)
        def of_class(cls, request: Any, backends: list[Item]) -> Item:
            assert cls is Router
            return backends[1]

        @staticmethod
        @gnomon.hook("static", **READ)
        def of_nothing(request: Any, backends: list[Item]) -> Item:
            return backends[2]

    router, backends = Router(), items()
    with recording() as seen:
        assert router.pick(None, backends) is backends[0]
        assert router.pick(None, backends=backends) is backends[0]
        assert Router.of_class(None, backends) is backends[1]
        assert router.of_nothing(None, backends) is backends[2]
        with router.pick.decide(router, None, backends) as decision:
            assert decision.action is backends[0]
        assert len(seen.decisions) == 5
    assert Hook.of(router.pick).name == "method"


def test_every_sort_of_parameter() -> None:
    marker = object()

    def pick(
        a: Any, /, backends: Any, b: Any = marker, *rest: Any, c: Any, d: Any = 4, **more: Any
    ) -> Any:
        return backends[0], (a, b, rest, c, d, more)

    hooked = gnomon.hook("a", **READ)(pick)
    arguments: tuple[Any, ...] = (1, items(), 3, 5, 6)
    with recording():
        assert hooked(*arguments, c=7, e=8) == pick(*arguments, c=7, e=8)
        assert hooked(1, [Item("x")], c=2)[1][1] is marker
        with pytest.raises(TypeError, match="missing"):
            hooked(1, items())  # type: ignore[call-arg]


def test_the_incumbent_s_exception_passes_and_is_counted() -> None:
    calls: list[int] = []

    @gnomon.hook("a", **READ)
    def pick(request: Any, backends: list[Item]) -> Item:
        calls.append(1)
        raise KeyError("mine")

    with recording():
        with pytest.raises(KeyError, match="mine"):
            pick(None, items())
        run(pick, lambda rows: -1)
        with pytest.raises(KeyError, match="mine"):
            pick(None, items())
        assert pick.hook.counters["raised"] == 2
        assert accounted(pick)
    assert len(calls) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"item_features": lambda item: 1 / 0},
        {"item_features": lambda item: (1.0,)},
        {"item_features": lambda item: [1.0, 2.0]},
        {"item_name": lambda item: item.missing},
        {"unit": lambda request: request.session},
        {"unit": lambda request: 1 / 0, "redact": lambda unit: unit},
    ],
)
def test_accessors_that_fail_cost_the_record_only(
    change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    pick = gnomon.hook("a", **{**READ, **change})(least)
    backends = items()
    with recording() as seen:
        assert pick(None, backends) is backends[0]
        assert pick(None, backends) is backends[0]
        assert seen.decisions == []
        assert pick.hook.counters["failed"] == 2
        assert accounted(pick)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("given", [{}, (x for x in "ab"), None, {"a": 1}, set()])
def test_items_that_are_no_sequence_reach_the_incumbent_untouched(given: Any) -> None:
    pick = gnomon.hook("a", **READ)(lambda request, backends: backends)
    with recording():
        assert pick(None, given) is given
        assert accounted(pick)
    if inspect.isgenerator(given):
        assert list(given) == ["a", "b"]


def test_a_pick_that_is_no_item_is_returned_and_counted() -> None:
    pick = gnomon.hook("a", **READ)(lambda request, backends: request)
    with recording() as seen:
        assert pick("other", items()) == "other"
        assert pick(None, items()) is None
        assert seen.decisions == []
        assert pick.hook.counters["failed"] == 2


def test_an_equal_item_is_found_but_the_very_object_returned() -> None:
    pick = gnomon.hook(
        "a", kind=KIND, items="backends", item_features=lambda name: (0, float(len(name)))
    )(lambda request, backends: request)
    made = "abb!"[:3]  # another object than the literal below
    with recording() as seen:
        assert pick(made, ["x", "abb"]) is made
        assert seen.decisions[0].action == 1
        assert dict(seen.workload[0].values)["names"] == "x\nabb"


def test_features_out_of_range_are_recorded_as_they_are() -> None:
    pick = gnomon.hook("a", **READ)(least)
    with recording() as seen:
        pick(None, [Item("x", inflight=-1), Item("y", ewma_ms=float("inf"))])
        decision = seen.decisions[0]
    assert decision.features[0] == -1.0
    assert decision.features[5] == float("inf")


def test_outcome_from_the_result_of_a_plain_call() -> None:
    pick = gnomon.hook("a", outcome=lambda item: {"latency_ms": item.ewma_ms, "ok": False}, **READ)(
        least
    )
    with recording() as seen:
        pick(None, items())
        (outcome,) = seen.outcomes
    assert (outcome.ok, outcome.values) == (False, (("latency_ms", 10.0),))


def test_outcome_function_that_fails_leaves_the_outcome_missing() -> None:
    clock = FakeClock()
    pick = gnomon.hook("a", outcome=lambda item: 1 / 0, **READ)(least)
    with recording(clock=clock) as seen:
        assert pick(None, items()).name == "item-0"
        assert seen.outcomes == []
        clock.advance(KIND.outcome_deadline_s + 1)
        assert [o.status for o in seen.outcomes] == ["missing"]


def test_redact_keeps_the_unit_out() -> None:
    pick = gnomon.hook("a", unit=lambda request: request, redact=lambda u: u[:1], **READ)(least)
    with recording() as seen:
        pick("secret", items())
        assert seen.decisions[0].unit == "s"


def bad(message: str, **change: Any) -> Any:
    return pytest.param({**READ, **change}, message, id=message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        bad("kind= must be a Kind", kind=dict),
        bad("is no parameter of least", items="backend"),
        bad("item_features= must take one argument", item_features=lambda a, b: ()),
        bad("item_features= must be callable", item_features=None),
        bad("item_name= must be callable", item_name="name"),
        bad("unit= takes req,", unit=lambda req: req),
        bad("unit= must be callable", unit="request"),
        bad("unit= must name the parameters", unit=lambda *args: ""),
        bad("must lie in 0 to 1", explore=1.5),
        bad("must lie in 0 to 1", explore=float("nan")),
        bad("redact= must take one", redact=lambda: ""),
        bad("outcome= must be callable", outcome=3),
    ],
)
def test_bad_arguments_are_named_when_decorating(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(gnomon.ConfigurationError, match=message):
        gnomon.hook("a", **arguments)(least)


def test_functions_that_cannot_be_hooks() -> None:
    def generator(request: Any, backends: Any) -> Any:
        yield backends

    def starred(request: Any, *backends: Any) -> Any:
        return backends[0]

    def reserved(g_hook: Any, backends: Any) -> Any:
        return backends[0]

    cases = [
        (generator, "generator"),
        (starred, "starred"),
        (reserved, "reserved"),
        (staticmethod(least), "@staticmethod above"),
        (classmethod(least), "@classmethod above"),
        (Item, "only a function"),
    ]
    for function, message in cases:
        with pytest.raises(gnomon.ConfigurationError, match=message):
            gnomon.hook("a", **READ)(function)


@pytest.mark.parametrize("name", ["", "a b", "-x", "x" * 200, None, "a\n"])
def test_bad_names(name: Any) -> None:
    with pytest.raises(gnomon.ConfigurationError, match="hook name"):
        gnomon.hook(name, **READ)(least)


def test_a_name_belongs_to_one_function() -> None:
    gnomon.hook("a", **READ)(least)
    gnomon.hook("a", **READ)(least)  # reloaded
    with pytest.raises(gnomon.ConfigurationError, match="already"):
        gnomon.hook("a", **READ)(lambda request, backends: backends[0])


def test_hook_of_refuses_others() -> None:
    with pytest.raises(gnomon.ConfigurationError, match="no hook"):
        Hook.of(least)


def test_trace_and_span_of_the_caller_are_recorded() -> None:
    from opentelemetry import trace
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

    pick = gnomon.hook("a", **READ)(least)
    span = NonRecordingSpan(SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1)))
    with recording() as seen:
        with trace.use_span(span):
            pick(None, items())
        pick(None, items())
        ids = [(d.trace_id, d.span_id) for d in seen.decisions]
    assert ids == [(0xABC, 0xDEF), (0, 0)]


def test_a_hook_decorated_after_configure_is_on() -> None:
    with recording() as seen:
        pick = gnomon.hook("late", **READ)(least)
        pick(None, items())
        assert len(seen.decisions) == 1


def test_a_function_is_no_trial_of_paired_arms() -> None:
    """It answers with one arm at a time: the candidate would get everything at any weight."""
    kind = replace(KIND, arms="paired")

    @gnomon.hook("paired.pick", **READ | {"kind": kind})
    def pick(backends: list[Any]) -> Any:
        return backends[0]

    for phase in ("shadow", "canary", "full"):
        with pytest.raises(gnomon.ConfigurationError, match=r"paired\.pick.*one arm at a time"):
            run(pick, lambda rows: 1, phase=phase, switchback=SWITCHBACK)
    assert pick(items())
    assert Hook.of(pick).assignment.phase == "stable"


@dataclass
class Equal:
    """Compares by value, as two idle backends do."""

    inflight: float = 0
    ewma_ms: float = 10.0


def test_equal_items_are_told_apart_in_any_order() -> None:
    one, two = Equal(), Equal()
    pick = gnomon.hook("a", **READ | {"item_name": lambda b: "one" if b is one else "two"})(
        lambda request, backends: request
    )
    with recording() as seen:
        for picked, backends in ((one, [one, two]), (one, [two, one]), (two, [two, one])):
            assert pick(picked, backends) is picked
        assert [d.action for d in seen.decisions] == [0, 1, 0]
        run(pick, lambda rows: 1)
        assert pick(None, [two, one]) is one
        assert pick(None, [one, two]) is two


def test_items_may_be_any_sequence_and_change_in_place() -> None:
    pick = gnomon.hook("a", **READ)(lambda request, backends: backends[-1])
    backends = items(2)
    with recording() as seen:
        pick(None, deque(backends))
        pick(None, tuple(backends))
        pick(None, backends)
        backends.append(Item("third"))
        pick(None, backends)
        backends.reverse()
        pick(None, backends)
        assert [(d.action, d.n_items) for d in seen.decisions] == [
            (1, 2), (1, 2), (1, 2), (2, 3), (2, 3),
        ]  # fmt: skip
        assert accounted(pick)


def test_items_that_change_during_the_call_keep_the_features_from_before() -> None:
    @gnomon.hook("a", **READ)
    def pick(request: Any, backends: list[Item]) -> Item:
        found = backends[0]
        backends.clear()
        return found

    backends = items(3)
    first = backends[0]
    with recording() as seen:
        assert pick(None, backends) is first
        (decision,) = seen.decisions
    assert (decision.action, decision.n_items, len(decision.features)) == (0, 3, 12)


def test_outside_of_a_window_a_decision_has_no_id() -> None:
    pick = gnomon.hook("a", **READ)(least)
    with recording(sample=0.0) as seen:
        with pick.decide(None, items()) as decision:
            decision.outcome(latency_ms=1.0)
        assert (decision.id, decision.seq, decision.recorded) == (b"", -1, False)
        pick.outcome(decision.id, latency_ms=1.0)
        assert seen.records == []
        assert pick.hook.has_outcomes
        assert accounted(pick)


def test_parameters_may_be_named_as_builtins_are() -> None:
    pick = gnomon.hook("a", **READ | {"unit": lambda len: len})(
        lambda len, type, backends, Exception=None: backends[0]
    )
    with recording() as seen:
        pick("u", 2, items())
        assert [d.unit for d in seen.decisions] == ["u"]
