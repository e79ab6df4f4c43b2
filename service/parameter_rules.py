"""What each sampling parameter may be: the one declaration that checks, pages and tests share."""

from dataclasses import dataclass
from typing import Literal

from service.errors import invalid_value

__all__ = ["MAX_CHOICES", "PARAMETER_RULES", "Kind", "ParameterRule"]

Kind = Literal["integer", "number", "boolean", "strings", "integers", "bias"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterRule:
    """What a parameter may be.

    Attributes:
        name: The word in REST, proto and clients.
        kind: Its type.
        minimum: Smallest value of a number.
        maximum: Largest value of a number.
        above_minimum: Whether the minimum itself is excluded.
        description: What it does and its default, for the OpenAPI page.
    """

    name: str
    kind: Kind
    description: str
    minimum: float | None = None
    maximum: float | None = None
    above_minimum: bool = False

    @property
    def range_text(self) -> str:
        """The range in words."""
        return f"{'above' if self.above_minimum else 'from'} {self.minimum} up to {self.maximum}"

    def accepts(self, value: float) -> bool:
        """Whether a number lies in the range; NaN lies in none."""
        assert self.minimum is not None
        assert self.maximum is not None
        if self.above_minimum and value == self.minimum:
            return False
        return self.minimum <= value <= self.maximum

    def check(self, value: float) -> None:
        """Refuse a number outside the range.

        Raises:
            RequestError: naming the range and the given value.
        """
        if not self.accepts(value):
            raise invalid_value(self.name, f"must be {self.range_text}, got {value}")


_INT32_MAX = 2**31 - 1
# Continuations of one call: n times the number of its prompts.
MAX_CHOICES = 128

PARAMETER_RULES = {
    rule.name: rule
    for rule in (
        ParameterRule(
            name="max_tokens",
            kind="integer",
            minimum=0,
            maximum=_INT32_MAX,
            description="Tokens to make at most, 0 only with echo; by default the model's, at most "
            "what the context leaves.",
        ),
        ParameterRule(
            name="min_tokens",
            kind="integer",
            minimum=0,
            maximum=_INT32_MAX,
            description="Tokens before which nothing ends the text; by default 0.",
        ),
        ParameterRule(
            name="temperature",
            kind="number",
            minimum=0,
            maximum=100,
            description="Divides the logits; below 0.00001 the likeliest token is taken.",
        ),
        ParameterRule(
            name="top_k",
            kind="integer",
            minimum=-1,
            maximum=_INT32_MAX,
            description="Only the k likeliest tokens; 0 and -1 are off.",
        ),
        ParameterRule(
            name="top_p",
            kind="number",
            minimum=0,
            maximum=1,
            above_minimum=True,
            description="Only the smallest set of likeliest tokens that reaches this probability.",
        ),
        ParameterRule(
            name="min_p",
            kind="number",
            minimum=0,
            maximum=1,
            description="Only tokens at least this fraction as likely as the likeliest.",
        ),
        ParameterRule(
            name="repetition_penalty",
            kind="number",
            # A smaller one could divide logits until they are no numbers any more.
            minimum=0.01,
            maximum=100,
            description="Makes tokens of the prompt and the continuation less likely; 1 is off.",
        ),
        ParameterRule(
            name="presence_penalty",
            kind="number",
            minimum=-100,
            maximum=100,
            description="Taken from the logits of tokens in the continuation; 0 is off.",
        ),
        ParameterRule(
            name="frequency_penalty",
            kind="number",
            minimum=-100,
            maximum=100,
            description="Taken from the logits for each time the continuation has the token.",
        ),
        ParameterRule(
            name="seed",
            kind="integer",
            minimum=0,
            maximum=2**64 - 1,
            description="Chooses the random numbers; by default a fresh one, named in the answer.",
        ),
        ParameterRule(
            name="stop",
            kind="strings",
            description="Up to 4 strings of 1 to 256 bytes that end the text before them.",
        ),
        ParameterRule(
            name="stop_token_ids",
            kind="integers",
            minimum=0,
            maximum=_INT32_MAX,
            description="Up to 64 tokens that end the text before them.",
        ),
        ParameterRule(
            name="n",
            kind="integer",
            minimum=1,
            maximum=MAX_CHOICES,
            description="Continuations of the prompt; each draws its own random numbers from the "
            "one seed. By default 1.",
        ),
        ParameterRule(
            name="logit_bias",
            kind="bias",
            minimum=-100,
            maximum=100,
            description="Up to 300 token ids and what is added to their logits.",
        ),
        ParameterRule(
            name="logprobs",
            kind="integer",
            minimum=0,
            maximum=20,
            description="Reports the logarithm of each token's probability, before any other "
            "parameter changed it, and those of this many likeliest tokens; by default none.",
        ),
        ParameterRule(
            name="echo",
            kind="boolean",
            description="Whether the answer begins with the prompt; by default false.",
        ),
        ParameterRule(
            name="ignore_eos",
            kind="boolean",
            description="Whether the end-of-text token is a token like any other.",
        ),
    )
}
