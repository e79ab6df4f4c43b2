"""What the fields of the glass box's calls may be, beside a text and what chooses tokens."""

import math

from model.tokenizer import TokenizerError
from service.errors import invalid_value
from service.glass_box.glass_box_values import TokenEmbeddingRequest
from service.glass_box.packed_floats import FLOAT_BYTES, unpack_floats
from service.models.model_store import ModelFolder
from service.parameter_rules import MAX_CHOICES
from service.parameters import check_token_ids

__all__ = ["check_logits", "read_choice_index", "read_count", "read_one_token", "read_span"]

# No vocabulary's longest token is; such a text is not worth tokenizing.
MAX_TOKEN_CHARACTERS = 1024


def read_span(
    start: int | None, end: int | None, *, first: int, num_tokens: int
) -> tuple[int, int]:
    """Positions of a text, from ``first`` to its end where nothing else is said.

    Raises:
        RequestError: They are none of the text's.
    """
    start = first if start is None else start
    if not first <= start < num_tokens:
        raise invalid_value(
            "start",
            f"must be from {first} to {num_tokens - 1} in this text of {num_tokens} tokens, got "
            f"{start}",
        )
    end = num_tokens if end is None else end
    if not start < end <= num_tokens:
        raise invalid_value(
            "end",
            f"must be from {start + 1} to {num_tokens} in this text of {num_tokens} tokens, got "
            f"{end}",
        )
    return start, end


def read_count(field: str, value: int | None, *, default: int, limit: int) -> int:
    """A number from 0 to ``limit``, ``default`` where none is given.

    Raises:
        RequestError: It is another.
    """
    if value is None:
        return default
    if not 0 <= value <= limit:
        raise invalid_value(field, f"must be from 0 to {limit}, got {value}")
    return value


def read_choice_index(value: int | None) -> int:
    """Which continuation of its prompt a text is.

    Raises:
        RequestError: There are not so many.
    """
    return read_count("choice_index", value, default=0, limit=MAX_CHOICES - 1)


def check_logits(logits: bytes, *, vocabulary_size: int) -> None:
    """Refuse what cannot be the logits of a vocabulary; minus infinity is what never comes.

    Raises:
        RequestError: They are too few, too many, no numbers, or the largest of them is not finite.
    """
    if len(logits) != vocabulary_size * FLOAT_BYTES:
        raise invalid_value(
            "logits",
            f"must be {vocabulary_size * FLOAT_BYTES} bytes, a 32-bit float for each of the "
            f"model's {vocabulary_size} token ids; got {len(logits)}",
        )
    values = unpack_floats(logits)
    largest = math.nan if any(map(math.isnan, values)) else max(values)
    if not math.isfinite(largest):
        raise invalid_value(
            "logits", f"must be numbers, the largest of them finite, got a largest of {largest}"
        )


def read_one_token(request: TokenEmbeddingRequest, folder: ModelFolder) -> int:
    """The id of the one token that a request names.

    Raises:
        RequestError: It names none, two, or what is not one token.
    """
    if (request.id is None) == (request.text is None):
        raise invalid_value("id", "or text must be given, and not both")
    if request.id is not None:
        check_token_ids("id", (request.id,), vocabulary_size=folder.vocabulary_size)
        return request.id
    assert request.text is not None
    if len(request.text) > MAX_TOKEN_CHARACTERS:
        raise invalid_value(
            "text",
            f"must be exactly one token, at most {MAX_TOKEN_CHARACTERS} characters; got "
            f"{len(request.text)}",
        )
    try:
        ids = folder.tokenizer.encode(request.text)
    except TokenizerError:
        raise invalid_value("text", "holds a lone surrogate, which is no character") from None
    if len(ids) != 1:
        raise invalid_value("text", f"must be exactly one token, got {len(ids)}")
    return ids[0]
