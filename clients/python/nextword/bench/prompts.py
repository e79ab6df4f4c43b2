"""The requests of a load test: prompts made by their length, or out of a file."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TypeGuard, cast

from nextword.bench.plan_error import PlanError, check_range

__all__ = ["Ask", "Lengths", "PromptSource", "parse_lengths", "read_prompts"]

MAX_FILE_BYTES = 256 << 20
MAX_LENGTH = 10**6
# Short words that tokenizers trained on English have as one token with the space before it.
_TEXT = (
    "the of and to in that was his he it with is for as had you not be her on at by which have "
    "or from this him but all she they were my are me one their so an said them we who would been "
    "will no when there if more out up into do any your what has man could other than our some very"
)
_WORDS = _TEXT.split()


@dataclass(frozen=True, slots=True)
class Lengths:
    """Numbers of tokens from the lowest to the highest, each as likely."""

    low: int
    high: int

    @property
    def label(self) -> str:
        """In words."""
        return str(self.low) if self.low == self.high else f"{self.low} to {self.high}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request of a load test.

    Attributes:
        prompt: A text, or token ids.
        max_tokens: Tokens that it must get, no more and no fewer.
        seed: The request's own.
    """

    prompt: str | tuple[int, ...]
    max_tokens: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSource:
    """Where prompts come from.

    Attributes:
        prompt_tokens: Lengths of prompts that are made.
        shared_prefix_tokens: So many at their beginning are the same within a level.
        max_tokens: Lengths of continuations, where a file does not say its own.
        file: Where given prompts were read; None makes them.
        given: A file's prompts, each with its number of tokens to make, or None.
    """

    prompt_tokens: Lengths = Lengths(32, 32)
    shared_prefix_tokens: int = 0
    max_tokens: Lengths = Lengths(64, 64)
    file: str | None = None
    given: tuple[tuple[str | tuple[int, ...], int | None], ...] = ()

    def __post_init__(self) -> None:
        """Refuse a prefix that is not shorter than the prompts.

        Raises:
            PlanError: It is not.
        """
        if self.shared_prefix_tokens and self.given:
            raise PlanError("--shared-prefix-tokens is for prompts that are made, not of a file")
        highest = self.prompt_tokens.low - 1
        check_range("--shared-prefix-tokens", self.shared_prefix_tokens, 0, highest)

    def asks(self, key: str, *, prefix_key: str, vocabulary_size: int | None) -> Iterator[Ask]:
        """Endless requests, the same for the same key.

        Made prompts never come twice: one that was seen before would cost a server with a cache
        of prefixes nothing. A file's prompts come in a random order, and again after the last.

        Args:
            key: Chooses them.
            prefix_key: Chooses the prefix that they share.
            vocabulary_size: Prompts are ids below it; None makes them words.
        """
        num_shared = self.shared_prefix_tokens
        prefix_words = random.Random(prefix_key).choices(_WORDS, k=num_shared)
        prefix_ids = random.Random(prefix_key).choices(range(vocabulary_size or 1), k=num_shared)
        order = random.Random(key).sample(range(len(self.given)), k=len(self.given))
        for index in count():
            rng = random.Random(f"{key} {index}")
            max_tokens = None
            if order:
                prompt, max_tokens = self.given[order[index % len(order)]]
            else:
                length = rng.randint(self.prompt_tokens.low, self.prompt_tokens.high) - num_shared
                if vocabulary_size is None:
                    prompt = " ".join([*prefix_words, *rng.choices(_WORDS, k=length)])
                else:
                    ids = rng.choices(range(vocabulary_size), k=length)
                    prompt = (*prefix_ids, *ids)
            if max_tokens is None:
                max_tokens = rng.randint(self.max_tokens.low, self.max_tokens.high)
            yield Ask(prompt=prompt, max_tokens=max_tokens, seed=rng.getrandbits(31))


def parse_lengths(text: str, *, option: str) -> Lengths:
    """Read `N`, or `LOW-HIGH`.

    Raises:
        PlanError: It is neither.
    """
    words = text.split("-")
    if len(words) > 2 or not all(word.isascii() and word.isdecimal() for word in words):
        raise PlanError(f"{option} is a number of tokens, or two such as 16-512, not {text!r}")
    lengths = Lengths(int(words[0]), int(words[-1]))
    for length in (lengths.low, lengths.high):
        check_range(option, length, 1, MAX_LENGTH)
    if lengths.low > lengths.high:
        raise PlanError(f"{option} {text}: the first number must not be above the second")
    return lengths


def read_prompts(path: Path) -> tuple[tuple[str | tuple[int, ...], int | None], ...]:
    """The prompts in a file: a line each, or in a `.jsonl` an object with `prompt` (a text or
    ids) and maybe `max_tokens`.

    Raises:
        PlanError: There are none, or one is wrong.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise PlanError(f"--prompts {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PlanError(f"--prompts {path} is not UTF-8 text") from None
    if len(data) > MAX_FILE_BYTES:
        raise PlanError(f"--prompts {path} is above {MAX_FILE_BYTES >> 20} MiB")
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise PlanError(f"--prompts {path} has no prompt")
    if path.suffix != ".jsonl":
        return tuple((line.rstrip("\r"), None) for _, line in lines)
    return tuple(_read_object(line, f"--prompts {path}, line {number}") for number, line in lines)


def _read_object(line: str, place: str) -> tuple[str | tuple[int, ...], int | None]:
    try:
        value = cast("object", json.loads(line))
    except (ValueError, RecursionError):
        raise PlanError(f"{place}: it is not JSON") from None
    if not isinstance(value, dict):
        raise PlanError(f"{place}: it is no object with a prompt")
    fields = cast("dict[str, object]", value)
    if unknown := fields.keys() - {"prompt", "max_tokens"}:
        raise PlanError(f"{place}: it knows prompt and max_tokens, not {sorted(unknown)[0]!r}")
    max_tokens = fields.get("max_tokens")
    if max_tokens is not None and not (_is_integer(max_tokens) and 1 <= max_tokens <= MAX_LENGTH):
        raise PlanError(f"{place}: max_tokens must be 1 up to {MAX_LENGTH}, got {max_tokens!r}")
    return _read_prompt(fields.get("prompt"), place), max_tokens


def _read_prompt(prompt: object, place: str) -> str | tuple[int, ...]:
    if isinstance(prompt, str) and prompt:
        return prompt
    if isinstance(prompt, list):
        ids = cast("list[object]", prompt)
        if ids and all(_is_integer(token_id) and token_id >= 0 for token_id in ids):
            return tuple(cast("list[int]", ids))
    raise PlanError(f"{place}: the prompt is neither a text nor token ids, or empty")


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
