"""Messages of a gRPC stream that are written by hand, against the library that reads them."""

from hypothesis import given
from hypothesis import strategies as st
from nextword.v1 import text_generation_pb2 as pb

from service.generation import FinishReason, TextPiece
from service.grpc_api.messages import encode_piece, stream_response

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=300)
TOKEN_IDS = st.lists(st.integers(0, 2**31 - 1), max_size=300).map(tuple)


@given(
    piece=st.builds(
        TextPiece,
        st.integers(0, 127),
        TEXTS,
        TOKEN_IDS,
        finish_reason=st.sampled_from([None, None, *FinishReason]),
        is_prompt=st.booleans(),
    )
)
def test_a_piece_is_the_message_that_the_library_would_write(piece: TextPiece) -> None:
    message = pb.StreamGenerateTextResponse.FromString(encode_piece(piece))
    assert message == stream_response(piece)
    assert (message.text, tuple(message.token_ids)) == (piece.text, piece.token_ids)
