"""An ensemble of models as authors of a search: prompts, turns, money, and the process that asks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace

from ...sdk.errors import ConfigurationError
from ..search.authors.edits import read
from ..search.authors.prompts.builder import CHARACTERS_PER_TOKEN, TOKENS, Prompts
from ..search.authors.writers import Authors
from ..search.authors.writing import Arm, Written
from ..search.bandit import Bandit
from ..search.records import Prompt
from ..search.strategies import Makers
from .breaker import Breaker
from .options import Model, ModelOptions
from .prices import Prices, most_tokens
from .writer import ModelWriter

#: A run asks models some hundred times: at 1, as UCB1 has it, that hardly tells them apart.
_EXPLORATION = 0.5
#: Of two that gain alike and cost 1 to 10, the cheaper one counts three times as much.
_COST_WEIGHT = 0.75


@contextmanager
def ensemble(
    options: ModelOptions,
    prompts: Prompts,
    keyless: Makers,
    authors: Authors | None = None,
    *,
    own: Mapping[str, str] | None = None,
) -> Iterator[Authors]:
    """Yield the authors of one search, models among them; their process ends with the block.

    Args:
        prompts: what models read.
        keyless: proposers that take the other turns, and all of them while no model answers.
        authors: who else takes part.
        own: variables to take keys from; those of this process when None.

    Raises:
        ConfigurationError: as :class:`.writer.ModelWriter`.
    """
    prices = Prices(options.prices)
    arms = [_arm(model, options, prices) for model in options.models]
    written = Written(arms, prompts, _bandit(options), Breaker(options.names))
    rest = sum(weight for weight, _ in keyless)
    others = tuple((weight / rest * (1.0 - options.share), maker) for weight, maker in keyless)
    settings = {"written": written.header(), "ensemble": options.as_json()}
    with closing(ModelWriter(options, read, prices, own=own)) as writer:
        base = authors or Authors()
        yield replace(
            base,
            makers=((options.share, written), *others),
            writer=writer,
            settings={**base.settings, **settings},
        )


def _bandit(options: ModelOptions) -> Bandit:
    weights = [model.weight for model in options.models]
    return Bandit(options.names, weights, exploration=_EXPLORATION, cost_weight=_COST_WEIGHT)


def _arm(model: Model, options: ModelOptions, prices: Prices) -> Arm:
    def reserve(prompt: Prompt, tokens: int) -> float:
        found = prices.reserve(model.name, prompt.messages, tokens, base=model.base)
        return math.inf if found is None else found

    return Arm(model.name, model.weight, options.max_tokens, reserve)


def require_prices(options: ModelOptions, dollars: float) -> None:
    """Refuse a cap that cannot be kept; raises ConfigurationError."""
    if math.isinf(dollars):
        return
    prices = Prices(options.prices)
    unknown = [m.name for m in options.models if prices.of(m.name, base=m.base) is None]
    if unknown:
        raise ConfigurationError(
            f"a cap of {dollars:g} dollars cannot be kept: nobody knows what {', '.join(unknown)} costs; "
            f"give --price {unknown[0]}=IN,OUT in dollars per million tokens, 0,0 for what is free"
        )


def estimate(options: ModelOptions, dollars: float, calls: int) -> list[str]:
    """Return lines on what a run may cost, before it begins.

    Args:
        dollars: the cap; infinite for none.
        calls: how many there are if every evaluation's program is written by a model in its turn.
    """
    prices = Prices(options.prices)
    prompt = (("user", " " * (TOKENS * CHARACTERS_PER_TOKEN)),)
    lines = []
    for model in options.models:
        price = prices.of(model.name, base=model.base)
        if price is None:
            lines.append(f"{model.name}: price unknown, so no cap and no estimate; see --price")
            continue
        usual = (price.into * TOKENS + price.out * options.max_tokens) / 1e6
        most = prices.reserve(model.name, prompt, options.max_tokens, base=model.base) or 0.0
        cap = (
            f", the cap of ${dollars:g} allows {_count(dollars, usual)}"
            if dollars < math.inf
            else ""
        )
        lines.append(
            f"{model.name}: ${price.into:g} in, ${price.out:g} out per million tokens; a call of "
            f"{TOKENS} and {options.max_tokens} tokens ${usual:.4g}, set aside for one at most "
            f"${most:.4g} ({most_tokens(prompt)} tokens, two attempts); {calls} calls ${calls * usual:.4g}{cap}"
        )
    return lines


def _count(dollars: float, each: float) -> str:
    return "any number" if each == 0.0 else f"{math.floor(dollars / each)}"
