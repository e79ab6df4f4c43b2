"""Texts to tokens in a server: control tokens stay text, and long texts keep nobody waiting."""

import threading
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Backend

from model.tokenizer import Tokenizer
from service.errors import ErrorKind, RequestError
from service.generation import GenerationRequest
from service.parameters import RequestedParameters
from service.text_generator import (
    DEFAULT_TIMEOUT_SECONDS,
    MAX_TIMEOUT_SECONDS,
    request_deadline,
)

REPOSITORY = Path(__file__).resolve().parents[2]
BUNDLED = REPOSITORY / "artifacts" / "fairytales" / "1"
PATIENCE_SECONDS = 60.0


def turns_during(work: threading.Thread) -> int:
    """How often another thread gets its turn while the work runs."""
    num_turns = 0
    waiting = threading.Event()
    work.start()
    while work.is_alive():
        waiting.wait(0.0005)
        num_turns += 1
    work.join(PATIENCE_SECONDS)
    return num_turns


def test_other_threads_run_while_a_long_text_is_tokenized() -> None:
    """H41, with the library's own call as the control: it holds the interpreter throughout."""
    tokenizer = Tokenizer.load(BUNDLED)
    backend = Backend.from_file(str(BUNDLED / "tokenizer.json"))
    text = "Once upon a time there lived a king. " * 6_000
    ours = turns_during(threading.Thread(target=tokenizer.encode, args=[text]))
    theirs = turns_during(threading.Thread(target=backend.encode, args=[text]))
    assert ours >= 20
    assert theirs * 2 <= ours


@pytest.mark.parametrize("folder", [BUNDLED])
def test_every_added_token_of_a_served_model_is_text_in_texts(folder: Path) -> None:
    """H42; `make campaign-text` does the same for foreign vocabularies."""
    tokenizer = Tokenizer.load(folder)
    assert tokenizer.control_tokens
    for token_id, content in tokenizer.control_tokens.items():
        for text in (content, f"a{content}b", f"{content}{content}", f" {content} "):
            ids = tokenizer.encode(text)
            assert not tokenizer.special_ids & set(ids)
            assert tokenizer.decode(ids) == text
            assert token_id in tokenizer.encode(text, parse_special_tokens=True)


def request(timeout: float | None, deadline: float | None) -> GenerationRequest:
    return GenerationRequest(
        model=None,
        prompt="x",
        prompt_ids=None,
        parameters=RequestedParameters(),
        timeout_seconds=timeout,
        deadline=deadline,
    )


@pytest.mark.parametrize(
    ("timeout", "deadline", "expected"),
    [
        (None, None, DEFAULT_TIMEOUT_SECONDS),
        (5.0, None, 5.0),
        (None, 1007.0, 7.0),
        (5.0, 1007.0, 5.0),
        (9.0, 1007.0, 7.0),
        (MAX_TIMEOUT_SECONDS, None, MAX_TIMEOUT_SECONDS),
        (None, 1e12, MAX_TIMEOUT_SECONDS),
    ],
)
def test_the_earliest_limit_holds_and_there_is_always_one(
    timeout: float | None, deadline: float | None, expected: float
) -> None:
    """H96: the server's own where the request names none."""
    assert request_deadline(request(timeout, deadline), received_at=1000.0) == 1000.0 + expected


@pytest.mark.parametrize("timeout", [0.0, -1.0, MAX_TIMEOUT_SECONDS + 1, float("nan")])
def test_a_timeout_out_of_range_is_refused(timeout: float) -> None:
    with pytest.raises(RequestError) as error:
        request_deadline(request(timeout, None), received_at=0.0)
    assert (error.value.kind, error.value.field) == (ErrorKind.INVALID_VALUE, "timeout_seconds")
