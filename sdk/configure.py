"""Switching Gnomon on in a service: settings, sinks and delivery, put together."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from .config import Settings, Sink, from_environment
from .errors import ConfigurationError
from .runtime import RUNTIME, Delivery

_LOG = logging.getLogger("gnomon")


def configure(
    sinks: Sequence[Sink] = (),
    *,
    publisher_keys: Iterable[str | Path] = (),
    logger_provider: Any = None,
    **given: Any,
) -> Settings:
    """Switch all hooks on, those decorated later too; a second call replaces the first.

    What is not given is taken from the environment. With nothing to record to and no control plane
    the hooks stay off.

    Args:
        sinks: where records go, beside OTLP or the LoggerProvider.
        publisher_keys: files of the public keys whose policies may run here.
        logger_provider: of OpenTelemetry, takes the records instead of an OTLP endpoint; one in the
            environment is left to the provider's own exporter.
        given: other fields of :class:`Settings`; None stands for not given.

    Returns:
        The settings in force.

    Raises:
        ConfigurationError: a value, a variable or a key file is wrong.
    """
    settings = read(publisher_keys=tuple(Path(key) for key in publisher_keys) or None, **given)
    if settings.disabled:
        RUNTIME.configure(settings, ())
        return settings
    exported = _exported(settings, given.get("otlp_endpoint") or "", logger_provider)
    RUNTIME.configure(settings, (*sinks, *exported), _delivery(settings))
    # Last registered is first called: before the LoggerProvider that was made earlier shuts down.
    atexit.unregister(RUNTIME.shutdown)
    atexit.register(RUNTIME.shutdown)
    _register_metrics()
    return settings


def read(**given: Any) -> Settings:
    """Return settings from arguments, else from the environment, else the defaults."""
    known = {field.name for field in fields(Settings)}
    for name in sorted(set(given) - known):
        raise ConfigurationError(f"configure has no setting {name!r}; see its help")
    values = from_environment()
    values.update({name: value for name, value in given.items() if value is not None})
    if "state_dir" in values:
        values["state_dir"] = Path(str(values["state_dir"]))
    return Settings(**values)  # type: ignore[arg-type]


def _exported(settings: Settings, endpoint: str, logger_provider: Any) -> tuple[Sink, ...]:
    """Return the one sink of OpenTelemetry, or none.

    Args:
        settings: whose endpoint may be the environment's.
        endpoint: given in so many words; empty for none.
        logger_provider: of the service, or None.
    """
    if logger_provider is not None:
        if endpoint:
            raise ConfigurationError(
                f"otlp_endpoint={endpoint!r} and logger_provider are both given and every record would "
                "be sent twice; give one of them"
            )
        from .telemetry import LoggerProviderSink

        return (LoggerProviderSink(logger_provider),)
    if not settings.otlp_endpoint:
        return ()
    from .telemetry.settings import switched_off

    if off := switched_off(os.environ, given=bool(endpoint)):
        _LOG.info("records are not exported over OTLP: %s", off)
        return ()
    from .telemetry import OtlpSink  # brings the encoder; not before it is needed

    attributes = {"service.name": settings.service} if settings.service else {}
    # An endpoint of the environment is read there again: without a scheme it means TLS.
    return (OtlpSink(endpoint or None, attributes),)


def _delivery(settings: Settings) -> Callable[[], Delivery] | None:
    if not settings.control_plane:
        return None
    if not settings.publisher_keys:
        raise ConfigurationError(
            "control_plane is set but publisher_keys is empty; name the public keys whose policies "
            "may run here (publisher_keys=, GNOMON_PUBLISHER_KEYS)"
        )
    # Keys and address are read now, so that a mistake shows at the start and not in a log.
    from .channel import Peer
    from .keyring import KeyRing

    peer = Peer.from_environment(settings.control_plane, os.environ)
    ring = KeyRing(settings.publisher_keys)
    pins = ring.read()

    def make() -> Delivery:
        from . import delivery
        from .isolation.layers import known_mode
        from .manifest import Anchors

        told = delivery.Settings(
            peer=peer,
            service=settings.service,
            anchors=Anchors(
                pins.publishers,
                min_epoch=settings.least_epoch,
                isolation=known_mode(settings.isolation),
                revoked=pins.revoked,
            ),
            cell=settings.cell,
            state_dir=settings.state_dir,
            min_epochs=settings.least_epochs,
            keyring=ring,
        )
        return delivery.DeliveryClient(_deciding, told, lambda: RUNTIME.process_id.hex())

    return make


def _deciding() -> list[Any]:
    """Return the hooks whose decisions are made here: not those that follow another rank of their group."""
    return [hook for hook in RUNTIME.hooks.values() if not getattr(hook, "follows", False)]


_metered: list[bool] = []
_metering = threading.Lock()


def _register_metrics() -> None:
    """Offer the counters to OpenTelemetry, once, and only where the service uses its metrics.

    The instruments read whatever is configured when somebody collects.
    """
    if "opentelemetry.metrics" not in sys.modules:
        return
    with _metering:
        if _metered:
            return
        _metered.append(True)
    from .telemetry.metrics import register

    register(RUNTIME.hooks.values(), accounts=RUNTIME.accounts, stale_s=_stale_s)


def _stale_s() -> float | None:
    """Return for how many seconds the control plane was not heard; None without one."""
    stale_s: float | None = getattr(RUNTIME.delivery, "staleness_s", None)
    return stale_s


RUNTIME.at_start = _register_metrics  # a service may set its metrics up after Gnomon
