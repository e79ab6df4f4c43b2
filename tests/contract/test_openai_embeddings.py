"""Vectors of texts by OpenAI's own Python library, and the wire of /v1/embeddings."""

import base64
import math
from array import array
from collections.abc import Iterator

import openai
import pytest
from openai import OpenAI

from tests.contract.live_server import START_SECONDS, Server

PATH = "/v1/embeddings"
WIDTH = 64


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(
        base_url=server.rest + "/v1", api_key="none", max_retries=0, timeout=START_SECONDS
    ) as client:
        yield client


def of_glass_box(server: Server, text: str) -> list[float]:
    return server.post("/v1/embed-text", {"text": text}).json()["vector"]


def test_the_library_gets_the_vectors_of_the_glass_box(server: Server, client: OpenAI) -> None:
    """Interfaces 13: base64 by default, which the library unpacks, or numbers."""
    texts = ["The wolf", "caf\u00e9"]
    found = client.embeddings.create(model="tiny", input=texts)
    assert (found.object, found.model) == ("list", "tiny@1")
    assert (found.usage.prompt_tokens, found.usage.total_tokens) == (13, 13)
    assert [each.index for each in found.data] == [0, 1]
    for text, each in zip(texts, found.data, strict=True):
        assert each.embedding == of_glass_box(server, text)
        assert len(each.embedding) == WIDTH
        assert math.isclose(math.hypot(*each.embedding), 1, rel_tol=1e-5)
    numbers = client.embeddings.create(model="tiny", input=texts, encoding_format="float")
    assert numbers.data == found.data


def test_base64_is_little_endian_f32(server: Server) -> None:
    """Interfaces 13: what the wire has when the library asks for it."""
    answer = server.post(PATH, {"input": "ab", "encoding_format": "base64"}).json()
    packed = base64.b64decode(answer["data"][0]["embedding"], validate=True)
    assert array("f", packed).tolist() == of_glass_box(server, "ab")


def test_texts_may_be_ids(server: Server, client: OpenAI) -> None:
    ids = [token["id"] for token in server.post("/v1/tokenize", {"text": "ab"}).json()["tokens"]]
    expected = of_glass_box(server, "ab")
    (one,) = client.embeddings.create(model="tiny", input=ids).data
    assert one.embedding == expected
    many = client.embeddings.create(model="tiny", input=[ids, ids]).data
    assert [each.embedding for each in many] == [expected, expected]


def test_more_texts_than_the_queue_has_places_are_one_call(server: Server, client: OpenAI) -> None:
    """Twelve requests run or wait at most; a call of many texts is one of them."""
    texts = [f"text {number}" for number in range(40)]
    found = client.embeddings.create(model="tiny", input=texts).data
    assert [each.index for each in found] == list(range(40))
    assert found[7].embedding == of_glass_box(server, "text 7")


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        ({}, 400, "invalid_value", "input"),
        ({"input": ""}, 400, "invalid_value", "input"),
        ({"input": []}, 400, "invalid_value", "input"),
        ({"input": ["a", ""]}, 400, "invalid_value", "input[1]"),
        ({"input": ["a", 5]}, 400, "invalid_value", "input"),
        ({"input": [[1], []]}, 400, "invalid_value", "input[1]"),
        ({"input": [[1], [257]]}, 400, "invalid_value", "input[1]"),
        ({"input": {"text": "a"}}, 400, "invalid_value", "input"),
        ({"input": ["a"] * 2049}, 400, "invalid_value", "input"),
        ({"input": ["a", "x" * 4097]}, 400, "context_length_exceeded", "input[1]"),
        ({"input": "a", "encoding_format": "int8"}, 400, "invalid_value", "encoding_format"),
        ({"input": "a", "dimensions": 8}, 400, "unsupported_parameter", "dimensions"),
        ({"input": "a", "input_type": "query"}, 400, "unsupported_parameter", "input_type"),
        ({"input": "a", "model": "tiny:ngram"}, 400, "invalid_value", "model"),
        ({"input": "a", "model": "nobody"}, 404, "model_not_found", "model"),
        ({"input": "a", "timeout_seconds": 1e-9}, 504, "deadline_exceeded", None),
    ],
)
def test_what_is_wrong_or_not_offered_is_named(
    server: Server, body: dict[str, object], status: int, code: str, field: str | None
) -> None:
    """Interfaces 17; H20, H35, H37, H44."""
    response = server.post(PATH, body)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, field)


def test_what_asks_for_what_there_is_is_served(client: OpenAI) -> None:
    raw = client.embeddings.with_raw_response.create(
        model="tiny", input="a", dimensions=WIDTH, user="me", extra_body={"mood": "good"}
    )
    assert raw.headers["x-ignored-parameters"] == "user, mood"


def test_an_unknown_model_raises_what_the_library_has_for_it(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="nobody", input="x")
