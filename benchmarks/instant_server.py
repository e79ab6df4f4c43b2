"""A server that answers at once, for measuring its clients: tokens cost it next to nothing.

`python -m benchmarks.instant_server rest|grpc SECONDS` sends each stream a token every SECONDS, or
all of them one after the other with 0. REST answers /v1/generate and /v1/completions. Each answer
has as many tokens as were asked for, and the usage of a real one.
"""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from typing import cast

import grpc
import grpc.aio
import uvloop
from nextword.v1 import text_generation_pb2 as pb

__all__ = ["CONTEXT_TOKENS"]

CONTEXT_TOKENS = 1 << 20
VOCABULARY_SIZE = 4096
_PACKAGE = "/nextword.v1.TextGenerationService/"
_LENGTH = b"content-length:"
_MODEL: dict[str, object] = {
    "id": "instant",
    "version": "1",
    "status": "ready",
    "kind": "transformer",
    "is_default": True,
    "is_ready": True,
    "created": 0,
    "num_parameters": 0,
    "context_tokens": CONTEXT_TOKENS,
    "vocabulary_size": VOCABULARY_SIZE,
    "kv_cache_tokens": 0,
    "max_running": 0,
    "max_queued": 0,
    "max_request_tokens": 0,
    "default_parameters": {},
    "versions": [],
    "refused": [],
}
_NATIVE = b'data: {"index":0,"text":" word","token_ids":[1234]}\n\n'
# As long as llama.cpp's events.
_OPENAI = (
    b'data: {"choices":[{"text":" word","index":0,"logprobs":null,"finish_reason":null}],'
    b'"created":1795428522,"model":"instant","system_fingerprint":"b0-unknown",'
    b'"object":"text_completion","id":"chatcmpl-0123456789abcdef0123456789abcdef"}\n\n'
)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _event(value: dict[str, object]) -> bytes:
    return b"data: %b\n\n" % json.dumps(value).encode()


async def _handle(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, pause: float
) -> None:
    """The requests of one connection, until its client leaves."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            size = next(
                (int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == _LENGTH), 0
            )
            body = await reader.readexactly(size)
            if head.startswith(b"GET"):
                models = json.dumps({"object": "list", "data": [_MODEL]}).encode()
                length = b"content-length: %d" % len(models)
                writer.write(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n%b" % (length, models))
                continue
            await _stream(writer, head.startswith(b"POST /v1/generate"), body, pause)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _stream(writer: asyncio.StreamWriter, is_native: bool, body: bytes, pause: float) -> None:
    asked = cast("dict[str, object]", json.loads(body))
    num_tokens = cast("int", asked["max_tokens"])
    num_prompt = len(cast("list[int]", asked["prompt_ids" if is_native else "prompt"]))
    usage = {
        "prompt_tokens": num_prompt,
        "completion_tokens": num_tokens,
        "total_tokens": num_prompt + num_tokens,
    }
    token = _chunk(_NATIVE if is_native else _OPENAI)
    end: dict[str, object] = {"index": 0, "text": "", "finish_reason": "length"}
    last = (
        _event({**end, "token_ids": [], "usage": usage})
        if is_native
        else _event({"choices": [end], "usage": usage})
    )
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    for _ in range(num_tokens):
        writer.write(token)
        # A client that reads nothing would have all of it in this process's memory.
        await (asyncio.sleep(pause) if pause else writer.drain())
    writer.write(_chunk(last + b"data: [DONE]\n\n") + b"0\r\n\r\n")


async def _serve_rest(pause: float) -> None:
    server = await asyncio.start_server(
        lambda reader, writer: _handle(reader, writer, pause=pause), "127.0.0.1", 0, backlog=4096
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


class _Calls(grpc.GenericRpcHandler):
    """The two calls that a load test makes, without the classes that parse for them."""

    def __init__(self, pause: float) -> None:
        self._pause = pause

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        match str(handler_call_details.method).removeprefix(_PACKAGE):
            case "StreamGenerateText":
                return grpc.unary_stream_rpc_method_handler(self._stream)
            case "ListModels":
                return grpc.unary_unary_rpc_method_handler(self._list_models)
            case _:
                return None

    async def _list_models(
        self, request: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]"
    ) -> bytes:
        model = pb.Model(
            id="instant",
            version="1",
            context_tokens=CONTEXT_TOKENS,
            vocabulary_size=VOCABULARY_SIZE,
        )
        return pb.ListModelsResponse(models=[model]).SerializeToString()

    async def _stream(
        self, request: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]"
    ) -> AsyncGenerator[bytes, None]:
        asked = pb.StreamGenerateTextRequest.FromString(request)
        num_tokens, num_prompt = asked.parameters.max_tokens, len(asked.prompt_ids.ids)
        token = pb.StreamGenerateTextResponse(text=" word", token_ids=[1234]).SerializeToString()
        for _ in range(num_tokens):
            yield token
            if self._pause:
                await asyncio.sleep(self._pause)
        usage = pb.Usage(prompt_tokens=num_prompt, completion_tokens=num_tokens)
        last = pb.StreamGenerateTextResponse(
            finish_reason=pb.FINISH_REASON_LENGTH, summary=pb.StreamSummary(usage=usage)
        )
        yield last.SerializeToString()


async def _serve_grpc(pause: float) -> None:
    server = grpc.aio.server(options=[("grpc.max_concurrent_streams", 4096)])
    server.add_generic_rpc_handlers((_Calls(pause),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    serve = {"rest": _serve_rest, "grpc": _serve_grpc}[sys.argv[1]]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(float(sys.argv[2])))
