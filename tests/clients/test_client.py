"""The client against a real server: the same program over both protocols."""

from collections.abc import Callable

import pytest
from nextword import (
    Client,
    ConnectionFailedError,
    DeadlineExceededError,
    Generation,
    InvalidRequestError,
    NextwordError,
    NotFoundError,
    SamplingParameters,
    StatusError,
)

from tests.clients.waiting import wait_until
from tests.contract.live_server import Server

SEEDED = SamplingParameters(max_tokens=20, seed=11, temperature=1.2, ignore_eos=True)
TOLD_ALL = SamplingParameters(n=3, logprobs=2, echo=True, max_tokens=6, seed=11, temperature=1.5)
# Seconds of work for the tiny model.
LONG = SamplingParameters(max_tokens=4000, ignore_eos=True, temperature=1.0)


def comparable(generation: Generation) -> tuple[object, ...]:
    """What must be equal however the same request is sent."""
    summary = generation.summary
    return generation.choices, summary.usage, summary.parameters, summary.model_version


def test_pieces_put_together_are_the_whole_answer(client: Client) -> None:
    with client.stream("Once", parameters=SEEDED) as stream:
        pieces = list(stream)
    assert stream.summary is not None
    whole = client.generate("Once", parameters=SEEDED)
    assert "".join(piece.text for piece in pieces) == whole.choices[0].text
    assert sum((piece.token_ids for piece in pieces), ()) == whole.choices[0].token_ids
    assert [piece.finish_reason for piece in pieces if piece.finish_reason] == ["length"]
    assert [piece for piece in pieces if piece.summary] == [pieces[-1]]
    assert stream.summary.parameters == whole.summary.parameters


def test_both_protocols_give_the_same_values(server: Server) -> None:
    """Interfaces 66, as a program sees it."""
    answers: list[tuple[object, ...]] = []
    for url in (server.rest, f"grpc://{server.grpc}"):
        with Client(url) as client:
            answers.append(comparable(client.generate("Once", parameters=SEEDED)))
            with client.stream([5, 6, 7, 5], parameters=SEEDED, model="tiny@1") as stream:
                answers.append(comparable(stream.read_all()))
            with client.stream("Once", parameters=TOLD_ALL) as stream:
                answers.append(comparable(stream.read_all()))
            answers.append(comparable(client.generate("Once", parameters=TOLD_ALL)))
            answers.append((client.list_models(), client.get_model("tiny")))
    assert answers[:5] == answers[5:]
    assert answers[2] == answers[3]


def test_logprobs_tell_of_every_token_of_every_choice(client: Client) -> None:
    choices = client.generate("Once", parameters=TOLD_ALL).choices
    assert [choice.index for choice in choices] == [0, 1, 2]
    for choice in choices:
        assert choice.text.startswith("Once")
        first, *others = choice.logprobs
        assert [entry.id for entry in choice.logprobs] == list(choice.token_ids)
        assert b"".join(entry.bytes for entry in choice.logprobs).startswith(b"Once")
        assert (first.logprob, first.rank, first.top) == (None, None, ())
        for entry in others:
            assert entry.logprob is not None
            assert entry.logprob <= 0
            assert entry.top[0].logprob >= entry.top[1].logprob
            assert (entry.rank == 1) == (entry.id == entry.top[0].id)


def test_what_is_not_given_is_the_models_default(client: Client) -> None:
    generation = client.generate("x")
    assert generation.summary.parameters.temperature == 0.9
    assert generation.summary.parameters.max_tokens == 12
    assert generation.summary.parameters.seed is not None


def test_a_zero_is_not_the_default(client: Client) -> None:
    """Interfaces 31."""
    greedy = SamplingParameters(temperature=0.0, top_k=0, max_tokens=3)
    assert client.generate("x", parameters=greedy).summary.parameters.temperature == 0.0


def test_closing_a_stream_cancels_its_request(client: Client, server: Server) -> None:
    cancelled = 'nextword_requests_total{model="tiny",outcome="cancelled"'
    before = server.metric(cancelled)
    with client.stream("x", parameters=LONG) as stream:
        first = next(stream)
    assert first.token_ids
    assert list(stream) == []
    wait_until(lambda: server.metric(cancelled) == before + 1)
    wait_until(lambda: server.metric("nextword_engine_running") == 0)


def test_a_stream_that_was_read_to_its_end_cancels_nothing(client: Client, server: Server) -> None:
    cancelled = 'nextword_requests_total{model="tiny",outcome="cancelled"'
    before = server.metric(cancelled)
    with client.stream("x", parameters=SEEDED) as stream:
        list(stream)
    client.generate("x", parameters=SEEDED)
    assert server.metric(cancelled) == before


def test_a_timeout_is_the_servers_deadline(client: Client, server: Server) -> None:
    """H95: the server ends it, and says so over both protocols in the same words."""
    stream = client.stream("x", parameters=LONG, timeout_seconds=0.2)
    with stream, pytest.raises(DeadlineExceededError) as streamed:
        list(stream)
    with pytest.raises(DeadlineExceededError) as whole:
        client.generate("x", parameters=LONG, timeout_seconds=0.2)
    assert (streamed.value.code, streamed.value.status) == ("deadline_exceeded", 504)
    assert (whole.value.code, whole.value.status) == ("deadline_exceeded", 504)
    wait_until(lambda: server.metric("nextword_engine_running") == 0)


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        (SamplingParameters(temperature=101.0), "temperature"),
        (SamplingParameters(top_k=-5), "top_k"),
        (SamplingParameters(top_k=2**40), "top_k"),
        (SamplingParameters(seed=-1), "seed"),
        (SamplingParameters(stop=["a"] * 5), "stop"),
        (SamplingParameters(logit_bias={-1: 1.0}), "logit_bias"),
    ],
)
def test_a_wrong_value_names_its_field(
    client: Client, parameters: SamplingParameters, field: str
) -> None:
    with (
        pytest.raises(InvalidRequestError) as caught,
        client.stream("x", parameters=parameters) as stream,
    ):
        list(stream)
    error = caught.value
    assert (error.code, error.status, error.field) == ("invalid_value", 400, field)
    assert not error.is_retryable
    assert field in str(error)


def test_errors_of_the_server_carry_its_request_id_and_facts(client: Client) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        client.generate("x" * 5000)
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.facts.metadata["n_ctx"] == "4096"
    assert caught.value.request_id


@pytest.mark.parametrize("name", ["nobody", "tiny@99", "../tiny", "a/b?c#d", "x" * 150])
def test_an_unknown_model_is_not_found(client: Client, name: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: client.generate("x", model=name),
        lambda: client.tokenize("x", model=name),
        lambda: client.detokenize([1], model=name),
        lambda: client.get_model(name),
    ]
    codes: list[str] = []
    for call in calls:
        with pytest.raises(NotFoundError) as caught:
            call()
        codes.append(caught.value.code)
    assert set(codes) <= {"model_not_found", "unknown_url"}
    assert codes[:3] == ["model_not_found"] * 3


@pytest.mark.parametrize("text", ["", "plain", "nul \0, \u2028 and \x85", "caf\u00e9 \U0001f600"])
def test_tokens_cover_the_text_and_lead_back_to_it(client: Client, text: str) -> None:
    tokens = client.tokenize(text)
    spans = [(token.start, token.end) for token in tokens]
    assert [byte for start, end in spans for byte in text.encode()[start:end]] == list(
        text.encode()
    )
    assert client.detokenize([token.id for token in tokens]) == text


def test_models_are_listed_with_their_sizes_and_defaults(client: Client) -> None:
    model, ngram = client.list_models()
    assert (model.kind, ngram.kind, ngram.id) == ("transformer", "ngram", "tiny:ngram")
    assert (model.id, model.version, model.is_default, model.is_ready) == ("tiny", "1", True, True)
    assert (model.context_tokens, model.vocabulary_size) == (4096, 257)
    assert model.default_parameters.top_k == 40
    assert (model.status, model.versions, model.refused) == ("ready", ("1",), ())
    assert (model.device, model.dtype, model.max_running) == ("cpu", "float32", 4)
    assert client.get_model("tiny").card.startswith("# tiny")


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_nobody_at_the_address_is_said_so(scheme: str, closed_port: int) -> None:
    with Client(f"{scheme}://127.0.0.1:{closed_port}") as client:
        for call in (client.list_models, lambda: list(client.stream("x"))):
            with pytest.raises(ConnectionFailedError, match="nobody answers"):
                call()


def test_every_error_is_one_of_ours() -> None:
    assert issubclass(StatusError, NextwordError)
    with pytest.raises(NextwordError):
        Client("ftp://somewhere")
