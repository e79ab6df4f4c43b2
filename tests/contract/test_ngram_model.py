"""The n-gram model of a version under its own name, over both protocols, in lists and figures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from model.ngram import NgramModel
from tests.contract.callers import Callers
from tests.contract.live_server import Server

PROMPT = "the cat sat "


def test_greedy_text_is_what_the_counts_say(
    server: Server, callers: Callers, artifact_with_ngram: Path
) -> None:
    model = NgramModel.load(artifact_with_ngram)
    body = {"model": "tiny:ngram", "prompt": PROMPT, "temperature": 0, "max_tokens": 12}
    for name, call in callers.items():
        outcome = call(server, body)
        assert outcome.model == "tiny:ngram@1 ngram-cpu-f64", name
        (choice,) = outcome.choices
        assert choice.text.startswith("on the "), name
        tokens = server.post("/v1/tokenize", {"text": PROMPT}).json()["tokens"]
        ids = [token["id"] for token in tokens]
        for token_id in choice.token_ids:
            assert token_id == int(model.probabilities(ids).argmax())
            ids.append(token_id)


def test_what_a_choice_came_from_is_told(server: Server) -> None:
    def choice_of(model: str) -> Mapping[str, Any]:
        body = {"model": model, "prompt": PROMPT, "temperature": 0, "max_tokens": 3}
        answer = server.post("/v1/generate", body | {"inspect": {"candidates": 2}}).json()
        return answer["choices"][0]

    choice = choice_of("tiny:ngram")
    assert len(choice["inspections"]) == 3
    for inspection in choice["inspections"]:
        found = inspection["ngram"]
        assert found["order"] == 5
        assert [level["order"] for level in found["levels"]] == [1, 2, 3, 4, 5]
        assert "".join(token["text"] for token in found["window"]) in PROMPT + choice["text"]
        probability = found["levels"][-1]["probability"]
        assert probability == pytest.approx(2 ** -inspection["surprise_bits"], rel=1e-5)
    network = choice_of("tiny")
    assert [each["ngram"] for each in network["inspections"]] == [None] * 3


def test_one_of_a_name_is_looked_up_like_its_network(server: Server) -> None:
    model = server.get("/v1/models/tiny:ngram").json()
    assert (model["id"], model["version"], model["versions"]) == ("tiny:ngram", "1", ["1"])
    assert (model["kind"], model["executor"], model["dtype"]) == ("ngram", "ngram", "float64")
    assert (model["status"], model["is_ready"], model["is_default"]) == ("ready", True, False)
    assert model["vocabulary_size"] == 257
    assert server.get("/v1/models/tiny:ngram@1").json() == model
    assert server.get("/v1/models/tiny%3Angram").json() == model


@pytest.mark.parametrize("name", ["tiny:ngram@2", "tiny:trigram", "tiny:", "other:ngram", ":ngram"])
def test_one_that_is_not_there_is_named(server: Server, callers: Callers, name: str) -> None:
    for call in callers.values():
        outcome = call(server, {"model": name, "prompt": "a"})
        assert outcome.code == "model_not_found"
        assert outcome.field == "model"
        assert f"model {name} is not loaded" in outcome.message
        assert "tiny, tiny:ngram" in outcome.message


def test_its_tokens_are_counted_under_its_own_name(server: Server, callers: Callers) -> None:
    series = {
        name: f'nextword_completion_tokens_total{{model="{name}"}}'
        for name in ("tiny:ngram", "tiny")
    }
    before = {name: server.metric(line) for name, line in series.items()}
    body = {"model": "tiny:ngram", "prompt": "a", "max_tokens": 7, "ignore_eos": True}
    callers["grpc_whole"](server, body)
    assert server.metric(series["tiny:ngram"]) == before["tiny:ngram"] + 7
    assert server.metric(series["tiny"]) == before["tiny"]
    assert server.metric('nextword_model_info{device="cpu",dtype="float64",model="tiny:ngram"') == 1
    assert server.metric('nextword_model_ready{model="tiny:ngram"}') == 1
    assert server.metric('nextword_engine_step_seconds_count{model="tiny:ngram"}') > 0
