"""`AsyncClient` behind the methods of `Client`: one test body for programs that block and await."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Self, cast

from nextword import AsyncClient, AsyncTextStream, Generation, TextPiece

Run = Callable[[Coroutine[Any, Any, Any]], Any]


class DrivenClient:
    """Runs each call of a client to its end on an event loop of its own.

    What a call left behind on the loop, a task or a generator that is not closed, fails the test.
    """

    def __init__(self, url: str, **options: Any) -> None:
        self._runner = asyncio.Runner(debug=True)
        self._client = AsyncClient(url, **options)

    def __getattr__(self, name: str) -> Any:
        return _driven(getattr(self._client, name), self._runner.run)

    @property
    def glass_box(self) -> "DrivenGlassBox":
        return DrivenGlassBox(self._client.glass_box, self._runner.run)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        async def close() -> int:
            await self._client.close()
            # A connection that was ended just now needs a moment to be gone.
            for _ in range(100):
                if len(asyncio.all_tasks()) == 1:
                    break
                await asyncio.sleep(0)
            return len([task for task in asyncio.all_tasks() if not _is_grpcs_own(task)])

        num_tasks = self._runner.run(close())
        self._runner.close()
        assert num_tasks == 1


def _is_grpcs_own(task: "asyncio.Task[Any]") -> bool:
    return "grpc" in repr(task.get_coro())


class DrivenGlassBox:
    def __init__(self, box: Any, run: Run) -> None:
        self._box = box
        self._run = run

    def __getattr__(self, name: str) -> Any:
        return _driven(getattr(self._box, name), self._run)


class DrivenStream:
    def __init__(self, stream: AsyncTextStream, run: Run) -> None:
        self._stream = stream
        self._run = run

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def read_all(self) -> Generation:
        return self._run(self._stream.read_all())

    def close(self) -> None:
        self._run(self._stream.close())

    def __iter__(self) -> Iterator[TextPiece]:
        return self

    def __next__(self) -> TextPiece:
        async def following() -> TextPiece | None:
            return await anext(self._stream, None)

        piece = self._run(following())
        if piece is None:
            raise StopIteration
        return piece

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _driven(attribute: Any, run: Run) -> Any:
    if not callable(attribute):
        return attribute
    is_awaited = inspect.iscoroutinefunction(attribute)
    call = cast("Callable[..., Any]", attribute)

    def driven(*given: Any, **named: Any) -> Any:
        result = call(*given, **named)
        return run(result) if is_awaited else DrivenStream(result, run)

    return driven
