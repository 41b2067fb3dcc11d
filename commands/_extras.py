"""Which extra brings a library that is missing; imports nothing, so that it always can say so."""

from __future__ import annotations

_EXTRAS = {"aiohttp": "demo", "litellm": "llm", "sqlalchemy": "server", "torch": "torch"}


def missing(error: ImportError) -> str:
    """Return one line on what to install; empty where no library is missing but code is wrong."""
    name = error.name or ""
    if not isinstance(error, ModuleNotFoundError) or name.split(".")[0] in ("", "gnomon"):
        return ""
    extra = _EXTRAS.get(name.split(".")[0], "shadow,server")
    return f"this needs {name}, which is not installed; run: pip install 'gnomon[{extra}]'"
