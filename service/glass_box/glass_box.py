"""The core under both transports' glass boxes: a question about a model in, its answer out.

It finds the model and reads the text, and says what is out of range; what is then asked of the
engine is the business of `inspected_text`, `inside_view` and `scoring`. Nothing is kept between
calls. Torch-free.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager

from service.bounded_threads import TEXTS
from service.errors import fields_inside, invalid_value
from service.glass_box import inside_view, inspected_text, scoring
from service.glass_box.choosing_parameters import resolve_choosing
from service.glass_box.glass_box_fields import (
    check_logits,
    read_choice_index,
    read_count,
    read_one_token,
    read_span,
)
from service.glass_box.glass_box_values import (
    AttentionAnswer,
    AttentionMap,
    AttentionRequest,
    GivenText,
    InspectTextRequest,
    Resampled,
    ResampleRequest,
    ScoreRequest,
    TextEmbedding,
    TextInspection,
    TextScore,
    TimeLimit,
    TokenEmbedding,
    TokenEmbeddingRequest,
    TokenNeighbour,
)
from service.glass_box.inspection import check_inspection
from service.glass_box.packed_floats import unpack_floats
from service.glass_box.token_views import text_tokens, view_token
from service.models.served_models import ServedModel, ServedModels
from service.parameters import EffectiveParameters, RequestedParameters
from service.prompts import read_text_ids
from service.request_log import RequestRecord
from service.text_generator import TextGenerator, in_time, loop_deadline_of

__all__ = ["GlassBox"]

MAX_RESAMPLINGS = 16


class GlassBox:
    """Answers questions about the models of a server.

    Args:
        generator: Knows whether new requests are taken.
        models: The models.
    """

    def __init__(self, generator: TextGenerator, models: ServedModels) -> None:
        self._generator = generator
        self._models = models

    async def inspect_text(
        self, request: InspectTextRequest, record: RequestRecord
    ) -> TextInspection:
        """What a model thought before tokens of a text.

        Raises:
            RequestError: It cannot be answered, or not now.
        """
        given = request.given
        with self._found(given.model, given.limit, record) as (model, deadline):
            ids = await _read(given, model, deadline)
            if len(ids) == 1:
                raise invalid_value(
                    "text" if given.ids is None else "ids",
                    "must be at least two tokens, since nothing precedes the first; got 1",
                )
            start, end = read_span(request.start, request.end, first=1, num_tokens=len(ids))
            num_prompt_tokens = read_count(
                "num_prompt_tokens", request.num_prompt_tokens, default=len(ids), limit=len(ids)
            )
            choice_index = read_choice_index(request.choice_index)
            check_inspection(
                request.inspect,
                num_positions=end - start,
                vocabulary_size=model.folder.vocabulary_size,
            )
            parameters = _resolve(request.parameters, model)
            fingerprint = _fingerprint(model)
            inspections = await inspected_text.inspect_text(
                model,
                ids,
                start=start,
                end=end,
                num_prompt_tokens=num_prompt_tokens,
                choice_index=choice_index,
                parameters=parameters,
                inspect=request.inspect,
                deadline=deadline,
                record=record,
            )
            tokens = await TEXTS.run(lambda: text_tokens(model.folder, ids))
            return TextInspection(
                model=model.folder.name,
                model_version=model.folder.version,
                system_fingerprint=fingerprint,
                tokens=tokens,
                inspections=inspections,
                parameters=parameters,
            )

    async def resample(self, request: ResampleRequest, record: RequestRecord) -> Resampled:
        """What would be drawn from given logits with other parameters; the model does not run.

        Raises:
            RequestError: It cannot be answered, or not now.
        """
        with self._found(request.model, request.limit, record) as (model, deadline):
            ids = await in_time(read_text_ids(model, text=None, ids=request.ids), deadline=deadline)
            num_prompt_tokens = read_count(
                "num_prompt_tokens", request.num_prompt_tokens, default=len(ids), limit=len(ids)
            )
            choice_index = read_choice_index(request.choice_index)
            vocabulary_size = model.folder.vocabulary_size
            check_logits(request.logits, vocabulary_size=vocabulary_size)
            if not 1 <= len(request.parameters) <= MAX_RESAMPLINGS:
                raise invalid_value(
                    "parameters",
                    f"must be from 1 to {MAX_RESAMPLINGS} sets, got {len(request.parameters)}",
                )
            check_inspection(
                request.inspect,
                num_positions=len(request.parameters),
                vocabulary_size=vocabulary_size,
            )
            parameters: list[EffectiveParameters] = []
            for index, each in enumerate(request.parameters):
                with fields_inside(f"parameters[{index}]."):
                    parameters.append(_resolve(each, model))
            inspections = await inspected_text.resample(
                model,
                logits=request.logits,
                ids=ids,
                num_prompt_tokens=num_prompt_tokens,
                choice_index=choice_index,
                parameters=parameters,
                inspect=request.inspect,
                deadline=deadline,
                record=record,
            )
            return Resampled(
                model=model.folder.name,
                model_version=model.folder.version,
                inspections=inspections,
                parameters=tuple(parameters),
            )

    async def attention(self, request: AttentionRequest, record: RequestRecord) -> AttentionAnswer:
        """How much tokens of a text looked at those before them.

        Raises:
            RequestError: It cannot be answered, or not now.
        """
        given = request.given
        with self._found(given.model, given.limit, record) as (model, deadline):
            ids = await _read(given, model, deadline)
            start, end = read_span(request.start, request.end, first=0, num_tokens=len(ids))
            fingerprint = _fingerprint(model)
            view = await inside_view.attention(
                model,
                ids,
                layers=request.layers,
                heads=request.heads,
                start=start,
                end=end,
                deadline=deadline,
                record=record,
            )
            config = model.folder.artifact.config
            tokens = await TEXTS.run(lambda: text_tokens(model.folder, ids))
            maps = await TEXTS.run(lambda: tuple(_maps(view)))
            return AttentionAnswer(
                model=model.folder.name,
                model_version=model.folder.version,
                system_fingerprint=fingerprint,
                tokens=tokens,
                start=start,
                end=end,
                maps=maps,
                num_layers=config.num_hidden_layers,
                num_heads=config.num_attention_heads,
            )

    async def token_embedding(
        self, request: TokenEmbeddingRequest, record: RequestRecord
    ) -> TokenEmbedding:
        """The vector of a token and the tokens most like it.

        Raises:
            RequestError: It cannot be answered, or not now.
        """
        with self._found(request.model, request.limit, record) as (model, deadline):
            token_id = read_one_token(request, model.folder)
            view = await inside_view.token_embedding(
                model,
                token_id,
                num_neighbours=request.neighbours,
                deadline=deadline,
                record=record,
            )
            return TokenEmbedding(
                model=model.folder.name,
                model_version=model.folder.version,
                token=view_token(model.folder, token_id),
                vector=unpack_floats(view.vector),
                norm=view.norm,
                neighbours=tuple(
                    TokenNeighbour(
                        token=view_token(model.folder, each.token_id), cosine=each.cosine
                    )
                    for each in view.neighbours
                ),
            )

    async def embed_text(self, given: GivenText, record: RequestRecord) -> TextEmbedding:
        """One vector for a whole text.

        Raises:
            RequestError: It cannot be answered, or not now.
        """
        with self._found(given.model, given.limit, record) as (model, deadline):
            ids = await _read(given, model, deadline)
            fingerprint = _fingerprint(model)
            view = await inside_view.embed_text(model, ids, deadline=deadline, record=record)
            return TextEmbedding(
                model=model.folder.name,
                model_version=model.folder.version,
                system_fingerprint=fingerprint,
                vector=unpack_floats(view.vector),
                num_tokens=view.num_tokens,
            )

    async def score_text(
        self, request: ScoreRequest, record: RequestRecord
    ) -> tuple[TextScore, ...]:
        """How well a model, or both models of a name, predict a text.

        Raises:
            RequestError: It cannot be answered, or not now.
        """
        self._generator.check_open()
        return await scoring.score_text(self._models, request, record)

    @contextmanager
    def _found(
        self, name: str | None, limit: TimeLimit, record: RequestRecord
    ) -> Generator[tuple[ServedModel, float], None, None]:
        """The model that a call names, kept while the block runs, and the call's loop deadline."""
        self._generator.check_open()
        with self._models.find(name).held() as model:
            record.model, record.model_version = model.folder.name, model.folder.version
            yield model, loop_deadline_of(limit, received_at=record.received_at)


async def _read(given: GivenText, model: ServedModel, deadline: float) -> list[int]:
    reading = read_text_ids(
        model, text=given.text, ids=given.ids, parse_special_tokens=given.parse_special_tokens
    )
    return await in_time(reading, deadline=deadline)


def _resolve(requested: RequestedParameters, model: ServedModel) -> EffectiveParameters:
    folder = model.folder
    return resolve_choosing(requested, folder.defaults, vocabulary_size=folder.vocabulary_size)


def _fingerprint(model: ServedModel) -> str:
    """What computes the answer; a model that is not there says so when it is asked."""
    client = model.supervisor.client
    return "" if client is None else client.system_fingerprint(model.kind)


def _maps(view: inside_view.AttentionView) -> Generator[AttentionMap, None, None]:
    """Head by head, each row without the zeros of what comes after its token."""
    values = unpack_floats(view.values)
    offset = 0
    for layer in view.layers:
        for head in view.heads:
            rows: list[Sequence[float]] = []
            for position in range(view.start, view.end):
                rows.append(values[offset : offset + position + 1])
                offset += view.end
            yield AttentionMap(layer=layer, head=head, rows=tuple(rows))
