"""Protobuf messages to and from the core's values."""

from collections.abc import Iterable, Sequence

from nextword.v1 import text_generation_pb2 as pb

from service.generation import FinishReason, GenerationRequest, Summary, TextPiece, TokenReport
from service.model_facts import ModelFacts
from service.parameters import EffectiveParameters, RequestedParameters
from service.tokenization import TextToken

__all__ = [
    "generate_response",
    "model_message",
    "read_generation_request",
    "stream_response",
    "tokenize_response",
]

_FINISH_REASONS = {
    FinishReason.END_OF_TEXT: pb.FINISH_REASON_END_OF_TEXT,
    FinishReason.STOP: pb.FINISH_REASON_STOP,
    FinishReason.LENGTH: pb.FINISH_REASON_LENGTH,
}

_STATUSES = {
    "ready": pb.MODEL_STATUS_READY,
    "loading": pb.MODEL_STATUS_LOADING,
    "restarting": pb.MODEL_STATUS_RESTARTING,
    "stopped": pb.MODEL_STATUS_STOPPED,
}


def read_generation_request(
    message: pb.GenerateTextRequest | pb.StreamGenerateTextRequest, *, deadline: float | None
) -> GenerationRequest:
    """What a client asked; ``deadline`` is the call's own, in `time.monotonic` seconds."""
    given = message.WhichOneof("input")
    return GenerationRequest(
        model=message.model if message.HasField("model") else None,
        prompt=message.prompt if given == "prompt" else None,
        prompt_ids=tuple(message.prompt_ids.ids) if given == "prompt_ids" else None,
        parameters=_read_parameters(message.parameters),
        timeout_seconds=message.timeout_seconds if message.HasField("timeout_seconds") else None,
        parse_special_tokens=message.parse_special_tokens,
        deadline=deadline,
    )


def _read_parameters(given: pb.SamplingParameters) -> RequestedParameters:
    return RequestedParameters(
        max_tokens=given.max_tokens if given.HasField("max_tokens") else None,
        min_tokens=given.min_tokens if given.HasField("min_tokens") else None,
        temperature=given.temperature if given.HasField("temperature") else None,
        top_k=given.top_k if given.HasField("top_k") else None,
        top_p=given.top_p if given.HasField("top_p") else None,
        min_p=given.min_p if given.HasField("min_p") else None,
        repetition_penalty=(
            given.repetition_penalty if given.HasField("repetition_penalty") else None
        ),
        presence_penalty=given.presence_penalty if given.HasField("presence_penalty") else None,
        frequency_penalty=given.frequency_penalty if given.HasField("frequency_penalty") else None,
        seed=given.seed if given.HasField("seed") else None,
        stop=tuple(given.stop) or None,
        stop_token_ids=tuple(given.stop_token_ids) or None,
        n=given.n if given.HasField("n") else None,
        logit_bias=dict(given.logit_bias) or None,
        logprobs=given.logprobs if given.HasField("logprobs") else None,
        echo=given.echo if given.HasField("echo") else None,
        ignore_eos=given.ignore_eos if given.HasField("ignore_eos") else None,
    )


def stream_response(piece: TextPiece) -> pb.StreamGenerateTextResponse:
    """One message of a stream."""
    response = pb.StreamGenerateTextResponse(
        index=piece.choice,
        text=piece.text,
        token_ids=piece.token_ids,
        logprobs=[_logprob(report) for report in piece.reports],
        is_prompt=piece.is_prompt,
    )
    if piece.finish_reason is not None:
        response.finish_reason = _FINISH_REASONS[piece.finish_reason]
    if piece.summary is not None:
        summary = piece.summary
        response.summary.CopyFrom(
            pb.StreamSummary(
                id=summary.id,
                model=summary.model,
                model_version=summary.model_version,
                usage=_usage(summary),
                parameters=_parameters(summary.parameters, with_seed=True),
                timings=_timings(summary),
                system_fingerprint=summary.system_fingerprint,
            )
        )
    return response


def generate_response(pieces: Iterable[TextPiece]) -> pb.GenerateTextResponse:
    """The whole answer: the pieces of a stream put together, choice by choice."""
    choices: dict[int, pb.Choice] = {}
    texts: dict[int, list[str]] = {}
    response = pb.GenerateTextResponse()
    for piece in pieces:
        choice = choices.setdefault(piece.choice, pb.Choice(index=piece.choice))
        texts.setdefault(piece.choice, []).append(piece.text)
        choice.token_ids.extend(piece.token_ids)
        choice.logprobs.extend(_logprob(report) for report in piece.reports)
        if piece.finish_reason is not None:
            choice.finish_reason = _FINISH_REASONS[piece.finish_reason]
        if piece.summary is not None:
            summary = piece.summary
            response = pb.GenerateTextResponse(
                id=summary.id,
                model=summary.model,
                model_version=summary.model_version,
                usage=_usage(summary),
                parameters=_parameters(summary.parameters, with_seed=True),
                timings=_timings(summary),
                system_fingerprint=summary.system_fingerprint,
            )
    for index in sorted(choices):
        choices[index].text = "".join(texts[index])
        response.choices.append(choices[index])
    return response


def model_message(facts: ModelFacts) -> pb.Model:
    """A served model."""
    return pb.Model(
        id=facts.id,
        version=facts.version,
        is_default=facts.is_default,
        is_ready=facts.is_ready,
        created=facts.created,
        context_tokens=facts.context_tokens,
        vocabulary_size=facts.vocabulary_size,
        num_parameters=facts.num_parameters,
        default_parameters=_parameters(facts.default_parameters, with_seed=False),
        status=_STATUSES[facts.status],
        versions=facts.versions,
        refused=[
            pb.RefusedVersion(version=each.version, reason=each.reason) for each in facts.refused
        ],
        kv_cache_tokens=facts.kv_cache_tokens,
        max_running=facts.max_running,
        max_queued=facts.max_queued,
        max_request_tokens=facts.max_request_tokens,
        device=facts.device,
        dtype=facts.dtype,
        executor=facts.executor,
    )


def tokenize_response(tokens: Sequence[TextToken]) -> pb.TokenizeResponse:
    """The tokens of a text."""
    return pb.TokenizeResponse(
        count=len(tokens),
        tokens=(
            pb.Token(id=token.id, text=token.text, start=token.start, end=token.end)
            for token in tokens
        ),
    )


def _logprob(report: TokenReport) -> pb.TokenLogprob:
    return pb.TokenLogprob(
        id=report.token_id,
        text=report.bytes.decode("utf-8", "replace"),
        bytes=report.bytes,
        logprob=report.logprob,
        rank=report.rank,
        top=[
            pb.RivalToken(
                id=token_id, text=data.decode("utf-8", "replace"), bytes=data, logprob=logprob
            )
            for token_id, data, logprob in report.top
        ],
    )


def _usage(summary: Summary) -> pb.Usage:
    usage = summary.usage
    return pb.Usage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.total_tokens,
    )


def _timings(summary: Summary) -> pb.Timings:
    timings = summary.timings
    return pb.Timings(
        queue_seconds=timings.queue_seconds,
        first_token_seconds=timings.first_token_seconds,
        total_seconds=timings.total_seconds,
    )


def _parameters(parameters: EffectiveParameters, *, with_seed: bool) -> pb.SamplingParameters:
    return pb.SamplingParameters(
        max_tokens=parameters.max_tokens,
        min_tokens=parameters.min_tokens,
        temperature=parameters.temperature,
        top_k=parameters.top_k,
        top_p=parameters.top_p,
        min_p=parameters.min_p,
        repetition_penalty=parameters.repetition_penalty,
        presence_penalty=parameters.presence_penalty,
        frequency_penalty=parameters.frequency_penalty,
        seed=parameters.seed if with_seed else None,
        stop=parameters.stop,
        stop_token_ids=parameters.stop_token_ids,
        n=parameters.n,
        logit_bias=parameters.logit_bias,
        logprobs=parameters.logprobs,
        echo=parameters.echo,
        ignore_eos=parameters.ignore_eos,
    )
