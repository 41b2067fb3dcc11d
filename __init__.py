"""Gnomon: tune a production policy from its own traffic.

import gnomon

@gnomon.hook("router.pick", kind=gnomon.load_balancer, items="backends",
             item_features=lambda b: (b.inflight, b.ewma_ms, b.weight))
def pick(request, backends): ...

gnomon.configure(service="router", otlp_endpoint="http://127.0.0.1:4317")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from opentelemetry._logs import LoggerProvider

    from .api import (
        ask,
        check_invariants,
        compact,
        compare,
        confirm_invariants,
        doctor,
        drift,
        evolve,
        evolve_problem,
        export_run,
        follow,
        hint,
        known_policies,
        known_policy,
        list_invariants,
        list_runs,
        load_invariants,
        off_policy,
        prune,
        replay,
        report_run,
        reverified,
        rollout,
        ship,
        show_run,
        suggest_invariants,
        tell,
        told,
        traces,
        verify,
    )
    from .policies.cache import cache
    from .policies.expert_placement import expert_placement
    from .policies.llm_router import llm_router
    from .policies.llm_scheduler import llm_scheduler
    from .policies.load_balancer import load_balancer
    from .policies.scheduler import scheduler
    from .policy_cache import PolicyCache
    from .sdk.config import Settings, Sink
    from .sdk.errors import (
        CandidateError,
        ConfigurationError,
        GnomonError,
        IsolationError,
        LanguageError,
        RolloutError,
        SearchError,
        TraceError,
        TrustError,
        UnavailableError,
    )
    from .sdk.hook import Hook, hook, invariant
    from .sdk.invariant import Invariant
    from .sdk.kill import Kill
    from .sdk.kind import Baseline, Feature, Guardrail, Kind, Metric, WorkloadEvent
    from .sdk.limits import Limits
    from .sdk.switch import kill, kills, unkill
    from .sdk.telemetry.accounting import Account
    from .shadow.simulators.custom import simulator

__version__ = "0.1.0"

#: Where each public name lives; it is imported when it is first used.
_HOMES = {
    "Account": "sdk.telemetry.accounting",
    "Baseline": "sdk.kind",
    "CandidateError": "sdk.errors",
    "ConfigurationError": "sdk.errors",
    "Feature": "sdk.kind",
    "GnomonError": "sdk.errors",
    "Guardrail": "sdk.kind",
    "Hook": "sdk.hook",
    "Invariant": "sdk.invariant",
    "IsolationError": "sdk.errors",
    "Kill": "sdk.kill",
    "Kind": "sdk.kind",
    "LanguageError": "sdk.errors",
    "Limits": "sdk.limits",
    "Metric": "sdk.kind",
    "PolicyCache": "policy_cache",
    "RolloutError": "sdk.errors",
    "SearchError": "sdk.errors",
    "TraceError": "sdk.errors",
    "TrustError": "sdk.errors",
    "UnavailableError": "sdk.errors",
    "WorkloadEvent": "sdk.kind",
    "ask": "api",
    "cache": "policies.cache",
    "check_invariants": "api",
    "compact": "api",
    "compare": "api",
    "confirm_invariants": "api",
    "doctor": "api",
    "drift": "api",
    "evolve": "api",
    "evolve_problem": "api",
    "expert_placement": "policies.expert_placement",
    "export_run": "api",
    "follow": "api",
    "hint": "api",
    "hook": "sdk.hook",
    "invariant": "sdk.hook",
    "known_policies": "api",
    "known_policy": "api",
    "list_invariants": "api",
    "list_runs": "api",
    "kill": "sdk.switch",
    "kills": "sdk.switch",
    "llm_router": "policies.llm_router",
    "llm_scheduler": "policies.llm_scheduler",
    "load_balancer": "policies.load_balancer",
    "load_invariants": "api",
    "off_policy": "api",
    "prune": "api",
    "replay": "api",
    "report_run": "api",
    "reverified": "api",
    "rollout": "api",
    "scheduler": "policies.scheduler",
    "ship": "api",
    "show_run": "api",
    "simulator": "shadow.simulators.custom",
    "suggest_invariants": "api",
    "tell": "api",
    "told": "api",
    "traces": "api",
    "unkill": "sdk.switch",
    "verify": "api",
}

__all__ = [
    "Account",
    "Baseline",
    "CandidateError",
    "ConfigurationError",
    "Feature",
    "GnomonError",
    "Guardrail",
    "Hook",
    "Invariant",
    "IsolationError",
    "Kill",
    "Kind",
    "LanguageError",
    "Limits",
    "Metric",
    "PolicyCache",
    "RolloutError",
    "SearchError",
    "TraceError",
    "TrustError",
    "UnavailableError",
    "WorkloadEvent",
    "__version__",
    "accounts",
    "ask",
    "cache",
    "check_invariants",
    "compact",
    "compare",
    "configure",
    "confirm_invariants",
    "doctor",
    "drift",
    "evolve",
    "evolve_problem",
    "expert_placement",
    "export_run",
    "flush",
    "follow",
    "hint",
    "hook",
    "invariant",
    "kill",
    "kills",
    "known_policies",
    "known_policy",
    "list_invariants",
    "list_runs",
    "llm_router",
    "llm_scheduler",
    "load_balancer",
    "load_invariants",
    "off_policy",
    "prune",
    "replay",
    "report_run",
    "reverified",
    "rollout",
    "scheduler",
    "ship",
    "show_run",
    "shutdown",
    "simulator",
    "suggest_invariants",
    "tell",
    "told",
    "traces",
    "unkill",
    "verify",
]


def configure(
    *,
    service: str | None = None,
    control_plane: str | None = None,
    otlp_endpoint: str | None = None,
    store: str | Path | None = None,
    publisher_keys: Iterable[str | Path] = (),
    cell: str | None = None,
    state_dir: str | Path | None = None,
    sample: float | None = None,
    flush_interval_s: float | None = None,
    ring_size: int | None = None,
    min_epoch: int | Mapping[str, int] | None = None,
    disabled: bool | None = None,
    isolation: str | None = None,
    limits: Limits | None = None,
    sink: Sink | None = None,
    logger_provider: LoggerProvider | None = None,
) -> Settings:
    """Switch all hooks on, those decorated later too; a second call replaces the first.

    What is not given is taken from the environment (``GNOMON_*``, ``OTEL_*``). No thread starts
    before a hook's first call. With nowhere to record to and no control plane the hooks stay off.

    Args:
        service: name of the service.
        control_plane: ``host:port`` that policies come from.
        otlp_endpoint: where records go over OTLP, for example ``http://127.0.0.1:4317``.
        store: folder of a local trace store that records go to; needs the ``shadow`` extra.
        publisher_keys: files of the public keys whose policies may run here.
        cell: name of the group of processes that share state and so switch together.
        state_dir: folder for last-known-good policies.
        sample: share of time windows that is recorded, 0 to 1.
        flush_interval_s: seconds between two rounds of the drainer.
        ring_size: records of one hook that may wait; more are dropped and counted.
        min_epoch: lowest manifest epoch that is accepted, of all hooks or by hook.
        disabled: True keeps every hook off.
        isolation: of policies in program form: ``strict``, or ``process`` where that cannot be had.
        limits: when a policy is taken back in this process, for hooks without limits of their own.
        sink: an object of your own that takes the records.
        logger_provider: your OpenTelemetry LoggerProvider, which takes the records instead of an OTLP
            endpoint; it stays yours and is never shut down.

    Returns:
        The settings in force.

    Raises:
        ConfigurationError: a value, an environment variable or a key file is wrong, or a library
            that ``store`` needs is missing.
        TraceError: nothing can be written to ``store``.
    """
    from .sdk import configure as _sdk

    sinks = [] if sink is None else [sink]
    given = _sdk.read(service=service, disabled=disabled)
    if store is not None and not given.disabled:
        sinks.append(_store_sink(store, given.service))
    return _sdk.configure(
        sinks,
        publisher_keys=publisher_keys,
        logger_provider=logger_provider,
        service=service,
        control_plane=control_plane,
        otlp_endpoint=otlp_endpoint,
        cell=cell,
        state_dir=state_dir,
        sample=sample,
        flush_interval_s=flush_interval_s,
        ring_size=ring_size,
        min_epoch=min_epoch,
        disabled=disabled,
        isolation=isolation,
        limits=limits,
    )


def flush(timeout_s: float = 5.0) -> None:
    """Hand on what the hooks have recorded so far, within a time in seconds."""
    from .sdk.runtime import RUNTIME

    RUNTIME.flush(timeout_s)


def shutdown(timeout_s: float = 2.0) -> None:
    """Switch all hooks off and hand on what waits, within a time in seconds; also done at exit."""
    from .sdk.runtime import RUNTIME

    RUNTIME.shutdown(timeout_s)


def accounts() -> dict[str, Account]:
    """Return what became of this process's records, by sink.

    ``otlp``, ``logger_provider``, ``store``, or the name or class of your own sink. In each,
    ``recorded == acknowledged + dropped + unknown + pending``; a workload batch of n events counts as n.
    After :func:`shutdown` the last sinks are told of; a forked child begins at 0.
    """
    from .sdk.runtime import RUNTIME

    return RUNTIME.accounts()


def _store_sink(folder: str | Path, service: str) -> Sink:
    from .commands._extras import missing
    from .sdk.errors import ConfigurationError

    try:
        from .recorder.sink import StoreSink
        from .recorder.store import TraceStore
    except ImportError as error:
        if not (what := missing(error)):
            raise
        raise ConfigurationError(what) from error
    store = TraceStore(folder)
    store.files.require_writable()
    return StoreSink(store, service)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
