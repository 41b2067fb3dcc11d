"""Records on the wire: the encoder, the exporter with its accounting, and the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .export import OtlpSink
    from .provider import LoggerProviderSink

__all__ = ["LoggerProviderSink", "OtlpSink"]


def __getattr__(name: str) -> Any:
    """Load a sink, and what it needs with it, only when somebody asks for it."""
    if name == "OtlpSink":
        from .export import OtlpSink

        return OtlpSink
    if name == "LoggerProviderSink":
        from .provider import LoggerProviderSink

        return LoggerProviderSink
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
