"""Which harnesses there are, and what every one of them is fed before a fuzzer has run."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent
SEEDS, REGRESSIONS = HERE / "seeds", HERE / "regressions"
_PREFIX = "harness_"


def names() -> list[str]:
    """Return the harnesses, in alphabetical order."""
    return sorted(path.stem.removeprefix(_PREFIX) for path in HERE.glob(f"{_PREFIX}*.py"))


def harness(name: str) -> ModuleType:
    """Import a harness."""
    return import_module(f".{_PREFIX}{name}", __package__)


def seeds(name: str) -> Iterator[tuple[str, bytes]]:
    """Yield what the encoders make, and the files that were kept because they lead far."""
    for number, data in enumerate(harness(name).seeds()):
        yield f"made {number}", data
    yield from _files(SEEDS / name)


def regressions(name: str) -> Iterator[tuple[str, bytes]]:
    """Yield what once broke a property."""
    yield from _files(REGRESSIONS / name)


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.glob("*.bin")):
        yield path.name, path.read_bytes()
