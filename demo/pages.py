"""The demo's report: one HTML page made of the summary and the generator's logs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..shadow.report.page import Section, source_diff, write
from ..shadow.report.plots import CanaryPoint, canary_over_time, latency_cdf, search_progress
from ..shadow.report.shown import Table
from ..shadow.search.log import proposals
from .traffic import read_traffic

Summary = dict[str, Any]


def write_report(summary: Summary, folder: Path) -> Path:
    """Write ``report.html`` into a run's folder; return its path."""
    sections = [
        _traffic(summary, folder),
        *_search(summary, folder),
        *_verdicts(summary),
        *_rollouts(summary),
    ]
    path = folder / "report.html"
    lead = f"Seed {summary['plan']['seed']}; ended {summary['ended']} after {summary['seconds']:.0f} s."
    write(path, "Gnomon demo", lead, sections)
    return path


def _traffic(summary: Summary, folder: Path) -> Section:
    logs = sorted(folder.glob("requests-*.jsonl"))
    names = ("capture, incumbent", "first canary", "after the change")
    samples = {name: read_traffic(log).latency_ms for name, log in zip(names, logs, strict=False)}
    rows = tuple(
        (name, str(len(sample)), *(f"{np.quantile(sample, q):.1f}" for q in (0.5, 0.9, 0.99)))
        for name, sample in samples.items()
        if len(sample)
    )
    return Section(
        "What users felt",
        ("Latency from the intended send time, as the load generator measured it.",),
        Table(("stretch", "requests", "p50 ms", "p90 ms", "p99 ms"), rows),
        latency_cdf(samples),
    )


def _search(summary: Summary, folder: Path) -> list[Section]:
    found = summary.get("search")
    if not found:
        return []
    scores = [record.score for record in proposals(folder / "search" / "log.jsonl")]
    best = np.fmin.accumulate(np.array(scores)).tolist() if scores else []
    baseline = found["baseline"]["train"] if found["baseline"] else None
    counts = tuple((name, str(count)) for name, count in sorted(found["counts"].items()))
    return [
        Section(
            "Search",
            (f"Winner: {found['origin']}.", *found["diagnosis"]),
            Table(("proposals", "count"), counts),
            search_progress(scores, best, baseline),
        ),
        Section(
            "The winner, against the best published policy",
            code=source_diff(
                found["baseline"]["source"] if found["baseline"] else "",
                found["winner"]["source"],
                found["baseline"]["name"] if found["baseline"] else "nothing",
                "winner",
            )
            or found["winner"]["source"],
        ),
        Section("Its source", code=found["winner"]["source"]),
    ]


def _verdicts(summary: Summary) -> list[Section]:
    return [
        Section(
            f"Gates: {name} candidate, {verdict['decision']}",
            (verdict["summary"], f"Isolation layers: {', '.join(verdict['layers'])}."),
            Table(("gate", "answer", "why"), tuple(tuple(gate) for gate in verdict["gates"])),
            code=verdict["source"],
        )
        for name, verdict in summary.get("verdicts", {}).items()
    ]


def _rollouts(summary: Summary) -> list[Section]:
    block_s = summary["plan"]["block_s"]
    sections = []
    for name, rollout in summary.get("rollouts", {}).items():
        points = rollout["points"]
        first = min((point["pair"] for point in points), default=0)
        shown = [
            CanaryPoint(
                (point["pair"] - first) * 2 * block_s,
                point["stable"],
                point["candidate"],
                not point["left_out"],
            )
            for point in points
        ]
        sections.append(
            Section(
                f"Canary of the {name} policy: {rollout['state']}",
                (*rollout["causes"], f"Prediction: {rollout['calibration'] or 'not compared'}."),
                Table(("", "estimate", "low", "high"), _effects(rollout)),
                canary_over_time(shown, rollout["state"]) if shown else "",
            )
        )
    return sections


def _effects(rollout: Summary) -> tuple[tuple[str, ...], ...]:
    rows = []
    for name in ("predicted", "measured"):
        effect = rollout[name]
        if effect:
            cells = (effect[part] for part in ("estimate", "low", "high"))
            rows.append((name, *("–" if cell is None else f"{cell:+.1%}" for cell in cells)))
    return tuple(rows)
