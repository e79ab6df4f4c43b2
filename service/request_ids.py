"""What a client may say of a request so that it is found again: its id and its trace.

They are for people: nothing inside is looked up by them.
"""

import re
import secrets
from dataclasses import dataclass, field

from service.api_keys import ApiKey

__all__ = ["Exchange", "clean_request_id", "trace_id_of"]

_SAFE = re.compile(r"[A-Za-z0-9._:-]{1,64}")
# W3C Trace Context: version, trace, parent, flags; later versions may add to it.
_TRACE_PARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")


def clean_request_id(given: str | None) -> str:
    """The given id if it is harmless (1 to 64 plain characters), else a fresh one."""
    if given is not None and _SAFE.fullmatch(given):
        return given
    return f"req-{secrets.token_hex(12)}"


def trace_id_of(trace_parent: str | None) -> str | None:
    """The trace in a `traceparent` header, None where there is none or it is malformed."""
    match = _TRACE_PARENT.fullmatch(trace_parent or "")
    if match is None or set(match[1]) == {"0"} or set(match[2]) == {"0"}:
        return None
    return match[1]


@dataclass(slots=True)
class Exchange:
    """One call on the wire: what it is called, and how it ended once it has.

    Attributes:
        request_id: Ours or the client's.
        trace_id: 32 hexadecimal digits, None without a trace.
        outcome: "ok" or a code of the table of errors; None while it is open.
        api_key: Which key it came with, None where none is asked for or none was right.
    """

    request_id: str = field(default_factory=lambda: clean_request_id(None))
    trace_id: str | None = None
    outcome: str | None = None
    api_key: ApiKey | None = None
