"""Which models, where they are, and which variables their process gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from gnomon.sdk.errors import ConfigurationError
from gnomon.shadow.models.keys import environment, variables
from gnomon.shadow.models.options import Model, ModelOptions
from gnomon.shadow.models.prices import Price

BASE = "http://127.0.0.1:8000/v1"


@pytest.mark.parametrize(
    ("text", "name", "weight", "base", "adapter", "remote"),
    [
        ("openai/gpt-4o", "openai/gpt-4o", 1.0, "", "litellm", "openai/gpt-4o"),
        ("gpt-4o=3", "gpt-4o", 3.0, "", "litellm", "gpt-4o"),
        ("ollama/llama3:8b=0.5", "ollama/llama3:8b", 0.5, "", "litellm", "ollama/llama3:8b"),
        (
            "vertex_ai/claude@2026",
            "vertex_ai/claude@2026",
            1.0,
            "",
            "litellm",
            "vertex_ai/claude@2026",
        ),
        (f"openai/tiny@{BASE}", "openai/tiny", 1.0, BASE, "litellm", "openai/tiny"),
        (
            f"openai-compatible:t:1@{BASE}=2",
            "openai-compatible:t:1",
            2.0,
            BASE,
            "compatible",
            "t:1",
        ),
        (f"openai-completion:t@{BASE}", "openai-completion:t", 1.0, BASE, "completion", "t"),
    ],
)
def test_a_model_is_read(
    text: str, name: str, weight: float, base: str, adapter: str, remote: str
) -> None:
    model = Model.parse(text)
    assert (model.name, model.weight, model.base) == (name, weight, base)
    assert (model.adapter, model.remote) == (adapter, remote)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no name of a model"),
        ("a b", "is no name of a model"),
        ("m=", "is no weight"),
        ("m=much", "is no weight"),
        ("m=0", "is not above 0"),
        ("m=inf", "is not above 0"),
        ("m=nan", "is not above 0"),
        ("openai-compatible:m", "has no address"),
        ("m@http://", "is no address"),
        ("m@http://user:secret@host/v1", "holds no user, key or query"),
        ("m@http://host/v1?key=secret=1", "holds no user, key or query"),
    ],
)
def test_what_is_no_model(text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as raised:
        Model.parse(text)
    assert "secret" not in str(raised.value).replace(repr(text), "")


def test_a_key_in_the_place_of_its_name_is_not_repeated() -> None:
    with pytest.raises(ConfigurationError, match="the name of a variable, never a key") as raised:
        Model("m", key_env="sk-very-secret")
    assert "sk-very-secret" not in str(raised.value)


def options(**changes: object) -> ModelOptions:
    return ModelOptions(**({"models": (Model("m"),)} | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": ()}, "no model is named"),
        ({"models": (Model("m"), Model("m", 2.0))}, "named twice"),
        ({"temperature": 2.5}, "not within 0 and 2"),
        ({"temperature": float("nan")}, "not within 0 and 2"),
        ({"timeout": 0.0}, "not within 1 and 3600"),
        ({"max_tokens": 1}, "not within 16 and 200000"),
        ({"share": 1.0}, "above 0 and below 1"),
        ({"prices": {"other": Price(1, 1)}}, "which is no --model"),
    ],
)
def test_what_is_no_ensemble(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        options(**changes)


def test_a_model_nobody_named() -> None:
    with pytest.raises(ConfigurationError, match="no model 'x' here; those named are m"):
        options().model("x")


def test_the_header_holds_no_variable_and_no_folder() -> None:
    made = options(models=(Model("m", key_env="SOME_KEY"),), cache=Path("/somewhere"))
    assert "SOME_KEY" not in repr(made.as_json())
    assert "somewhere" not in repr(made.as_json())


OWN = {
    "OPENAI_API_KEY": "a",
    "ANTHROPIC_API_KEY": "b",
    "MY_KEY": "c",
    "AWS_SECRET_ACCESS_KEY": "d",
    "HTTPS_PROXY": "p",
    "HOME": "/root",
    "GITHUB_TOKEN": "e",
}


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ([Model("gpt-4o")], {"OPENAI_API_KEY"}),
        ([Model("openai/x"), Model("anthropic/y")], {"OPENAI_API_KEY", "ANTHROPIC_API_KEY"}),
        ([Model("claude-9")], {"ANTHROPIC_API_KEY"}),
        ([Model("text-completion-openai/x")], {"OPENAI_API_KEY"}),
        ([Model("acme/x")], set()),
        ([Model("acme/x", key_env="MY_KEY")], {"MY_KEY"}),
        ([Model("openai/x", base=BASE)], set()),  # not the provider's: its key stays here
        ([Model("openai/x", base=BASE, key_env="MY_KEY")], {"MY_KEY"}),
    ],
)
def test_the_process_gets_the_keys_of_its_models_and_no_others(
    models: list[Model], expected: set[str]
) -> None:
    assert set(environment(variables(models), OWN)) == expected | {"HTTPS_PROXY"}
