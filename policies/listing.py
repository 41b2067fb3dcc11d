"""All policies that come with Gnomon: published ones, and those that a search found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..sdk.errors import ConfigurationError
from .found import FOUND, found
from .registry import kind, kinds

BASELINE = "baseline:"


@dataclass(frozen=True, slots=True)
class Known:
    """A policy that comes with Gnomon.

    Attributes:
        kind: name of the kind that it decides for.
        name: as commands are told it: ``baseline:NAME`` or ``found:NAME``.
        source: in the policy language; None for one that is built into the simulator.
        reference: where it was published, or the line that found it.
        provenance: of a found one, all that is known of it; else None.
    """

    kind: str
    name: str
    source: str | None
    reference: str
    provenance: Mapping[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        said = {"kind": self.kind, "name": self.name, "reference": self.reference}
        own = dict(self.provenance) if self.provenance else None
        return {**said, "source": self.source, "provenance": own}


def known_policies(kind_name: str | None = None) -> tuple[Known, ...]:
    """Return the policies of a kind, or of all kinds; published ones first.

    Raises:
        ConfigurationError: there is no such kind; the message lists those there are.
    """
    return tuple(
        policy for name in ([kind_name] if kind_name else kinds()) for policy in _of_kind(name)
    )


def known_policy(kind_name: str, name: str) -> Known:
    """Return one policy.

    Args:
        kind_name: of a kind.
        name: ``baseline:NAME``, ``found:NAME``, or the bare name of either.

    Raises:
        ConfigurationError: there is no such kind or policy; the message lists those there are.
    """
    policies = known_policies(kind_name)
    for each in policies:
        if name in (each.name, each.name.partition(":")[2]):
            return each
    raise ConfigurationError(
        f"kind {kind_name!r} has no policy {name!r}; it has {', '.join(p.name for p in policies)}"
    )


def _of_kind(name: str) -> list[Known]:
    of = kind(name)
    published = [
        Known(name, BASELINE + each.name, each.source, each.reference)
        for each in of.baselines.values()
    ]
    return published + [
        Known(name, FOUND + each.name, each.source, each.provenance["found_by"], each.provenance)
        for each in found(of)
    ]
