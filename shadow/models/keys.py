"""Which variables of the environment the models' process gets: the keys it needs, and no others."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from .options import Model

#: Variables by provider, as litellm reads them.
PROVIDERS: Mapping[str, tuple[str, ...]] = {
    "anthropic": ("ANTHROPIC_API_KEY",),
    "azure": ("AZURE_API_KEY", "AZURE_API_BASE", "AZURE_API_VERSION"),
    "bedrock": (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_REGION_NAME",
        "AWS_REGION",
    ),
    "cohere": ("COHERE_API_KEY",),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "fireworks_ai": ("FIREWORKS_AI_API_KEY", "FIREWORKS_API_KEY"),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "groq": ("GROQ_API_KEY",),
    "huggingface": ("HF_TOKEN", "HUGGINGFACE_API_KEY"),
    "mistral": ("MISTRAL_API_KEY",),
    "openai": ("OPENAI_API_KEY", "OPENAI_ORGANIZATION"),
    "openrouter": ("OPENROUTER_API_KEY",),
    "perplexity": ("PERPLEXITYAI_API_KEY",),
    "together_ai": ("TOGETHERAI_API_KEY", "TOGETHER_AI_TOKEN"),
    "vertex_ai": (
        "GOOGLE_APPLICATION_CREDENTIALS",
        "VERTEXAI_PROJECT",
        "VERTEXAI_LOCATION",
    ),
    "xai": ("XAI_API_KEY",),
}
#: Of those, what is no secret and may stand in a text.
SETTINGS = frozenset(
    {
        *("AZURE_API_BASE", "AZURE_API_VERSION", "AWS_REGION_NAME", "AWS_REGION"),
        *("OPENAI_ORGANIZATION", "VERTEXAI_PROJECT", "VERTEXAI_LOCATION"),
    }
)
#: Providers of names without a prefix, as litellm guesses them.
_BARE = {
    "chatgpt": "openai",
    "claude": "anthropic",
    "gpt": "openai",
    "o1": "openai",
    "o3": "openai",
    "o4": "openai",
}
#: How the process reaches the network and finds its libraries; none is a key.
_PLAIN = (
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
    *("http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
    *("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH"),
)


def variables(models: Iterable[Model]) -> tuple[str, ...]:
    """Return the names of the variables that these models' keys are in, sorted.

    A model with an address of its own gets the variable that was named for it and nothing else.
    """
    found: set[str] = set()
    for model in models:
        if model.key_env:
            found.add(model.key_env)
        if not model.base:
            found.update(PROVIDERS.get(provider(model.name), ()))
    return tuple(sorted(found))


def provider(name: str) -> str:
    """Return the provider of a model's name; empty where it does not say."""
    head, slash, _ = name.partition("/")
    if slash:
        return head.removeprefix("text-completion-")
    return _BARE.get(name.partition("-")[0], "")


def environment(names: Iterable[str], own: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of the models' process.

    Args:
        names: of the variables with keys.
        own: what to take it from; that of this process when None.
    """
    source = os.environ if own is None else own
    return {name: source[name] for name in (*_PLAIN, *names) if name in source}
