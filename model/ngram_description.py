"""ngram.json: what a stored n-gram model is, without its tables. Neither torch nor numpy."""

from pathlib import Path

import msgspec

__all__ = [
    "DESCRIPTION_NAME",
    "FOLDER_NAME",
    "FORMAT_VERSION",
    "MAX_ORDER",
    "NgramDescription",
    "NgramError",
    "read_description",
]

FORMAT_VERSION = 1
MAX_ORDER = 5
FOLDER_NAME = "ngram"
DESCRIPTION_NAME = "ngram.json"


class NgramError(ValueError):
    """An n-gram model that cannot be made, read or asked as wanted; the text is for the user."""


class NgramDescription(msgspec.Struct, frozen=True, kw_only=True):
    """What ngram.json holds; the attributes are those of `NgramTables`."""

    format_version: int
    order: int
    vocab_size: int
    end_of_text_id: int
    num_nodes_by_order: tuple[int, ...]
    facts: dict[str, object]

    @property
    def num_ngrams(self) -> int:
        """N-grams of all orders."""
        return sum(self.num_nodes_by_order)


def read_description(directory: Path) -> NgramDescription:
    """Reads `directory`/ngram/ngram.json and checks that it does not contradict itself.

    Raises:
        NgramError: It is missing, malformed or of another format.
    """
    path = directory / FOLDER_NAME / DESCRIPTION_NAME
    try:
        found = msgspec.json.decode(path.read_bytes(), type=NgramDescription)
    except FileNotFoundError:
        raise NgramError(f"{path}: no n-gram model here") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise NgramError(f"{path}: cannot be read ({error})") from None
    if found.format_version != FORMAT_VERSION:
        raise NgramError(f"{path}: format_version must be 1, given {found.format_version}")
    if not 1 <= found.order <= MAX_ORDER:
        raise NgramError(f"{path}: order must be 1 to {MAX_ORDER}, given {found.order}")
    if not 0 <= found.end_of_text_id < found.vocab_size:
        raise NgramError(f"{path}: end_of_text_id {found.end_of_text_id} is outside the vocabulary")
    num_nodes = found.num_nodes_by_order
    if len(num_nodes) != found.order or num_nodes[0] != found.vocab_size or min(num_nodes) < 0:
        raise NgramError(f"{path}: num_nodes_by_order does not fit order and vocab_size")
    return found
