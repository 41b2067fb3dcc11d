"""Clean processes shared by the tests of a session: one per mode."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gnomon.sdk.isolation.layers import Limits
from gnomon.sdk.isolation.zygote import Zygote

from .driving import raw_zygote


@pytest.fixture(scope="session")
def strict() -> Iterator[Zygote]:
    with raw_zygote("strict", Limits(frame_s=0.5, memory_mb=128)) as zygote:
        yield zygote


@pytest.fixture(scope="session")
def process() -> Iterator[Zygote]:
    with raw_zygote("process", Limits(frame_s=0.5, memory_mb=128)) as zygote:
        yield zygote
