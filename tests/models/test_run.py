"""Whole searches with models among the authors: dead ones, dear ones, secrets, and the same log again."""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.errors import ConfigurationError
from gnomon.shadow.models.breaker import OPENS_AFTER, silence
from gnomon.shadow.models.ensemble import ensemble, estimate, require_prices
from gnomon.shadow.models.options import Model, ModelOptions
from gnomon.shadow.models.prices import Price
from gnomon.shadow.search.authors.prompts import templates
from gnomon.shadow.search.authors.prompts.builder import Prompts
from gnomon.shadow.search.authors.prompts.statement import of_space
from gnomon.shadow.search.driver import Options, evolve
from gnomon.shadow.search.log import proposals
from gnomon.shadow.search.records import KEYLESS, Budget, Outcome, Record
from gnomon.shadow.search.results.result import EvolveResult
from gnomon.shadow.search.space import Space
from gnomon.shadow.search.strategies import keyless

from ..search.conftest import RankEngine
from .conftest import SECRET
from .server import Cut, Raw, Say, Script, Server, Status, Step, serving

PROMPTS = Prompts(templates.load(), of_space(Space(load_balancer)))
NAME = "openai-compatible:m"
SOAK = pytest.mark.soak


def program(body: dict[str, Any], _: int = 0) -> Step:
    """A program that depends on the question and on nothing else, in several ways of no use."""
    draw = hashlib.sha256(repr((body["messages"], body["seed"])).encode()).digest()
    a, b = 1 + draw[0] / 64, 1 + draw[1] / 64
    text = (
        "import math\n\ndef score(inflight, ewma_ms, weight):\n"
        f"    return {a:.4g} * math.log1p(inflight) + {b:.4g} * math.log(ewma_ms + 1) / weight\n"
    )
    shapes = (f"```python\n{text}```", text, "I would rather not.", text.replace("math", "os"))
    return Say(shapes[draw[2] % len(shapes)], usage=(1000, draw[3]))


def run(folder: Path, script: Script, **more: Any) -> tuple[EvolveResult, list[Record], int]:
    """Return the result, the log's proposals, and how many requests there were."""
    with serving(script) as server:
        return run_on(server, folder, **more)


def run_on(
    server: Server,
    folder: Path,
    *,
    evaluations: int = 40,
    dollars: float = math.inf,
    parallel: int = 2,
    resume: bool = False,
    **more: Any,
) -> tuple[EvolveResult, list[Record], int]:
    asked = len(server.seen)
    model = Model(NAME, base=server.base, key_env="TEST_MODEL_KEY")
    options = ModelOptions((model,), timeout=20.0, max_tokens=256, **more)
    budget = Budget(evaluations, proposals=300, dollars=dollars)
    search = Options(budget, seed=3, parallel=parallel, resume=resume)
    engine = RankEngine(parallel)
    with ensemble(options, PROMPTS, keyless(), own={"TEST_MODEL_KEY": SECRET}) as authors:
        result = evolve(load_balancer, engine, search, folder, authors=authors)
    engine.close()
    return result, list(proposals(folder / "log.jsonl")), len(server.seen) - asked


def of_models(records: list[Record]) -> list[Record]:
    return [record for record in records if record.author != KEYLESS]


def test_one_log_at_any_parallelism_and_after_a_cut(tmp_path: Path) -> None:
    _, records, asked = run(tmp_path / "one", program, parallel=1)
    whole = (tmp_path / "one" / "log.jsonl").read_bytes()
    run(tmp_path / "four", program, parallel=4)
    assert (tmp_path / "four" / "log.jsonl").read_bytes() == whole
    outcomes = Counter(record.outcome for record in of_models(records))
    assert set(outcomes) >= {Outcome.OK, Outcome.INVALID, Outcome.UNANSWERED}
    lines = whole.splitlines(keepends=True)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "log.jsonl").write_bytes(b"".join(lines[: len(lines) // 2]))
    _, _, again = run(tmp_path / "cut", program, resume=True)
    assert (tmp_path / "cut" / "log.jsonl").read_bytes() == whole
    assert 0 < again < asked  # what the log holds is not asked again


@pytest.mark.parametrize(
    "step", [Status(401, {}, f"no {SECRET}"), Raw(b"?"), Cut(), Say("prose")], ids=str
)
def test_a_model_of_no_use_is_left_alone_and_the_search_goes_on(tmp_path: Path, step: Step) -> None:
    result, records, asked = run(tmp_path, lambda *_: step, evaluations=60)
    silent = [record for record in records if record.outcome is Outcome.UNANSWERED]
    assert result.stopped == "evaluations"
    assert result.winner is not None
    assert OPENS_AFTER <= len(silent) <= OPENS_AFTER + 8 + len(records) // 16
    assert asked <= 2 * len(silent)
    assert "keyless search goes on" in silence([NAME], records)
    assert SECRET not in (tmp_path / "log.jsonl").read_text()


def test_no_key_in_any_file(tmp_path: Path) -> None:
    """Neither what is asked nor what is answered nor what fails takes it anywhere."""

    def script(body: dict[str, Any], number: int) -> Step:
        if number % 3 == 1:
            return Status(400, {}, f'{{"error": "key {SECRET} is not good"}}')
        if number % 3 == 2:
            return Say(f"def score(inflight):\n    return inflight  # {SECRET}\n")
        return program(body)

    result, records, asked = run(tmp_path / "run", script, cache=tmp_path / "cache")
    assert asked > 3
    assert any("[key]" in record.reason for record in records)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 3
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    assert SECRET not in repr((result, records))
    assert b"TEST_MODEL_KEY" not in (tmp_path / "run" / "log.jsonl").read_bytes()


def test_answers_that_are_known_are_not_asked_again(tmp_path: Path) -> None:
    with serving(program) as server:
        _, first, asked = run_on(server, tmp_path / "a", cache=tmp_path / "cache")
        _, second, again = run_on(server, tmp_path / "b", cache=tmp_path / "cache")
    assert asked > again == 0
    assert [record.program for record in second] == [record.program for record in first]
    assert all(record.cost == 0.0 for record in of_models(second))


PRICES = {NAME: Price(10.0, 40.0)}
STEPS = ("program", "dear", "cut", "garbage", "busy", "refused", "silent")


@pytest.mark.parametrize("seed", [*range(5), *(pytest.param(n, marks=SOAK) for n in range(5, 60))])
def test_no_more_than_the_cap_is_spent_whatever_fails(tmp_path: Path, seed: int) -> None:
    """What was really charged is summed by the server: every attempt that it may charge, at its dearest."""
    luck = random.Random(seed)
    names = [luck.choice(STEPS) for _ in range(12)]
    dollars, parallel = luck.uniform(0.0, 3.0), luck.choice((1, 4))
    charged = 0.0

    def script(body: dict[str, Any], number: int) -> Step:
        nonlocal charged
        name = names[number % len(names)]
        size = sum(len(message["content"].encode()) for message in body["messages"])
        if name in ("program", "dear", "cut", "garbage", "silent"):
            charged += (10.0 * size + 40.0 * body["max_tokens"]) / 1e6
        return {
            "program": program(body),
            "dear": Say("def score(noise):\n    return noise\n", usage=(size, 256)),
            "cut": Cut(),
            "garbage": Raw(b"?"),
            "busy": Status(429, {"Retry-After": "0"}),
            "refused": Status(400),
            "silent": Say("", usage=None),
        }[name]

    result, records, _ = run(
        tmp_path, script, evaluations=20, dollars=dollars, parallel=parallel, prices=PRICES
    )
    told = sum(record.cost or 0.0 for record in of_models(records))
    assert told <= dollars
    assert charged <= dollars
    assert result.stopped == "evaluations"  # the keyless go on when the money is spent


def test_a_cap_needs_prices() -> None:
    options = ModelOptions(
        (Model("acme/x"), Model("m", base="http://h/v1")), prices={"m": PRICES[NAME]}
    )
    require_prices(options, math.inf)
    with pytest.raises(ConfigurationError, match=r"acme/x costs; give --price acme/x=IN,OUT"):
        require_prices(options, 5.0)
    require_prices(ModelOptions((Model(NAME, base="http://h/v1"),), prices=PRICES), 5.0)


def test_the_estimate_names_what_is_known_and_what_is_not() -> None:
    options = ModelOptions(
        (Model("m", base="http://h/v1"), Model("acme/x")), prices={"m": Price(1, 2)}
    )
    known, unknown = estimate(options, 1.0, 300)
    assert "$1 in, $2 out per million tokens" in known
    assert "300 calls" in known
    assert "the cap of $1 allows 61" in known  # 8,000 at 1 and 4,096 at 2 dollars a million
    assert "price unknown" in unknown
