"""What can be asked about how a model predicts: each question's fields, and who reads its answer.

Every question takes the ``model``, NAME or NAME@VERSION, and ``timeout_seconds``, after which the
server gives up; texts are given as such or as token ids that are taken as they are. Arguments left
out are the server's defaults.
"""

import base64
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Generic, TypeVar

from nextword.calls import GlassBoxCall
from nextword.glass_box_answers import (
    Attention,
    Resampled,
    TextEmbedding,
    TextInspection,
    TextScore,
    TokenEmbedding,
)
from nextword.glass_box_fields import (
    read_attention,
    read_resampled,
    read_scores,
    read_text_embedding,
    read_text_inspection,
    read_token_embedding,
)
from nextword.json_fields import JsonFields
from nextword.parameter_fields import parameter_body
from nextword.request import InspectionRequest, SamplingParameters, check_timeout

__all__ = [
    "CALLS",
    "Question",
    "attention",
    "embed_text",
    "inspect_text",
    "resample",
    "score",
    "token_embedding",
]

Text = str | Sequence[int]
AnswerT = TypeVar("AnswerT")

_INSPECT = GlassBoxCall("/v1/inspect", "InspectText")
_RESAMPLE = GlassBoxCall("/v1/resample", "Resample")
_ATTENTION = GlassBoxCall("/v1/attention", "GetAttention")
_EMBEDDING = GlassBoxCall("/v1/embedding", "GetTokenEmbedding")
_EMBED_TEXT = GlassBoxCall("/v1/embed-text", "EmbedText")
_SCORE = GlassBoxCall("/v1/score", "ScoreText")
CALLS = (_INSPECT, _RESAMPLE, _ATTENTION, _EMBEDDING, _EMBED_TEXT, _SCORE)


@dataclass(frozen=True, slots=True)
class Question(Generic[AnswerT]):
    """One question.

    Attributes:
        call: Where it goes.
        fields: What it says, but for its deadline.
        read: Turns the fields of the answer into a value.
        timeout_seconds: When the server gives up.
    """

    call: GlassBoxCall
    fields: dict[str, object]
    read: Callable[[JsonFields], AnswerT]
    timeout_seconds: float

    def __post_init__(self) -> None:
        """Refuse what cannot be waited for.

        Raises:
            InvalidRequestError: The timeout is no positive number.
        """
        check_timeout(self.timeout_seconds)


def inspect_text(
    text: Text,
    *,
    start: int | None = None,
    end: int | None = None,
    num_prompt_tokens: int | None = None,
    choice_index: int | None = None,
    parameters: SamplingParameters | None = None,
    inspect: InspectionRequest | None = None,
    model: str | None = None,
    timeout_seconds: float = 600.0,
    parse_special_tokens: bool = False,
) -> Question[TextInspection]:
    """What the model thought before the tokens from ``start`` to before ``end`` of a text.

    Args:
        text: At least two tokens.
        start: First position, from 1.
        end: End of the positions, exclusive.
        num_prompt_tokens: Tokens that count as the prompt, the others as its continuation.
        choice_index: Which continuation of its prompt the text is.
        parameters: How tokens would be chosen.
        inspect: How much to tell.
        model: Which one.
        timeout_seconds: When to give up.
        parse_special_tokens: Whether names of control tokens in the text are those tokens.
    """
    body = _text_body(text, model) | _given(
        start=start,
        end=end,
        num_prompt_tokens=num_prompt_tokens,
        choice_index=choice_index,
        parse_special_tokens=parse_special_tokens or None,
        inspect=None if inspect is None else asdict(inspect),
    )
    body |= parameter_body(parameters or SamplingParameters())
    return Question(_INSPECT, body, read_text_inspection, timeout_seconds)


def resample(
    logits: bytes,
    ids: Sequence[int],
    parameters: Sequence[SamplingParameters],
    *,
    num_prompt_tokens: int | None = None,
    choice_index: int | None = None,
    inspect: InspectionRequest | None = None,
    model: str | None = None,
    timeout_seconds: float = 600.0,
) -> Question[Resampled]:
    """What would have been drawn from raw logits with other parameters.

    Args:
        logits: As `TokenInspection.logits` has them.
        ids: All tokens before the one to draw.
        parameters: Ways to choose.
        num_prompt_tokens: Tokens that count as the prompt.
        choice_index: Which continuation of its prompt this is.
        inspect: How much to tell.
        model: Which one the logits are of.
        timeout_seconds: When to give up.
    """
    body: dict[str, object] = {
        "logits": base64.b64encode(logits).decode("ascii"),
        "ids": list(ids),
        "parameters": [parameter_body(each) for each in parameters],
    }
    body |= _given(
        model=model,
        num_prompt_tokens=num_prompt_tokens,
        choice_index=choice_index,
        inspect=None if inspect is None else asdict(inspect),
    )
    return Question(_RESAMPLE, body, read_resampled, timeout_seconds)


def attention(
    text: Text,
    *,
    layers: Sequence[int] = (),
    heads: Sequence[int] = (),
    start: int | None = None,
    end: int | None = None,
    model: str | None = None,
    timeout_seconds: float = 600.0,
    parse_special_tokens: bool = False,
) -> Question[Attention]:
    """How much the tokens from ``start`` to before ``end`` looked at those before them.

    Args:
        text: At least one token.
        layers: Which ones, from 0; none named is all.
        heads: Which ones of each layer; none named is all.
        start: First position, from 0.
        end: End of the positions, exclusive.
        model: Which one.
        timeout_seconds: When to give up.
        parse_special_tokens: Whether names of control tokens in the text are those tokens.
    """
    body = _text_body(text, model) | _given(
        layers=list(layers) or None,
        heads=list(heads) or None,
        start=start,
        end=end,
        parse_special_tokens=parse_special_tokens or None,
    )
    return Question(_ATTENTION, body, read_attention, timeout_seconds)


def token_embedding(
    token: int | str,
    *,
    neighbours: int | None = None,
    model: str | None = None,
    timeout_seconds: float = 600.0,
) -> Question[TokenEmbedding]:
    """The vector of a token, given by its id or its text, and the tokens most like it."""
    body = {"text": token} if isinstance(token, str) else {"id": token}
    body |= _given(neighbours=neighbours, model=model)
    return Question(_EMBEDDING, body, read_token_embedding, timeout_seconds)


def embed_text(
    text: Text,
    *,
    model: str | None = None,
    timeout_seconds: float = 600.0,
    parse_special_tokens: bool = False,
) -> Question[TextEmbedding]:
    """One vector of length 1 for a whole text."""
    body = _text_body(text, model)
    body |= _given(parse_special_tokens=parse_special_tokens or None)
    return Question(_EMBED_TEXT, body, read_text_embedding, timeout_seconds)


def score(
    text: Text,
    *,
    side_by_side: bool = False,
    token_surprises: bool = False,
    model: str | None = None,
    timeout_seconds: float = 600.0,
) -> Question[tuple[TextScore, ...]]:
    """How well the model predicts a text; side by side also the n-gram model of its name."""
    body = _text_body(text, model)
    body |= _given(side_by_side=side_by_side or None, token_surprises=token_surprises or None)
    return Question(_SCORE, body, read_scores, timeout_seconds)


def _text_body(text: Text, model: str | None) -> dict[str, object]:
    body: dict[str, object] = {"text": text} if isinstance(text, str) else {"ids": list(text)}
    return body if model is None else body | {"model": model}


def _given(**fields: object) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}
