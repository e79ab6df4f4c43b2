"""The id that a client may choose for a request, and that answers and log lines repeat.

It is for people: nothing inside is looked up by it.
"""

import re
import secrets

__all__ = ["clean_request_id"]

_SAFE = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def clean_request_id(given: str | None) -> str:
    """The given id if it is harmless (1 to 64 plain characters), else a fresh one."""
    if given is not None and _SAFE.fullmatch(given):
        return given
    return f"req-{secrets.token_hex(12)}"
