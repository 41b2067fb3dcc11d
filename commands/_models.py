"""The options of ``gnomon evolve`` that name language models."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..sdk.errors import ConfigurationError

if TYPE_CHECKING:
    from ..shadow.models.options import ModelOptions

#: Answers of models, for all runs.
CACHE = Path(".gnomon/models")

Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="A language model: NAME, NAME=WEIGHT or NAME@ADDRESS=WEIGHT; again for more.",
    ),
]
MaxCost = Annotated[
    float, typer.Option(help="With --model: most dollars, calls under way included.")
]
Temperature = Annotated[
    float | None, typer.Option(help="With --model: of sampling; 0.8 when not given.")
]
ApiBase = Annotated[
    str | None, typer.Option(help="With --model: address of your own server, up to /v1.")
]
PriceOf = Annotated[
    list[str] | None,
    typer.Option("--price", help="With --model: NAME=IN,OUT in dollars per million tokens."),
]
KeyEnv = Annotated[
    list[str] | None,
    typer.Option("--key-env", help="With --model: VARIABLE that holds the key, or NAME=VARIABLE."),
]
ModelTimeout = Annotated[
    float | None, typer.Option(help="With --model: seconds of a call, retries included; 120.")
]
MaxTokens = Annotated[
    int | None, typer.Option(help="With --model: most tokens of an answer; 4096.")
]
ModelShare = Annotated[
    float | None, typer.Option(help="With --model: share of the turns that models take; 0.5.")
]
ModelCache = Annotated[
    Path | None, typer.Option(help="With --model: folder of known answers; .gnomon/models.")
]
Templates = Annotated[
    Path | None, typer.Option("--prompts", help="With --model: folder of your own templates.")
]


@dataclass(frozen=True)
class Given:
    """What the command line says of models; None where it says nothing."""

    models: list[str] | None
    max_cost: float
    temperature: float | None
    api_base: str | None
    prices: list[str] | None
    key_env: list[str] | None
    timeout: float | None
    max_tokens: int | None
    share: float | None
    cache: Path | None
    prompts: Path | None

    def options(self) -> ModelOptions | None:
        """Return the ensemble; None where no model is named. Raises ConfigurationError."""
        if math.isnan(self.max_cost) or self.max_cost < 0.0:
            raise ConfigurationError(f"--max-cost {self.max_cost}: give dollars, from 0 on")
        if not self.models:
            self._require_none()
            return None
        from ..shadow.models.options import Model, ModelOptions
        from ..shadow.models.prices import Price

        keys = dict(map(_key_env, self.key_env or ()))
        asked = {
            "temperature": self.temperature,
            "timeout": self.timeout,
            "max_tokens": self.max_tokens,
            "share": self.share,
        }
        models = tuple(Model.parse(text, self.api_base or "", keys) for text in self.models)
        unknown = sorted(set(keys) - {"", *(model.name for model in models)})
        if unknown:
            raise ConfigurationError(f"--key-env of {unknown[0]}, which is no --model")
        return ModelOptions(
            models,
            prices=dict(map(Price.parse, self.prices or ())),
            cache=CACHE if self.cache is None else self.cache,
            **{name: value for name, value in asked.items() if value is not None},  # type: ignore[arg-type]
        )

    def _require_none(self) -> None:
        given = {
            "--max-cost": self.max_cost != math.inf,
            "--temperature": self.temperature is not None,
            "--api-base": self.api_base is not None,
            "--price": bool(self.prices),
            "--key-env": bool(self.key_env),
            "--model-timeout": self.timeout is not None,
            "--max-tokens": self.max_tokens is not None,
            "--model-share": self.share is not None,
            "--model-cache": self.cache is not None,
            "--prompts": self.prompts is not None,
        }
        named = [option for option, is_given in given.items() if is_given]
        if named:
            raise ConfigurationError(f"{named[0]} means nothing without --model; name one")


def _key_env(text: str) -> tuple[str, str]:
    name, _, variable = text.rpartition("=")
    return name, variable


def tell_estimate(options: ModelOptions, dollars: float, calls: int) -> None:
    """Print on standard error what a run may cost; raises ConfigurationError where a cap has no price."""
    from ..shadow.models.ensemble import estimate, require_prices

    require_prices(options, dollars)
    for line in estimate(options, dollars, calls):
        print(f"gnomon: {line}", file=sys.stderr, flush=True)
