"""gRPC's messages to and from the client's values."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager

from nextword.answers import (
    Choice,
    Generation,
    Model,
    RefusedVersion,
    RivalToken,
    Summary,
    TextPiece,
    Timings,
    Token,
    TokenLogprob,
    Usage,
)
from nextword.errors import ErrorFacts, InvalidRequestError
from nextword.grpc_glass_box import message_fields
from nextword.inspection_fields import read_inspection
from nextword.inspections import TokenInspection
from nextword.request import GenerationRequest, SamplingParameters
from nextword.v1 import text_generation_pb2 as pb
from nextword.v1.token_inspection_pb2 import TokenInspection as TokenInspectionMessage

__all__ = [
    "fill_request",
    "read_finish_reason",
    "read_generation",
    "read_model",
    "read_piece",
    "read_token",
    "values_fit",
]


def fill_request(
    message: pb.GenerateTextRequest | pb.StreamGenerateTextRequest, request: GenerationRequest
) -> None:
    """Write a request into a message of either call.

    Raises:
        InvalidRequestError: A value does not fit into its field.
    """
    if isinstance(request.prompt, str):
        with values_fit("prompt", request.prompt):
            message.prompt = request.prompt
    else:
        with values_fit("prompt_ids", request.prompt):
            message.prompt_ids.ids.extend(request.prompt)
    if request.model is not None:
        with values_fit("model", request.model):
            message.model = request.model
    if request.parse_special_tokens:
        message.parse_special_tokens = True
    if request.inspect is not None:
        with values_fit("inspect", request.inspect):
            message.inspect.candidates = request.inspect.candidates
        message.inspect.logits = request.inspect.logits
    message.timeout_seconds = request.timeout_seconds
    _fill_parameters(message.parameters, request.parameters)


def read_piece(message: pb.StreamGenerateTextResponse) -> TextPiece:
    """One message of a stream."""
    return TextPiece(
        index=message.index,
        text=message.text,
        token_ids=tuple(message.token_ids),
        finish_reason=read_finish_reason(message.finish_reason),
        summary=_summary(message.summary) if message.HasField("summary") else None,
        is_prompt=message.is_prompt,
        logprobs=tuple(_logprob(entry) for entry in message.logprobs),
        inspections=_inspections(message.inspections),
    )


def read_generation(message: pb.GenerateTextResponse) -> Generation:
    """A whole answer."""
    choices = (
        Choice(
            index=choice.index,
            text=choice.text,
            token_ids=tuple(choice.token_ids),
            finish_reason=read_finish_reason(choice.finish_reason) or "",
            logprobs=tuple(_logprob(entry) for entry in choice.logprobs),
            inspections=_inspections(choice.inspections),
        )
        for choice in message.choices
    )
    return Generation(choices=tuple(choices), summary=_summary(message))


def read_token(token: pb.Token) -> Token:
    """One token of a text."""
    return Token(id=token.id, text=token.text, start=token.start, end=token.end)


def read_model(model: pb.Model, *, card: str = "") -> Model:
    """One served model."""
    return Model(
        id=model.id,
        version=model.version,
        is_default=model.is_default,
        is_ready=model.is_ready,
        created=model.created,
        context_tokens=model.context_tokens,
        vocabulary_size=model.vocabulary_size,
        num_parameters=model.num_parameters,
        default_parameters=_parameters(model.default_parameters),
        status=_status(model.status),
        versions=tuple(model.versions),
        refused=tuple(
            RefusedVersion(version=refused.version, reason=refused.reason)
            for refused in model.refused
        ),
        kv_cache_tokens=model.kv_cache_tokens,
        max_running=model.max_running,
        max_queued=model.max_queued,
        max_request_tokens=model.max_request_tokens,
        device=model.device if model.HasField("device") else None,
        dtype=model.dtype if model.HasField("dtype") else None,
        executor=model.executor if model.HasField("executor") else None,
        kind=_kind(model.kind),
        card=card,
    )


def read_finish_reason(number: pb.FinishReason.ValueType) -> str | None:
    """Why a continuation ended, in REST's words; None while it has not."""
    if number == pb.FINISH_REASON_UNSPECIFIED:
        return None
    if number not in pb.FinishReason.values():
        return f"reason_{number}"  # of a later server
    return pb.FinishReason.Name(number).removeprefix("FINISH_REASON_").lower()


def _status(number: pb.ModelStatus.ValueType) -> str:
    if number not in pb.ModelStatus.values():
        return f"status_{number}"  # of a later server
    return pb.ModelStatus.Name(number).removeprefix("MODEL_STATUS_").lower()


def _inspections(messages: Iterable[TokenInspectionMessage]) -> tuple[TokenInspection, ...]:
    return tuple(read_inspection(message_fields(message)) for message in messages)


def _kind(number: pb.ModelKind.ValueType) -> str:
    if number not in pb.ModelKind.values():
        return f"kind_{number}"  # of a later server
    return pb.ModelKind.Name(number).removeprefix("MODEL_KIND_").lower()


def _summary(message: pb.StreamSummary | pb.GenerateTextResponse) -> Summary:
    timings = message.timings
    return Summary(
        id=message.id,
        model=message.model,
        model_version=message.model_version,
        usage=Usage(
            prompt_tokens=message.usage.prompt_tokens,
            completion_tokens=message.usage.completion_tokens,
            total_tokens=message.usage.total_tokens,
        ),
        parameters=_parameters(message.parameters),
        timings=Timings(
            queue_seconds=timings.queue_seconds,
            first_token_seconds=(
                timings.first_token_seconds if timings.HasField("first_token_seconds") else None
            ),
            total_seconds=timings.total_seconds,
        ),
        system_fingerprint=message.system_fingerprint,
    )


def _logprob(entry: pb.TokenLogprob) -> TokenLogprob:
    return TokenLogprob(
        id=entry.id,
        text=entry.text,
        bytes=entry.bytes,
        logprob=entry.logprob if entry.HasField("logprob") else None,
        rank=entry.rank if entry.HasField("rank") else None,
        top=tuple(
            RivalToken(id=rival.id, text=rival.text, bytes=rival.bytes, logprob=rival.logprob)
            for rival in entry.top
        ),
    )


def _fill_parameters(message: pb.SamplingParameters, parameters: SamplingParameters) -> None:
    for name, value in parameters.given().items():
        with values_fit(name, value):
            match name:
                case "stop":
                    message.stop.extend(parameters.stop or ())
                case "stop_token_ids":
                    message.stop_token_ids.extend(parameters.stop_token_ids or ())
                case "logit_bias":
                    message.logit_bias.update(parameters.logit_bias or {})
                case _:
                    setattr(message, name, value)


@contextmanager
def values_fit(name: str, value: object) -> Generator[None, None, None]:
    """Say which field a value does not fit into: protobuf does not.

    Raises:
        InvalidRequestError: It does not.
    """
    try:
        yield
    except (TypeError, ValueError):
        shown = repr(value)[:80]
        raise InvalidRequestError(
            f"{name} does not fit into its field: {shown}",
            facts=ErrorFacts(code="invalid_value", status=400, field=name),
        ) from None


def _parameters(message: pb.SamplingParameters) -> SamplingParameters:
    has = message.HasField
    return SamplingParameters(
        max_tokens=message.max_tokens if has("max_tokens") else None,
        min_tokens=message.min_tokens if has("min_tokens") else None,
        temperature=message.temperature if has("temperature") else None,
        top_k=message.top_k if has("top_k") else None,
        top_p=message.top_p if has("top_p") else None,
        min_p=message.min_p if has("min_p") else None,
        repetition_penalty=message.repetition_penalty if has("repetition_penalty") else None,
        presence_penalty=message.presence_penalty if has("presence_penalty") else None,
        frequency_penalty=message.frequency_penalty if has("frequency_penalty") else None,
        seed=message.seed if has("seed") else None,
        stop=tuple(message.stop),
        stop_token_ids=tuple(message.stop_token_ids),
        n=message.n if has("n") else None,
        logit_bias=dict(message.logit_bias),
        logprobs=message.logprobs if has("logprobs") else None,
        echo=message.echo if has("echo") else None,
        ignore_eos=message.ignore_eos if has("ignore_eos") else None,
    )
