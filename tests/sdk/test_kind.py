"""A kind's contract is checked when it is written, not when a policy first meets it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from gnomon.policies.load_balancer import INFLIGHT, load_balancer
from gnomon.sdk.errors import ConfigurationError


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "../x"}, "a name has small letters"),
        ({"name": ""}, "a name has small letters"),
        ({"order": "up"}, "order='up'; use 'lowest' or 'highest'"),
        ({"arms": "nope"}, "arms='nope'; use one of switchback, sticky, paired"),
        ({"features": (INFLIGHT, INFLIGHT)}, "names differ"),
        ({"features": (replace(INFLIGHT, name="noise"),)}, "are the host's"),
        ({"features": (replace(INFLIGHT, name="two words"),)}, "no identifier"),
        ({"features": (replace(INFLIGHT, name="class"),)}, "no identifier"),
        ({"features": (replace(INFLIGHT, low=2.0, high=1.0),)}, "from 2.0 to 1.0"),
        ({"features": (replace(INFLIGHT, low=math.nan),)}, "ranges from nan"),
        ({"objective": replace(load_balancer.objective, clip=0.0)}, "clip is 0.0"),
        ({"objective": replace(load_balancer.objective, clip=math.nan)}, "clip is nan"),
    ],
)
def test_a_contract_that_cannot_work_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match="kind ") as refused:
        replace(load_balancer, **changes)
    assert said in str(refused.value)


def test_a_kind_without_features_of_its_own_still_has_the_hosts() -> None:
    assert replace(load_balancer, features=()).input_names == ("since_picked", "noise")
