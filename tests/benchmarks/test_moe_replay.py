"""The figures of expert placement are measured on maps that are equal in every way."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def small(benchmark: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, with a model that is placed in no time."""
    module = benchmark("_moe_replay")
    for name, value in {"LAYERS": 2, "EXPERTS": 32, "SLOTS": 48, "RANKS": 8}.items():
        monkeypatch.setattr(module, name, value)
    return module


def test_every_way_is_measured(small: ModuleType) -> None:
    rows = small.rows(repeats=2, windows=10)
    assert rows[0].target == small.TARGET_MS and rows[0].peer is not None
    assert all(0.0 < row.spread[0] <= row.value <= row.spread[1] for row in rows)
    assert [row.unit for row in rows].count("windows/s") == 1


def test_another_map_is_refused(small: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    published = small.published

    def shifted(name: str, *arguments: Any) -> Any:
        return published(name, *arguments)[:, ::-1]

    monkeypatch.setattr(small, "published", shifted)
    with pytest.raises(ValueError, match="differ; correct one of them"):
        small.program_ms("eplb", small.question(0, grouped=True))
