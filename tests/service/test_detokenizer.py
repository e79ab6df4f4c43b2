"""Text out of tokens: whole characters, no stop string, the same however the tokens arrive."""

from hypothesis import given
from hypothesis import strategies as st

from service.detokenizer import Detokenizer

BYTES_OF_TOKENS = [bytes([value]) for value in range(256)] + [
    "\u6f22".encode()[:2],
    "\U0001f600".encode()[1:],
    b"the end",
    b"\xef\xbb",
    b"",
    b"ab",
]


def token_bytes(token_id: int) -> bytes:
    return BYTES_OF_TOKENS[token_id]


def run(ids: list[int], cuts: list[int], **options: object) -> tuple[str, list[int], bool]:
    """Feed the ids in pieces; text, delivered ids, and whether a stop ended it."""
    detokenizer = Detokenizer(token_bytes, **options)  # pyright: ignore[reportArgumentType]
    text, start = "", 0
    delivered: list[int] = []
    for end in [*sorted(min(cut, len(ids)) for cut in cuts), len(ids)]:
        piece = detokenizer.push(ids[start:end])
        start = max(start, end)
        text += piece.text
        delivered += piece.token_ids
        if piece.is_stopped:
            return text, delivered, True
    piece = detokenizer.finish()
    return text + piece.text, delivered + list(piece.token_ids), piece.is_stopped


ANY_IDS = st.lists(st.integers(0, len(BYTES_OF_TOKENS) - 1), max_size=60)
LETTER_IDS = st.lists(st.sampled_from([97, 98, 99, 261, 0xC3, 0xA9]), max_size=40)
CUTS = st.lists(st.integers(0, 60), max_size=8)
STOPS = st.lists(st.text("abc\u00e9", min_size=1, max_size=4), min_size=1, max_size=3)


@given(ANY_IDS, CUTS)
def test_pieces_together_are_the_whole_decoding(ids: list[int], cuts: list[int]) -> None:
    """H73, H74."""
    text, delivered, is_stopped = run(ids, cuts)
    assert text == b"".join(map(token_bytes, ids)).decode("utf-8", "replace")
    assert (delivered, is_stopped) == (ids, False)


@given(LETTER_IDS, CUTS, STOPS)
def test_text_ends_before_the_first_complete_stop_string(
    ids: list[int], cuts: list[int], stop: list[str]
) -> None:
    """H75: never leaked, never cut too early, whatever the pieces."""
    text, delivered, is_stopped = run(ids, cuts, stop=stop)
    assert (text, delivered, is_stopped) == run(ids, [], stop=stop)
    whole = b"".join(map(token_bytes, ids)).decode("utf-8", "replace")
    assert whole.startswith(text)
    assert not any(each in text for each in stop)
    assert delivered == ids[: len(delivered)]
    assert is_stopped == any(each in whole for each in stop)
    if not is_stopped:
        assert (text, delivered) == (whole, ids)


def test_nothing_is_held_back_longer_than_it_must_be() -> None:
    detokenizer = Detokenizer(token_bytes, stop=["bbc"])
    assert detokenizer.push([97]).text == "a"
    assert detokenizer.push([98]).text == ""
    assert detokenizer.push([98]).text == ""
    # "bbb" still may become "bbc" from its second character on.
    assert detokenizer.push([98]).text == "b"
    assert detokenizer.push([97]).text == "bba"


def test_a_stop_string_does_not_count_before_min_tokens() -> None:
    assert run([97, 98, 97, 98], [], stop=["b"], min_tokens=3) == ("aba", [97, 98, 97], True)
