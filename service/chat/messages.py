"""One turn of a conversation, as transports hand it to the core."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["ChatMessage", "Role"]

Role: TypeAlias = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMessage:
    """What one side said.

    Attributes:
        role: Who said it.
        content: What was said.
        name: Which of several that have this role, None where it is not told.
    """

    role: Role
    content: str
    name: str | None = None
