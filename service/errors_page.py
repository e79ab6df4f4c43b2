"""docs/errors.md, made from the table of errors: `python -m service.errors_page` prints it."""

from service.errors import ErrorKind

__all__ = ["errors_page"]

HEAD = """# Errors of the server

Made by `make errors` from `service/errors.py`. Over REST every error has the body
`{"error": {"message", "type", "param", "code"}}`; one that comes after a stream has begun is its
last event, without `[DONE]`. Over gRPC it is a status whose details hold `ErrorInfo` (the code in
upper case as reason), `RequestInfo`, `BadRequest` where a field is at fault, `RetryInfo` where
REST says `Retry-After`, and `QuotaFailure`; they stay below 4 KiB. Messages may change; codes stay.

| Code | When | HTTP | gRPC | Type | Retry |
| --- | --- | --- | --- | --- | --- |
"""

_WHEN = {
    ErrorKind.INVALID_VALUE: "A field is missing, of the wrong type or out of range",
    ErrorKind.INVALID_JSON: "The body is no JSON object",
    ErrorKind.UNSUPPORTED_PARAMETER: "A field is unknown or not offered",
    ErrorKind.CONTEXT_LENGTH_EXCEEDED: "Prompt and `max_tokens` do not fit the model",
    ErrorKind.REQUEST_TOO_LARGE: "The body or message is above 1 MiB",
    ErrorKind.INVALID_HTTP: "What came is no HTTP/1.1 that is read here",
    ErrorKind.HEADERS_TOO_LARGE: "The headers are too many or too long",
    ErrorKind.URL_TOO_LONG: "The URL is too long",
    ErrorKind.REQUEST_TIMEOUT: "The request did not arrive whole in time",
    ErrorKind.UNSUPPORTED_MEDIA_TYPE: "The body is not sent as plain JSON",
    ErrorKind.METHOD_NOT_ALLOWED: "The path is not offered with this method",
    ErrorKind.INVALID_API_KEY: "The key is missing or wrong",
    ErrorKind.UNKNOWN_URL: "There is no such path or method",
    ErrorKind.MODEL_NOT_FOUND: "There is no such model, or no such version of it",
    ErrorKind.SERVER_OVERLOADED: (
        "The queue is full, by requests or by tokens, or unread answers fill their memory"
    ),
    ErrorKind.RATE_LIMIT_EXCEEDED: "The key has used up its share",
    ErrorKind.DEADLINE_EXCEEDED: "The deadline passed before the text was complete",
    ErrorKind.CANCELLED: "The client left; in log and metrics only",
    ErrorKind.MODEL_LOADING: "The model is being loaded",
    ErrorKind.DRAINING: "The server is shutting down",
    ErrorKind.TOO_MANY_CONNECTIONS: "Too many connections are open",
    ErrorKind.ENGINE_UNAVAILABLE: "The engine was lost and is being restarted",
    ErrorKind.READER_TOO_SLOW: (
        "A stream was not read for 30 seconds, or a whole answer over gRPC more slowly than that "
        "and 100 KiB a second"
    ),
    ErrorKind.NUMERICAL_ERROR: "The model's numbers became unusable for this request",
    ErrorKind.INTERNAL_ERROR: "A fault of the server",
}


def errors_page() -> str:
    """The whole page."""
    return HEAD + "".join(
        f"| `{kind.code}` | {_WHEN[kind]} | {kind.http_status} | {kind.grpc_status} "
        f"| `{kind.error_type}` | {'yes' if kind.is_retryable else 'no'} |\n"
        for kind in ErrorKind
    )


if __name__ == "__main__":
    print(errors_page(), end="")
