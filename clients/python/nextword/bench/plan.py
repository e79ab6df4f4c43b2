"""What a load test does, checked before anything is sent, and the requests it sends."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Literal

from nextword.address import Address
from nextword.errors import NotPossibleError

__all__ = [
    "Api",
    "Ask",
    "Level",
    "Plan",
    "PlanError",
    "asks",
    "check_fits",
    "clients",
    "openai_url",
]

Api = Literal["native", "openai"]

MAX_CONCURRENCY = 4096
# Short words that tokenizers trained on English have as one token with the space before it.
_TEXT = (
    "the of and to in that was his he it with is for as had you not be her on at by which have "
    "or from this him but all she they were my are me one their so an said them we who would been "
    "will no when there if more out up into do any your what has man could other than our some very"
)
_WORDS = _TEXT.split()


class PlanError(NotPossibleError):
    """A load test cannot be run as it was asked for; one line naming option, limit and value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole load test.

    Attributes:
        addresses: The servers, measured one after another.
        api: ``native`` (counts token ids), or ``openai`` (any /v1/completions; counts by usage).
        model: Which model is asked; None is the server's default (OpenAI: the first it lists).
        concurrencies: Numbers of clients, each a level of its own.
        num_requests: Requests of a level; None where its length is in seconds.
        seconds: How long a level sends requests; None where it is a number of requests.
        num_prompt_tokens: Length of each prompt.
        max_tokens: Tokens that each request must get, no more and no fewer.
        num_warmup_requests: Requests before each level that are not measured; None is one for
            each client.
        temperature: As in a request; None leaves it to the server.
        vocabulary_size: OpenAI only: prompts are ids below it instead of words.
        seed: Chooses the prompts and the requests' seeds.
        timeout_seconds: When a request is given up.
        api_key: Shown to every server; it stands in no report.
    """

    addresses: tuple[Address, ...]
    api: Api = "native"
    model: str | None = None
    concurrencies: tuple[int, ...] = (1, 4)
    num_requests: int | None = None
    seconds: float | None = 10.0
    num_prompt_tokens: int = 32
    max_tokens: int = 64
    num_warmup_requests: int | None = None
    temperature: float | None = None
    vocabulary_size: int | None = None
    seed: int = 0
    timeout_seconds: float = 120.0
    api_key: str | None = dataclass_field(default=None, repr=False)

    def __post_init__(self) -> None:
        _check(self)

    def levels(self) -> Iterator["Level"]:
        """Every server at every number of clients, in order."""
        for address in self.addresses:
            for concurrency in self.concurrencies:
                warmup = self.num_warmup_requests
                yield Level(
                    address=address,
                    concurrency=concurrency,
                    num_warmup_requests=concurrency if warmup is None else warmup,
                )


@dataclass(frozen=True, slots=True)
class Level:
    """One server at one number of clients."""

    address: Address
    concurrency: int
    num_warmup_requests: int

    @property
    def label(self) -> str:
        """The number of clients in words."""
        return clients(self.concurrency)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request of a load test."""

    prompt: str | tuple[int, ...]
    seed: int


def asks(plan: Plan, level: Level, *, phase: str, vocabulary_size: int | None) -> Iterator[Ask]:
    """Endless requests, the same for the same plan; no prompt comes twice.

    A prompt that was seen before would cost a server with a prefix cache nothing, so each level
    and phase has its own.
    """
    index = 0
    while True:
        key = f"{plan.seed} {level.address.url} {level.concurrency} {phase} {index}"
        rng = random.Random(key)
        if vocabulary_size is None:
            prompt = " ".join(rng.choices(_WORDS, k=plan.num_prompt_tokens))
        else:
            prompt = tuple(rng.choices(range(vocabulary_size), k=plan.num_prompt_tokens))
        yield Ask(prompt=prompt, seed=rng.getrandbits(31))
        index += 1


def openai_url(address: Address, path: str) -> str:
    """The URL of one of OpenAI's routes; the base URL may end in /v1, as their clients want it."""
    return f"{address.url.removesuffix('/v1')}/v1/{path}"


def clients(number: int) -> str:
    """A number of clients in words."""
    return "1 client" if number == 1 else f"{number} clients"


def _check(plan: Plan) -> None:
    if (plan.num_requests is None) == (plan.seconds is None):
        raise PlanError("a level's length is --requests or --seconds, one of the two")
    _check_range("--requests", plan.num_requests, 1, 10**7)
    _check_range("--seconds", plan.seconds, 0.1, 86400)
    _check_range("--prompt-tokens", plan.num_prompt_tokens, 1, 10**6)
    _check_range("--max-tokens", plan.max_tokens, 1, 10**6)
    _check_range("--warmup", plan.num_warmup_requests, 0, 10**6)
    _check_range("--vocabulary-size", plan.vocabulary_size, 1, 10**7)
    for concurrency in plan.concurrencies:
        _check_range("--concurrency", concurrency, 1, MAX_CONCURRENCY)
    if not plan.concurrencies:
        raise PlanError("--concurrency names no number of clients")
    if plan.api == "openai":
        for address in plan.addresses:
            if address.protocol != "rest":
                raise PlanError(f"--api openai needs an http:// or https:// URL, not {address.url}")
    elif plan.vocabulary_size is not None:
        raise PlanError("--vocabulary-size is for --api openai; a native server tells its own")


def _check_range(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise PlanError(f"{name} must be from {low:g} up to {high:g}, got {value:g}")


def check_fits(plan: Plan, *, context_tokens: int) -> None:
    """Refuse what no request could get: prompt and continuation beyond the model's context.

    Raises:
        PlanError: They do not fit.
    """
    asked = plan.num_prompt_tokens + plan.max_tokens
    if plan.num_prompt_tokens > context_tokens or asked > context_tokens + 1:
        raise PlanError(
            f"--prompt-tokens {plan.num_prompt_tokens} and --max-tokens {plan.max_tokens} do not "
            f"fit into the model's context of {context_tokens} tokens"
        )
