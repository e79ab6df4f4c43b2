"""The one table of errors: both columns of every row, and how gRPC carries it."""

from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from service.errors import ErrorKind, RequestError, invalid_value
from service.errors_page import errors_page
from service.grpc_api.errors import MAX_DETAILS_BYTES, status_metadata
from service.rest_api.errors import error_body, error_headers

# hazards.md, "Errors, one table for both protocols", row by row.
TABLE = {
    "invalid_value": (400, "INVALID_ARGUMENT", "invalid_request_error", False),
    "invalid_json": (400, "INVALID_ARGUMENT", "invalid_request_error", False),
    "unsupported_parameter": (400, "INVALID_ARGUMENT", "invalid_request_error", False),
    "context_length_exceeded": (400, "INVALID_ARGUMENT", "invalid_request_error", False),
    "invalid_http": (400, "INVALID_ARGUMENT", "invalid_request_error", False),
    "request_too_large": (413, "RESOURCE_EXHAUSTED", "invalid_request_error", False),
    "headers_too_large": (431, "RESOURCE_EXHAUSTED", "invalid_request_error", False),
    "url_too_long": (414, "RESOURCE_EXHAUSTED", "invalid_request_error", False),
    "unsupported_media_type": (415, "INVALID_ARGUMENT", "invalid_request_error", False),
    "method_not_allowed": (405, "UNIMPLEMENTED", "invalid_request_error", False),
    "invalid_api_key": (401, "UNAUTHENTICATED", "authentication_error", False),
    "model_not_found": (404, "NOT_FOUND", "not_found_error", False),
    "unknown_url": (404, "UNIMPLEMENTED", "not_found_error", False),
    "server_overloaded": (429, "RESOURCE_EXHAUSTED", "overloaded_error", True),
    "rate_limit_exceeded": (429, "RESOURCE_EXHAUSTED", "rate_limit_error", True),
    "deadline_exceeded": (504, "DEADLINE_EXCEEDED", "timeout_error", False),
    "request_timeout": (408, "DEADLINE_EXCEEDED", "timeout_error", True),
    "cancelled": (499, "CANCELLED", "cancelled", False),
    "model_loading": (503, "UNAVAILABLE", "unavailable_error", True),
    "draining": (503, "UNAVAILABLE", "unavailable_error", True),
    "engine_unavailable": (503, "UNAVAILABLE", "unavailable_error", True),
    "too_many_connections": (503, "UNAVAILABLE", "unavailable_error", True),
    "reader_too_slow": (503, "UNAVAILABLE", "unavailable_error", True),
    "numerical_error": (500, "INTERNAL", "server_error", False),
    "internal_error": (500, "INTERNAL", "server_error", False),
}
KINDS = pytest.mark.parametrize("kind", list(ErrorKind), ids=[kind.code for kind in ErrorKind])


def details_of(error: RequestError) -> tuple[status_pb2.Status, dict[str, Message]]:
    ((key, data),) = status_metadata(error, request_id="id-1")
    assert key == "grpc-status-details-bin"
    assert len(data) <= MAX_DETAILS_BYTES
    status = status_pb2.Status.FromString(data)
    found: dict[str, Message] = {}
    for packed in status.details:
        name = packed.type_url.rpartition(".")[2]
        message = getattr(error_details_pb2, name)()
        assert packed.Unpack(message)
        assert name not in found
        found[name] = message
    return status, found


def test_the_table_has_exactly_the_rows_of_the_enum() -> None:
    assert {kind.code for kind in ErrorKind} == set(TABLE)
    assert all(kind.code == kind.name.lower() for kind in ErrorKind)


@KINDS
def test_each_row_says_the_same_over_both_protocols(kind: ErrorKind) -> None:
    """Interfaces 36: the whole enum, both columns, as the transports write them."""
    http_status, grpc_status, error_type, is_retryable = TABLE[kind.code]
    error = RequestError(kind, "what is wrong", field="a_field", retry_after_seconds=3, quota="q")
    assert (kind.http_status, kind.is_retryable) == (http_status, is_retryable)
    assert error_body(error)["error"] == {
        "message": "what is wrong",
        "type": error_type,
        "param": "a_field",
        "code": kind.code,
    }
    should_retry = error_headers(error).get("x-should-retry")
    assert (should_retry == "false") == (http_status in (500, 504))
    status, details = details_of(error)
    assert status.code == grpc.StatusCode[grpc_status].value[0]
    assert status.message == "what is wrong"
    info = details["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == (kind.code.upper(), "nextword")
    request_info = details["RequestInfo"]
    assert isinstance(request_info, error_details_pb2.RequestInfo)
    assert request_info.request_id == "id-1"
    retry_info = details["RetryInfo"]
    assert isinstance(retry_info, error_details_pb2.RetryInfo)
    assert retry_info.retry_delay.seconds == 3
    bad_request = details["BadRequest"]
    assert isinstance(bad_request, error_details_pb2.BadRequest)
    assert bad_request.field_violations[0].field == "a_field"
    quota = details["QuotaFailure"]
    assert isinstance(quota, error_details_pb2.QuotaFailure)
    assert quota.violations[0].subject == "q"


@KINDS
def test_details_are_only_those_that_say_something(kind: ErrorKind) -> None:
    _, details = details_of(RequestError(kind, "what is wrong"))
    assert set(details) == {"ErrorInfo", "RequestInfo"}


def test_details_stay_below_the_limit_of_trailers() -> None:
    """H89: whatever the message, the field and the facts are, and the status keeps its words."""
    wide = "\u6f22" * 20_000
    error = RequestError(
        ErrorKind.INVALID_VALUE,
        wide,
        field=wide,
        retry_after_seconds=1,
        metadata={f"fact {number}": wide for number in range(200)} | {wide: "x"},
        quota=wide,
    )
    ((_, data),) = status_metadata(error, request_id="r" * 64)
    assert len(data) <= MAX_DETAILS_BYTES < 4096
    status, details = details_of(error)
    assert status.message.startswith("\u6f22\u6f22")
    assert status.message.endswith("...")
    assert {"ErrorInfo", "RequestInfo", "RetryInfo", "BadRequest", "QuotaFailure"} == set(details)


def test_the_page_of_errors_is_the_table() -> None:
    """`make errors` writes it again."""
    page = Path(__file__).resolve().parents[2] / "docs" / "errors.md"
    assert page.read_text(encoding="utf-8") == errors_page()


def test_a_message_names_its_field_first() -> None:
    """H44."""
    error = invalid_value("top_k", "must be positive")
    assert (error.message, error.field) == ("top_k must be positive", "top_k")
