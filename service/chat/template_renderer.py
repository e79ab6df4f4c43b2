"""Our end of the process that runs chat templates: started when first needed, and when it died."""

import json
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from service.bounded_threads import BoundedThreads
from service.chat.chat_template import ChatTemplate
from service.chat.messages import ChatMessage
from service.errors import RequestError, invalid_value

__all__ = ["MAX_CHARACTERS", "TemplateRenderer"]

# Several times what a request's body can hold, and more than the context of any model served here.
MAX_CHARACTERS = 4 << 20
# Conversations of a megabyte take some tens of milliseconds.
PROCESSOR_SECONDS = 2.0
_SCRIPT = Path(__file__).with_name("render_process.py")
_LENGTH = struct.Struct("<I")
_MAX_SHOWN = 200


class TemplateRenderer:
    """Writes conversations in the words of their models' templates, one at a time.

    Args:
        processor_seconds: What a template may take for one conversation.
    """

    def __init__(self, *, processor_seconds: float = PROCESSOR_SECONDS) -> None:
        self._processor_seconds = processor_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._threads = BoundedThreads("templates", max_jobs=1)

    @property
    def process_id(self) -> int | None:
        """The process that runs templates, None while there is none."""
        return None if self._process is None else self._process.pid

    async def render(self, template: ChatTemplate, messages: Sequence[ChatMessage]) -> str:
        """A conversation as the model reads it, up to where the assistant is to speak.

        Raises:
            RequestError: The template cannot write these messages, or takes too much for it.
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
        # A caller that leaves meanwhile leaves the exchange whole: the thread goes on to its end.
        return await self._threads.run(lambda: self._exchange(json.dumps(request).encode("ascii")))

    def close(self) -> None:
        """End the process; the next conversation starts another."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        # Its end of input is its end.
        process.stdin.close()
        process.stdout.close()
        process.wait()

    def _exchange(self, data: bytes) -> str:
        process = self._process
        if process is not None and process.poll() is not None:
            # Somebody has ended it since, which is no fault of this conversation.
            self.close()
            process = None
        process = self._process = process or _start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(_LENGTH.pack(len(data)) + data)
            process.stdin.flush()
            head = process.stdout.read(_LENGTH.size)
            body = process.stdout.read(_LENGTH.unpack(head)[0]) if head else b""
        except BrokenPipeError:
            body = b""
        if not body:
            # It has run out of its time, or of what the system would give it.
            self._process = None
            with process:
                process.kill()
            raise _failure("takes too long with them")
        answer = cast("dict[str, str]", json.loads(body))
        if "text" in answer:
            return answer["text"]
        raise _failure(answer["failure"])


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", str(_SCRIPT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # It needs nothing of ours, and a Ctrl-C in the terminal is for the front.
        env={},
        start_new_session=True,
    )


def _failure(reason: str) -> RequestError:
    shown = "".join(each if each.isprintable() else " " for each in reason)[:_MAX_SHOWN]
    return invalid_value("messages", f"do not fit the model's chat template, which {shown}")
