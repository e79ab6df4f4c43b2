"""REST's JSON to and from the client's values; knows no network library."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

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
from nextword.errors import (
    ErrorFacts,
    ProtocolError,
    StatusError,
    status_error,
    status_of,
)
from nextword.inspection_fields import read_inspections
from nextword.json_fields import JsonFields, read_json_object
from nextword.parameter_fields import parameter_body, read_parameters
from nextword.request import GenerationRequest

__all__ = [
    "raise_error_event",
    "read_error",
    "read_generation",
    "read_model",
    "read_piece",
    "read_tokens",
    "request_body",
]


def request_body(request: GenerationRequest, *, is_streamed: bool) -> dict[str, object]:
    """The body of /v1/generate.

    Raises:
        InvalidRequestError: A number is none that JSON has.
    """
    prompt = request.prompt
    body = parameter_body(request.parameters)
    body |= {"prompt": prompt} if isinstance(prompt, str) else {"prompt_ids": list(prompt)}
    if request.model is not None:
        body["model"] = request.model
    if request.parse_special_tokens:
        body["parse_special_tokens"] = True
    if request.inspect is not None:
        body["inspect"] = asdict(request.inspect)
    if is_streamed:
        body["stream"] = True
    return body | {"timeout_seconds": request.timeout_seconds}


def read_piece(payload: bytes) -> TextPiece:
    """One event of a stream.

    Raises:
        StatusError: The event is the error that ends the stream.
        ProtocolError: It is no event of ours.
    """
    event = read_json_object(payload)
    raise_error_event(event)
    return TextPiece(
        index=event.integer("index"),
        text=event.text("text"),
        token_ids=event.integers("token_ids"),
        finish_reason=event.optional_text("finish_reason"),
        summary=_summary(event) if event.has("usage") else None,
        is_prompt=event.optional_boolean("is_prompt") or False,
        logprobs=_logprobs(event),
        inspections=read_inspections(event),
    )


def raise_error_event(event: JsonFields) -> None:
    """Raise the error that an event of a stream tells, if it tells one.

    Raises:
        StatusError: It does.
    """
    if event.has("error"):
        raise _error(event.object("error"), status=None, headers={})


def read_generation(body: bytes) -> Generation:
    """A whole answer of /v1/generate.

    Raises:
        ProtocolError: It is none.
    """
    answer = read_json_object(body)
    choices = (
        Choice(
            index=choice.integer("index"),
            text=choice.text("text"),
            token_ids=choice.integers("token_ids"),
            finish_reason=choice.text("finish_reason"),
            logprobs=_logprobs(choice),
            inspections=read_inspections(choice),
        )
        for choice in answer.objects("choices")
    )
    return Generation(choices=tuple(choices), summary=_summary(answer))


def read_tokens(body: bytes) -> tuple[Token, ...]:
    """An answer of /v1/tokenize.

    Raises:
        ProtocolError: It is none.
    """
    return tuple(
        Token(
            id=token.integer("id"),
            text=token.text("text"),
            start=token.integer("start"),
            end=token.integer("end"),
        )
        for token in read_json_object(body).objects("tokens")
    )


def read_model(model: JsonFields) -> Model:
    """One object of /v1/models.

    Raises:
        ProtocolError: It is none of ours.
    """
    return Model(
        id=model.text("id"),
        version=model.text("version"),
        is_default=model.boolean("is_default"),
        is_ready=model.boolean("is_ready"),
        created=model.integer("created"),
        context_tokens=model.integer("context_tokens"),
        vocabulary_size=model.integer("vocabulary_size"),
        num_parameters=model.integer("num_parameters"),
        default_parameters=read_parameters(model.object("default_parameters")),
        status=model.text("status"),
        versions=model.texts("versions"),
        refused=tuple(
            RefusedVersion(version=refused.text("version"), reason=refused.text("reason"))
            for refused in model.objects("refused")
        ),
        kv_cache_tokens=model.integer("kv_cache_tokens"),
        max_running=model.integer("max_running"),
        max_queued=model.integer("max_queued"),
        max_request_tokens=model.integer("max_request_tokens"),
        device=model.optional_text("device"),
        dtype=model.optional_text("dtype"),
        executor=model.optional_text("executor"),
        kind=model.text("kind"),
        card=model.optional_text("card") or "",
    )


def read_error(status: int, body: bytes, headers: Mapping[str, str]) -> StatusError:
    """The error in an answer that is not a success; other people's servers shape it otherwise."""
    try:
        return _error(read_json_object(body).object("error"), status=status, headers=headers)
    except ProtocolError:
        facts = ErrorFacts(
            code=f"http_{status}",
            status=status,
            retry_after_seconds=_seconds(headers.get("retry-after")),
            request_id=headers.get("x-request-id"),
            should_retry=_should_retry(headers),
        )
        return status_error(f"the server answered with HTTP status {status}", facts=facts)


def _error(error: JsonFields, *, status: int | None, headers: Mapping[str, str]) -> StatusError:
    try:
        code = error.text("code")
    except ProtocolError:
        # vLLM and llama.cpp send the status as a number here.
        code = f"http_{status or 500}"
    # Within a stream there is no status of its own: the code's row has it.
    facts = ErrorFacts(
        code=code,
        status=status_of(code, otherwise=500) if status is None else status,
        field=error.optional_text("param"),
        retry_after_seconds=_seconds(headers.get("retry-after")),
        request_id=headers.get("x-request-id"),
        should_retry=_should_retry(headers),
        metadata=error.other_facts("message", "type", "param", "code"),
    )
    return status_error(error.text("message"), facts=facts)


def _seconds(value: str | None) -> float | None:
    """Retry-After: seconds, as our servers send it, or a date, as a proxy may."""
    if value is None or value.isdecimal():
        return None if value is None else float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    if date.tzinfo is None:
        return None
    return max((date - datetime.now(UTC)).total_seconds(), 0.0)


def _should_retry(headers: Mapping[str, str]) -> bool | None:
    return {"true": True, "false": False}.get(headers.get("x-should-retry", ""))


def _summary(values: JsonFields) -> Summary:
    usage, timings = values.object("usage"), values.object("timings")
    return Summary(
        id=values.text("id"),
        model=values.text("model"),
        model_version=values.text("model_version"),
        usage=Usage(
            prompt_tokens=usage.integer("prompt_tokens"),
            completion_tokens=usage.integer("completion_tokens"),
            total_tokens=usage.integer("total_tokens"),
        ),
        parameters=read_parameters(values.object("parameters")),
        timings=Timings(
            queue_seconds=timings.number("queue_seconds"),
            first_token_seconds=timings.optional_number("first_token_seconds"),
            total_seconds=timings.number("total_seconds"),
        ),
        system_fingerprint=values.optional_text("system_fingerprint") or "",
    )


def _logprobs(values: JsonFields) -> tuple[TokenLogprob, ...]:
    if not values.has("logprobs"):
        return ()
    return tuple(
        TokenLogprob(
            id=entry.integer("id"),
            text=entry.text("text"),
            bytes=bytes(entry.integers("bytes")),
            logprob=entry.optional_number("logprob"),
            rank=entry.optional_integer("rank"),
            top=tuple(
                RivalToken(
                    id=rival.integer("id"),
                    text=rival.text("text"),
                    bytes=bytes(rival.integers("bytes")),
                    logprob=rival.number("logprob"),
                )
                for rival in entry.objects("top")
            ),
        )
        for entry in values.objects("logprobs")
    )
