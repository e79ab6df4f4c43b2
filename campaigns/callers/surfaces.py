"""A way to ask the server for something, and one shape for what any of them gives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

__all__ = ["GLASS_BOX", "OF_OPENAI", "SECONDS", "Answer", "Body", "Surface"]

SECONDS = 60
# The calls of the glass box: path of REST and method of gRPC.
GLASS_BOX = {
    "inspect": ("/v1/inspect", "InspectText"),
    "resample": ("/v1/resample", "Resample"),
    "attention": ("/v1/attention", "GetAttention"),
    "embedding": ("/v1/embedding", "GetTokenEmbedding"),
    "embed_text": ("/v1/embed-text", "EmbedText"),
    "score": ("/v1/score", "ScoreText"),
}
# Routes of OpenAI whose bodies are not those of a generation, by the family of their probes.
OF_OPENAI = {"chat": "/v1/chat/completions", "embeddings": "/v1/embeddings"}

# In the words of native REST; a dot leads into an object.
Body: TypeAlias = Mapping[str, object]


@dataclass
class Answer:
    """What a surface gave.

    Attributes:
        code: The error's code, None where there is none.
        fault: The field that the error names.
        texts: Of each choice.
        reasons: Why each choice ended.
        num_rivals: Of each reported token of the first choice; empty where nothing is reported.
        num_prompt_tokens: Usage.
        num_tokens: Usage: tokens made for all choices.
        model: Who answered.
        ignored: What the header x-ignored-parameters says.
        num_usages: Events that told a usage.
        is_usage_alone: Whether the last of them told nothing else.
        num_candidates: Of each inspection of the first choice.
        num_logits: The same for the bytes of logits.
        whole: The last part of the answer, as it is.
    """

    code: str | None = None
    fault: str | None = None
    texts: dict[int, str] = field(default_factory=dict[int, str])
    reasons: dict[int, str] = field(default_factory=dict[int, str])
    num_rivals: list[int] = field(default_factory=list[int])
    num_prompt_tokens: int = 0
    num_tokens: int = 0
    model: str = ""
    is_streamed: bool = False
    ignored: str = ""
    num_usages: int = 0
    is_usage_alone: bool = False
    num_candidates: list[int] = field(default_factory=list[int])
    num_logits: list[int] = field(default_factory=list[int])
    whole: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def text(self) -> str:
        """Of the first choice."""
        return self.texts.get(0, "")

    def add_choice(self, part: Mapping[str, Any]) -> None:
        """Add a choice, or a piece of one, in the form of the JSON answers."""
        index = int(part.get("index", 0))
        said = part.get("message", part.get("delta", {})).get("content", "")
        self.texts[index] = self.texts.get(index, "") + part.get("text", said)
        if part.get("finish_reason"):
            self.reasons[index] = part["finish_reason"]
        if index:
            return
        for each in part.get("inspections", ()):
            self.num_candidates.append(len(each["candidates"]))
            self.num_logits.append(len(each.get("logits", "")))
        match part.get("logprobs"):
            case {"top_logprobs": tops}:
                self.num_rivals += [len(top or ()) for top in tops]
            case {"content": reports}:
                self.num_rivals += [len(report["top_logprobs"]) for report in reports]
            case [*reports]:
                self.num_rivals += [len(report["top"]) for report in reports]
            case _:
                pass


@dataclass(frozen=True, slots=True)
class Surface:
    """One way to ask.

    Attributes:
        parameters: The names that it is declared to take.
        ask: Sends a body.
        family: Which call of the glass box or of OpenAI it is, empty for all others.
    """

    name: str
    parameters: frozenset[str]
    ask: Callable[[Body], Answer]
    family: str = ""
