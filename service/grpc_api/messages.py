"""Protobuf messages to and from the core's values."""

import functools
import itertools
from collections import defaultdict
from collections.abc import Sequence

from nextword.v1 import text_generation_pb2 as pb

from service.engine.messages import ModelKind
from service.generation import FinishReason, GenerationRequest, Summary, TextPiece, TokenReport
from service.grpc_api.inspection_messages import inspection_message, read_inspect
from service.grpc_api.parameter_messages import parameters_message, read_parameters
from service.models.model_facts import ModelFacts
from service.tokenization import TextToken

__all__ = [
    "MODEL_KINDS",
    "encode_generation",
    "encode_piece",
    "encode_tokens",
    "model_message",
    "read_generation_request",
    "stream_response",
]

# A millisecond of work. The library holds the interpreter, and with it every stream, for as long as
# it writes one message; messages of one type written one after the other are one message.
ITEMS_PER_SLICE = 1024
_LENGTH_DELIMITED = 2

_FINISH_REASONS = {
    FinishReason.END_OF_TEXT: pb.FINISH_REASON_END_OF_TEXT,
    FinishReason.STOP: pb.FINISH_REASON_STOP,
    FinishReason.LENGTH: pb.FINISH_REASON_LENGTH,
}

MODEL_KINDS = {
    ModelKind.TRANSFORMER: pb.MODEL_KIND_TRANSFORMER,
    ModelKind.NGRAM: pb.MODEL_KIND_NGRAM,
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
        parameters=read_parameters(message.parameters),
        timeout_seconds=message.timeout_seconds if message.HasField("timeout_seconds") else None,
        parse_special_tokens=message.parse_special_tokens,
        deadline=deadline,
        inspect=read_inspect(message.inspect) if message.HasField("inspect") else None,
    )


def encode_piece(piece: TextPiece) -> bytes:
    """One message of a stream, a StreamGenerateTextResponse as the wire has it.

    Nearly all hold a text and its tokens and nothing else. Those are written here: making and
    encoding a message of the library costs as much as all else that is done for a token.
    """
    is_plain = piece.finish_reason is None and not piece.is_prompt
    if not is_plain or piece.reports or piece.inspections or piece.choice:
        return stream_response(piece).SerializeToString()
    text = piece.text.encode()
    token_ids = b"".join(map(_token_varint, piece.token_ids))
    return b"%b%b" % (
        b"%b%b%b" % (_TEXT_TAG, _token_varint(len(text)), text) if text else b"",
        b"%b%b%b" % (_TOKENS_TAG, _token_varint(len(token_ids)), token_ids) if token_ids else b"",
    )


def stream_response(piece: TextPiece) -> pb.StreamGenerateTextResponse:
    """The same as a message of the library."""
    response = pb.StreamGenerateTextResponse(
        index=piece.choice,
        text=piece.text,
        token_ids=piece.token_ids,
        is_prompt=piece.is_prompt,
    )
    if piece.reports:
        response.logprobs.extend(_logprob(report) for report in piece.reports)
    if piece.inspections:
        response.inspections.extend(inspection_message(each) for each in piece.inspections)
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
                parameters=parameters_message(summary.parameters),
                timings=_timings(summary),
                system_fingerprint=summary.system_fingerprint,
            )
        )
    return response


def encode_generation(pieces: Sequence[TextPiece]) -> bytes:
    """The whole answer, a GenerateTextResponse: the pieces of a stream, choice by choice."""
    summary = pieces[-1].summary
    assert summary is not None
    head = pb.GenerateTextResponse(
        id=summary.id,
        model=summary.model,
        model_version=summary.model_version,
        usage=_usage(summary),
        parameters=parameters_message(summary.parameters),
        timings=_timings(summary),
        system_fingerprint=summary.system_fingerprint,
    )
    choices: defaultdict[int, list[TextPiece]] = defaultdict(list)
    for piece in pieces:
        choices[piece.choice].append(piece)
    encoded = [_encode_choice(index, choices[index]) for index in sorted(choices)]
    tag = _varint(pb.GenerateTextResponse.CHOICES_FIELD_NUMBER << 3 | _LENGTH_DELIMITED)
    parts = [part for choice in encoded for part in (tag, _varint(len(choice)), choice)]
    return b"".join([head.SerializeToString(), *parts])


def _encode_choice(index: int, pieces: Sequence[TextPiece]) -> bytes:
    reason = pieces[-1].finish_reason
    choice = pb.Choice(
        index=index,
        text="".join(piece.text for piece in pieces),
        token_ids=[token_id for piece in pieces for token_id in piece.token_ids],
    )
    if reason is not None:
        choice.finish_reason = _FINISH_REASONS[reason]
    reports = [report for piece in pieces for report in piece.reports]
    # A report has up to twenty rivals.
    step = ITEMS_PER_SLICE // 16
    slices = (
        pb.Choice(logprobs=[_logprob(report) for report in reports[start : start + step]])
        for start in range(0, len(reports), step)
    )
    inspections = (
        pb.Choice(inspections=[inspection_message(each)])
        for piece in pieces
        for each in piece.inspections
    )
    parts = (part.SerializeToString() for part in itertools.chain(slices, inspections))
    return b"".join([choice.SerializeToString(), *parts])


def _varint(number: int) -> bytes:
    """A number as the wire has it: seven bits a byte, the lowest first."""
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)


# Of every token in a vocabulary that is not very large.
_token_varint = functools.lru_cache(maxsize=1 << 16)(_varint)
_TEXT_TAG, _TOKENS_TAG = (
    _varint(number << 3 | _LENGTH_DELIMITED)
    for number in (
        pb.StreamGenerateTextResponse.TEXT_FIELD_NUMBER,
        pb.StreamGenerateTextResponse.TOKEN_IDS_FIELD_NUMBER,
    )
)


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
        default_parameters=parameters_message(facts.default_parameters, with_seed=False),
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
        kind=MODEL_KINDS[facts.kind],
    )


def encode_tokens(tokens: Sequence[TextToken]) -> bytes:
    """The tokens of a text, a TokenizeResponse; runs beside the event loop."""
    slices = (
        pb.TokenizeResponse(
            tokens=[
                pb.Token(id=token.id, text=token.text, start=token.start, end=token.end)
                for token in tokens[start : start + ITEMS_PER_SLICE]
            ]
        )
        for start in range(0, len(tokens), ITEMS_PER_SLICE)
    )
    head = pb.TokenizeResponse(count=len(tokens))
    return b"".join([head.SerializeToString(), *(part.SerializeToString() for part in slices)])


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
