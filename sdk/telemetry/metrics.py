"""What hooks count, as observable OpenTelemetry instruments; nothing is done until somebody collects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from . import names
from .accounting import Account

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

    Callback = Callable[[CallbackOptions], Iterable[Observation]]


class Counted(Protocol):
    """What an instrument needs of a hook."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def counters(self) -> Mapping[str, int]:
        """Its counters by name."""
        ...

    @property
    def killed(self) -> str:
        """Why no policy may decide in this process; empty where one may."""
        ...


#: Instrument, unit, description, and per value of ``gnomon.reason`` the hook's counter.
_COUNTERS: tuple[tuple[str, str, str, Mapping[str, str]], ...] = (
    (names.METRIC_DECISIONS, "{decision}", "Calls of a hook.", {"": "decisions"}),
    (
        names.METRIC_DROPPED,
        "{record}",
        "Decisions that were not recorded although they should have been.",
        {"no room": "dropped", "unreadable": "failed"},
    ),
    (
        names.METRIC_FALLBACKS,
        "{decision}",
        "Decisions in which the incumbent answered for a program.",
        {"fault": "faults", "violation": "violations", "features": "unasked"},
    ),
    (
        names.METRIC_VIOLATIONS,
        "{decision}",
        "Answers of a program that broke an invariant.",
        {"": "violations"},
    ),
    (
        names.METRIC_OUTCOMES_MISSING,
        "{outcome}",
        "Outcomes that had not come by their deadline.",
        {"": "missing_outcomes"},
    ),
    (
        names.METRIC_TRIPS,
        "{program}",
        "Programs that this process took back.",
        {"": "breaker_trips"},
    ),
)


def register(
    hooks: Iterable[Counted],
    provider: MeterProvider | None = None,
    *,
    accounts: Callable[[], Mapping[str, Account]] = dict,
    stale_s: Callable[[], float | None] = lambda: None,
) -> None:
    """Create Gnomon's instruments.

    Args:
        hooks: read again at every collection, so a live view of a registry sees later hooks too.
        provider: the user's MeterProvider; default the global one, a no-op where none is set.
        accounts: of the sinks, by name.
        stale_s: seconds since the control plane was last heard, or None without one.
    """
    from opentelemetry import metrics

    meter = (provider or metrics.get_meter_provider()).get_meter(names.SCOPE)
    for name, unit, description, counters in _COUNTERS:
        callback = _hook_callback(hooks, counters)
        meter.create_observable_counter(name, [callback], unit, description)
    meter.create_observable_counter(
        names.METRIC_EXPORTED,
        [_accounts_callback(accounts)],
        "{record}",
        "Records by what became of them; with those still pending they are all there are.",
    )
    meter.create_observable_gauge(
        names.METRIC_KILLED,
        [_killed_callback(hooks)],
        "1",
        "1 while no policy may decide in this process by order of its operator, else 0.",
    )
    meter.create_observable_gauge(
        names.METRIC_STALENESS,
        [_staleness_callback(stale_s)],
        "s",
        "Time since the control plane was last heard.",
    )


def _hook_callback(hooks: Iterable[Counted], counters: Mapping[str, str]) -> Callback:
    from opentelemetry.metrics import Observation

    def observe(_: CallbackOptions) -> Iterable[Observation]:
        for hook in tuple(hooks):  # a service may mark functions meanwhile
            values = hook.counters
            for reason, counter in counters.items():
                attributes = {names.FLAG_KEY: hook.name}
                if reason:
                    attributes[names.METRIC_REASON] = reason
                if counter in values:
                    yield Observation(values[counter], attributes)

    return observe


def _killed_callback(hooks: Iterable[Counted]) -> Callback:
    from opentelemetry.metrics import Observation

    def observe(_: CallbackOptions) -> Iterable[Observation]:
        for hook in tuple(hooks):
            yield Observation(int(bool(hook.killed)), {names.FLAG_KEY: hook.name})

    return observe


def _accounts_callback(accounts: Callable[[], Mapping[str, Account]]) -> Callback:
    from opentelemetry.metrics import Observation

    def observe(_: CallbackOptions) -> Iterable[Observation]:
        for sink, now in accounts().items():
            for fate in ("acknowledged", "dropped", "unknown"):
                attributes = {names.METRIC_SINK: sink, names.METRIC_FATE: fate}
                yield Observation(getattr(now, fate), attributes)

    return observe


def _staleness_callback(stale_s: Callable[[], float | None]) -> Callback:
    from opentelemetry.metrics import Observation

    def observe(_: CallbackOptions) -> Iterable[Observation]:
        now = stale_s()
        if now is not None:
            yield Observation(now)

    return observe
