"""What the calibrations of Gnomon's own simulators have in common: arrays by name, and one digest of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt


class Fitted:
    """A calibration that is a frozen dataclass of arrays."""

    @cached_property
    def digest(self) -> str:
        """sha256 hex of all parameters."""
        return digest_of(self.arrays())

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all parameters by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}  # type: ignore[arg-type]


def digest_of(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """Return the sha256 hex of arrays with their names, types and shapes, in this order."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
