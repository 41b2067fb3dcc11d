"""One process that asks models, for all tests that only need it to be there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gnomon.shadow.models.keys import environment
from gnomon.shadow.models.process import ModelProcess

#: A key as the tests know it; it may be in the memory of the models' process and nowhere else.
SECRET = "sk-test-0123456789-abcdef"


@pytest.fixture(scope="session")
def process() -> Iterator[ModelProcess]:
    """With litellm imported before the first call."""
    own = {"TEST_MODEL_KEY": SECRET}
    made = ModelProcess(environment(own, own), tuple(own), litellm=True)
    yield made
    made.close()
