"""Figures of a report, as SVG text that stands inside an HTML page."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

INK = "#1b1f24"
STABLE = "#6b7683"
CANDIDATE = "#c2571a"
THIRD = "#2f6f8f"
PALETTE = (STABLE, CANDIDATE, THIRD, "#7a5c99", "#4b7f52")


@dataclass(frozen=True, slots=True)
class CanaryPoint:
    """One pair of blocks.

    Attributes:
        seconds: since the canary began.
        stable, candidate: mean outcome of either arm.
        used: whether the pair counted.
    """

    seconds: float
    stable: float
    candidate: float
    used: bool


def latency_cdf(samples: Mapping[str, NDArray[np.float64]], unit: str = "ms") -> str:
    """Return cumulative distributions of several samples, on a logarithmic axis.

    Args:
        samples: by name; each one-dimensional, positive.
        unit: of the samples.
    """
    figure, axes = _figure()
    for colour, (name, sample) in zip(PALETTE, samples.items(), strict=False):
        if len(sample):
            axes.plot(np.sort(sample), np.linspace(0.0, 1.0, len(sample)), color=colour, label=name)
    axes.set_xscale("log")
    return _finish(figure, axes, f"latency ({unit})", "share of requests at most this slow")


def search_progress(
    scores: Sequence[float], best: Sequence[float], baseline: float | None, unit: str = "ms"
) -> str:
    """Return every evaluated score (lower is better), the best so far and the best baseline.

    Args:
        scores: one per evaluation in order; NaN where a candidate failed.
        best: the lowest score so far, as long as ``scores``.
        baseline: the best published policy's score, or None.
        unit: of the scores.
    """
    figure, axes = _figure()
    steps = np.arange(1, len(scores) + 1)
    axes.plot(steps, scores, ".", color=STABLE, markersize=3, label="candidate")
    axes.plot(steps, best, color=CANDIDATE, label="best so far", drawstyle="steps-post")
    if baseline is not None:
        axes.axhline(baseline, color=THIRD, linestyle="--", label="best published baseline")
    finite = [score for score in best if np.isfinite(score)]
    if finite:
        axes.set_ylim(min(finite) * 0.9, min(finite) * 3.0)
    return _finish(figure, axes, "evaluation", f"objective ({unit}), train")


def canary_over_time(points: Sequence[CanaryPoint], verdict: str, unit: str = "ms") -> str:
    """Return both arms' block means over time, pairs that did not count hollow."""
    figure, axes = _figure()
    for label, colour in (("stable", STABLE), ("candidate", CANDIDATE)):
        for used in (True, False):
            chosen = [point for point in points if point.used is used]
            axes.plot(
                [point.seconds for point in chosen],
                [getattr(point, label) for point in chosen],
                "o-" if used else "o",
                color=colour,
                markerfacecolor=colour if used else "none",
                label=label if used else None,
                markersize=4,
                linewidth=1,
            )
    axes.set_title(verdict, loc="left", fontsize=9, color=INK)
    return _finish(
        figure, axes, "seconds since the canary began", f"mean latency per block ({unit})"
    )


def changes_plot(series: Mapping[str, Mapping[str, tuple[float, float, float]]]) -> Figure:
    """Return every policy's change of the mean with its interval, one line of dots per trace.

    Args:
        series: by trace, then by policy: estimate, low and high of a relative change.
    """
    names = list(dict.fromkeys(name for changes in series.values() for name in changes))[::-1]
    figure, axes = _figure(height=1.4 + 0.22 * len(names) * max(1.0, 0.5 * len(series)))
    for index, (label, changes) in enumerate(series.items()):
        shift = 0.7 * ((index + 0.5) / len(series) - 0.5)
        colour = PALETTE[(index + 1) % len(PALETTE)]
        at = [names.index(name) - shift for name in changes]
        estimates = [100.0 * estimate for estimate, _, _ in changes.values()]
        spans = [[100.0 * (e - low), 100.0 * (high - e)] for e, low, high in changes.values()]
        errors = np.clip(np.array(spans).reshape(-1, 2).T, 0.0, None)
        axes.errorbar(
            estimates,
            at,
            xerr=errors,
            fmt="o",
            color=colour,
            markersize=4,
            linewidth=1,
            label=label,
        )
    axes.axvline(0.0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    _finish_axes(axes, "change of the mean against the incumbent (%), 95 % intervals", "")
    return figure


def svg_of(figure: Figure) -> str:
    """Return a figure as SVG text that can stand inside a page."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def _figure(height: float = 3.2) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.add_subplot()


def _finish(figure: Figure, axes: Axes, x: str, y: str) -> str:
    _finish_axes(axes, x, y)
    return svg_of(figure)


def _finish_axes(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.grid(color="#e4e7eb", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, frameon=False)
