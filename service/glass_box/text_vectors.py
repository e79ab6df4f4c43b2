"""Vectors of many texts in one call, which has one place in the queue however many they are.

The texts are computed one after another, so that others have their turn between any two.
Torch-free.
"""

from dataclasses import dataclass

from service.engine.questions import PooledQuestion, PooledVector
from service.errors import invalid_value, unsupported_parameter
from service.glass_box.asking import asking
from service.glass_box.glass_box_values import TimeLimit
from service.glass_box.inside_view import check_network
from service.models.served_models import ServedModels
from service.prompts import read_text_ids
from service.request_log import RequestRecord
from service.text_generator import TextGenerator, in_time, loop_deadline_of

__all__ = ["MAX_TEXTS", "EmbeddingsRequest", "TextVectors", "embed_texts"]

# As many as OpenAI takes in one call.
MAX_TEXTS = 2048
# Numbers in one answer: some forty megabytes of JSON.
MAX_NUMBERS = 2**21


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingsRequest:
    """What a transport read from its message.

    Attributes:
        model: NAME or NAME@VERSION, None for the default.
        texts: Texts, or their ids; at least one.
        dimensions: How many numbers a vector is to have, None for as many as there are.
    """

    model: str | None
    texts: tuple[str | tuple[int, ...], ...]
    dimensions: int | None
    limit: TimeLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class TextVectors:
    """One vector f32 [hidden width] of length 1 for each text, packed little-endian."""

    model: str
    model_version: str
    vectors: tuple[bytes, ...]
    num_tokens: int


async def embed_texts(
    generator: TextGenerator,
    models: ServedModels,
    request: EmbeddingsRequest,
    record: RequestRecord,
) -> TextVectors:
    """The vectors of texts, all by one version of the model.

    Args:
        generator: Knows whether new requests are taken.
        models: Those of the server.
        request: Which texts, and by which of them.
        record: Filled in on the way.

    Raises:
        RequestError: One of the texts cannot be read, before any is computed; or there is no room.
    """
    generator.check_open()
    with models.find(request.model).held() as model:
        record.model, record.model_version = model.folder.name, model.folder.version
        check_network(model, "embedding")
        width = model.folder.artifact.config.hidden_size
        _check_size(request, width)
        deadline = loop_deadline_of(request.limit, received_at=record.received_at)
        all_ids: list[list[int]] = []
        for index, text in enumerate(request.texts):
            name = "input" if len(request.texts) == 1 else f"input[{index}]"
            text_ids = read_text_ids(
                model,
                text=text if isinstance(text, str) else None,
                ids=None if isinstance(text, str) else text,
                names=(name, name),
            )
            all_ids.append(await in_time(text_ids, deadline=deadline))
        record.num_prompt_tokens = sum(map(len, all_ids))
        vectors: list[bytes] = []
        # They are in work one at a time, so the longest is what the call takes of the engine.
        with asking(
            model, num_tokens=max(map(len, all_ids)), deadline=deadline, record=record
        ) as ask:
            for ids in all_ids:
                answer = await ask(PooledQuestion(ids))
                assert isinstance(answer, PooledVector)
                vectors.append(answer.vector)
        return TextVectors(
            model=model.folder.name,
            model_version=model.folder.version,
            vectors=tuple(vectors),
            num_tokens=record.num_prompt_tokens,
        )


def _check_size(request: EmbeddingsRequest, width: int) -> None:
    if request.dimensions is not None and request.dimensions != width:
        raise unsupported_parameter(
            "dimensions",
            f"is offered only as {width}, the width of the model; got {request.dimensions}",
        )
    num_texts = len(request.texts)
    if num_texts * width > MAX_NUMBERS:
        raise invalid_value(
            "input",
            f"must be at most {MAX_NUMBERS // width} texts for vectors of {width} numbers, got "
            f"{num_texts}",
        )
