"""The metered tier and the reference of the program form decide alike, bit for bit, faults included."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from gnomon.sdk.errors import LanguageError
from gnomon.sdk.language import ArrayProgram, check_program, same_answer

from .array_programs import ARGUMENTS, HOST, contract, sources


def usable(source: str) -> ArrayProgram | None:
    """Return the program, or None where it is too large for its fuel or depth."""
    try:
        return check_program(source, contract())
    except LanguageError as error:
        assert "fuel" in error.reason or "nested" in error.reason, (error, source)
        return None


def agree(program: ArrayProgram, calls: list[tuple[Any, ...]]) -> None:
    """Assert that the tiers give the same answer and fuel on every call."""
    decide = program.bind(HOST)
    for arguments in calls:
        wanted, found = program.interpret(*arguments, host=HOST), decide(*arguments)
        assert same_answer(wanted, found), (arguments, wanted, found, program.lowered)
        assert wanted.ok is not bool(program.fault(*arguments, host=HOST))


@settings(max_examples=120)
@given(sources(), ARGUMENTS)
def test_the_metered_tier_equals_the_reference(source: str, calls: list[tuple[Any, ...]]) -> None:
    program = usable(source)
    if program is not None:
        agree(program, calls)


@pytest.mark.soak
@settings(max_examples=5000, suppress_health_check=list(HealthCheck))
@given(sources(), ARGUMENTS)
def test_the_tiers_agree_on_many_programs(source: str, calls: list[tuple[Any, ...]]) -> None:
    program = usable(source)
    if program is not None:
        agree(program, calls)
