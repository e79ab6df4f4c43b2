"""A thin version of campaign 7; `make campaign-text` runs all of it."""

import random

import pytest

from campaigns.cases.vocabularies import bundled, trained
from campaigns.text import CarelessDetokenizer, check_vocabulary
from model.tokenizer import Tokenizer

VOCABULARIES = [bundled, lambda: trained("bytes"), lambda: trained("words")]


@pytest.mark.parametrize("load", VOCABULARIES, ids=["bundled", "bytes", "words"])
def test_streamed_text_is_the_whole_decoding_and_stops_never_leak(load: object) -> None:
    """H73 to H75."""
    assert callable(load)
    tokenizer = load()
    assert isinstance(tokenizer, Tokenizer)
    tally = check_vocabulary(tokenizer, 120, rng=random.Random(1))
    assert tally.num_faults == 0, tally.faults
    assert tally.num_stops_across > 0


def test_a_careless_detokenizer_is_noticed() -> None:
    """The control."""
    tally = check_vocabulary(trained("bytes"), 40, rng=random.Random(1), make=CarelessDetokenizer)
    assert tally.num_faults > 40
