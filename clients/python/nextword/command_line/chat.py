"""`nextword chat`: a conversation in the terminal, or one line of the input after another."""

from typing import Annotated

import typer

from nextword.command_line.options import (
    DEFAULT_REST_URL,
    CaFileOption,
    JsonOption,
    KeyFileOption,
    ModelOption,
    TimeoutOption,
    UrlOption,
    open_client,
)

__all__ = ["chat"]

_SAMPLING = "Sampling (what is not given is the model's default)"


def chat(
    message: Annotated[
        str | None, typer.Argument(help="Answer this message, and end; - reads the standard input.")
    ] = None,
    system: Annotated[
        str | None,
        typer.Option("--system", "-s", metavar="TEXT", help="What the model is told beforehand."),
    ] = None,
    model: ModelOption = None,
    url: UrlOption = DEFAULT_REST_URL,
    key_file: KeyFileOption = None,
    ca_file: CaFileOption = None,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 600.0,
    max_tokens: Annotated[
        int | None,
        typer.Option(metavar="N", help="Tokens of an answer at most.", rich_help_panel=_SAMPLING),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", "-t", metavar="X", rich_help_panel=_SAMPLING),
    ] = None,
    top_k: Annotated[int | None, typer.Option(metavar="K", rich_help_panel=_SAMPLING)] = None,
    top_p: Annotated[float | None, typer.Option(metavar="P", rich_help_panel=_SAMPLING)] = None,
    min_p: Annotated[float | None, typer.Option(metavar="P", rich_help_panel=_SAMPLING)] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", rich_help_panel=_SAMPLING)] = None,
) -> int:
    """Talk with a model that has a chat template; the server keeps nothing of it.

    Without a MESSAGE each line of the standard input is a message, and one that ends with a
    backslash goes on in the next. /new forgets the conversation, /again asks for another answer,
    /quit or Ctrl-D ends. Ctrl-C ends an answer, on the server too, and keeps what has come of it.
    With --json each answer is a line of JSON.
    """
    from nextword.command_line.conversation import Conversation, converse
    from nextword.command_line.terminal_text import read_text
    from nextword.request import SamplingParameters

    parameters = SamplingParameters(
        max_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        seed=seed,
    )
    with open_client(url, key_file=key_file, ca_file=ca_file) as client:
        conversation = Conversation(
            client,
            system=system,
            parameters=parameters,
            model=model,
            timeout_seconds=timeout,
            is_json=as_json,
        )
        if message is not None:
            return conversation.say(read_text(message))
        return converse(conversation)
