"""Our end of the processes that run chat templates: started when needed, and when they died."""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import cast

from service.bounded_threads import BoundedThreads
from service.chat.chat_template import ChatTemplate
from service.chat.messages import ChatMessage
from service.chat.template_process import (
    ProcessEndedError,
    ProcessSilentError,
    TemplateProcess,
    UnusableAnswerError,
)
from service.errors import ErrorKind, RequestError, invalid_value

__all__ = ["MAX_CHARACTERS", "TemplateRenderer"]

_logger = logging.getLogger(__name__)

# Several times what a request's body can hold, and more than the context of any model served here.
MAX_CHARACTERS = 4 << 20
# A character takes two escapes at most; what stands around the text is short.
_MAX_ANSWER_BYTES = 12 * MAX_CHARACTERS + 1024
# Conversations of a megabyte take some tens of milliseconds.
PROCESSOR_SECONDS = 2.0
# So much longer than its processor time may it take on a machine that has others to serve.
_PATIENCE_FACTOR = 10
_MAX_SHOWN = 200


class TemplateRenderer:
    """Writes conversations in the words of their models' templates, one at a time.

    Templates that once ran out of time have a process and a queue of their own from then on, so
    that the others do not wait for them.

    Args:
        processor_seconds: What a template may take for one conversation.
        patience_seconds: How long one may take in all; None is ten times the processor time.
    """

    def __init__(
        self,
        *,
        processor_seconds: float = PROCESSOR_SECONDS,
        patience_seconds: float | None = None,
    ) -> None:
        self._processor_seconds = processor_seconds
        patience = patience_seconds or _PATIENCE_FACTOR * processor_seconds
        self._line = _Line(patience)
        self._line_of_slow_ones = _Line(patience)
        # Hashes of their sources.
        self._slow: set[int] = set()

    @property
    def process_id(self) -> int | None:
        """The process that runs templates, None while there is none."""
        return self._line.process_id

    async def render(self, template: ChatTemplate, messages: Sequence[ChatMessage]) -> str:
        """A conversation as the model reads it, up to where the assistant is to speak.

        Raises:
            RequestError: The template cannot write these messages, or takes too much for it; or the
                machine does not run it.
        """
        shown: list[dict[str, str]] = [
            {"role": message.role, "content": message.content}
            | ({} if message.name is None else {"name": message.name})
            for message in messages
        ]
        request = {
            "source": template.source,
            "max_characters": MAX_CHARACTERS,
            "processor_seconds": self._processor_seconds,
            # Templates ask for what transformers gives them, and some fail without.
            "variables": {
                **template.variables,
                "messages": shown,
                "tools": None,
                "documents": None,
                "add_generation_prompt": True,
            },
        }
        key = hash(template.source)

        def exchange() -> str | None:
            # Those that wait already go over to the other line when their turn comes.
            return None if key in self._slow else self._exchange(self._line, key, request)

        # A caller that leaves meanwhile leaves the exchange whole: the thread goes on to its end.
        text = await self._line.threads.run(exchange) if key not in self._slow else None
        if text is not None:
            return text
        line = self._line_of_slow_ones
        return await line.threads.run(lambda: self._exchange(line, key, request))

    def close(self) -> None:
        """End the processes; the next conversation starts another."""
        self._line.close()
        self._line_of_slow_ones.close()

    def _exchange(self, line: "_Line", key: int, request: Mapping[str, object]) -> str:
        try:
            body = line.ask(json.dumps(request).encode("ascii"))
            match cast("object", json.loads(body)):
                case {"text": str(text)}:
                    return text
                case {"failure": str(reason)}:
                    pass
                case _:
                    raise UnusableAnswerError
        except ProcessEndedError as error:
            self._slow.add(key)
            reason = "takes too long with them" if error.has_run_out else "ends its process"
        except (UnusableAnswerError, ValueError):
            line.kill()
            reason = "gives no usable answer"
        except ProcessSilentError:
            self._slow.add(key)
            _logger.error("the process that renders chat templates was silent and was ended")
            raise _unavailable("did not answer in time") from None
        except OSError as error:
            line.kill()
            _logger.error("the process that renders chat templates failed: %s", error)
            raise _unavailable("cannot be reached") from None
        raise _failure(reason)


class _Line:
    """Who waits for one process, and that process."""

    def __init__(self, patience_seconds: float) -> None:
        self.threads = BoundedThreads("templates", max_jobs=1)
        self._patience_seconds = patience_seconds
        self._process: TemplateProcess | None = None

    @property
    def process_id(self) -> int | None:
        return None if self._process is None else self._process.process_id

    def ask(self, request: bytes) -> bytes:
        """The answer of a process; another where this one was ended by somebody meanwhile.

        Raises:
            ProcessEndedError: It ran out of processor time, or two of them ended over this.
            ProcessSilentError: It was silent, and was ended.
            UnusableAnswerError: It answered too much.
            OSError: There is none to be had.
        """
        try:
            return self._ask(request)
        except ProcessEndedError as error:
            if error.has_run_out:
                raise
        return self._ask(request)

    def kill(self) -> None:
        """End the process wherever it is."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()

    def close(self) -> None:
        """End the process after what it does."""
        process, self._process = self._process, None
        if process is not None:
            process.close()

    def _ask(self, request: bytes) -> bytes:
        if self._process is not None and self._process.has_ended:
            self.close()
        process = self._process = self._process or TemplateProcess()
        try:
            return process.exchange(
                request, patience_seconds=self._patience_seconds, max_bytes=_MAX_ANSWER_BYTES
            )
        except (ProcessEndedError, ProcessSilentError):
            self.kill()
            raise


def _unavailable(reason: str) -> RequestError:
    return RequestError(
        ErrorKind.ENGINE_UNAVAILABLE,
        f"the process that renders chat templates {reason} and is started again",
        retry_after_seconds=1,
    )


def _failure(reason: str) -> RequestError:
    # Cut first: nobody has bounded it but a process that is trusted with nothing.
    shown = "".join(each if each.isprintable() else " " for each in reason[:_MAX_SHOWN])
    return invalid_value("messages", f"do not fit the model's chat template, which {shown}")
