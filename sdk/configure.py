"""Switching Gnomon on in a service: settings, sinks and delivery, put together."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from .config import Settings, Sink, from_environment
from .errors import ConfigurationError
from .runtime import RUNTIME, Delivery


def configure(
    sinks: Sequence[Sink] = (), *, publisher_keys: Iterable[str | Path] = (), **given: Any
) -> Settings:
    """Switch all hooks on, those decorated later too; a second call replaces the first.

    What is not given is taken from the environment. With nothing to record to and no control plane
    the hooks stay off.

    Args:
        sinks: where records go, beside the OTLP endpoint.
        publisher_keys: files of the public keys whose policies may run here.
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
    exported = (_otlp_sink(settings),) if settings.otlp_endpoint else ()
    RUNTIME.configure(settings, (*sinks, *exported), _delivery(settings))
    _register_metrics(exported, bool(settings.control_plane))
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


def _otlp_sink(settings: Settings) -> Any:
    from .telemetry import OtlpSink  # brings the encoder; not before it is needed

    attributes = {"service.name": settings.service} if settings.service else {}
    return OtlpSink(settings.otlp_endpoint, attributes)


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
    from .keys import load_publics

    peer = Peer.from_environment(settings.control_plane, os.environ)
    keys = load_publics(settings.publisher_keys, "publisher")

    def make() -> Delivery:
        from . import delivery
        from .manifest import Anchors

        told = delivery.Settings(
            peer=peer,
            service=settings.service,
            anchors=Anchors(keys, min_epoch=settings.min_epoch),
            cell=settings.cell,
            state_dir=settings.state_dir,
        )
        return delivery.DeliveryClient(RUNTIME.hooks.values, told, lambda: RUNTIME.process_id.hex())

    return make


_metered: list[bool] = []


def _register_metrics(exported: Sequence[Any], delivered: bool) -> None:
    """Offer the counters to OpenTelemetry, once, and only where the service uses its metrics."""
    if _metered or "opentelemetry.metrics" not in sys.modules:
        return
    from .telemetry.metrics import register

    _metered.append(True)
    account = exported[0].account if exported else None
    fresh_ns = _heard_ns if delivered else None
    register(RUNTIME.hooks.values(), account=account, fresh_ns=fresh_ns)


def _heard_ns() -> int:
    """Return the monotonic time at which the control plane was last heard from."""
    stale_s = getattr(
        RUNTIME.delivery, "staleness_s", 0.0
    )  # there is no client before a first call
    return time.monotonic_ns() - int(stale_s * 1e9)
