"""Tokens as people can read them: whole characters as they are, hex for the rest, control names."""

from collections.abc import Sequence

from service.glass_box.glass_box_values import TextToken
from service.glass_box.inspection import TokenView
from service.models.model_store import ModelFolder

__all__ = ["readable_text", "text_tokens", "view_token"]


def view_token(folder: ModelFolder, token_id: int) -> TokenView:
    """A token of a model's vocabulary.

    Args:
        folder: Whose vocabulary.
        token_id: One that the network knows; those that only round its vocabulary up have no name.
    """
    data = folder.token_bytes[token_id]
    if data:
        return TokenView(id=token_id, text=readable_text(data), bytes=data, is_control=False)
    name = folder.tokenizer.control_tokens.get(token_id, "")
    return TokenView(id=token_id, text=name, bytes=b"", is_control=True)


def readable_text(data: bytes) -> str:
    r"""Bytes as text, with ``\xE2`` and the like for those that are no whole character."""
    parts: list[str] = []
    while data:
        try:
            parts.append(data.decode("utf-8"))
            break
        except UnicodeDecodeError as fault:
            parts.append(data[: fault.start].decode("utf-8"))
            parts += [f"\\x{value:02X}" for value in data[fault.start : fault.end]]
            data = data[fault.end :]
    return "".join(parts)


def text_tokens(folder: ModelFolder, token_ids: Sequence[int]) -> tuple[TextToken, ...]:
    """The tokens of a text, and where their bytes lie in those of all of them."""
    # The first space of a text is notation of some tokenizers, whichever token brings it.
    strips = folder.tokenizer.strips_leading_space
    tokens: list[TextToken] = []
    end = 0
    for token_id in token_ids:
        view, start = view_token(folder, token_id), end
        shown = view.bytes
        if strips and shown:
            shown, strips = shown.removeprefix(b" "), False
        end += len(shown)
        tokens.append(TextToken(token=view, byte_start=start, byte_end=end))
    return tuple(tokens)
