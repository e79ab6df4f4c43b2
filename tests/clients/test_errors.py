"""Every row of the server's table arrives as the same typed error over both protocols."""

from dataclasses import replace
from typing import cast

import grpc
import msgspec
import pytest
from nextword import InvalidRequestError, NotFoundError, OverloadedError, UnavailableError
from nextword.errors import ERROR_ROWS, ErrorFacts, status_error
from nextword.grpc_errors import DETAILS_KEY
from nextword.grpc_errors import read_error as read_grpc_error
from nextword.rest_messages import read_error as read_rest_error

from service.errors import ErrorKind, RequestError
from service.grpc_api.errors import status_metadata
from service.rest_api.errors import error_body, error_headers

# Told to nobody: whoever could read it has left.
ROWS = [kind for kind in ErrorKind if kind is not ErrorKind.CANCELLED]


@pytest.mark.parametrize("kind", ROWS, ids=lambda kind: cast("ErrorKind", kind).code)
def test_every_row_is_known_here(kind: ErrorKind) -> None:
    row = ERROR_ROWS[kind.code]
    assert row.status == kind.http_status
    assert row.is_retryable == kind.is_retryable


@pytest.mark.parametrize("kind", ROWS, ids=lambda kind: cast("ErrorKind", kind).code)
def test_every_row_arrives_the_same_over_both_protocols(kind: ErrorKind) -> None:
    told = RequestError(
        kind,
        "what is wrong",
        field="top_k",
        retry_after_seconds=3 if kind.is_retryable else None,
    )
    body = msgspec.json.encode(error_body(told))
    headers = {name.lower(): value for name, value in error_headers(told).items()}
    over_rest = read_rest_error(kind.http_status, body, headers | {"x-request-id": "id-1"})
    ((key, details),) = status_metadata(told, request_id="id-1")
    assert key == DETAILS_KEY
    over_grpc = read_grpc_error(
        grpc.StatusCode[kind.grpc_status], told.message, details, request_id=None
    )
    assert type(over_rest) is type(over_grpc) is ERROR_ROWS[kind.code].error
    assert over_rest.is_retryable is over_grpc.is_retryable is kind.is_retryable
    # Only REST has a header for it.
    assert replace(over_rest.facts, should_retry=None) == over_grpc.facts
    assert str(over_rest) == str(over_grpc) == "what is wrong"
    assert over_rest.retry_after_seconds == (3 if kind.is_retryable else None)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, InvalidRequestError),
        (404, NotFoundError),
        (429, OverloadedError),
        (503, UnavailableError),
    ],
)
def test_a_code_of_a_later_server_has_the_class_of_its_status(
    status: int, error: type[Exception]
) -> None:
    facts = ErrorFacts(code="invented_later", status=status)
    assert type(status_error("?", facts=facts)) is error


@pytest.mark.parametrize(
    "body",
    [
        b"<html>bad gateway</html>",
        b'{"detail": "Not Found"}',
        b'{"error": "a bare string"}',
        b'{"error": {"message": "no", "code": 503}}',
        b"",
    ],
)
def test_an_error_in_another_shape_keeps_its_status(body: bytes) -> None:
    error = read_rest_error(503, body, {"retry-after": "7"})
    assert isinstance(error, UnavailableError)
    assert (error.code, error.status, error.retry_after_seconds) == ("http_503", 503, 7)
    assert error.is_retryable
