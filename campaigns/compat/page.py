"""The blocks of docs/clients.md, as a reader would run them: with another address and model."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Block", "Place", "blocks_of"]

_BLOCK = re.compile(r"^```(python|js|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What the page names, where a campaign has a server of its own.
_MODELS = ("fairytales", "smollm2")


@dataclass(frozen=True, slots=True)
class Place:
    """What a server is called here.

    Attributes:
        rest: Its REST address, with the scheme.
        grpc: Its gRPC address.
        model: A model that it serves.
        model_folder: Where that lies.
    """

    rest: str
    grpc: str
    model: str
    model_folder: str


@dataclass(frozen=True, slots=True)
class Block:
    """One block: its language and its lines."""

    language: str
    text: str


def blocks_of(page: str, section: str, place: Place) -> Iterator[Block]:
    """The blocks under a heading, about the server that there is.

    Args:
        page: The whole page.
        section: The heading's words.
        place: What the blocks are to be about.

    Raises:
        ValueError: There is no such section.
    """
    found = re.search(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", page, re.M | re.DOTALL)
    if found is None:
        raise ValueError(f"the page has no section {section!r}")
    for language, text in _BLOCK.findall(found[1]):
        about = text.replace("$PWD/artifacts", "artifacts")
        about = about.replace("artifacts/fairytales/1", place.model_folder)
        for model in _MODELS:
            about = re.sub(rf"(?<![\w/]){model}(?![\w/])", place.model, about)
        about = about.replace("http://127.0.0.1:8000", place.rest)
        yield Block(language, about.replace("127.0.0.1:50051", place.grpc))
