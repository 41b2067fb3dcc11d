"""Takes one guard away in a copy of the package, and asks whether the tests that should notice do.

The copy is a folder of hard links, in which nothing but the mutated file is new: links are seen as the files
themselves, where a symbolic link would lead a clean process back to what was not changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: What the package is made of: the root's modules, the rooms, and the wire code under its own name.
_MODULES = ("__init__.py", "__main__.py", "cli.py", "policy_cache.py", "testing.py")
_ROOMS = ("api", "sdk", "policies", "recorder", "shadow", "commands", "demo")
_WIRE = ("proto/gnomon/v1", "v1")
_SECONDS = 240.0


@dataclass(frozen=True, slots=True)
class Mutant:
    """A guard that is taken away.

    Attributes:
        guard: what it is, unique.
        file: that holds it, from the root.
        old: text of it; occurs once in the file.
        new: text in its place.
        tests: what has to fail, as pytest takes it.
    """

    guard: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant.

    Attributes:
        killed: whether a test failed, or did not end.
        said: the end of what pytest printed.
    """

    killed: bool
    said: str


def found(mutant: Mutant) -> int:
    """Return how often a mutant's text occurs in its file."""
    return (ROOT / mutant.file).read_text("utf-8").count(mutant.old)


class Copy:
    """A copy of the package in a folder, in which one guard after the other is taken away.

    Args:
        folder: to be made; the caller removes it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._package = folder / "gnomon"
        for place, name in _files():
            _link(place, self._package / name)

    def tried(self, mutant: Mutant | None, tests: tuple[str, ...]) -> Verdict:
        """Run tests without a guard (None: with all of them), and put it back.

        Raises:
            RuntimeError: pytest could not even collect the tests, which says nothing about a guard.
        """
        if mutant is None:
            return self._run(tests)
        target = self._package / mutant.file
        source = ROOT / mutant.file
        text = source.read_text("utf-8").replace(mutant.old, mutant.new, 1)
        _forget(target)
        target.write_text(text, "utf-8")
        try:
            return self._run(tests)
        finally:
            _forget(target)
            _link(source, target)

    def _run(self, tests: tuple[str, ...]) -> Verdict:
        # without a folder of their own, kernels are kept beside their sources: in the copy, for nobody else
        left = ("PYTEST", "NUMBA_CACHE")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(left)}
        environment = kept | {"PYTHONPATH": str(self._folder), "PYTHONSAFEPATH": "1"}
        flags = ("-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist")
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pytest", *flags, *tests],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Verdict(True, "it did not end")
        said = (done.stdout + done.stderr)[-2000:]
        if done.returncode not in (0, 1) or "no tests ran" in said:
            raise RuntimeError(f"pytest ended with {done.returncode}: {said}")
        return Verdict(done.returncode == 1, said)


def _link(place: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(place, target)
    except OSError:  # another file system
        shutil.copy2(place, target)


def _forget(target: Path) -> None:
    """Remove a source with what was compiled of it."""
    target.unlink()
    for stale in target.parent.glob(f"__pycache__/{target.stem}.*.pyc"):
        stale.unlink()


def _files() -> Iterator[tuple[Path, str]]:
    """Yield the files of the package, compiled ones and kernels included, and where they go."""
    for name in _MODULES:
        yield ROOT / name, name
    for room, at in (*((room, room) for room in _ROOMS), _WIRE):
        for place in (ROOT / room).rglob("*"):
            if place.is_file():
                yield place, f"{at}/{place.relative_to(ROOT / room).as_posix()}"
