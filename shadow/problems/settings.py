"""What of a problem folder's ``config.yaml`` is read, by the names that OpenEvolve and SkyDiscover give it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...sdk.errors import ConfigurationError
from ...sdk.files import read_regular

#: Of a file of a problem folder.
MOST_BYTES = 1 << 20
#: Read, with the name of the setting here. SkyDiscover's names stand beside OpenEvolve's.
_READ = {
    "evaluator.timeout": "timeout_s",
    "evaluator.cascade_evaluation": "cascade",
    "evaluator.cascade_thresholds": "thresholds",
    "evaluator.evaluator_args": "arguments",
    "database.feature_dimensions": "features",
    "max_code_length": "most_characters",
    "max_solution_length": "most_characters",
    "prompt.system_message": "statement",
    "language": "language",
    "file_suffix": "suffix",
}


@dataclass(frozen=True, slots=True)
class ProblemSettings:
    """How a problem is evaluated; the defaults are OpenEvolve's.

    Attributes:
        timeout_s: seconds of wall time for one stage of an evaluation.
        cascade: whether ``evaluate_stage1`` and so on are used where the evaluator has them.
        thresholds: what a stage's score has to reach for the next one.
        features: metrics that describe a program; they are left out of the mean of metrics.
        arguments: keyword arguments of ``evaluate``, as JSON values.
        most_characters: longest program that is proposed; the initial one may be longer.
        statement: what the problem is, for a language model; empty when nobody said.
        ignored: names of what the file says and nobody here reads, sorted.
    """

    timeout_s: float = 300.0
    cascade: bool = True
    thresholds: tuple[float, ...] = (0.5, 0.75, 0.9)
    features: tuple[str, ...] = ("complexity", "diversity")
    arguments: tuple[tuple[str, Any], ...] = ()
    most_characters: int = 10_000
    statement: str = ""
    ignored: tuple[str, ...] = ()


def read_settings(path: Path) -> ProblemSettings:
    """Read a ``config.yaml``; the defaults where there is none.

    Raises:
        ConfigurationError: the file is no YAML, or a value that is read means nothing here.
        ImportError: there is a file, and PyYAML is not installed.
    """
    if not path.exists():
        return ProblemSettings()
    try:
        data = read_regular(path, MOST_BYTES)
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read ({error.strerror}); give a file of at most {MOST_BYTES:,} bytes"
        ) from error
    return settings_of(data, path)


def settings_of(data: bytes, path: Path) -> ProblemSettings:
    """Return what the bytes of a ``config.yaml`` say; raises as :func:`read_settings`.

    Args:
        path: of the file, for what is said of it.
    """
    found: dict[str, Any] = {}
    ignored: list[str] = []
    for name, value in _flat(_loaded(data, path)):
        if name not in _READ:
            ignored.append(name)
        elif value is not None:
            found[_READ[name]] = _checked(path, name, value)
    _require_python(path, found)
    if _is_file_name(
        found.get("statement", "")
    ):  # OpenEvolve's way to name one of its own templates
        del found["statement"]
    return ProblemSettings(**found, ignored=tuple(sorted(ignored)))


def _loaded(data: bytes, path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(data.decode())
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        what = " ".join(str(error).split())[:200]
        raise ConfigurationError(f"{path} cannot be read as YAML ({what}); repair it") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path} holds no settings by name; see OpenEvolve's config.yaml")
    return values


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and name not in _READ:
            yield from _flat(value, f"{name}.")
        else:
            yield name, value


def _checked(path: Path, name: str, value: Any) -> Any:
    """Return a value as the setting of that name keeps it."""
    made, wanted = _WANTED[_READ[name]]
    result = made(value)
    if result is None:
        raise ConfigurationError(f"{path}: {name} is {_short(value)}; give {wanted}")
    return result


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _seconds(value: Any) -> float | None:
    good = _is_number(value) and 0 < value < math.inf
    return float(value) if good else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _numbers(value: Any) -> tuple[float, ...] | None:
    good = isinstance(value, list) and bool(value)
    good = good and all(_is_number(each) and not math.isnan(each) for each in value)
    return tuple(map(float, value)) if good else None


def _texts(value: Any) -> tuple[str, ...] | None:
    good = isinstance(value, list) and all(isinstance(each, str) for each in value)
    return tuple(value) if good else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _arguments(value: Any) -> tuple[tuple[str, Any], ...] | None:
    good = isinstance(value, dict) and all(isinstance(key, str) for key in value)
    return tuple(value.items()) if good and _is_plain(value) else None


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(inner) for key, inner in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str | int)


_WANTED = {
    "timeout_s": (_seconds, "seconds above 0"),
    "cascade": (_flag, "true or false"),
    "thresholds": (_numbers, "a list of numbers"),
    "arguments": (_arguments, "names with numbers, texts, lists or names"),
    "features": (_texts, "a list of names"),
    "most_characters": (_whole, "a whole number above 0"),
    "statement": (_text, "a text"),
    "language": (_text, "a text"),
    "suffix": (_text, "a text"),
}


def _require_python(path: Path, found: dict[str, Any]) -> None:
    language, suffix = found.pop("language", "python"), found.pop("suffix", ".py")
    if language.lower() not in ("python", "python3", "py") or suffix != ".py":
        raise ConfigurationError(
            f"{path} is for programs in {language!r} ({suffix!r}); problem folders are searched in Python"
        )


def _is_file_name(statement: str) -> bool:
    return bool(statement) and statement.isidentifier()
