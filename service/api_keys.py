"""The keys that clients must show, from a file that is read again when it changes.

A key is held as its SHA-256 only, and compared with all of them in constant time. Neither log nor
error says a key: people know it by the name beside it, or by its line.
"""

import asyncio
import hashlib
import hmac
import logging
import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from service.daemon_thread import in_daemon_thread
from service.errors import ErrorKind, RequestError
from service.logs import log_fields
from service.setting_spec import SettingsError

__all__ = ["MIN_KEY_CHARACTERS", "ApiKey", "ApiKeys", "parse_api_keys"]

_logger = logging.getLogger(__name__)

# Twenty random letters and digits are 119 bits.
MIN_KEY_CHARACTERS = 20
MAX_KEY_CHARACTERS = 512
# Every request is compared with each of them.
MAX_KEYS = 1000
MAX_FILE_BYTES = 1 << 20
REREAD_SECONDS = 1.0
# What RFC 6750 lets a bearer token be made of.
_KEY = re.compile(r"[A-Za-z0-9._~+/-]+=*")
# Always shorter than a key: where somebody writes them in the wrong order, no key becomes a name
# and is logged.
_MAX_NAME_CHARACTERS = MIN_KEY_CHARACTERS - 1
_NAME = re.compile(rf"[A-Za-z0-9._-]{{1,{_MAX_NAME_CHARACTERS}}}")
# Within a word it is no comment: a key that was cut there would be another key.
_COMMENT = re.compile(r"(?:^|\s)#.*")
_FLAG = "--api-key-file"

TAKEN_UP = "taken_up"
REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key, without its text.

    Attributes:
        name: What the log calls it; "line-N" where the file gives it no name.
        digest: SHA-256 of its text.
    """

    name: str
    digest: bytes


class ApiKeys:
    """The keys in force.

    Args:
        path: One key a line, and after it, if one likes, a name; a word that begins with "#"
            begins a comment.

    Raises:
        SettingsError: The file cannot be read, or what is in it is not what it should be.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        content = _read(path)
        self._keys = parse_api_keys(content, path)
        self._in_force = self._judged = self._seen = _Look.of(content).sign

    @property
    def num_keys(self) -> int:
        """How many there are."""
        return len(self._keys)

    def find(self, authorizations: Sequence[str]) -> ApiKey | None:
        """The key that a request shows, None where it shows none that is known.

        Args:
            authorizations: Its `authorization` headers; of several, none counts.
        """
        given = _bearer(authorizations)
        digest = _digest("" if given is None else given)
        found: ApiKey | None = None
        # All of them, whichever it is: how long this takes tells nothing.
        for key in self._keys:
            if hmac.compare_digest(digest, key.digest):
                found = key
        return found

    def demand(self, authorizations: Sequence[str]) -> ApiKey:
        """The key that a request shows.

        Raises:
            RequestError: It shows none, or none that is known.
        """
        key = self.find(authorizations)
        if key is not None:
            return key
        if _bearer(authorizations) is None:
            raise RequestError(
                ErrorKind.INVALID_API_KEY, "an API key must be sent as Authorization: Bearer KEY"
            )
        raise RequestError(ErrorKind.INVALID_API_KEY, "the API key is not known here")

    async def follow(
        self, on_change: Callable[[str], None], *, interval_seconds: float = REREAD_SECONDS
    ) -> None:
        """Look at the file again and again, without end.

        Args:
            on_change: Told what became of each change: "taken_up" or "refused".
            interval_seconds: Between two looks.
        """
        while True:
            await asyncio.sleep(interval_seconds)
            try:
                outcome = await self.look()
                if outcome is not None:
                    on_change(outcome)
            except Exception:
                # Whatever is wrong with looking, the keys in force stay in force.
                _logger.exception("a look at the file of API keys failed")

    async def look(self) -> str | None:
        """Look once: what this look and the one before found alike is in force, unless it is wrong.

        Then the keys from before stay, and the log says why; once for each fault. One look may
        have met a half-written file, whose last word may pass for a key.

        Returns:
            "taken_up" or "refused"; None where there is nothing new, or nothing sure.
        """
        found = await in_daemon_thread(partial(_look_at, self._path))
        is_sure, self._seen = found.sign == self._seen, found.sign
        if not is_sure or found.sign == self._judged:
            return None
        self._judged = found.sign
        if found.sign == self._in_force:
            return None
        try:
            self._keys = await in_daemon_thread(partial(found.keys, self._path))
        except SettingsError as error:
            _logger.error("the API keys from before stay in force: %s", error)
            return REFUSED
        self._in_force = found.sign
        log_fields(_logger, "API keys taken up", keys=len(self._keys))
        return TAKEN_UP


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look at the file found.

    Attributes:
        sign: Equal where the same was found; none of the keys can be read from it.
        content: The file's bytes, or why they could not be read.
    """

    sign: str
    content: bytes | SettingsError

    @classmethod
    def of(cls, content: bytes) -> "_Look":
        return cls(hashlib.sha256(content).hexdigest(), content)

    def keys(self, path: Path) -> tuple[ApiKey, ...]:
        if isinstance(self.content, SettingsError):
            raise self.content
        return parse_api_keys(self.content, path)


def _look_at(path: Path) -> _Look:
    try:
        return _Look.of(_read(path))
    except SettingsError as error:
        return _Look(str(error), error)


def parse_api_keys(content: bytes, path: Path) -> tuple[ApiKey, ...]:
    """The keys in the content of a file.

    Raises:
        SettingsError: It has none, or a line of it is wrong; what stands there is not repeated.
    """
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise _wrong(path, "it is not UTF-8 text") from None
    keys: list[ApiKey] = []
    places: dict[bytes, int] = {}
    for number, line in enumerate(lines, start=1):
        words = _COMMENT.sub("", line).split()
        if not words:
            continue
        key = _parse_line(words, number, path)
        if len(keys) == MAX_KEYS:
            raise _wrong(path, f"line {number}: there must be at most {MAX_KEYS} keys")
        if key.digest in places:
            first = places[key.digest]
            raise _wrong(path, f"line {number} has the same key as line {first}")
        places[key.digest] = number
        keys.append(key)
    if not keys:
        raise _wrong(path, "there is no key in it; a line must be KEY or KEY NAME")
    return tuple(keys)


def _parse_line(words: list[str], number: int, path: Path) -> ApiKey:
    if len(words) > 2:
        raise _wrong(path, f"line {number} must be KEY or KEY NAME, got {len(words)} words")
    text, name = words[0], words[1] if len(words) == 2 else f"line-{number}"
    if not MIN_KEY_CHARACTERS <= len(text) <= MAX_KEY_CHARACTERS:
        raise _wrong(
            path,
            f"line {number}: a key must have from {MIN_KEY_CHARACTERS} to {MAX_KEY_CHARACTERS} "
            f"characters, got {len(text)}",
        )
    if _KEY.fullmatch(text) is None:
        raise _wrong(
            path,
            f"line {number}: a key must be letters, digits and any of - . _ ~ + / (= at its end)",
        )
    if _NAME.fullmatch(name) is None:
        raise _wrong(
            path,
            f"line {number}: a name must be 1 to {_MAX_NAME_CHARACTERS} letters, digits and any "
            "of - . _",
        )
    return ApiKey(name, _digest(text))


def _read(path: Path) -> bytes:
    try:
        # A pipe would be read once, and hold us up ever after.
        if not stat.S_ISREG(path.stat().st_mode):
            raise _wrong(path, "it is no regular file")
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise _wrong(path, f"it cannot be read: {error.strerror or error}") from None
    if len(content) > MAX_FILE_BYTES:
        raise _wrong(path, f"it must be at most {MAX_FILE_BYTES} bytes")
    return content


def _bearer(authorizations: Sequence[str]) -> str | None:
    if len(authorizations) != 1:
        return None
    scheme, _, key = authorizations[0].partition(" ")
    key = key.strip(" ")
    return key if scheme.lower() == "bearer" and key else None


def _digest(text: str) -> bytes:
    # What cannot be a key becomes something else that cannot be one.
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


def _wrong(path: Path, message: str) -> SettingsError:
    return SettingsError(f"{_FLAG} {path}: {message}")
