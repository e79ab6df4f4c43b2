"""What a load test does, checked before anything is sent."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Literal

from nextword.address import Address
from nextword.bench.arrivals import Arrivals
from nextword.bench.native_parameters import read_native_parameters
from nextword.bench.objective import Objective
from nextword.bench.plan_error import PlanError, check_range
from nextword.bench.prompts import Ask, PromptSource

__all__ = ["Api", "Level", "Plan", "asks", "check_fits", "clients", "openai_url"]

Api = Literal["native", "openai", "openai-chat"]

MAX_CONCURRENCY = 4096
MAX_RATE = 100_000.0
# Fields that the load test sets, or that would change what a token of a stream is.
_OWN_FIELDS = (
    *("prompt", "prompt_ids", "messages", "model", "max_tokens", "max_completion_tokens"),
    *("temperature", "seed", "stream", "ignore_eos", "n", "best_of", "echo"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole load test.

    Attributes:
        addresses: The servers, measured in turns.
        api: ``native`` (counts token ids), or any server's /v1/completions (``openai``) or
            /v1/chat/completions (``openai-chat``), counted by their usage.
        model: Which model is asked; None is the server's default (OpenAI: the first it lists).
        concurrencies: Closed loops: numbers of clients, each a level of its own.
        rates: Open loops: requests a second, each a level of its own.
        is_sweep: Instead of given levels, look for the highest rate that keeps the objective.
        arrivals: How the requests of an open loop are spread.
        num_requests: Requests of a level; None where its length is in seconds.
        seconds: How long a level sends requests; None where it is a number of requests.
        num_warmup_requests: Requests before each level that are not measured; None is one for
            each client, or those of one second.
        num_repeats: How often each level is measured; reports show medians.
        prompts: What is sent, and how long it and the continuations are.
        objective: What a request must keep to be of use; None counts all good ones.
        temperature: As in a request; None leaves it to the server.
        vocabulary_size: OpenAI only: prompts are ids below it; None is what the server tells.
        parameters: Further sampling parameters, or other fields that an OpenAI-like server knows.
        seed: Chooses the prompts, the requests' seeds and the arrivals.
        timeout_seconds: When a request is given up.
        api_key: Shown to every server; it stands in no report.
        ca_file: Certificates to trust (PEM) instead of this machine's.
    """

    addresses: tuple[Address, ...]
    api: Api = "native"
    model: str | None = None
    concurrencies: tuple[int, ...] = ()
    rates: tuple[float, ...] = ()
    is_sweep: bool = False
    arrivals: Arrivals = "poisson"
    num_requests: int | None = None
    seconds: float | None = 10.0
    num_warmup_requests: int | None = None
    num_repeats: int = 1
    prompts: PromptSource = dataclass_field(default_factory=PromptSource)
    objective: Objective | None = None
    temperature: float | None = None
    vocabulary_size: int | None = None
    parameters: Mapping[str, object] = dataclass_field(default_factory=dict[str, object])
    seed: int = 0
    timeout_seconds: float = 120.0
    api_key: str | None = dataclass_field(default=None, repr=False)
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        _check(self)

    def levels(self) -> Iterator["Level"]:
        """Every server at every number of clients and rate, and all of that as often as asked.

        In turns, so that what else the machine does at a time hits all of them.
        """
        for repeat in range(1, self.num_repeats + 1):
            for address in self.addresses:
                for concurrency in self.concurrencies:
                    yield self.level(address, concurrency=concurrency, repeat=repeat)
                for rate in self.rates:
                    yield self.level(address, rate=rate, repeat=repeat)

    def level(
        self,
        address: Address,
        *,
        concurrency: int | None = None,
        rate: float | None = None,
        repeat: int = 1,
        seconds: float | None = None,
    ) -> "Level":
        """One level of this plan; `seconds` is another length than the plan's."""
        usual_warmup = concurrency if rate is None else max(1, round(rate))
        warmup = self.num_warmup_requests
        return Level(
            address=address,
            concurrency=concurrency,
            rate=rate,
            repeat=repeat,
            num_requests=self.num_requests if seconds is None else None,
            seconds=self.seconds if seconds is None else seconds,
            num_warmup_requests=(usual_warmup or 1) if warmup is None else warmup,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One server at one number of clients, or at one rate; the other of the two is None.

    Attributes:
        address: The server.
        concurrency: Clients of a closed loop.
        rate: Requests a second of an open loop.
        repeat: Which of the level's repeats, from 1.
        num_requests: Its length; None where it is in seconds.
        seconds: Its length; None where it is a number of requests.
        num_warmup_requests: Requests before it that are not measured.
    """

    address: Address
    concurrency: int | None = None
    rate: float | None = None
    repeat: int = 1
    num_requests: int | None = None
    seconds: float | None = None
    num_warmup_requests: int = 0

    @property
    def label(self) -> str:
        """The number of clients, or the rate, in words."""
        return clients(self.concurrency) if self.rate is None else f"{self.rate:.4g} requests/s"


def asks(plan: Plan, level: Level, *, phase: str, vocabulary_size: int | None) -> Iterator[Ask]:
    """Endless requests, the same for the same plan, and others in each level and phase."""
    load = level.concurrency if level.rate is None else level.rate
    key = f"{plan.seed} {level.address.url} {load} {level.repeat} {phase}"
    # What the warm-up has left in a cache of prefixes is what the measured requests find there.
    prefix_key = f"{plan.seed} {level.address.url} {load} {level.repeat} prefix"
    return plan.prompts.asks(key, prefix_key=prefix_key, vocabulary_size=vocabulary_size)


def openai_url(address: Address, path: str) -> str:
    """The URL of one of OpenAI's routes; the base URL may end in /v1, as their clients want it."""
    return f"{address.url.removesuffix('/v1')}/v1/{path}"


def clients(number: int | None) -> str:
    """A number of clients in words."""
    return "1 client" if number == 1 else f"{number} clients"


def check_fits(plan: Plan, *, context_tokens: int) -> None:
    """Refuse what no request could get: prompt and continuation beyond the model's context.

    Raises:
        PlanError: They do not fit.
    """
    if plan.prompts.given:
        # Their lengths are known to the server alone; it refuses what does not fit.
        return
    num_prompt, num_out = plan.prompts.prompt_tokens.high, plan.prompts.max_tokens.high
    if num_prompt > context_tokens or num_prompt + num_out > context_tokens + 1:
        raise PlanError(
            f"--prompt-tokens {num_prompt} and --max-tokens {num_out} do not fit into the "
            f"model's context of {context_tokens} tokens"
        )


def _check(plan: Plan) -> None:
    if (plan.num_requests is None) == (plan.seconds is None):
        raise PlanError("a level's length is --requests or --seconds, one of the two")
    check_range("--requests", plan.num_requests, 1, 10**7)
    check_range("--seconds", plan.seconds, 0.1, 86400)
    check_range("--warmup", plan.num_warmup_requests, 0, 10**6)
    check_range("--repeats", plan.num_repeats, 1, 1000)
    check_range("--vocabulary-size", plan.vocabulary_size, 1, 10**7)
    for concurrency in plan.concurrencies:
        check_range("--concurrency", concurrency, 1, MAX_CONCURRENCY)
    for rate in plan.rates:
        check_range("--rate", rate, 0.001, MAX_RATE)
        if plan.seconds is not None and rate * plan.seconds < 1:
            raise PlanError(f"--rate {rate:g} sends no request in --seconds {plan.seconds:g}")
    if plan.is_sweep:
        _check_sweep(plan)
    elif not plan.concurrencies and not plan.rates:
        raise PlanError("neither --concurrency nor --rate names a level")
    for name in plan.parameters:
        if name in _OWN_FIELDS:
            raise PlanError(f"--parameter {name} is not possible: the load test sets it itself")
    _check_api(plan)


def _check_sweep(plan: Plan) -> None:
    if plan.objective is None:
        raise PlanError("--sweep needs an --objective, such as ttft=300ms,itl=50ms")
    if plan.concurrencies or plan.rates:
        raise PlanError("--sweep chooses the rates: it goes with neither --concurrency nor --rate")
    if plan.seconds is None:
        raise PlanError("--sweep measures for --seconds, not for a number of --requests")


def _check_api(plan: Plan) -> None:
    if plan.api == "native":
        if plan.vocabulary_size is not None:
            raise PlanError("--vocabulary-size is for --api openai; a native server tells its own")
        read_native_parameters(plan.parameters)
        return
    for address in plan.addresses:
        if address.protocol != "rest":
            raise PlanError(f"--api {plan.api} needs an http:// or https:// URL: {address.url}")
    if plan.api == "openai-chat":
        if plan.vocabulary_size is not None:
            raise PlanError("--vocabulary-size is for --api openai: a chat has no prompts of ids")
        if any(not isinstance(prompt, str) for prompt, _ in plan.prompts.given):
            raise PlanError("--prompts with token ids are not for --api openai-chat")
