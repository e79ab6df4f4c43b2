"""OpenAI's two forms of logprobs: parallel lists for completions, objects for conversations."""

import codecs
from collections.abc import Sequence

import msgspec

from service.generation import Rival, TokenReport

__all__ = ["CompletionLogprobs", "chat_logprobs"]


class CompletionLogprobs:
    """Writes the reports of one choice, piece by piece; offsets go on from piece to piece."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._num_characters = 0

    def write(self, reports: Sequence[TokenReport]) -> dict[str, object]:
        """The reports of the next tokens.

        `text_offset` is where a token begins in the choice's text, in characters; a token that
        continues a character begins where the character does. `top_logprobs` has the rivals and
        the token itself; the first token of a prompt has null in both lists.
        """
        offsets: list[int] = []
        for report in reports:
            offsets.append(self._num_characters)
            self._num_characters += len(self._decoder.decode(report.bytes))
        return {
            "tokens": [_token_text(report.token_id, report.bytes) for report in reports],
            "token_logprobs": [report.logprob for report in reports],
            # The large part; JSON at once, so that no encoding of all of it holds up others.
            "top_logprobs": [msgspec.Raw(msgspec.json.encode(_top(report))) for report in reports],
            "text_offset": offsets,
        }


def chat_logprobs(reports: Sequence[TokenReport]) -> dict[str, object]:
    """The reports of tokens in the newer form; `bytes` tells parts of characters apart."""
    return {
        # As above: one piece of JSON for each token.
        "content": [msgspec.Raw(msgspec.json.encode(_content(report))) for report in reports],
        "refusal": None,
    }


def _content(report: TokenReport) -> dict[str, object]:
    assert report.logprob is not None, "there is no echo in conversations"
    own = _token_object((report.token_id, report.bytes, report.logprob))
    return {**own, "top_logprobs": [_token_object(rival) for rival in report.top]}


def _token_object(token: Rival) -> dict[str, object]:
    token_id, data, logprob = token
    return {"token": _token_text(token_id, data), "bytes": list(data), "logprob": logprob}


def _top(report: TokenReport) -> dict[str, float] | None:
    if report.logprob is None:
        return None
    top: dict[str, float] = {}
    for token_id, data, logprob in report.top:
        # Two tokens may read the same; the likelier one keeps the name.
        top.setdefault(_token_text(token_id, data), logprob)
    top.setdefault(_token_text(report.token_id, report.bytes), report.logprob)
    return top


def _token_text(token_id: int, data: bytes) -> str:
    """A token as a string that differs from every other token's, as far as its bytes do."""
    if not data:
        return f"token_id:{token_id}"
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
