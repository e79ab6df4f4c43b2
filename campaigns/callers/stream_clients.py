"""Streams over both protocols that can be cut off at any moment, as a killed client cuts them."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import cast

import grpc
from google.protobuf.json_format import ParseDict
from google.rpc import error_details_pb2, status_pb2
from nextword.v1 import text_generation_pb2 as pb

__all__ = ["Outcome", "StreamClients"]

_METHOD = "/nextword.v1.TextGenerationService/StreamGenerateText"
_OUTER = ("prompt", "model", "timeout_seconds")


@dataclass(slots=True)
class Outcome:
    """What a stream gave before it ended or was cut off.

    Attributes:
        error: Code of the table of errors, "cut" where we left, None after a whole stream.
    """

    token_ids: list[int] = field(default_factory=list[int])
    text: str = ""
    error: str | None = None


class StreamClients:
    """Clients of one server.

    Args:
        rest: Its REST address, with the scheme.
        grpc: Its gRPC address.
    """

    def __init__(self, *, rest: str, grpc: str) -> None:
        host, _, port = rest.removeprefix("http://").rpartition(":")
        self._rest = (host, int(port))
        self._grpc = grpc

    async def stream(
        self,
        protocol: str,
        body: Mapping[str, object],
        *,
        cut_after: int | None = None,
        read_after_seconds: float = 0.0,
    ) -> Outcome:
        """Ask for a continuation.

        Args:
            protocol: "rest" or "grpc".
            body: As /v1/generate takes it.
            cut_after: Events after which the client goes away; 0 means before the first one.
            read_after_seconds: It asks, and looks at nothing for so long.
        """
        outcome = Outcome()
        ask = self._rest_events if protocol == "rest" else self._grpc_events
        events = ask(body, cut_after, read_after_seconds)
        async with aclosing(events):
            async for event in events:
                match event:
                    case str(code):
                        outcome.error = code
                    case (token_ids, text):
                        outcome.token_ids += token_ids
                        outcome.text += text
        return outcome

    async def _rest_events(
        self, body: Mapping[str, object], cut_after: int | None, read_after_seconds: float
    ) -> AsyncGenerator[str | tuple[list[int], str]]:
        content = json.dumps({**body, "stream": True}).encode()
        head = "POST /v1/generate HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        head += "Content-Type: application/json\r\n"
        reader, writer = await asyncio.open_connection(*self._rest)
        try:
            writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
            await writer.drain()
            await asyncio.sleep(read_after_seconds)
            num_events = 0
            while num_events != cut_after:
                line = (await reader.readline()).strip()
                if line.startswith(b"{"):
                    # An answer that is no stream: its body is the error.
                    yield str(json.loads(line)["error"]["code"])
                    return
                if line == b"data: [DONE]":
                    return
                if reader.at_eof():
                    yield "ended without its end"
                    return
                if line.startswith(b"data: "):
                    num_events += 1
                    event = json.loads(line.removeprefix(b"data: "))
                    if "error" in event:
                        yield str(event["error"]["code"])
                        return
                    yield event["token_ids"], event["text"]
            # RST, so that nothing but the kernel tells the server.
            linger = b"\1\0\0\0\0\0\0\0"
            connection = cast("socket.socket", writer.get_extra_info("socket"))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            yield "cut"
        finally:
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _grpc_events(
        self, body: Mapping[str, object], cut_after: int | None, read_after_seconds: float
    ) -> AsyncGenerator[str | tuple[list[int], str]]:
        outer: dict[str, object] = {name: body[name] for name in _OUTER if name in body}
        outer["parameters"] = {name: body[name] for name in body if name not in _OUTER}
        message = ParseDict(outer, pb.StreamGenerateTextRequest())
        # A connection of its own, which goes away with it.
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(self._grpc, options=options) as channel:
            call = cast(
                "grpc.aio.UnaryStreamCall[bytes, bytes]",
                channel.unary_stream(_METHOD)(message.SerializeToString()),
            )
            await asyncio.sleep(read_after_seconds)
            num_events = 0
            try:
                while num_events != cut_after:
                    data = await call.read()
                    if data is grpc.aio.EOF:
                        return
                    answer = pb.StreamGenerateTextResponse.FromString(cast("bytes", data))
                    num_events += 1
                    yield list(answer.token_ids), answer.text
            except grpc.aio.AioRpcError as error:
                yield _reason(error)
                return
            # Half of them reset their stream, half leave with their whole connection.
            if num_events % 2:
                call.cancel()
            yield "cut"


def _reason(error: grpc.aio.AioRpcError) -> str:
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    status = status_pb2.Status.FromString(cast("bytes", details))
    info = error_details_pb2.ErrorInfo()
    for packed in status.details:
        if packed.Unpack(info):
            return info.reason.lower()
    return error.code().name.lower()
