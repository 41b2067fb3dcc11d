"""A runtime of its own for every test, with what it recorded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gnomon.sdk.config import Settings
from gnomon.sdk.records import Record
from gnomon.sdk.runtime import RUNTIME


class Kept:
    """A sink that keeps what it is given."""

    name = "kept"

    def __init__(self) -> None:
        self.records: list[Record] = []

    def write(self, hook: Any, records: list[Record]) -> None:
        self.records += records

    def flush(self, timeout_s: float) -> None:
        """Have nothing to hand on."""

    def close(self, timeout_s: float) -> None:
        """Have nothing to close."""

    def of(self, kind: type) -> list[Any]:
        RUNTIME.round()
        return [record for record in self.records if isinstance(record, kind)]


@pytest.fixture
def kept() -> Iterator[Kept]:
    """Hooks that are on, and whatever they record."""
    before = dict(RUNTIME.hooks)
    sink = Kept()
    RUNTIME.configure(Settings(flush_interval_s=60.0, seed=1), (sink,))
    yield sink
    RUNTIME.shutdown()
    RUNTIME.hooks.clear()
    RUNTIME.hooks.update(before)
