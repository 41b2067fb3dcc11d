"""What calls cost: from tables of ours, never from what an endpoint claims.

A price that is not known is None and never zero. Tokens are held to what prompt and answer can have at
most, so that no answer costs more than was set aside for its call.
"""

from __future__ import annotations

import importlib.util
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...sdk.errors import ConfigurationError

#: Attempts of one call that a provider may charge for; see :mod:`.calls`.
CHARGED = 2
#: Tokens that a prompt and each message cost beside their text: what a server puts before them, roles.
_PER_PROMPT, _PER_MESSAGE = 128, 16
#: Bytes of text that no tokenizer puts into one token; a count below that is no count.
_BYTES_PER_TOKEN = 64
_MILLION = 1e6
#: Rates of one table entry that a plain call may be charged at; those for batches and the like are not ours.
_IN = re.compile(r"input_cost_per_token(_above_\d+k_tokens)?")
_OUT = re.compile(r"output_cost_per_(reasoning_)?token(_above_\d+k_tokens)?")

Messages = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars per million tokens.

    Attributes:
        into: of the prompt.
        out: of the answer.
    """

    into: float
    out: float

    def __post_init__(self) -> None:
        if not (0.0 <= self.into < math.inf and 0.0 <= self.out < math.inf):
            raise ConfigurationError(
                f"a price of {self.into},{self.out} dollars per million tokens is none; give two numbers "
                "from 0 on"
            )

    @classmethod
    def parse(cls, text: str) -> tuple[str, Price]:
        """Return model and price of ``MODEL=IN,OUT``; raises ConfigurationError."""
        name, _, amounts = text.rpartition("=")
        try:
            into, out = (float(amount) for amount in amounts.split(","))
        except ValueError:
            into = out = math.nan
        if not name or math.isnan(into) or math.isnan(out):
            raise ConfigurationError(
                f"--price {text!r}: give MODEL=IN,OUT in dollars per million tokens, as in tiny=0.1,0.4"
            )
        return name, cls(into, out)


@dataclass(frozen=True, slots=True)
class Counted:
    """What one answer came to.

    Attributes:
        tokens_in, tokens_out: of prompt and answer.
        cost: dollars; None where the price is not known.
        believed: whether the tokens are those that the endpoint counted; else they are the most it can be.
    """

    tokens_in: int
    tokens_out: int
    cost: float | None
    believed: bool


class Prices:
    """Prices by model.

    Args:
        given: by the user, which always win.
        table: of a map such as litellm's; read when a price is not given.
    """

    def __init__(self, given: Mapping[str, Price], table: Mapping[str, Any] | None = None) -> None:
        self._given = dict(given)
        self._table = table

    def of(self, model: str, *, base: str = "") -> Price | None:
        """Return the price of a model; None where nobody said it.

        A server of the user's own (``base``) may ask for anything, so the table does not hold there.
        """
        if model in self._given:
            return self._given[model]
        if base:
            return None
        if self._table is None:
            self._table = shipped()
        return _listed(self._table, model)

    def reserve(
        self, model: str, messages: Messages, max_tokens: int, *, base: str = ""
    ) -> float | None:
        """Return the dollars that a call can cost at most, all attempts included; None when unknown."""
        price = self.of(model, base=base)
        if price is None:
            return None
        return CHARGED * _cost(price, most_tokens(messages), max_tokens)

    def count(
        self,
        model: str,
        messages: Messages,
        max_tokens: int,
        answer: str,
        used: tuple[int | None, int | None],
        *,
        base: str = "",
    ) -> Counted:
        """Return what an answer came to.

        Args:
            used: tokens of prompt and answer as the endpoint counts them; None where it does not.
        """
        most_in = most_tokens(messages)
        into = _believable(used[0], sum(map(_size, (text for _, text in messages))), most_in)
        out = _believable(used[1], _size(answer), max_tokens)
        tokens_in = most_in if into is None else into
        tokens_out = max_tokens if out is None else out  # it may have thought without a word
        price = self.of(model, base=base)
        cost = None if price is None else _cost(price, tokens_in, tokens_out)
        return Counted(tokens_in, tokens_out, cost, None not in (into, out))


def most_tokens(messages: Messages) -> int:
    """Return the most tokens a prompt can have: a token stands for one byte at least."""
    return _PER_PROMPT + sum(_size(text) + _PER_MESSAGE for _, text in messages)


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def _believable(tokens: int | None, size: int, most: int) -> int | None:
    if tokens is None or isinstance(tokens, bool) or not isinstance(tokens, int):
        return None
    return tokens if size / _BYTES_PER_TOKEN <= tokens <= most else None


def _cost(price: Price, tokens_in: int, tokens_out: int) -> float:
    return (price.into * tokens_in + price.out * tokens_out) / _MILLION


def _listed(table: Mapping[str, Any], model: str) -> Price | None:
    """Return the dearest rates of a table's entry; zero there means that nobody wrote one down."""
    provider, _, bare = model.partition("/")
    entry = table.get(model)
    if entry is None and bare:
        found = table.get(bare)
        own = isinstance(found, dict) and found.get("litellm_provider") == provider
        entry = found if own else None
    if not isinstance(entry, dict):
        return None
    into, out = _dearest(entry, _IN), _dearest(entry, _OUT)
    if not (into > 0.0 and out > 0.0):
        return None
    return Price(into * _MILLION, out * _MILLION)


def _dearest(entry: dict[str, Any], names: re.Pattern[str]) -> float:
    rates = (rate for name, rate in entry.items() if names.fullmatch(name))
    return max(
        (float(r) for r in rates if isinstance(r, int | float) and math.isfinite(r)), default=0.0
    )


def shipped() -> Mapping[str, Any]:
    """Return the price map that litellm ships, without importing it; empty where it is not installed."""
    spec = importlib.util.find_spec("litellm")
    if spec is None or not spec.submodule_search_locations:
        return {}
    path = Path(spec.submodule_search_locations[0], "model_prices_and_context_window_backup.json")
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
