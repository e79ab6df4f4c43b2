"""Questions about how a model predicts, asked by programs and on the command line."""

import json
from typing import Any

import pytest
from nextword import (
    Client,
    InspectionRequest,
    InvalidRequestError,
    NotFoundError,
    SamplingParameters,
    TokenInspection,
)

from tests.clients.conftest import TypeIn
from tests.contract.live_server import Server

PARAMETERS = SamplingParameters(seed=3, temperature=0.7, logit_bias={66: 1.0})
WANTED = InspectionRequest(candidates=3, logits=True)


@pytest.fixture
def both(server: Server) -> Any:
    """A client over each protocol."""
    with Client(server.rest) as rest, Client(f"grpc://{server.grpc}") as grpc:
        yield rest, grpc


def test_answers_are_the_same_values_over_both_protocols(both: tuple[Client, Client]) -> None:
    answers: list[list[object]] = []
    for client in both:
        box = client.glass_box
        told = box.inspect_text("the cat", parameters=PARAMETERS, inspect=WANTED, start=2)
        ids = [token.token.id for token in told.tokens]
        again = box.resample(told.inspections[0].logits, ids[:2], [PARAMETERS])
        assert again.inspections[0].drawn_token == told.inspections[0].drawn_token
        answers.append(
            [
                told,
                again,
                box.attention(ids, layers=[1], heads=[0, 1], start=1),
                box.token_embedding("a", neighbours=2),
                box.token_embedding(ids[0]),
                box.embed_text("the cat"),
                box.score("the cat", side_by_side=True, token_surprises=True),
                box.inspect_text("the cat", model="tiny:ngram", parameters=PARAMETERS),
            ]
        )
    assert answers[0] == answers[1]


def test_a_continuation_brings_how_it_was_chosen(client: Client) -> None:
    parameters = SamplingParameters(seed=1, max_tokens=4, ignore_eos=True)
    (choice,) = client.generate("the cat", parameters=parameters, inspect=WANTED).choices
    assert tuple(each.token.id for each in choice.inspections) == choice.token_ids
    assert all(len(each.logits) == 4 * 257 for each in choice.inspections)
    with client.stream("the cat", parameters=parameters, inspect=WANTED) as stream:
        assert stream.read_all().choices == (choice,)
    assert client.generate("the cat", parameters=parameters).choices[0].inspections == ()


def test_what_is_wrong_is_the_servers_error(client: Client) -> None:
    box = client.glass_box
    for ask, field in (
        (lambda: box.attention("the cat", layers=[2]), "layers"),
        (lambda: box.inspect_text("the cat", end=99), "end"),
        (lambda: box.inspect_text("x", timeout_seconds=0.0), "timeout_seconds"),
    ):
        with pytest.raises(InvalidRequestError) as wrong:
            ask()
        assert wrong.value.field == field
    with pytest.raises(NotFoundError):
        box.score("the cat", model="nobody")
    with pytest.raises(InvalidRequestError):
        box.inspect_text([5, 2**40])


def test_inspect_shows_a_row_for_each_token(type_in: TypeIn, url: str) -> None:
    code, out, err = type_in("inspect", "the caf\u00e9", "--url", url, "--seed", "1")
    assert (code, err) == (0, "")
    head, *rows, last = out.splitlines()
    assert head.split()[:3] == ["place", "token", "id"]
    assert [row.split()[:2] for row in rows[:2]] == [["1", "'h'"], ["2", "'e'"]]
    assert rows[-1].split()[:2] == ["8", "<A9>"]
    assert last.startswith("8 tokens, ")


def test_inspect_tells_programs_what_was_made(type_in: TypeIn, url: str) -> None:
    words = ("inspect", "the cat", "--url", url, "--make", "2", "-t", "0", "--json", "-c", "1")
    code, out, err = type_in(*words)
    assert (code, err) == (0, "")
    made = json.loads(out)
    assert [each["position"] for each in made] == [7, 8]
    for each in made:
        assert set(each) == set(TokenInspection.__dataclass_fields__)
        assert each["drawn_token"] == each["token"] == each["candidates"][0]["token"]
        assert each["stages"][3]["num_kept"] == 1
