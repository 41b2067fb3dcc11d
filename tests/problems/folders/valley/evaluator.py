"""Scores a search by how low it gets; returns a plain dict."""

import importlib.util
import math


def evaluate(program_path):
    spec = importlib.util.spec_from_file_location("program", program_path)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    x, y = program.run()
    if not (math.isfinite(x) and math.isfinite(y)):
        return {"combined_score": 0.0, "error": "not a point"}
    lowest = program.landscape(x, y)
    return {
        "value": lowest,
        "distance": math.hypot(x, y),
        "combined_score": 1.0 / (1.0 + math.exp(lowest)),
        "label": "a text",
    }
