"""JSON messages of the native routes to and from the core's values."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import msgspec

from service.errors import RequestError
from service.generation import GenerationRequest, Summary, TextPiece, TokenReport
from service.parameters import RequestedParameters
from service.rest_api.bodies import JsonFields
from service.rest_api.inspection_messages import inspection_object, raw_list, read_inspect
from service.rest_api.prompt_batch import BatchPiece
from service.tokenization import TextToken

__all__ = [
    "NativeAnswer",
    "encode_tokens",
    "read_generate_body",
    "read_parameters",
]

# A millisecond of work.
TOKENS_PER_SLICE = 4096


@dataclass(frozen=True, slots=True)
class NativeAnswer:
    """How one body of /v1/generate is answered."""

    request: GenerationRequest
    is_streamed: bool

    @property
    def requests(self) -> tuple[GenerationRequest, ...]:
        """The one prompt."""
        return (self.request,)

    @property
    def headers(self) -> Mapping[str, str]:
        """None beside the usual."""
        return {}

    def restate(self, error: RequestError) -> RequestError:
        """As it is: the core's words are this route's."""
        return error

    def event(self, piece: BatchPiece) -> object:
        """The piece as an event; the last one says how the request ended and what it used."""
        told = piece.piece
        event: dict[str, object] = {
            "index": told.choice,
            "text": told.text,
            "token_ids": told.token_ids,
        }
        if told.is_prompt:
            event["is_prompt"] = True
        if told.reports:
            event["logprobs"] = [_report_object(report) for report in told.reports]
        if told.inspections:
            event["inspections"] = [inspection_object(each) for each in told.inspections]
        if told.finish_reason is not None:
            event["finish_reason"] = told.finish_reason
        if told.summary is not None:
            event |= _summary_object(told.summary)
        return event

    def last_events(self) -> tuple[object, ...]:
        """None: the last piece says it all."""
        return ()

    def whole(self, pieces: list[BatchPiece]) -> object:
        """The whole answer."""
        return _generation_object([piece.piece for piece in pieces])


def read_generate_body(values: Mapping[str, object]) -> NativeAnswer:
    """Read the fields of /v1/generate.

    Raises:
        RequestError: A field is unknown or of the wrong type.
    """
    fields = JsonFields(values)
    answer = NativeAnswer(
        request=GenerationRequest(
            model=fields.string("model"),
            prompt=fields.string("prompt"),
            prompt_ids=fields.integers("prompt_ids"),
            parameters=read_parameters(fields),
            timeout_seconds=fields.number("timeout_seconds"),
            parse_special_tokens=fields.boolean("parse_special_tokens") or False,
            inspect=read_inspect(fields),
        ),
        is_streamed=fields.boolean("stream") or False,
    )
    fields.finish()
    return answer


def read_parameters(fields: JsonFields) -> RequestedParameters:
    """The parameters that every generating route has, under their one name.

    Raises:
        RequestError: One is of the wrong type.
    """
    return RequestedParameters(
        max_tokens=fields.integer("max_tokens"),
        min_tokens=fields.integer("min_tokens"),
        temperature=fields.number("temperature"),
        top_k=fields.integer("top_k"),
        top_p=fields.number("top_p"),
        min_p=fields.number("min_p"),
        repetition_penalty=fields.number("repetition_penalty"),
        presence_penalty=fields.number("presence_penalty"),
        frequency_penalty=fields.number("frequency_penalty"),
        seed=fields.integer("seed"),
        stop=fields.strings("stop"),
        stop_token_ids=fields.integers("stop_token_ids"),
        n=fields.integer("n"),
        logit_bias=fields.biases("logit_bias"),
        logprobs=fields.integer("logprobs"),
        echo=fields.boolean("echo"),
        ignore_eos=fields.boolean("ignore_eos"),
    )


def _generation_object(pieces: list[TextPiece]) -> dict[str, object]:
    """The whole answer, from all pieces of the stream."""
    summary = pieces[-1].summary
    assert summary is not None
    values = _summary_object(summary)
    choices: list[list[TextPiece]] = [[] for _ in range(summary.parameters.n)]
    for piece in pieces:
        choices[piece.choice].append(piece)
    return {
        "id": values.pop("id"),
        "model": values.pop("model"),
        "model_version": values.pop("model_version"),
        "choices": [_choice_object(index, parts) for index, parts in enumerate(choices)],
        **values,
    }


def _choice_object(index: int, pieces: list[TextPiece]) -> dict[str, object]:
    choice: dict[str, object] = {
        "index": index,
        "text": "".join(piece.text for piece in pieces),
        "token_ids": [token_id for piece in pieces for token_id in piece.token_ids],
        "finish_reason": pieces[-1].finish_reason,
    }
    reports = [report for piece in pieces for report in piece.reports]
    if reports:
        choice["logprobs"] = raw_list(map(_report_object, reports))
    inspections = [each for piece in pieces for each in piece.inspections]
    if inspections:
        choice["inspections"] = raw_list(map(inspection_object, inspections))
    return choice


def _report_object(report: TokenReport) -> dict[str, object]:
    return {
        **_token_object(report.token_id, report.bytes, report.logprob),
        "rank": report.rank,
        "top": [_token_object(*rival) for rival in report.top],
    }


def _token_object(token_id: int, data: bytes, logprob: float | None) -> dict[str, object]:
    return {
        "id": token_id,
        # A part of a character shows as U+FFFD; its bytes tell which part.
        "text": data.decode("utf-8", "replace"),
        "bytes": list(data),
        "logprob": logprob,
    }


def _summary_object(summary: Summary) -> dict[str, object]:
    usage = summary.usage
    return {
        "id": summary.id,
        "model": summary.model,
        "model_version": summary.model_version,
        "system_fingerprint": summary.system_fingerprint,
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.total_tokens,
        },
        "parameters": asdict(summary.parameters),
        "timings": asdict(summary.timings),
    }


def encode_tokens(tokens: Sequence[TextToken]) -> bytes:
    """The answer of /v1/tokenize; runs beside the event loop.

    A text may have a million tokens. Written in one go they would hold the interpreter, and with it
    every stream, for as long as that takes.
    """
    slices = (
        msgspec.json.encode(tokens[start : start + TOKENS_PER_SLICE])[1:-1]
        for start in range(0, len(tokens), TOKENS_PER_SLICE)
    )
    return b'{"count":%d,"tokens":[%b]}' % (len(tokens), b",".join(slices))
