"""From a trace to an engine that scores candidates on it: the one place where search meets simulators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...sdk.kind import Kind
from ..evaluation import Split
from ..isolation.compiled import CompiledEngine, CompiledOptions
from ..simulators import simulator_for
from ..trace import Trace

#: Calibrations drawn from the fit's uncertainty; candidates are ranked by the worst.
DRAWS = 8


def engine_for(
    kind: Kind, traces: Mapping[Split, Trace], draws: tuple[Any, ...], options: CompiledOptions
) -> CompiledEngine:
    """Return an engine for the splits of a trace; the holdout must not be among them.

    Args:
        traces: by split, windows of one trace.
        draws: calibrations, as :func:`draws_of` returns them.

    Raises:
        IsolationError: the isolation that is asked for cannot be had here.
    """
    open_splits = {split: trace for split, trace in traces.items() if split != "holdout"}
    return CompiledEngine(kind, open_splits, draws, options)


def draws_of(kind: Kind, trace: Trace, seed: int) -> tuple[Any, ...]:
    """Return calibrations drawn from the uncertainty of their fit to a trace."""
    return simulator_for(kind).draws(trace, DRAWS, seed)


def scales_of(kind: Kind, trace: Trace) -> dict[str, float]:
    """Return the usual size of every input: the median of its size where it is not zero."""
    sizes = np.abs(trace.features.reshape(-1, trace.features.shape[2]))
    scales: dict[str, float] = {}
    for name, column in zip(kind.input_names, sizes.T, strict=True):
        seen = column[column > 0]
        if len(seen):
            scales[name] = float(f"{np.median(seen):.3g}")
    return scales


def subject_of(trace: Trace, draws: tuple[Any, ...]) -> dict[str, str]:
    """Return what a search is about, for its log: the hook and the digests of trace and calibrations."""
    calibrations = ",".join(draw.digest[:16] for draw in draws)
    return {"hook": trace.hook, "trace": trace.digest, "calibrations": calibrations}
