"""The core under both transports: a request in, pieces of text out.

Closing the stream is the cancel. Everything a request can be told is a RequestError; what leaves
here otherwise is a fault of ours.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable
from contextlib import ExitStack, aclosing
from typing import Protocol, TypeVar

from service.chat.template_renderer import TemplateRenderer
from service.errors import ErrorKind, RequestError, invalid_value, unsupported_parameter
from service.generation import GenerationRequest, TextPiece
from service.glass_box.inspection import check_inspection
from service.models.served_models import ServedModels
from service.outlet import Outlet
from service.parameters import resolve_parameters
from service.prepared_generation import PreparedGeneration
from service.prompts import read_conversation, read_prompt
from service.request_log import RequestRecord

__all__ = [
    "DEFAULT_TIMEOUT_SECONDS",
    "MAX_TIMEOUT_SECONDS",
    "Limited",
    "TextGenerator",
    "in_time",
    "loop_deadline_of",
    "request_deadline",
]

# Ends a request that names no limit by itself.
DEFAULT_TIMEOUT_SECONDS = 600.0
MAX_TIMEOUT_SECONDS = 86400.0

ReadT = TypeVar("ReadT")


class TextGenerator:
    """Continues texts with the models of a server.

    Args:
        models: The models.
        offers_inspection: Whether requests may ask how their tokens are chosen.
        renderer: What puts conversations into chat templates; None is one of its own.
    """

    def __init__(
        self,
        models: ServedModels,
        *,
        offers_inspection: bool = True,
        renderer: TemplateRenderer | None = None,
    ) -> None:
        self._models = models
        self._renderer = renderer or TemplateRenderer()
        self._offers_inspection = offers_inspection
        self._is_draining = False

    def refuse_new(self) -> None:
        """From now on every new request is told that the server is leaving."""
        self._is_draining = True

    def check_open(self) -> None:
        """Say whether new requests are taken.

        Raises:
            RequestError: The server is leaving.
        """
        if self._is_draining:
            raise _draining()

    def end_all(self) -> None:
        """Tell every running request that the server is leaving."""
        self._models.fail_all(_draining())

    async def prepare(
        self,
        request: GenerationRequest,
        record: RequestRecord,
        *,
        num_prompts: int = 1,
        held_tokens: int = 0,
    ) -> PreparedGeneration:
        """Check a request and admit it. The block of what comes back holds its place.

        Args:
            request: What to continue, and how.
            record: Filled in on the way.
            num_prompts: Requests of its call, which are admitted together or not at all.
            held_tokens: What those of them may cost that were admitted before.

        Raises:
            RequestError: It cannot be served, or not now.
        """
        self.check_open()
        if request.inspect is not None and not self._offers_inspection:
            raise unsupported_parameter(
                "inspect", "is not offered by a server that runs with --glass-box off"
            )
        with ExitStack() as stack:
            model = stack.enter_context(self._models.find(request.model).held())
            record.model, record.model_version = model.folder.name, model.folder.version
            loop_deadline = loop_deadline_of(request, received_at=record.received_at)
            reading = (
                read_prompt(request, model)
                if request.messages is None
                else read_conversation(request.messages, model, self._renderer)
            )
            prompt_ids = await in_time(reading, deadline=loop_deadline)
            parameters = resolve_parameters(
                request.parameters,
                request.defaults or model.folder.defaults,
                num_prompt_tokens=len(prompt_ids),
                context_tokens=model.context_tokens,
                vocabulary_size=model.folder.vocabulary_size,
            )
            check_inspection(
                request.inspect,
                num_positions=parameters.max_tokens * parameters.n,
                vocabulary_size=model.folder.vocabulary_size,
            )
            client = stack.enter_context(
                model.admit(
                    len(prompt_ids) + parameters.max_tokens * parameters.n,
                    num_prompts=num_prompts,
                    held_tokens=held_tokens,
                )
            )
            record.num_prompt_tokens = len(prompt_ids)
            return PreparedGeneration(
                model=model,
                client=client,
                prompt_ids=prompt_ids,
                parameters=parameters,
                inspect=request.inspect,
                deadline=loop_deadline,
                record=record,
                held=stack.pop_all(),
            )

    async def stream(
        self,
        request: GenerationRequest,
        record: RequestRecord,
        outlet: Outlet[TextPiece] | None = None,
    ) -> AsyncGenerator[TextPiece]:
        """The continuations as they are made.

        Args:
            request: What to continue, and how.
            record: Filled in on the way.
            outlet: Where pieces may go instead while the generator is waited for.

        Raises:
            RequestError: Anything the client is to be told, before or after the first piece.
        """
        prepared = await self.prepare(request, record)
        with prepared:
            async with aclosing(prepared.pieces(outlet)) as pieces:
                async for piece in pieces:
                    yield piece


class Limited(Protocol):
    """A request that may say when it ends at the latest."""

    @property
    def timeout_seconds(self) -> float | None:
        """As its message says."""
        ...

    @property
    def deadline(self) -> float | None:
        """Its call's own, as `time.monotonic` seconds."""
        ...


def request_deadline(request: Limited, *, received_at: float) -> float:
    """When a request ends at the latest; both times are `time.monotonic` seconds.

    The earlier of its timeout and its call's deadline holds, and the server's own limit where it
    has neither.

    Raises:
        RequestError: The timeout is out of range.
    """
    timeout = request.timeout_seconds
    if timeout is not None and not 0 < timeout <= MAX_TIMEOUT_SECONDS:
        raise invalid_value(
            "timeout_seconds", f"must be above 0 up to {MAX_TIMEOUT_SECONDS:g}, got {timeout}"
        )
    limits = [received_at + MAX_TIMEOUT_SECONDS]
    if timeout is not None:
        limits.append(received_at + timeout)
    if request.deadline is not None:
        limits.append(request.deadline)
    if timeout is None and request.deadline is None:
        limits.append(received_at + DEFAULT_TIMEOUT_SECONDS)
    return min(limits)


def loop_deadline_of(request: Limited, *, received_at: float) -> float:
    """The same as a time of the running loop."""
    deadline = request_deadline(request, received_at=received_at)
    return asyncio.get_running_loop().time() + deadline - time.monotonic()


async def in_time(reading: Awaitable[ReadT], *, deadline: float) -> ReadT:
    """What is read of a request's text, if it is known before the deadline, a loop time.

    Raises:
        RequestError: It was not.
    """
    loop = asyncio.get_running_loop()
    try:
        # Where others' long texts are in work, this one waits for its turn.
        async with asyncio.timeout_at(deadline):
            result = await reading
    except TimeoutError:
        raise _too_late() from None
    # A short text lets no timer run.
    if loop.time() >= deadline:
        raise _too_late()
    return result


def _too_late() -> RequestError:
    return RequestError(
        ErrorKind.DEADLINE_EXCEEDED, "the deadline passed before the text was complete"
    )


def _draining() -> RequestError:
    return RequestError(ErrorKind.DRAINING, "the server is shutting down", retry_after_seconds=1)
