"""What the glass box answers, as protobuf messages.

Large ones are written slice by slice: the library holds the interpreter, and with it every stream,
for as long as it writes one message; messages of one type written one after the other are one.
"""

from collections.abc import Generator, Iterable, Sequence

from google.protobuf.message import Message
from nextword.v1 import glass_box_pb2 as pb

from service.glass_box.glass_box_values import (
    AttentionAnswer,
    AttentionMap,
    Resampled,
    TextEmbedding,
    TextInspection,
    TextScore,
    TextToken,
    TokenEmbedding,
    TokenSurprise,
)
from service.grpc_api.inspection_messages import inspection_message, token_view_message
from service.grpc_api.messages import MODEL_KINDS
from service.grpc_api.parameter_messages import choosing_message

__all__ = [
    "encode_attention",
    "encode_embedding",
    "encode_inspected",
    "encode_resampled",
    "encode_scores",
    "encode_text_embedding",
]

# A millisecond of work.
TOKENS_PER_SLICE = 512


def encode_inspected(answer: TextInspection) -> bytes:
    """The answer of InspectText."""
    head = pb.InspectTextResponse(
        model=answer.model,
        model_version=answer.model_version,
        system_fingerprint=answer.system_fingerprint,
        parameters=choosing_message(answer.parameters),
    )
    tokens = (pb.InspectTextResponse(tokens=part) for part in _token_slices(answer.tokens))
    inspections = (
        pb.InspectTextResponse(inspections=[inspection_message(each)])
        for each in answer.inspections
    )
    return _joined(head, tokens, inspections)


def encode_resampled(answer: Resampled) -> bytes:
    """The answer of Resample."""
    head = pb.ResampleResponse(
        model=answer.model,
        model_version=answer.model_version,
        parameters=[choosing_message(each) for each in answer.parameters],
    )
    inspections = (
        pb.ResampleResponse(inspections=[inspection_message(each)]) for each in answer.inspections
    )
    return _joined(head, inspections)


def encode_attention(answer: AttentionAnswer) -> bytes:
    """The answer of GetAttention."""
    head = pb.GetAttentionResponse(
        model=answer.model,
        model_version=answer.model_version,
        system_fingerprint=answer.system_fingerprint,
        start=answer.start,
        end=answer.end,
        num_layers=answer.num_layers,
        num_heads=answer.num_heads,
    )
    tokens = (pb.GetAttentionResponse(tokens=part) for part in _token_slices(answer.tokens))
    maps = (pb.GetAttentionResponse(maps=[_map_message(each)]) for each in answer.maps)
    return _joined(head, tokens, maps)


def encode_embedding(answer: TokenEmbedding) -> bytes:
    """The answer of GetTokenEmbedding."""
    return _joined(
        pb.GetTokenEmbeddingResponse(
            model=answer.model,
            model_version=answer.model_version,
            token=token_view_message(answer.token),
            vector=answer.vector,
            norm=answer.norm,
            neighbours=[
                pb.TokenNeighbour(token=token_view_message(each.token), cosine=each.cosine)
                for each in answer.neighbours
            ],
        )
    )


def encode_text_embedding(answer: TextEmbedding) -> bytes:
    """The answer of EmbedText."""
    return _joined(
        pb.EmbedTextResponse(
            model=answer.model,
            model_version=answer.model_version,
            system_fingerprint=answer.system_fingerprint,
            vector=answer.vector,
            num_tokens=answer.num_tokens,
        )
    )


def encode_scores(scores: tuple[TextScore, ...]) -> bytes:
    """The answer of ScoreText."""
    return _joined(pb.ScoreTextResponse(scores=[_score_message(score) for score in scores]))


def _joined(head: Message, *slices: Iterable[Message]) -> bytes:
    parts = [head.SerializeToString()]
    parts += [each.SerializeToString() for part in slices for each in part]
    return b"".join(parts)


def _token_slices(tokens: Sequence[TextToken]) -> Generator[list[pb.TextToken], None, None]:
    for start in range(0, len(tokens), TOKENS_PER_SLICE):
        yield [
            pb.TextToken(
                token=token_view_message(each.token),
                byte_start=each.byte_start,
                byte_end=each.byte_end,
            )
            for each in tokens[start : start + TOKENS_PER_SLICE]
        ]


def _map_message(head: AttentionMap) -> pb.AttentionMap:
    rows = [pb.AttentionRow(weights=row) for row in head.rows]
    return pb.AttentionMap(layer=head.layer, head=head.head, rows=rows)


def _score_message(score: TextScore) -> pb.TextScore:
    return pb.TextScore(
        model=score.model,
        model_version=score.model_version,
        kind=MODEL_KINDS[score.kind],
        num_tokens=score.num_tokens,
        num_bytes=score.num_bytes,
        nats_per_token=score.nats_per_token,
        perplexity=score.perplexity,
        bits_per_byte=score.bits_per_byte,
        total_bits=score.total_bits,
        tokens=[_surprise_message(each) for each in score.tokens],
    )


def _surprise_message(token: TokenSurprise) -> pb.TokenSurprise:
    return pb.TokenSurprise(
        token=token_view_message(token.token),
        byte_start=token.byte_start,
        byte_end=token.byte_end,
        surprise_bits=token.surprise_bits,
        rank=token.rank,
    )
