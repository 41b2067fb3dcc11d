"""What every test shares: where the public traces lie, and one Hypothesis profile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

settings.register_profile(
    "gnomon",
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("soak", parent=settings.get_profile("gnomon"), max_examples=2000)
settings.load_profile(os.environ.get("GNOMON_HYPOTHESIS", "gnomon"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--soak``."""
    parser.addoption("--soak", action="store_true", help="run the full counts too (make soak)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the full counts to ``make soak``, and a real model to those who ask for one."""
    skips = {}
    if not config.getoption("--soak"):
        skips["soak"] = pytest.mark.skip(reason="full counts: make soak")
    if "llm" not in str(config.getoption("-m")):
        skips["llm"] = pytest.mark.skip(reason="a real language model: make llm")
    for item in items:
        for marker in skips.keys() & item.keywords:
            item.add_marker(skips[marker])
    # what waits goes on beside what computes, and nothing long is begun in the end
    items.sort(key=lambda item: "long" not in item.keywords)


@pytest.fixture
def data() -> Path:
    """Folder of public traces: ``$GNOMON_DATA`` or ``../shared/data``; skips where it is missing."""
    folder = Path(os.environ.get("GNOMON_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no public traces at {folder}; set GNOMON_DATA")
    return folder
