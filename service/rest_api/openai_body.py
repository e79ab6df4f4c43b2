"""What a generating body of OpenAI's API comes to, whichever of its routes it was sent to."""

from dataclasses import dataclass

from service.generation import GenerationRequest
from service.rest_api.openai_fields import StreamOptions

__all__ = ["OpenAIBody"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIBody:
    """A body, read.

    Attributes:
        requests: One for each prompt, in order.
        num_choices: Continuations of each prompt.
        stream: Whether and how a stream is asked for.
        ignored: Names of fields that had no effect, fit for a header.
    """

    requests: tuple[GenerationRequest, ...]
    num_choices: int
    stream: StreamOptions
    ignored: tuple[str, ...]
