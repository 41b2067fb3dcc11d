"""What evaluators import of OpenEvolve, for where it is not installed; standard library alone.

``openevolve.evaluation_result`` is always the class below, so that no evaluation waits for the packages that
OpenEvolve imports; its other modules are found where it is installed, and missing where it is not.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from dataclasses import dataclass, field
from typing import Any


@dataclass
class EvaluationResult:
    """Metrics of a program, and whatever else an evaluator wants to hand on.

    Attributes:
        metrics: by name; higher is better.
        artifacts: texts or bytes by name, for the next prompt.
    """

    metrics: dict[str, float]
    artifacts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, metrics: dict[str, float]) -> EvaluationResult:
        """Return a result without artifacts."""
        return cls(metrics)

    def to_dict(self) -> dict[str, float]:
        """Return the metrics alone."""
        return self.metrics

    def has_artifacts(self) -> bool:
        """Return whether there are artifacts."""
        return bool(self.artifacts)

    def get_artifact_keys(self) -> list[str]:
        """Return the artifacts' names."""
        return list(self.artifacts)

    def get_artifact_size(self, key: str) -> int:
        """Return an artifact's size in bytes, 0 for one that is not there."""
        value = self.artifacts.get(key, b"")
        return len(value if isinstance(value, bytes) else str(value).encode())

    def get_total_artifact_size(self) -> int:
        """Return the size of all artifacts in bytes."""
        return sum(map(self.get_artifact_size, self.artifacts))


#: Modules that the class is found in.
_NAMES = (
    "openevolve.evaluation_result",
    "skydiscover.evaluation.evaluation_result",
)


def install() -> None:
    """Put the class where evaluators import it from, in this process."""
    for name in _NAMES:
        parent = ""
        for part in name.split(".")[:-1]:
            parent = f"{parent}.{part}".strip(".")
            _package(parent)
        module = types.ModuleType(name)
        module.EvaluationResult = EvaluationResult  # type: ignore[attr-defined]
        sys.modules[name] = module
        sys.modules[parent].evaluation_result = module  # type: ignore[attr-defined]
    sys.modules["skydiscover.evaluation"].EvaluationResult = EvaluationResult  # type: ignore[attr-defined]


def _package(name: str) -> None:
    """Make a package that runs nothing and finds the modules of the installed one."""
    if name in sys.modules:
        return
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    package = types.ModuleType(name)
    package.__path__ = list(spec.submodule_search_locations or []) if spec else []
    sys.modules[name] = package
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, package)
