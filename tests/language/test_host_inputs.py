"""Host operations that the host hands a call's own inputs, what elements cost, and calls that limit their fuel."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.sdk.errors import ConfigurationError
from gnomon.sdk.language import HostOperation, Parameter, ProgramContract, check_program

GAIN = HostOperation("gain", "Weight of chosen items.", (1,), fuel=20, each=3, given=("weights",))


def contract(**fields: Any) -> ProgramContract:
    return ProgramContract(
        parameters=(
            Parameter("weights", "kg", "Of items.", -9, 9, ("items",)),
            Parameter("budget", "{fuel}", "Of this call.", 0, 1e6, integer=True),
            Parameter("chosen", "1", "Items.", 0, 20, ("places",), integer=True, writable=True),
        ),
        dimensions={"items": (1, 20), "places": (0, 40)},
        returns=True,
        **({"operations": (GAIN,), "max_fuel": 10_000} | fields),
    )


def gain(weights: list[float], chosen: list[float]) -> float:
    return sum(weights[int(item)] for item in chosen)


HOST = {"gain": gain}
ASK = "def decide(chosen):\n    return gain(chosen)\n"


@given(
    st.lists(st.integers(-9, 9), min_size=1, max_size=20),
    st.lists(st.integers(0, 0), max_size=20),
    st.integers(0, 200),
)
def test_both_tiers_hand_over_the_calls_own_inputs_and_charge_alike(
    weights: list[int], chosen: list[int], budget: int
) -> None:
    program = check_program(ASK, contract(fuel_from="budget"))
    arguments = (weights, budget, chosen)
    answer = program.bind(HOST)(*arguments)
    assert answer == program.interpret(*arguments, host=HOST)
    if answer.ok:
        assert answer.value == sum(weights[item] for item in chosen)
        assert answer.fuel <= budget


def test_a_program_cannot_hand_over_other_inputs() -> None:
    with pytest.raises(Exception, match="gain"):
        check_program(
            "def decide(weights, chosen):\n    return gain(weights, chosen)\n", contract()
        )
    assert check_program(ASK, contract()).bind(HOST)([4.0, 5.0], 0, [1]).value == 5.0


def test_what_is_given_costs_no_fuel_and_each_element_handed_over_what_it_says() -> None:
    decide = check_program(ASK, contract()).bind(HOST)
    few, more = (decide([1.0] * items, 0, [0, 0]) for items in (1, 20))
    assert few.fuel == more.fuel
    longer = decide([1.0], 0, [0] * 12)
    assert longer.fuel - few.fuel == 3 * 10


@pytest.mark.parametrize("fuel", [0, 5, 25, 40, 10_000, 1_000_000])
def test_a_call_limits_its_own_fuel_and_the_contract_all_calls(fuel: int) -> None:
    program = check_program(ASK, contract(fuel_from="budget", max_fuel=100))
    answer = program.bind(HOST)([1.0], fuel, [0] * 3)
    assert answer.ok == (fuel >= 40)
    if not answer.ok:
        assert "out of fuel" in program.fault([1.0], fuel, [0] * 3, host=HOST)
    assert not program.bind(HOST)([1.0], 1_000_000, [0] * 30).ok, "the contract's limit holds too"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"fuel_from": "weights"}, "fuel_from 'weights' names no parameter that is a number"),
        ({"fuel_from": "nobody"}, "fuel_from 'nobody' names no parameter that is a number"),
        ({"operations": (HostOperation("f", "", (), given=("chosen",)),)}, "is given 'chosen'"),
        ({"operations": (HostOperation("f", "", (), given=("nobody",)),)}, "is given 'nobody'"),
        ({"operations": (HostOperation("f", "", (), each=-1),)}, "fuel at least 0"),
    ],
)
def test_contracts_that_make_no_sense_are_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(reason)):
        contract(**fields)
