"""The key that a client shows to a server: looked at before it is sent, and never repeated."""

import re
from pathlib import Path

from nextword.errors import NotPossibleError

__all__ = ["authorization", "read_key_file"]

# What RFC 6750 lets a bearer token be made of; other characters could end the header early.
_KEY = re.compile(r"[A-Za-z0-9._~+/-]+=*")
MAX_FILE_BYTES = 1 << 20


def authorization(api_key: str | None) -> dict[str, str]:
    """The header, or the metadata, that shows a key; none where there is no key.

    Raises:
        NotPossibleError: No server could know such a key.
    """
    if api_key is None:
        return {}
    if _KEY.fullmatch(api_key) is None:
        raise NotPossibleError(
            "the API key must be letters, digits and any of - . _ ~ + / (= at its end), "
            f"got {len(api_key)} characters with others among them"
        )
    return {"authorization": f"Bearer {api_key}"}


def read_key_file(path: Path) -> str:
    """The first key in a file: the first word that is no comment.

    Raises:
        NotPossibleError: It cannot be read, or there is none in it.
    """
    try:
        with path.open("rb") as file:
            lines = file.read(MAX_FILE_BYTES).decode("utf-8-sig").splitlines()
    except OSError as error:
        reason = error.strerror or str(error)
        raise NotPossibleError(f"the key file {path} cannot be read: {reason}") from None
    except UnicodeDecodeError:
        raise NotPossibleError(f"the key file {path} is not UTF-8 text") from None
    for line in lines:
        words = line.split()
        if words and not words[0].startswith("#"):
            return words[0]
    raise NotPossibleError(f"there is no key in the key file {path}")
