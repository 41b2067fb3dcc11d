"""Three stages: does it run, is it any good on little, how good is it on much; with artifacts."""

import importlib.util
import random

from openevolve.evaluation_result import EvaluationResult

SIZE = 100


def load(program_path):
    spec = importlib.util.spec_from_file_location("program", program_path)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    return program


def items(count, seed):
    draw = random.Random(seed)
    return [draw.randint(15, 60) for _ in range(count)]


def used(program, count, seed):
    packed = program.pack(items(count, seed), SIZE)
    if any(room < 0 for room in packed):
        raise ValueError(f"a bin holds {SIZE - min(packed)} of {SIZE}")
    return sum(items(count, seed)) / (SIZE * len(packed)), packed


def evaluate_stage1(program_path):
    share, _ = used(load(program_path), 12, 1)
    return {"runs": 1.0, "combined_score": share}


def evaluate_stage2(program_path):
    share, packed = used(load(program_path), 60, 2)
    return EvaluationResult(
        metrics={"small": share, "combined_score": share},
        artifacts={"rooms": ",".join(map(str, packed[:5])), "raw": b"\x00\xffbytes"},
    )


def evaluate_stage3(program_path):
    shares = [used(load(program_path), 200, seed)[0] for seed in (3, 4, 5)]
    mean = sum(shares) / len(shares)
    return EvaluationResult({"large": mean, "worst": min(shares), "combined_score": mean}, {})


def evaluate(program_path):
    return evaluate_stage3(program_path)
