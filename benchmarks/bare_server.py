"""The transports' libraries with nothing behind them: what no service on top of them can pass.

`python -m benchmarks.bare_server rest|grpc` sends COUNT equal messages for each request, prepared
beforehand and one after the other: uvicorn with a plain ASGI application, grpc.aio with bytes.
The message comes base64 in NEXTWORD_BARE_MESSAGE, COUNT in NEXTWORD_BARE_COUNT.
"""

import asyncio
import base64
import os
import socket
import sys

import grpc
import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send

__all__ = ["COUNT_VARIABLE", "MESSAGE_VARIABLE"]

COUNT_VARIABLE = "NEXTWORD_BARE_COUNT"
MESSAGE_VARIABLE = "NEXTWORD_BARE_MESSAGE"
_METHOD = "/nextword.v1.TextGenerationService/StreamGenerateText"


async def _serve_rest(message: bytes, count: int) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        head = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        for _ in range(count):
            await send({"type": "http.response.body", "body": message, "more_body": True})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(
        app, http="httptools", ws="none", log_config=None, access_log=False, lifespan="off"
    )
    await uvicorn.Server(config).serve(sockets=[listener])


async def _serve_grpc(message: bytes, count: int) -> None:
    async def handle(request: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
        for _ in range(count):
            await context.write(message)

    class Handler(grpc.GenericRpcHandler):
        def service(
            self, handler_call_details: grpc.HandlerCallDetails
        ) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
            is_ours = handler_call_details.method == _METHOD
            return grpc.unary_stream_rpc_method_handler(handle) if is_ours else None

    server = grpc.aio.server(options=[("grpc.max_concurrent_streams", 1024)])
    server.add_generic_rpc_handlers((Handler(),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    serve = {"rest": _serve_rest, "grpc": _serve_grpc}[sys.argv[1]]
    work = serve(base64.b64decode(os.environ[MESSAGE_VARIABLE]), int(os.environ[COUNT_VARIABLE]))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)
