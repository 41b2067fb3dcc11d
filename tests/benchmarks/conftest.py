"""The modules of ``benchmarks/``, which are scripts and no package, and a clean process for each test."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from gnomon.sdk.runtime import RUNTIME

from ..conftest import ROOT


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Return what imports a module of ``benchmarks/`` by its name."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module


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
