"""What every shape of rule offers, and the words it uses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from ..kind import Form, Kind

Predicate = Callable[[Any, Any], bool]


class Rule(ABC):
    """A predicate over one decision, as data; a subclass is a frozen dataclass of texts and numbers.

    Attributes:
        SHAPE: how files name it.
        FORM: of the kinds that it is for.
        ONLY_WARNS: whether no choice can be to blame where it does not hold, so that it must not block.
    """

    SHAPE: ClassVar[str]
    FORM: ClassVar[Form]
    ONLY_WARNS: ClassVar[bool] = False

    @abstractmethod
    def predicate(self) -> Predicate:
        """Return what is asked ``(items, picked)``, or ``(question, answer)`` of program form."""

    @abstractmethod
    def says(self) -> str:
        """Return the rule as one sentence."""

    @abstractmethod
    def problem(self, kind: Kind) -> str:
        """Say why no decision of a kind can be held to it; empty when they can."""

    @abstractmethod
    def label(self) -> str:
        """Return a name for the invariant: small letters, digits and ``_``."""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values, the shape among them."""
        values: dict[str, Any] = asdict(self)  # type: ignore[call-overload]
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
        return {"shape": self.SHAPE} | plain


def said(value: float) -> str:
    """Return a number for people."""
    return f"{value:.6g}"


def unknown(names: tuple[str, ...], known: tuple[str, ...], what: str) -> str:
    """Say which of some names there is none of; empty when all are known."""
    strange = [name for name in names if name not in known]
    return f"there is no {what} {strange[0]!r}; there are {', '.join(known)}" if strange else ""
