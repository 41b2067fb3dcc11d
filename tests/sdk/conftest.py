"""A clean process for every test: no hooks, nothing configured."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gnomon.sdk.runtime import RUNTIME


@pytest.fixture(autouse=True)
def clean_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget hooks and configuration, and keep the caller's environment out."""
    for name in ("GNOMON_DISABLED", "GNOMON_CONTROL_PLANE", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    RUNTIME.shutdown()
    before = dict(RUNTIME.hooks)
    RUNTIME.hooks.clear()
    yield
    RUNTIME.shutdown()
    RUNTIME.hooks.clear()
    RUNTIME.hooks.update(before)
