"""What a server answers, as values that know no protocol."""

from dataclasses import dataclass

from nextword.inspections import TokenInspection
from nextword.request import SamplingParameters

__all__ = [
    "Choice",
    "Generation",
    "Model",
    "RefusedVersion",
    "RivalToken",
    "Summary",
    "TextPiece",
    "Timings",
    "Token",
    "TokenLogprob",
    "Usage",
]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read and made for one request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time went in the server, in seconds since it received the request."""

    queue_seconds: float
    first_token_seconds: float | None
    total_seconds: float


@dataclass(frozen=True, slots=True)
class RivalToken:
    """One of the likeliest tokens at a place.

    Attributes:
        id: Its number in the vocabulary.
        text: What it stands for, with U+FFFD for bytes that are no whole character.
        bytes: The bytes it stands for.
        logprob: Natural logarithm of its probability before any sampling parameter.
    """

    id: int
    text: str
    bytes: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """How likely a token was where it stands.

    Attributes:
        id: Its number in the vocabulary.
        text: What it stands for, with U+FFFD for bytes that are no whole character.
        bytes: The bytes it stands for.
        logprob: Natural logarithm of its probability before any sampling parameter; None for the
            first token of a prompt.
        rank: Its place among all tokens, from 1.
        top: The likeliest tokens at that place, as many as were asked for.
    """

    id: int
    text: str
    bytes: bytes
    logprob: float | None
    rank: int | None
    top: tuple[RivalToken, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """What concerns a whole request; it comes with the last piece of a stream.

    Attributes:
        id: The request's id, as in the server's log.
        model: Name of the model that answered.
        model_version: Its version.
        usage: Tokens read and made.
        parameters: What was in force, the seed that was drawn included.
        timings: Where the time went.
        system_fingerprint: What computed it, such as executor and number type.
    """

    id: str
    model: str
    model_version: str
    usage: Usage
    parameters: SamplingParameters
    timings: Timings
    system_fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class TextPiece:
    """One piece of a continuation, as it was made.

    Attributes:
        index: Which continuation it belongs to.
        text: Whole characters, perhaps none.
        token_ids: The tokens that made it.
        finish_reason: Why the continuation ended (``end_of_text``, ``stop``, ``length``); on its
            last piece only.
        summary: What concerns the request; on the very last piece only.
        is_prompt: Whether it is the prompt, which an answer with `echo` begins with.
        logprobs: How likely each of the tokens was, where that was asked for.
        inspections: How each of them was chosen, where that was asked for, and on the last piece
            also the token that ended the text, where one did.
    """

    index: int
    text: str
    token_ids: tuple[int, ...]
    finish_reason: str | None = None
    summary: Summary | None = None
    is_prompt: bool = False
    logprobs: tuple[TokenLogprob, ...] = ()
    inspections: tuple[TokenInspection, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """One whole continuation; its fields are those of its pieces, put together."""

    index: int
    text: str
    token_ids: tuple[int, ...]
    finish_reason: str
    logprobs: tuple[TokenLogprob, ...] = ()
    inspections: tuple[TokenInspection, ...] = ()


@dataclass(frozen=True, slots=True)
class Generation:
    """A whole answer: the continuations in order, and what concerns all of them."""

    choices: tuple[Choice, ...]
    summary: Summary


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a text.

    Attributes:
        id: Its number in the vocabulary.
        text: What it stands for; a character split over tokens shows as U+FFFD in each of them.
        start: Where it begins in the text's UTF-8 bytes.
        end: Where it ends, exclusive.
    """

    id: int
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class RefusedVersion:
    """A version that would be served but cannot be, and why in a line."""

    version: str
    reason: str


@dataclass(frozen=True, slots=True)
class Model:
    """A served model.

    Attributes:
        id: Its name, as requests give it.
        version: The version that answers to the name alone.
        is_default: Whether requests that name no model go to it.
        is_ready: Whether it can answer now.
        created: When it was published, in seconds since 1970.
        context_tokens: Longest prompt, in tokens.
        vocabulary_size: Number of token ids.
        num_parameters: Number of trained values; of n-grams for an n-gram model.
        default_parameters: What an empty request gets.
        status: What it is doing: ``ready``, ``loading``, ``restarting``, ``stopped``.
        versions: Versions that can be asked for as NAME@VERSION.
        refused: Versions that would be served but cannot be.
        kv_cache_tokens: Tokens that its key-value cache holds, for all requests together.
        max_running: Texts computed at once.
        max_queued: Requests that may wait beside those.
        max_request_tokens: Tokens that one request may cost.
        device: What computes it; None until it was loaded, like the next two.
        dtype: Number type of its weights.
        executor: Kind of program that computes it.
        kind: What kind of model it is: ``transformer`` or ``ngram``.
        card: The model card in Markdown, where one model was asked for.
    """

    id: str
    version: str
    is_default: bool
    is_ready: bool
    created: int
    context_tokens: int
    vocabulary_size: int
    num_parameters: int
    default_parameters: SamplingParameters
    status: str
    versions: tuple[str, ...]
    refused: tuple[RefusedVersion, ...]
    kv_cache_tokens: int
    max_running: int
    max_queued: int
    max_request_tokens: int
    device: str | None
    dtype: str | None
    executor: str | None
    kind: str
    card: str = ""
