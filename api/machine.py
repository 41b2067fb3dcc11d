"""What this machine has for Gnomon."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..commands._checks import Diagnosis


def doctor(control_plane: str = "", otlp_endpoint: str = "") -> Diagnosis:
    """Look at what this machine has for Gnomon; needs the base install only.

    Args:
        control_plane: ``host:port`` to reach; as in ``GNOMON_CONTROL_PLANE`` when empty.
        otlp_endpoint: to reach; as in ``OTEL_EXPORTER_OTLP_ENDPOINT`` when empty.
    """
    from ..commands._checks import diagnose
    from ..commands._probes import this_machine

    return diagnose(this_machine(), control_plane, otlp_endpoint)
