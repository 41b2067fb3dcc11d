"""Compares counts with those that are wanted; no combined_score, one metric that only describes."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "texts"))

from wanted import TEXTS


def evaluate(program_path):
    names = {}
    with open(program_path, encoding="utf-8") as file:
        exec(compile(file.read(), program_path, "exec"), names)  # noqa: S102 - as published tasks do
    cutter = names["Cutter"]()
    right = missed = 0
    for text, counts in TEXTS:
        found = cutter.count(text)
        right += sum(found.get(word, 0) == count for word, count in counts.items())
        missed += sum(word not in counts for word in found)
    total = sum(len(counts) for _, counts in TEXTS)
    return {
        "right": right / total,
        "clean": 1 / (1 + missed),
        "length": os.path.getsize(program_path),
        "note": f"{missed} words too many",
    }
