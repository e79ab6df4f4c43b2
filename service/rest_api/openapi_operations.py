"""What one operation of the OpenAPI page looks like: its body, its answers and its errors."""

from service.errors import ErrorKind
from service.rest_api.openapi_answers import reference
from service.rest_api.openapi_requests import Schema

__all__ = [
    "ANYWHERE",
    "OF_BODIES",
    "OF_GENERATION",
    "event_content",
    "get_operation",
    "json_content",
    "post_operation",
    "probe_operation",
]

_PROBE_CODES = {"200": "It is.", "503": "It is not; the status says why."}
# What the server may answer to whatever is asked of it.
ANYWHERE = (
    ErrorKind.INVALID_HTTP,
    ErrorKind.INVALID_VALUE,
    ErrorKind.INVALID_API_KEY,
    ErrorKind.UNKNOWN_URL,
    ErrorKind.METHOD_NOT_ALLOWED,
    ErrorKind.REQUEST_TIMEOUT,
    ErrorKind.URL_TOO_LONG,
    ErrorKind.HEADERS_TOO_LARGE,
    ErrorKind.INTERNAL_ERROR,
    ErrorKind.TOO_MANY_CONNECTIONS,
)
OF_BODIES = (
    *ANYWHERE,
    ErrorKind.INVALID_JSON,
    ErrorKind.UNSUPPORTED_PARAMETER,
    ErrorKind.REQUEST_TOO_LARGE,
    ErrorKind.UNSUPPORTED_MEDIA_TYPE,
    ErrorKind.MODEL_NOT_FOUND,
)
OF_GENERATION = (
    *OF_BODIES,
    ErrorKind.CONTEXT_LENGTH_EXCEEDED,
    ErrorKind.SERVER_OVERLOADED,
    ErrorKind.DEADLINE_EXCEEDED,
    ErrorKind.READER_TOO_SLOW,
    ErrorKind.MODEL_LOADING,
    ErrorKind.DRAINING,
    ErrorKind.ENGINE_UNAVAILABLE,
    ErrorKind.NUMERICAL_ERROR,
)


def json_content(schema: Schema, **more: object) -> Schema:
    """A JSON body of a schema."""
    return {"application/json": {"schema": schema, **more}}


def _errors(kinds: tuple[ErrorKind, ...]) -> Schema:
    responses: Schema = {}
    for status in sorted({kind.http_status for kind in kinds}):
        codes = [kind.code for kind in kinds if kind.http_status == status]
        responses[str(status)] = {
            "description": "Codes: " + ", ".join(codes) + ".",
            "content": json_content(reference("Error")),
        }
    return responses


def post_operation(
    tag: str,
    summary: str,
    *,
    body: Schema,
    examples: dict[str, Schema],
    content: Schema,
    headers: Schema | None = None,
    errors: tuple[ErrorKind, ...] = OF_BODIES,
) -> Schema:
    """A route that answers a JSON body."""
    named = {name: {"value": example} for name, example in examples.items()}
    answer: Schema = {"description": "It is done.", "content": content}
    if headers is not None:
        answer["headers"] = headers
    return {
        "tags": [tag],
        "summary": summary,
        "requestBody": {"required": True, "content": json_content(body, examples=named)},
        "responses": {"200": answer, **_errors(errors)},
    }


def get_operation(
    tag: str,
    summary: str,
    *,
    content: Schema,
    parameters: list[Schema] | None = None,
    errors: tuple[ErrorKind, ...] = ANYWHERE,
) -> Schema:
    """A route that is only asked."""
    operation: Schema = {
        "tags": [tag],
        "summary": summary,
        "responses": {"200": {"description": "It is here.", "content": content}, **_errors(errors)},
    }
    if parameters is not None:
        operation["parameters"] = parameters
    return operation


def probe_operation(summary: str) -> Schema:
    """A route of probes."""
    answers: Schema = {
        code: {"description": description, "content": json_content(reference("Probe"))}
        for code, description in _PROBE_CODES.items()
    }
    return {"tags": ["operation"], "summary": summary, "security": [], "responses": answers}


def event_content(whole: str, event: str) -> Schema:
    """A body in one, or events whose data are objects of a schema of their own."""
    told: Schema = {"anyOf": [reference(event), reference("Error")]}
    return {
        **json_content(reference(whole)),
        # Before OpenAPI 3.2 the schema of this media type is that of one event.
        "text/event-stream": {
            "schema": {
                "type": "object",
                "properties": {
                    "data": {
                        "type": "string",
                        "description": f"{event}s, then [DONE]; or an Error and nothing more.",
                        "anyOf": [
                            {"contentMediaType": "application/json", "contentSchema": told},
                            {"const": "[DONE]"},
                        ],
                    },
                },
                "required": ["data"],
            },
        },
    }
