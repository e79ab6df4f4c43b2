"""Clients that say nothing for longer than a server waits for a sign of life.

Watchers of the health service, readers who sleep before they read, and callers who come back over
a connection that has rested meanwhile. None of them is a fault, so none may be cut off.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Mapping
from typing import cast

import grpc
import httpx2
from grpc_health.v1 import health_pb2
from nextword.v1 import text_generation_pb2 as pb

from campaigns.callers.stream_clients import Outcome, StreamClients

__all__ = ["PatientClients"]

_WATCH = "/grpc.health.v1.Health/Watch"
_LIST_MODELS = "/nextword.v1.TextGenerationService/ListModels"
_LIST_MODELS_REST = "/v1/models"
# grpcio shares connections between channels that look alike.
_OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)
_SERVING = health_pb2.HealthCheckResponse.SERVING


class PatientClients:
    """Silent clients of one server, until `stop`.

    Args:
        rest: Its REST address, with the scheme.
        grpc: Its gRPC address.
        body: What sleepers ask for; all of it fits into what waits for a client at its socket.
        expected: What that gives alone.
        rest_seconds: Between two calls of those who come back.
        sleep_seconds: Before a sleeper reads.

    Attributes:
        faults: What was wrong, a line each.
        counts: Watches told of the start and of the end, texts slept over, calls after a rest.
    """

    def __init__(
        self,
        *,
        rest: str,
        grpc: str,
        body: Mapping[str, object],
        expected: Outcome,
        rest_seconds: float,
        sleep_seconds: float,
    ) -> None:
        self.faults: list[str] = []
        self.counts = Counter[str]()
        self._rest = rest
        self._grpc = grpc
        self._clients = StreamClients(rest=rest, grpc=grpc)
        self._body = body
        self._expected = expected
        self._rest_seconds = rest_seconds
        self._sleep_seconds = sleep_seconds
        self._is_stopped = asyncio.Event()
        self._watches: list[asyncio.Task[None]] = []
        self._others: list[asyncio.Task[None]] = []

    def start(self, *, num_each: int) -> None:
        """Begin, with so many of each kind."""
        start = asyncio.create_task
        for _ in range(num_each):
            self._watches.append(start(self._watch()))
            self._others += [start(self._sleep("rest")), start(self._sleep("grpc"))]
            self._others += [start(self._return_over_rest()), start(self._return_over_grpc())]

    async def stop(self) -> None:
        """Let everybody but the watchers finish."""
        self._is_stopped.set()
        await asyncio.gather(*self._others)
        for watch in self._watches:
            if watch.done():
                self.faults.append("a watch ended before its server did")

    async def see_the_end(self, seconds: float) -> None:
        """Wait until every watcher has been told that the server leaves."""
        _, late = await asyncio.wait(self._watches, timeout=seconds)
        if late:
            self.faults.append(f"{len(late)} watches have not ended")
        for watch in late:
            watch.cancel()

    async def _watch(self) -> None:
        seen: list[int] = []
        async with grpc.aio.insecure_channel(self._grpc, options=_OWN_CONNECTION) as channel:
            call = cast(
                "grpc.aio.UnaryStreamCall[bytes, health_pb2.HealthCheckResponse]",
                channel.unary_stream(
                    _WATCH, response_deserializer=health_pb2.HealthCheckResponse.FromString
                )(b""),
            )
            end = "its end"
            try:
                async for told in call:
                    self.counts["told serving" if told.status == _SERVING else "told leaving"] += 1
                    seen.append(told.status)
            except grpc.aio.AioRpcError as error:
                end = f"{error.code().name}: {error.details()}"
        if seen != [_SERVING, health_pb2.HealthCheckResponse.NOT_SERVING]:
            self.faults.append(f"a watch was told {seen}, then {end}")

    async def _sleep(self, protocol: str) -> None:
        while not self._is_stopped.is_set():
            outcome = await self._clients.stream(
                protocol, self._body, read_after_seconds=self._sleep_seconds
            )
            self.counts[f"texts slept over, {protocol}"] += 1
            if outcome != self._expected:
                self.faults.append(
                    f"a reader over {protocol} who slept got {len(outcome.token_ids)} tokens, then "
                    f"{outcome.error}"
                )

    async def _return_over_rest(self) -> None:
        async with httpx2.AsyncClient(
            base_url=self._rest, timeout=60, limits=httpx2.Limits(keepalive_expiry=None)
        ) as client:
            while await self._has_rested():
                try:
                    answer = await client.get(_LIST_MODELS_REST)
                except httpx2.HTTPError as error:
                    self.faults.append(f"a return over rest: {type(error).__name__}")
                    continue
                self.counts["calls after a rest, rest"] += 1
                if not answer.is_success:
                    self.faults.append(f"a return over rest: {answer.status_code}")

    async def _return_over_grpc(self) -> None:
        async with grpc.aio.insecure_channel(self._grpc, options=_OWN_CONNECTION) as channel:
            call = cast(
                "grpc.aio.UnaryUnaryMultiCallable[bytes, pb.ListModelsResponse]",
                channel.unary_unary(
                    _LIST_MODELS, response_deserializer=pb.ListModelsResponse.FromString
                ),
            )
            while await self._has_rested():
                try:
                    await call(b"")
                except grpc.aio.AioRpcError as error:
                    self.faults.append(f"a return over grpc: {error.code().name}")
                    continue
                self.counts["calls after a rest, grpc"] += 1

    async def _has_rested(self) -> bool:
        """Rest; whether it goes on after that."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._is_stopped.wait(), self._rest_seconds)
        return not self._is_stopped.is_set()
