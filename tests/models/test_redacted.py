"""Keys are taken out of whatever leaves the models' process, in every form that an endpoint may repeat them."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.shadow.models.worker import Redacted

KEY = 'wJalr/XUt+nFEMI"K7MDENG='
WITHOUT = Redacted([KEY, "short", ""])


@pytest.mark.parametrize(
    "form",
    [KEY, quote(KEY, safe=""), json.dumps(KEY)[1:-1], KEY.replace("/", "\\/")],
    ids=["plain", "in an address", "in JSON", "with slashes escaped"],
)
def test_no_form_of_a_key_is_left(form: str) -> None:
    assert WITHOUT(f"no {form} here, {form}") == "no [key] here, [key]"


@given(st.text(alphabet="ab /", max_size=20), st.integers(8, len(KEY)))
def test_a_text_that_was_cut_within_a_key_ends_before_it(before: str, size: int) -> None:
    assert WITHOUT(before + KEY[:size]) == f"{before}[key]"


def test_words_stay() -> None:
    assert WITHOUT("a short answer: wJalr/X") == "a short answer: wJalr/X"
