"""What /v1/chat/completions refuses: each with a status, a code and the field at fault."""

from typing import Any

import pytest

from tests.contract.live_server import Server

PATH = "/v1/chat/completions"
BASE: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Tell me"}],
    "max_completion_tokens": 12,
    "seed": 5,
}


def refusal(server: Server, **changes: object) -> tuple[int, str, str]:
    response = server.post(PATH, BASE | changes)
    error = response.json()["error"]
    assert error["message"]
    return response.status_code, error["code"], error["param"]


BAD: list[tuple[dict[str, Any], str, str | None]] = [
    ({"messages": None}, "invalid_value", "messages"),
    ({"messages": []}, "invalid_value", "messages"),
    ({"messages": "hello"}, "invalid_value", "messages"),
    ({"messages": ["hello"]}, "invalid_value", "messages[0]"),
    ({"messages": [{"role": "user", "content": "x"}] * 2049}, "invalid_value", "messages"),
    ({"messages": [{"content": "x"}]}, "invalid_value", "messages[0].role"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "invalid_value", "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "invalid_value", "messages[0].content"),
    ({"messages": [{"role": "user", "content": 5}]}, "invalid_value", "messages[0].content"),
    (
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        "invalid_value",
        "messages[0].content[0]",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        "unsupported_parameter",
        "messages[0].content[0]",
    ),
    (
        {"messages": [{"role": "assistant", "content": "x", "tool_calls": [{}]}]},
        "unsupported_parameter",
        "messages[0].tool_calls",
    ),
    (
        {"messages": [{"role": "user", "content": "x" * 5000}]},
        "context_length_exceeded",
        "messages",
    ),
    ({"max_completion_tokens": 5000}, "context_length_exceeded", "max_tokens"),
    ({"max_completion_tokens": 0}, "invalid_value", "max_tokens"),
    ({"max_tokens": 3}, "invalid_value", "max_completion_tokens"),
    ({"logprobs": 3}, "invalid_value", "logprobs"),
    ({"top_logprobs": 3}, "invalid_value", "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "invalid_value", "top_logprobs"),
    ({"n": 129}, "invalid_value", "n"),
    ({"stream_options": {"include_usage": True}}, "invalid_value", "stream_options"),
    ({"chat_template": "{{ x }}"}, "unsupported_parameter", "chat_template"),
    (
        {"chat_template_kwargs": {"x": 1}},
        "unsupported_parameter",
        "chat_template_kwargs",
    ),
    ({"tools": [{"type": "function"}]}, "unsupported_parameter", "tools"),
    (
        {"response_format": {"type": "json_object"}},
        "unsupported_parameter",
        "response_format",
    ),
    ({"reasoning_effort": "low"}, "unsupported_parameter", "reasoning_effort"),
    ({"prompt": "x"}, "unsupported_parameter", "prompt"),
    ({"echo": True}, "unsupported_parameter", "echo"),
]


@pytest.mark.parametrize(("changes", "code", "field"), BAD)
def test_what_is_wrong_or_not_offered_is_named(
    server: Server, changes: dict[str, object], code: str, field: str | None
) -> None:
    """Interfaces 7, 8, 17; H4, H33, H35-H37, H44."""
    assert refusal(server, **changes) == (400, code, field)
