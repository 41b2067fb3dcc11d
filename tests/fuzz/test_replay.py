"""Every seed and every input that once broke a property, through every harness; no fuzzer is needed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from . import corpus

NAMES = corpus.names()
#: Changed seeds of each harness; a fuzzer makes millions.
CHANGED = 25


@pytest.mark.parametrize("name", NAMES)
def test_the_seeds_keep_every_property(name: str) -> None:
    inputs = list(corpus.seeds(name))
    assert inputs
    for _, data in inputs:
        corpus.harness(name).TestOneInput(data)


@pytest.mark.parametrize("name", NAMES)
def test_what_once_broke_a_property_keeps_it(name: str) -> None:
    for _, data in corpus.regressions(name):
        corpus.harness(name).TestOneInput(data)


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
