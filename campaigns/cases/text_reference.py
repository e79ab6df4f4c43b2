"""What text comes out of ids, by brute force: the reference of the text campaign."""

from dataclasses import dataclass

from model.tokenizer import Tokenizer

__all__ = ["Delivered", "stopped_text", "whole_characters"]


@dataclass(frozen=True, slots=True)
class Delivered:
    """What came out of one run."""

    text: str
    token_ids: list[int]
    is_stopped: bool


def stopped_text(
    tokenizer: Tokenizer, ids: list[int], stop: tuple[str, ...], min_tokens: int
) -> Delivered:
    """The same by brute force: the text after each token, read character by character."""
    read = ""
    starts: list[int] = []
    for num_tokens in range(1, len(ids) + 2):
        data = b"".join(map(tokenizer.token_bytes, ids[:num_tokens]))
        if num_tokens > len(ids):
            text = data.decode("utf-8", "replace")
        else:
            starts.append(len(read))
            text = whole_characters(data)
        for end in range(len(read) + 1, len(text) + 1):
            lengths = [len(each) for each in stop if text[:end].endswith(each)]
            if lengths and min(num_tokens, len(ids)) >= min_tokens:
                cut = end - max(lengths)
                return Delivered(text[:cut], _until(tokenizer, ids, starts, cut), is_stopped=True)
        read = text
    return Delivered(read, ids, is_stopped=False)


def whole_characters(data: bytes) -> str:
    """The text of bytes without an unfinished character at their end."""
    for size in range(1, min(3, len(data)) + 1):
        try:
            data[-size:].decode("utf-8")
        except UnicodeDecodeError as error:
            if error.start == 0 and error.reason == "unexpected end of data":
                return data[:-size].decode("utf-8", "replace")
    if len(data) >= 2 and data[-2] == 0xED and 0xA0 <= data[-1] <= 0xBF:
        # The beginning of a surrogate; Python's decoder waits for its third byte all the same.
        return data[:-2].decode("utf-8", "replace")
    return data.decode("utf-8", "replace")


def _until(tokenizer: Tokenizer, ids: list[int], starts: list[int], cut: int) -> list[int]:
    """The tokens whose text begins before a character, and those without text up to it."""
    kept: list[int] = []
    for token_id, start in zip(ids, starts, strict=False):
        if start > cut or (start == cut and tokenizer.token_bytes(token_id)):
            break
        kept.append(token_id)
    return kept
