"""Every seed and every input that once broke a property, through every harness; no fuzzer is needed."""

from __future__ import annotations

import importlib.util
import logging
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from . import corpus

NAMES = corpus.names()
#: Changed seeds of each harness; a fuzzer makes millions.
CHANGED = 25


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """What is refused is also logged, and kept for a test that fails; here that is much."""
    caplog.set_level(logging.CRITICAL, "gnomon")


def test_no_harness_silences_the_tests_beside_it() -> None:
    """They are imported while all tests are collected, so for every test of the process."""
    for name in NAMES:
        corpus.harness(name)
    loggers = [logging.getLogger(n) for n in ("", *logging.root.manager.loggerDict)]
    silent = {each.name for each in loggers if each.level >= logging.ERROR}
    assert not {name for name in silent if name.split(".")[0] in ("root", "gnomon")}
    assert logging.root.manager.disable == logging.NOTSET


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("name", NAMES)
def test_the_seeds_keep_every_property(name: str) -> None:
    inputs = list(corpus.seeds(name))
    assert inputs
    for _, data in inputs:
        corpus.harness(name).TestOneInput(data)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("name", NAMES)
def test_what_once_broke_a_property_keeps_it(name: str) -> None:
    for _, data in corpus.regressions(name):
        corpus.harness(name).TestOneInput(data)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("name", NAMES)
def test_seeds_that_were_changed_keep_every_property(name: str) -> None:
    module, random = corpus.harness(name), Random(name)
    every = [data for _, data in corpus.seeds(name)]
    change = getattr(module, "mutate", _flipped)
    for _ in range(CHANGED):
        module.TestOneInput(change(random.choice(every), random))


def _flipped(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


@pytest.mark.soak
@pytest.mark.parametrize("name", NAMES)
def test_a_fuzzer_finds_nothing_in_a_few_seconds(name: str) -> None:
    """What it finds is kept as a regression, beside this test."""
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("no atheris here; make fuzz installs it on Linux x86-64")
    run = Path(__file__).with_name("run.py")
    command = [sys.executable, str(run), "--only", name, "--seconds", "10"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_broken_property_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The harnesses can fail: with a decoder that lets its parts' errors through, a seed does."""
    from gnomon.recorder import decode

    from . import harness_otlp

    def careless(data: bytes) -> decode.Decoded:
        found = decode.one_by_one(data)
        found.foreign += 1
        return found

    monkeypatch.setattr(harness_otlp, "decode", careless)
    with pytest.raises(AssertionError):
        harness_otlp.TestOneInput(next(iter(harness_otlp.seeds())))


@pytest.mark.parametrize(
    "name", [name for name in NAMES if hasattr(corpus.harness(name), "mutate")]
)
def test_changes_are_the_same_for_the_same_seed(name: str) -> None:
    module = corpus.harness(name)
    seed = next(iter(module.seeds()))
    assert module.mutate(seed, Random(5)) == module.mutate(seed, Random(5))
