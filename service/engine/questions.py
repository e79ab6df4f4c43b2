"""What the front may ask an engine process beside tokens, and what it is answered.

Torch-free. Every question has one answer, unless it is dropped. Numbers are packed as little-endian
f32, since one answer may hold hundreds of thousands.
"""

from typing import TypeAlias

import msgspec

from service.engine.messages import EngineFinish
from service.engine.trace_messages import Resample, TokenTrace

__all__ = [
    "Answer",
    "AnswerBody",
    "AttentionQuestion",
    "AttentionValues",
    "DropQuestion",
    "PooledQuestion",
    "PooledVector",
    "Question",
    "QuestionBody",
    "QuestionFailed",
    "ResampleTraces",
    "TokenVector",
    "TokenVectorQuestion",
]


class AttentionQuestion(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """How much the last tokens of a text look at each token before them, and at themselves.

    Attributes:
        token_ids: The text, at least one token.
        layers: Which layers, at least one.
        heads: Which heads of each, at least one.
        start: Position of the first token whose attention is wanted.
    """

    token_ids: list[int]
    layers: tuple[int, ...]
    heads: tuple[int, ...]
    start: int


class AttentionValues(msgspec.Struct, frozen=True, tag=True):
    """Weights [layers, heads, positions from start on, positions], f32."""

    values: bytes


class PooledQuestion(msgspec.Struct, frozen=True, tag=True):
    """One vector for a whole text, at least one token."""

    token_ids: list[int]


class PooledVector(msgspec.Struct, frozen=True, tag=True):
    """The mean of the final norm's hidden states [C], scaled to length 1, f32."""

    vector: bytes


class TokenVectorQuestion(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A token's embedding, and the tokens whose embeddings point most nearly the same way.

    Attributes:
        num_neighbours: How many of those, possibly none.
        num_ids: Neighbours are looked for among the ids below this.
    """

    token_id: int
    num_neighbours: int
    num_ids: int


class TokenVector(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An embedding.

    Attributes:
        vector: f32 [C].
        norm: Its length.
        neighbours: Ids and cosines, the nearest first, the lower id on a tie. A vector of length 0
            has no direction: it has no neighbours and is nobody's.
    """

    vector: bytes
    norm: float
    neighbours: list[tuple[int, float]]


class ResampleTraces(msgspec.Struct, frozen=True, tag=True):
    """The choices that a Resample asked for, in its order."""

    traces: list[TokenTrace]


class QuestionFailed(msgspec.Struct, frozen=True, tag=True):
    """There is no answer: DEADLINE, NUMERICAL_ERROR or INTERNAL_ERROR."""

    finish: EngineFinish


QuestionBody: TypeAlias = AttentionQuestion | PooledQuestion | TokenVectorQuestion | Resample
AnswerBody: TypeAlias = (
    AttentionValues | PooledVector | TokenVector | ResampleTraces | QuestionFailed
)


class Question(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """One question.

    Attributes:
        question_id: The front's own number, of the same row as those of requests.
        timeout_seconds: For a question that takes part in steps; the front watches the others.
        salt: Blocks are shared between questions and requests of equal salt only.
    """

    question_id: int
    body: QuestionBody
    timeout_seconds: float
    salt: bytes = b""


class DropQuestion(msgspec.Struct, frozen=True, tag=True):
    """An answer is no longer wanted; a question that is unknown or answered is no error."""

    question_id: int


class Answer(msgspec.Struct, frozen=True, tag=True):
    """The answer to a question."""

    question_id: int
    body: AnswerBody
