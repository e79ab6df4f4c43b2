"""Choices made again, on their way from the engine: others have their turn, and it is noted."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest
from prometheus_client import generate_latest

from service.engine.given_text import resample as draw
from service.engine.messages import ModelKind
from service.engine.questions import PooledQuestion, PooledVector, ResampleTraces
from service.engine.trace_messages import Resample
from service.errors import ErrorKind, RequestError
from service.glass_box import inside_view
from service.glass_box.inspected_text import resample
from service.glass_box.inspection import InspectionRequest, TokenInspection
from service.metrics import Metrics
from service.models.served_models import ServedModel
from service.parameters import ModelDefaults, RequestedParameters, resolve_parameters
from service.request_log import RequestLog, RequestRecord

VOCABULARY = 16
IDS = (3, 1, 4, 1, 5)
NUM_SETS = 16


@dataclass
class Model:
    """What is asked of a served model and of its engine's client; choices are really made."""

    failure: ErrorKind | None = None
    kind: ModelKind = ModelKind.TRANSFORMER
    end_token_ids: tuple[int, ...] = ()
    read_ids: list[int] = field(default_factory=list[int])

    @property
    def folder(self) -> "Model":
        return self

    @property
    def tokenizer(self) -> SimpleNamespace:
        return SimpleNamespace(strips_leading_space=True, control_tokens=dict[int, str]())

    @property
    def token_bytes(self) -> "Model":
        return self

    def __getitem__(self, token_id: int) -> bytes:
        self.read_ids.append(token_id)
        return b" " + bytes([ord("a") + token_id])

    @contextmanager
    def admit(self, num_tokens: int) -> Generator["Model"]:
        yield self

    async def ask(
        self, body: object, *, deadline: float, salt: bytes = b""
    ) -> ResampleTraces | PooledVector:
        if self.failure is not None:
            raise RequestError(self.failure, "it failed")
        if isinstance(body, PooledQuestion):
            return PooledVector(bytes(4))
        assert isinstance(body, Resample)
        return ResampleTraces([trace for some in draw(body) for trace in some])


async def resampled(model: Model, record: RequestRecord) -> tuple[TokenInspection, ...]:
    parameters = [
        resolve_parameters(
            RequestedParameters(seed=seed),
            ModelDefaults(),
            num_prompt_tokens=1,
            context_tokens=100,
            vocabulary_size=VOCABULARY,
        )
        for seed in range(NUM_SETS)
    ]
    return await resample(
        cast("ServedModel", model),
        logits=bytes(4 * VOCABULARY),
        ids=IDS,
        num_prompt_tokens=len(IDS),
        choice_index=0,
        parameters=parameters,
        inspect=InspectionRequest(candidates=2),
        deadline=0.0,
        record=record,
    )


def test_others_have_their_turn_between_two_choices_and_the_text_is_read_once() -> None:
    async def body() -> None:
        model, num_turns = Model(), 0

        async def others() -> None:
            nonlocal num_turns
            while True:
                num_turns += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(others())
        record = RequestRecord(request_id="1", protocol="rest", route="/v1/resample")
        inspections = await resampled(model, record)
        beside.cancel()
        assert num_turns >= NUM_SETS
        # The first space is no byte of the text.
        start = 2 * len(IDS) - 1
        spans = {(each.byte_start, each.byte_end) for each in inspections}
        assert spans == {(start, start + 2)}
        assert len({each.token.id for each in inspections}) > 1
        first = [place for place in range(len(model.read_ids)) if model.read_ids[place] == IDS[0]]
        assert len(first) < NUM_SETS

    asyncio.run(body())


def test_a_question_is_noted_as_begun_once_it_is_the_engines() -> None:
    """It counts among the latencies, and one that fails then was not rejected; of what no model
    reads no prompt is counted."""
    metrics = Metrics()
    log = RequestLog(metrics)

    async def ask(model: Model, *, is_pooled: bool) -> None:
        with log.request(protocol="rest", route="/v1/embed-text") as record:
            record.model = "m"
            if is_pooled:
                served = cast("ServedModel", model)
                await inside_view.embed_text(served, IDS, deadline=0.0, record=record)
            else:
                await resampled(model, record)
            assert record.num_prompt_tokens == is_pooled * len(IDS)

    for is_pooled in (True, False):
        asyncio.run(ask(Model(), is_pooled=is_pooled))
        with pytest.raises(RequestError):
            asyncio.run(ask(Model(ErrorKind.NUMERICAL_ERROR), is_pooled=is_pooled))
    told = generate_latest(metrics.registry).decode()
    assert 'nextword_queue_seconds_count{model="m"} 2.0' in told
    assert "nextword_requests_rejected_total{" not in told
