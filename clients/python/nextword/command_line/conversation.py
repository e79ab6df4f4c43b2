"""The turns of `nextword chat`: what was said so far, and the next answer as it comes."""

import json
import sys
from dataclasses import asdict

from nextword.chat import ChatMessage, ChatStream
from nextword.client import Client
from nextword.command_line.exit_codes import ExitCode, describe, exit_code_of
from nextword.command_line.terminal_text import visible
from nextword.errors import NextwordError
from nextword.request import SamplingParameters

__all__ = ["Conversation", "converse"]

_PROMPT, _MORE = "> ", "... "


class Conversation:
    """What was said so far.

    Args:
        client: Who is asked.
        system: What the model is told beforehand.
        parameters: How tokens are chosen.
        model: Which one answers.
        timeout_seconds: For each answer.
        is_json: Whether answers are lines of JSON.
    """

    def __init__(
        self,
        client: Client,
        *,
        system: str | None,
        parameters: SamplingParameters,
        model: str | None,
        timeout_seconds: float,
        is_json: bool,
    ) -> None:
        self._client = client
        self._beginning = [] if system is None else [ChatMessage("system", system)]
        self._messages = list(self._beginning)
        self._parameters = parameters
        self._model = model
        self._timeout_seconds = timeout_seconds
        self._is_json = is_json

    def forget(self) -> None:
        """Begin anew."""
        self._messages = list(self._beginning)

    def say(self, text: str) -> ExitCode:
        """Print the answer to a message, and keep both.

        Raises:
            NextwordError: Any of `nextword.errors`; the message is not kept then.
        """
        self._messages.append(ChatMessage("user", text))
        try:
            return self._answer()
        except BaseException:
            self._messages.pop()
            raise

    def say_again(self) -> ExitCode:
        """Print another answer to the last message, in the place of the first one.

        Raises:
            NextwordError: Any of `nextword.errors`; the first answer stays then.
        """
        if len(self._messages) == len(self._beginning):
            print("nextword: nothing has been said yet", file=sys.stderr)
            return ExitCode.WRONG_REQUEST
        last = self._messages.pop()
        try:
            return self._answer()
        except BaseException:
            self._messages.append(last)
            raise

    def _answer(self) -> ExitCode:
        stream = self._client.stream_chat(
            self._messages,
            parameters=self._parameters,
            model=self._model,
            timeout_seconds=self._timeout_seconds,
        )
        code = ExitCode.DONE
        try:
            with stream:
                self._show(stream)
        except KeyboardInterrupt:
            code = ExitCode.INTERRUPTED
            self._end_line(stream)
            print("[cancelled: the server was told to stop]", file=sys.stderr)
        except NextwordError:
            self._end_line(stream)
            raise
        else:
            self._end_line(stream)
        if self._is_json:
            answer = asdict(stream.message) | {"finish_reason": stream.finish_reason}
            usage = None if stream.usage is None else asdict(stream.usage)
            print(json.dumps(answer | {"usage": usage}), flush=True)
        elif stream.finish_reason == "length":
            print("[length: the answer may go on; --max-tokens is its limit]", file=sys.stderr)
        self._messages.append(stream.message)
        return code

    def _show(self, stream: ChatStream) -> None:
        is_terminal = sys.stdout.isatty()
        for piece in stream:
            if piece.text and not self._is_json:
                sys.stdout.write(visible(piece.text) if is_terminal else piece.text)
                sys.stdout.flush()

    def _end_line(self, stream: ChatStream) -> None:
        if not self._is_json and stream.message.content:
            print(flush=True)


def converse(conversation: Conversation) -> ExitCode:
    """Answer each line of the standard input until it ends."""
    is_terminal = sys.stdin.isatty()
    if is_terminal:
        _prepare_line_editing()
        print("[/new forgets, /again asks again, /quit or Ctrl-D ends]", file=sys.stderr)
    code = ExitCode.DONE
    while True:
        try:
            text = _read_message(is_terminal)
        except EOFError:
            if is_terminal:
                print(file=sys.stderr)
            return code
        except KeyboardInterrupt:
            # At the prompt it takes back what was typed; in a pipe there is nothing to take back.
            print(file=sys.stderr)
            if is_terminal:
                continue
            return ExitCode.INTERRUPTED
        if text == "/quit":
            return code
        if not text.strip():
            continue
        try:
            code = _obey(conversation, text)
        except NextwordError as error:
            if not is_terminal:
                raise
            # A person can say it otherwise, or again.
            print(f"nextword: {describe(error)}", file=sys.stderr)
            code = exit_code_of(error)
        if code == ExitCode.INTERRUPTED and not is_terminal:
            return code


def _obey(conversation: Conversation, text: str) -> ExitCode:
    match text:
        case "/new":
            conversation.forget()
            return ExitCode.DONE
        case "/again":
            return conversation.say_again()
        case _ if text.startswith("/"):
            print(f"nextword: /new, /again and /quit are known, not {text!r}", file=sys.stderr)
            return ExitCode.WRONG_REQUEST
        case _:
            return conversation.say(text)


def _read_message(is_terminal: bool) -> str:
    lines: list[str] = []
    while True:
        if is_terminal:
            line = input(_MORE if lines else _PROMPT)
        else:
            data = sys.stdin.buffer.readline()
            if not data and not lines:
                raise EOFError
            line = data.decode().removesuffix("\n").removesuffix("\r")
        lines.append(line.removesuffix("\\"))
        if not line.endswith("\\"):
            return "\n".join(lines)


def _prepare_line_editing() -> None:
    try:
        import readline  # input() edits its line with it as soon as it is there
    except ImportError:
        return  # a Python without it, or a system
    readline.set_auto_history(True)
