"""What the tests of the documentation share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Leave the environment as it was: a command line that names modules sets it for its process."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
