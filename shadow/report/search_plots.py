"""Figures of a search, as SVG text: scores over the steps, size against score, stretch against program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from numpy.typing import NDArray

from .plots import CANDIDATE, INK, PALETTE, STABLE, THIRD, _figure, _finish, svg_of
from .shown import printable

#: Points and characters of a label that a figure has at most.
MOST_POINTS = 1500
_LABEL = 28
#: Groups of points with a colour of their own; the rest share one.
_GROUPS = 5
#: Quantile of the scores that the axis shows; what is worse lies on its upper edge.
_SHOWN = 0.9
#: Change of a stretch that has the full colour, if none is larger among the usual ones.
_LEAST_CHANGE = 0.02

Points = Sequence[tuple[int, float]]


def scores_over_steps(
    groups: Mapping[str, Points], best: Points, lines: Mapping[str, float], last: int
) -> str:
    """Return every score on train by who or what made it, the best so far, and levels to compare with.

    Args:
        groups: (step, score) by author or operator, the most important first.
        best: (step, score) whenever the best improved.
        lines: level by name: incumbent, published policies.
        last: step of the last proposal.
    """
    figure, axes = _figure()
    shown = _merged(groups)
    for colour, (name, points) in zip((*PALETTE, "#b8c0c8"), shown.items(), strict=False):
        array = thinned(points)
        axes.plot(array[:, 0], array[:, 1], ".", color=colour, markersize=3, label=label(name))
    if best:
        steps, scores = zip(*best, (last, best[-1][1]), strict=True)
        axes.plot(steps, scores, color=INK, label="best so far", drawstyle="steps-post")
    for style, (name, level) in zip(("--", ":", "-."), lines.items(), strict=False):
        axes.axhline(level, color=THIRD, linestyle=style, label=label(name), linewidth=1)
    levels = [score for points in groups.values() for _, score in points]
    _limit(axes, levels, list(lines.values()))
    return _finish(figure, axes, "proposal", "score on train (lower is better)")


def size_against_score(
    points: Sequence[tuple[int, float]],
    front: Sequence[tuple[int, float]],
    winner: tuple[int, float] | None,
) -> str:
    """Return the size of every program against its score, with those that no shorter one beats.

    Args:
        points: (nodes, score) of all scored programs.
        front: those of them on the Pareto front, shortest first.
        winner: the one that won, or None.
    """
    figure, axes = _figure()
    array = thinned(points)
    axes.plot(array[:, 0], array[:, 1], ".", color=STABLE, markersize=3, label="program")
    if front:
        sizes, scores = zip(*front, strict=True)
        axes.plot(
            sizes,
            scores,
            "o-",
            color=CANDIDATE,
            markersize=4,
            label="front",
            drawstyle="steps-post",
        )
    if winner is not None:
        axes.plot(*winner, "*", color=INK, markersize=10, label="winner")
    _limit(axes, [score for _, score in points], [score for _, score in front])
    return _finish(figure, axes, "size (nodes)", "score on train (lower is better)")


def stretches(rows: Mapping[str, Sequence[float]]) -> str:
    """Return by which fraction each stretch's mean differs from a baseline's, as a map of colours.

    Args:
        rows: changes by program, all equally long; below zero is better.
    """
    changes = np.array([list(row) for row in rows.values()], dtype=np.float64)
    figure, axes = _figure(height=1.2 + 0.3 * len(rows))
    usual = np.nanquantile(np.abs(changes), 0.95) if np.isfinite(changes).any() else 0.0
    reach = max(float(usual), _LEAST_CHANGE)
    image = axes.imshow(
        changes, cmap="RdYlGn_r", norm=TwoSlopeNorm(0.0, -reach, reach), aspect="auto"
    )
    axes.set_yticks(range(len(rows)), [label(name) for name in rows])
    axes.set_xticks(range(0, changes.shape[1], max(changes.shape[1] // 10, 1)))
    bar = figure.colorbar(image, ax=axes, format=lambda x, _: f"{x:+.0%}", extend="both")
    bar.ax.tick_params(labelsize=7)
    axes.set_xlabel("stretch of the window, in order of time", fontsize=9)
    axes.tick_params(labelsize=8)
    return svg_of(figure)


def label(name: str) -> str:
    """Return a name as a figure can show it: short, printable ASCII, and no formula."""
    clean = " ".join(printable(name).encode("ascii", "replace").decode().split())
    short = clean if len(clean) <= _LABEL else f"{clean[: _LABEL - 3]}..."
    return short.replace("$", r"\$").lstrip("_") or "unnamed"


def thinned(points: Sequence[tuple[int, float]], most: int = MOST_POINTS) -> NDArray[np.float64]:
    """Return at most so many points, evenly chosen with the lowest score always kept, f8[points, 2]."""
    array = np.array(points, dtype=np.float64).reshape(-1, 2)
    if len(array) <= most:
        return array
    chosen = np.linspace(0, len(array) - 1, most).round().astype(np.int64)
    chosen[np.argmin(np.abs(chosen - array[:, 1].argmin()))] = array[:, 1].argmin()
    return array[chosen]


def _merged(groups: Mapping[str, Points]) -> dict[str, Points]:
    """Return the first groups as they are and the others as one; each with its share of the points."""
    names = list(groups)
    shown = {name: groups[name] for name in names[:_GROUPS]}
    rest = [point for name in names[_GROUPS:] for point in groups[name]]
    if rest:
        shown["others"] = sorted(rest)
    total = sum(map(len, shown.values()))
    return {
        name: [(int(x), y) for x, y in thinned(points, _share(len(points), total)).tolist()]
        for name, points in shown.items()
    }


def _share(count: int, total: int) -> int:
    return max(MOST_POINTS * count // max(total, 1), 20)


def _limit(axes: Axes, scores: Sequence[float], levels: Sequence[float]) -> None:
    """Show what is good in detail: a single bad program must not flatten all others."""
    if not scores:
        return
    low = min((*scores, *levels))
    high = max(float(np.quantile(scores, _SHOWN)), *levels, low + abs(low) * 0.01 + 1e-12)
    room = 0.05 * (high - low)
    axes.set_ylim(low - room, high + room)
