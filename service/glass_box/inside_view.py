"""What a served network holds inside, for texts and tokens that were checked: attention, vectors.

Everything is asked of the engine that serves the model, so it is computed by the very executor that
answers requests, in its turn among them. Numbers stay packed as little-endian f32. Torch-free.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from service.engine.messages import ModelKind
from service.engine.questions import (
    AttentionQuestion,
    AttentionValues,
    PooledQuestion,
    PooledVector,
    TokenVector,
    TokenVectorQuestion,
)
from service.errors import invalid_value
from service.glass_box.asking import ask
from service.models.served_models import ServedModel
from service.request_log import RequestRecord

__all__ = [
    "DEFAULT_NEIGHBOURS",
    "MAX_ATTENTION_VALUES",
    "MAX_NEIGHBOURS",
    "AttentionView",
    "Neighbour",
    "TextVectorView",
    "TokenVectorView",
    "attention",
    "check_network",
    "embed_text",
    "token_embedding",
]

MAX_ATTENTION_VALUES = 2**18
MAX_NEIGHBOURS = 100
DEFAULT_NEIGHBOURS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionView:
    """The attention of the tokens from ``start`` to before ``end`` of a text.

    Attributes:
        values: f32 [layers, heads, end - start, end]; what comes after a token is 0, the rest of
            its row adds up to 1.
    """

    layers: tuple[int, ...]
    heads: tuple[int, ...]
    start: int
    end: int
    values: bytes


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A token and the cosine of its vector with another one's."""

    token_id: int
    cosine: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenVectorView:
    """A token's row of the embedding.

    Attributes:
        vector: f32 [hidden width].
        norm: Its length.
        neighbours: The other tokens, the most alike first, the lower id on a tie.
    """

    token_id: int
    vector: bytes
    norm: float
    neighbours: tuple[Neighbour, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextVectorView:
    """One vector f32 [hidden width] for a text, of length 1."""

    vector: bytes
    num_tokens: int


async def attention(
    model: ServedModel,
    token_ids: Sequence[int],
    *,
    layers: tuple[int, ...] | None,
    heads: tuple[int, ...] | None,
    start: int,
    end: int,
    deadline: float,
    record: RequestRecord,
) -> AttentionView:
    """How much tokens of a text look at each token before them and at themselves.

    Args:
        model: Held by the caller.
        token_ids: The text, at most the context.
        layers: Which layers; None is all.
        heads: Which heads of each; None is all.
        start: First position whose attention is wanted.
        end: End of these positions, exclusive; above ``start``, at most the number of tokens.
        deadline: Loop time at which it is too late.
        record: Says whose request it is.

    Raises:
        RequestError: The model is no network, a number is out of range, too many values are
            wanted, or the engine cannot answer.
    """
    check_network(model, "attention")
    config = model.folder.artifact.config
    layers = _numbers("layers", layers, limit=config.num_hidden_layers, owner="the model")
    heads = _numbers("heads", heads, limit=config.num_attention_heads, owner="each layer")
    num_values = len(layers) * len(heads) * (end - start) * end
    if num_values > MAX_ATTENTION_VALUES:
        raise invalid_value(
            "end",
            f"asks for too much: {len(layers)} layers times {len(heads)} heads times "
            f"{end - start} positions (start {start}, end {end}) times {end} tokens are "
            f"{num_values} values, one answer holds at most {MAX_ATTENTION_VALUES}; name fewer "
            "layers, heads or positions",
        )
    # What comes after the last position changes nothing before it.
    question = AttentionQuestion(
        token_ids=list(token_ids[:end]), layers=layers, heads=heads, start=start
    )
    record.num_prompt_tokens = end
    answer = await ask(model, question, num_tokens=end, deadline=deadline, record=record)
    assert isinstance(answer, AttentionValues)
    return AttentionView(layers=layers, heads=heads, start=start, end=end, values=answer.values)


async def token_embedding(
    model: ServedModel,
    token_id: int,
    *,
    num_neighbours: int | None,
    deadline: float,
    record: RequestRecord,
) -> TokenVectorView:
    """A token's row of the embedding, and the other tokens by the cosine of their rows with it.

    Args:
        model: Held by the caller.
        token_id: One of the model's vocabulary.
        num_neighbours: How many of the others; None is DEFAULT_NEIGHBOURS.
        deadline: Loop time at which it is too late.
        record: Says whose request it is.

    Raises:
        RequestError: The model is no network, the number is out of range, or the engine cannot
            answer.
    """
    check_network(model, "embedding")
    num_neighbours = DEFAULT_NEIGHBOURS if num_neighbours is None else num_neighbours
    if not 0 <= num_neighbours <= MAX_NEIGHBOURS:
        raise invalid_value(
            "neighbours", f"must be from 0 to {MAX_NEIGHBOURS}, got {num_neighbours}"
        )
    question = TokenVectorQuestion(
        token_id=token_id,
        num_neighbours=num_neighbours,
        # Ids beyond only round the network's vocabulary up: they stand for no text.
        num_ids=min(model.folder.vocabulary_size, model.folder.tokenizer.vocab_size),
    )
    answer = await ask(model, question, num_tokens=1, deadline=deadline, record=record)
    assert isinstance(answer, TokenVector)
    return TokenVectorView(
        token_id=token_id,
        vector=answer.vector,
        norm=answer.norm,
        neighbours=tuple(Neighbour(*each) for each in answer.neighbours),
    )


async def embed_text(
    model: ServedModel, token_ids: Sequence[int], *, deadline: float, record: RequestRecord
) -> TextVectorView:
    """One vector for a text: the mean of the final norm's hidden states, scaled to length 1.

    Why so: docs/decisions/0053-looking-inside-through-the-engine.md.

    Args:
        model: Held by the caller.
        token_ids: The text, at least one token and at most the context.
        deadline: Loop time at which it is too late.
        record: Says whose request it is.

    Raises:
        RequestError: The model is no network, or the engine cannot answer.
    """
    check_network(model, "embedding")
    record.num_prompt_tokens = len(token_ids)
    question = PooledQuestion(list(token_ids))
    answer = await ask(model, question, num_tokens=len(token_ids), deadline=deadline, record=record)
    assert isinstance(answer, PooledVector)
    return TextVectorView(vector=answer.vector, num_tokens=len(token_ids))


def check_network(model: ServedModel, what: str) -> None:
    """Refuse a model that has no inside.

    Raises:
        RequestError: It is an n-gram model.
    """
    if model.kind is ModelKind.NGRAM:
        raise invalid_value("model", f"{model.folder.name} is an n-gram model, which has no {what}")


def _numbers(
    field: str, given: tuple[int, ...] | None, *, limit: int, owner: str
) -> tuple[int, ...]:
    """Numbers of layers or heads, each once."""
    if given is None:
        return tuple(range(limit))
    if not 1 <= len(given) <= limit:
        raise invalid_value(
            field, f"must name at least one and at most {limit}, all of {owner}, got {len(given)}"
        )
    for number in given:
        if not 0 <= number < limit:
            raise invalid_value(field, f"must be from 0 to {limit - 1}, got {number}")
    if len(set(given)) < len(given):
        raise invalid_value(field, "must name none twice")
    return given
