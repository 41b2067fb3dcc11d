"""How a hook reads one call of its function, checked when the function is decorated."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ._inline import inlined
from .errors import ConfigurationError
from .kind import Kind
from .limits import Limits, check_limits

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-/]{0,127}")


@dataclass(frozen=True, slots=True)
class Spec:
    """How a hook reads one call of its function.

    Attributes:
        items: name of the parameter that holds the items.
        item_features: one item to a tuple of the kind's features, in their order.
        unit: parameters, chosen by name, to the randomisation unit; None for none.
        item_name: one item to its name; None numbers the items, or takes items that are strings.
        outcome: result of a plain call to metric values (``ok`` among them); None for none.
        explore: share of decisions given to a uniform draw among permitted items, 0 to 1.
        redact: applied to the unit before it is kept.
        limits: when a policy is taken back; None for the process's own.
    """

    items: str
    item_features: Callable[[Any], tuple[float, ...]]
    unit: Callable[..., Any] | None = None
    item_name: Callable[[Any], str] | None = None
    outcome: Callable[[Any], Mapping[str, Any]] | None = None
    explore: float = 0.0
    redact: Callable[[str], str] | None = None
    limits: Limits | None = None


def check_name(name: object) -> None:
    """Raise ConfigurationError for a name that no hook can have."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"hook name {name!r}: use letters, digits, '.', '_', '-', '/', at most 128 of them"
        )


def check(name: str, kind: Kind, spec: Spec, function: Any) -> inspect.Signature:
    """Return the function's signature.

    Raises ConfigurationError, naming the hook and the argument, for anything that cannot work.
    """
    check_name(name)
    if not isinstance(kind, Kind):
        raise ConfigurationError(f"hook {name!r}: kind= must be a Kind, not {type(kind).__name__}")
    signature = function_signature(name, function)
    if spec.items not in signature.parameters:
        raise ConfigurationError(
            f"hook {name!r}: items={spec.items!r} is no parameter of {function.__name__}"
            f"({', '.join(signature.parameters)})"
        )
    if _starred(signature.parameters[spec.items]):
        raise ConfigurationError(f"hook {name!r}: items={spec.items!r} is a starred parameter")
    if isinstance(spec.explore, bool) or not 0.0 <= spec.explore <= 1.0:
        raise ConfigurationError(f"hook {name!r}: explore={spec.explore!r} must lie in 0 to 1")
    for argument in ("item_features", "item_name", "outcome", "redact"):
        _one_argument(name, argument, getattr(spec, argument))
    check_limits(spec.limits, f"hook {name!r}")
    unit_expression(name, spec, signature, {})
    return signature


def unit_expression(
    name: str, spec: Spec, signature: inspect.Signature, space: dict[str, Any]
) -> str:
    """Return the source that computes the unit, as given, in the wrapper: ``g_unit(request)``, or what that does.

    Without a unit it is empty.

    Args:
        name: of the hook.
        spec: how a call is read.
        signature: of the function.
        space: receives the names that the source needs.
    """
    if spec.unit is None:
        return ""
    wanted = _parameters(name, "unit", spec.unit)
    unknown = [p for p in wanted if p not in signature.parameters]
    if unknown:
        raise ConfigurationError(
            f"hook {name!r}: unit= takes {', '.join(unknown)}, but the function's parameters are "
            f"{', '.join(signature.parameters)}"
        )
    found = inlined(spec.unit, wanted, "g_u_")
    space.update(found.space if found is not None else {})
    return found.text if found is not None else f"g_unit({', '.join(wanted)})"


def function_signature(name: str, function: Any) -> inspect.Signature:
    """Return the signature of what is decorated; raises ConfigurationError for what cannot be."""
    if isinstance(function, staticmethod | classmethod):
        kind = type(function).__name__
        raise ConfigurationError(f"hook {name!r}: put @{kind} above @gnomon.hook, not below")
    if not inspect.isfunction(function):
        raise ConfigurationError(
            f"hook {name!r}: only a function can be decorated, not {type(function).__name__}"
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigurationError(
            f"hook {name!r}: {function.__name__} is a generator; a hook returns one item"
        )
    return inspect.signature(function)


def _starred(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)


def _one_argument(name: str, argument: str, value: Any) -> None:
    if value is None and argument != "item_features":
        return
    if not callable(value):
        raise ConfigurationError(f"hook {name!r}: {argument}= must be callable, not {value!r}")
    try:
        inspect.signature(value).bind(None)
    except TypeError as error:
        raise ConfigurationError(f"hook {name!r}: {argument}= must take one argument") from error
    except ValueError:
        return  # a builtin that does not tell its signature


def _parameters(name: str, argument: str, value: Any) -> list[str]:
    if not callable(value):
        raise ConfigurationError(f"hook {name!r}: {argument}= must be callable, not {value!r}")
    parameters = inspect.signature(value).parameters.values()
    if any(_starred(p) for p in parameters):
        raise ConfigurationError(f"hook {name!r}: {argument}= must name the parameters it takes")
    return [p.name for p in parameters if p.default is p.empty]
