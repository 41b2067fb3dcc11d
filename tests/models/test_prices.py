"""What calls cost, and what nobody believes."""

from __future__ import annotations

import importlib.util
import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.sdk.errors import ConfigurationError
from gnomon.shadow.models.prices import CHARGED, Price, Prices, most_tokens, shipped

TINY = Price(1.0, 4.0)
ASK = (("system", "be brief"), ("user", "h\N{SNOWMAN}llo"))

TABLE = {
    "plain": {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6},
    "tiered": {
        "input_cost_per_token": 1e-6,
        "input_cost_per_token_above_200k_tokens": 3e-6,
        "input_cost_per_token_batches": 9e-6,
        "output_cost_per_token": 2e-6,
        "output_cost_per_reasoning_token": 7e-6,
    },
    "free": {"input_cost_per_token": 0.0, "output_cost_per_token": 0.0},
    "half": {"input_cost_per_token": 1e-6},
    "odd": {"input_cost_per_token": "1e-6", "output_cost_per_token": math.inf},
    "owned": {
        "litellm_provider": "acme",
        "input_cost_per_token": 1e-6,
        "output_cost_per_token": 1e-6,
    },
    "list": [],
}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("plain", Price(1.0, 2.0)),
        ("tiered", Price(3.0, 7.0)),
        ("acme/owned", Price(1.0, 1.0)),
        ("other/owned", None),
        ("free", None),
        ("half", None),
        ("odd", None),
        ("list", None),
        ("missing", None),
    ],
)
def test_a_table_gives_its_dearest_rates_or_nothing(model: str, expected: Price | None) -> None:
    found = Prices({}, TABLE).of(model)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert (found.into, found.out) == pytest.approx((expected.into, expected.out))


def test_what_the_user_says_wins_and_may_be_nothing() -> None:
    prices = Prices({"plain": Price(0.0, 0.0), "m": TINY}, TABLE)
    assert prices.of("plain") == Price(0.0, 0.0)
    assert prices.reserve("plain", ASK, 100) == 0.0
    assert prices.of("m", base="http://h/v1") == TINY


def test_a_table_does_not_hold_for_a_server_of_ones_own() -> None:
    prices = Prices({}, TABLE)
    assert prices.of("plain", base="http://h/v1") is None
    assert prices.reserve("plain", ASK, 100, base="http://h/v1") is None
    counted = prices.count("plain", ASK, 100, "x", (5, 1), base="http://h/v1")
    assert counted.cost is None


def test_the_shipped_table_knows_what_is_widely_used() -> None:
    if importlib.util.find_spec("litellm") is None:
        pytest.skip("the extra llm is not installed")
    before = "litellm" in sys.modules
    price = Prices({}, shipped()).of("openai/gpt-4o")
    assert price is not None
    assert price.out > price.into > 0.0
    assert ("litellm" in sys.modules) == before  # it takes seconds, and asks the network for a list


def test_tokens_are_those_of_the_endpoint_where_they_can_be() -> None:
    counted = Prices({"m": TINY}).count("m", ASK, 100, "x" * 100, (12, 30))
    assert (counted.tokens_in, counted.tokens_out, counted.believed) == (12, 30, True)
    assert counted.cost == pytest.approx((12 * 1.0 + 30 * 4.0) / 1e6)


@pytest.mark.parametrize(
    "used", [(None, None), (10**12, 30), (12, 10**12), (0, 30), (12, 0), (12, None)]
)
def test_a_count_that_cannot_be_is_the_most_it_can_be(used: tuple[int | None, int | None]) -> None:
    counted = Prices({"m": TINY}).count("m", ASK, 100, "x" * 100, used)
    assert not counted.believed
    assert counted.tokens_in in (12, most_tokens(ASK))
    assert counted.tokens_out in (30, 100)
    assert (counted.tokens_in, counted.tokens_out) != (12, 30)


counts = st.none() | st.integers(-(10**6), 10**12) | st.booleans()


@given(
    st.text(max_size=50),
    st.integers(16, 5000),
    st.text(max_size=400),
    counts,
    counts,
    st.floats(0.0, 1e3),
    st.floats(0.0, 1e3),
)
def test_no_answer_costs_more_than_its_share_of_the_reserve(
    prompt: str, most: int, answer: str, into: int | None, out: int | None, a: float, b: float
) -> None:
    prices, messages = Prices({"m": Price(a, b)}), (("user", prompt),)
    counted = prices.count("m", messages, most, answer, (into, out))
    reserve = prices.reserve("m", messages, most)
    assert reserve is not None
    assert counted.cost is not None
    assert 0.0 <= counted.cost <= reserve / CHARGED * (1 + 1e-12)


@pytest.mark.parametrize("text", ["m", "m=", "m=1", "=1,2", "m=1,2,3", "m=a,b", "m=nan,1"])
def test_what_is_no_price(text: str) -> None:
    with pytest.raises(ConfigurationError, match="give MODEL=IN,OUT"):
        Price.parse(text)


@pytest.mark.parametrize("text", ["m=-1,2", "m=1,inf"])
def test_what_no_price_can_be(text: str) -> None:
    with pytest.raises(ConfigurationError, match="give two numbers from 0 on"):
        Price.parse(text)


def test_a_price_is_read_after_the_last_equals_sign() -> None:
    assert Price.parse("azure/my=odd=0.5,2") == ("azure/my=odd", Price(0.5, 2.0))
