"""Which models write, and how they are asked."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import urlsplit

from ...sdk.errors import ConfigurationError
from .prices import Price

Adapter = Literal["litellm", "compatible", "completion"]

#: Prefixes of models that are asked without litellm, over the wire format of OpenAI alone.
_OWN: dict[str, Adapter] = {
    "openai-compatible:": "compatible",
    "openai-completion:": "completion",
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")


@dataclass(frozen=True, slots=True)
class Model:
    """One model of an ensemble.

    Attributes:
        name: as the user, the log and the price table call it: a name that litellm knows, or one with the
            prefix ``openai-compatible:`` (chat) or ``openai-completion:`` (plain text).
        weight: share of the turns, beside those of the others.
        base: address of the server, up to and including ``/v1``; empty for the provider's own.
        key_env: name of the variable with the key that this server gets; empty for the provider's usual one,
            and for none where there is a ``base``.
    """

    name: str
    weight: float = 1.0
    base: str = ""
    key_env: str = ""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigurationError(
                f"model {self.name!r} is no name of a model; give NAME, NAME=WEIGHT or NAME@ADDRESS=WEIGHT"
            )
        if not (0.0 < self.weight < math.inf):
            raise ConfigurationError(f"model {self.name}: weight {self.weight} is not above 0")
        if self.base:
            _require_address(self.name, self.base)
        elif self.adapter != "litellm":
            raise ConfigurationError(
                f"model {self.name} has no address; write {self.name}@http://HOST:PORT/v1 or give --api-base"
            )
        if self.key_env and not _VARIABLE.fullmatch(self.key_env):
            # not repeated: it may be the key itself
            raise ConfigurationError(
                f"model {self.name}: --key-env takes the name of a variable, never a key"
            )

    @property
    def adapter(self) -> Adapter:
        """How it is asked."""
        for prefix, adapter in _OWN.items():
            if self.name.startswith(prefix):
                return adapter
        return "litellm"

    @property
    def remote(self) -> str:
        """Its name as the adapter takes it."""
        return self.name if self.adapter == "litellm" else self.name.partition(":")[2]

    @classmethod
    def parse(cls, text: str, base: str = "", keys: Mapping[str, str] | None = None) -> Model:
        """Return the model of ``NAME[@ADDRESS][=WEIGHT]``; raises ConfigurationError.

        Args:
            base: address where the text has none.
            keys: name of the key's variable by model; that of ``""`` for the others.
        """
        head, equals, weight = text.rpartition("=")
        if not equals:
            head, weight = text, "1"
        at = head.find("@http")
        name, own = (head[:at], head[at + 1 :]) if at >= 0 else (head, "")
        known = keys or {}
        try:
            share = float(weight)
        except ValueError:
            raise ConfigurationError(
                f"--model {text!r}: {weight!r} is no weight; give NAME or NAME=WEIGHT"
            ) from None
        return cls(name, share, own or base, known.get(name, known.get("", "")))


def _require_address(name: str, base: str) -> None:
    parts = urlsplit(base)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigurationError(f"model {name}: {base!r} is no address; give http://HOST:PORT/v1")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ConfigurationError(
            f"model {name}: an address holds no user, key or query; name the key's variable with --key-env"
        )


@dataclass(frozen=True)
class ModelOptions:
    """An ensemble of models and how each is asked.

    Attributes:
        models: at least one, names distinct.
        temperature: of sampling; None leaves it to the provider.
        max_tokens: most tokens of an answer, what a model thinks included.
        timeout: seconds that a call may take in all, retries and waits between them included.
        prices: dollars per million tokens by model, before any table.
        cache: folder of answers; None keeps none.
        share: of the turns that models take, above 0 and below 1; keyless proposers take the others.
    """

    models: tuple[Model, ...]
    temperature: float | None = 0.8
    max_tokens: int = 4096
    timeout: float = 120.0
    prices: Mapping[str, Price] = field(default_factory=lambda: MappingProxyType({}))
    cache: Path | None = None
    share: float = 0.5

    def __post_init__(self) -> None:
        names = [model.name for model in self.models]
        if not names:
            raise ConfigurationError(
                "no model is named; give at least one, or none of these options"
            )
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigurationError(f"model {twice[0]} is named twice; give it one weight")
        if self.temperature is not None and not 0.0 <= self.temperature <= 2.0:
            raise ConfigurationError(f"temperature {self.temperature} is not within 0 and 2")
        if not 1.0 <= self.timeout <= 3600.0:
            raise ConfigurationError(
                f"model timeout {self.timeout} is not within 1 and 3600 seconds"
            )
        if not 16 <= self.max_tokens <= 200_000:
            raise ConfigurationError(f"max_tokens {self.max_tokens} is not within 16 and 200000")
        if not 0.0 < self.share < 1.0:
            raise ConfigurationError(
                f"a share of {self.share} of the turns for models: give one above 0 and below 1, for what goes "
                "on while no model answers has turns, too"
            )
        unknown = sorted(set(self.prices) - set(names))
        if unknown:
            raise ConfigurationError(
                f"--price of {unknown[0]}, which is no --model; the models are {', '.join(names)}"
            )

    def model(self, name: str) -> Model:
        """Return a model by name; raises ConfigurationError when there is none."""
        for model in self.models:
            if model.name == name:
                return model
        raise ConfigurationError(f"no model {name!r} here; those named are {', '.join(self.names)}")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all models."""
        return tuple(model.name for model in self.models)

    @property
    def weights(self) -> dict[str, float]:
        """Weight by name."""
        return {model.name: model.weight for model in self.models}

    def as_json(self) -> dict[str, Any]:
        """Return what the log's header says: no key, and no address, where a server may have moved."""
        return {
            "models": [[model.name, model.weight] for model in self.models],
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "prices": {
                name: [price.into, price.out] for name, price in sorted(self.prices.items())
            },
        }
