"""A clean process for every test: no hooks, nothing configured."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gnomon.sdk.runtime import RUNTIME


@pytest.fixture(autouse=True)
def clean_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the hooks of other tests, and the caller's environment, out."""
    for name in ("GNOMON_DISABLED", "GNOMON_CONTROL_PLANE", "GNOMON_SAMPLE"):
        monkeypatch.delenv(name, raising=False)
    RUNTIME.shutdown()
    monkeypatch.setattr(RUNTIME, "hooks", {})
    yield
    RUNTIME.shutdown()
