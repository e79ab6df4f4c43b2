"""A server that answers carelessly, for the control of the campaign of other people's packages.

Whole texts lack their last character, one token too few is told, vectors in base64 have their bytes
the wrong way round, and its health over gRPC is bad. Every program must notice one of these.
"""

import sys
from collections.abc import Collection, Sequence

import grpc

from service.generation import TextPiece
from service.grpc_api import server as grpc_server
from service.grpc_api.health_service import health_handler
from service.health import Health
from service.main import main
from service.rest_api import openai_embeddings
from service.rest_api.openai_answer import ChatWords, CompletionWords, OpenAIAnswer

__all__: list[str] = []


def _shorten_whole_texts() -> None:
    completion, chat = CompletionWords.choice, ChatWords.choice

    def of_completion(
        self: CompletionWords, index: int, pieces: Sequence[TextPiece], *, is_chunk: bool
    ) -> dict[str, object]:
        choice = completion(self, index, pieces, is_chunk=is_chunk)
        return choice if is_chunk else {**choice, "text": str(choice["text"])[:-1]}

    def of_chat(
        self: ChatWords, index: int, pieces: Sequence[TextPiece], *, is_chunk: bool
    ) -> dict[str, object]:
        choice = chat(self, index, pieces, is_chunk=is_chunk)
        if is_chunk:
            return choice
        text = "".join(piece.text for piece in pieces)
        return {**choice, "message": {"role": "assistant", "content": text[:-1], "refusal": None}}

    CompletionWords.choice, ChatWords.choice = of_completion, of_chat


def _tell_one_token_less() -> None:
    tell = OpenAIAnswer.usage

    def less(self: OpenAIAnswer) -> dict[str, int]:
        usage = tell(self)
        return {**usage, "completion_tokens": max(0, usage["completion_tokens"] - 1)}

    OpenAIAnswer.usage = less


def _turn_bytes() -> None:
    pack = openai_embeddings.pack_vector
    openai_embeddings.pack_vector = lambda packed: pack(packed[::-1])


def _be_ill() -> None:
    def ill(readiness: Health, services: Collection[str]) -> grpc.GenericRpcHandler:
        del readiness
        # Of a server that has not started.
        return health_handler(Health(), services)

    grpc_server.health_handler = ill


if __name__ == "__main__":
    for alter in (_shorten_whole_texts, _tell_one_token_less, _turn_bytes, _be_ill):
        alter()
    sys.exit(main())
