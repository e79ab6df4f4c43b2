"""Bodies of OpenAI's /v1/completions, read into the core's values.

What its clients may send falls into four kinds: what is offered; what would change the text and is
not offered (refused by name); what changes nothing and what nobody knows (served, and named in a
header, so that a misspelt field does not go unnoticed).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import quote

from service.errors import invalid_value, unsupported_parameter
from service.generation import GenerationRequest
from service.parameters import ModelDefaults, check_num_choices
from service.rest_api.bodies import JsonFields, read_integers, wrong_type
from service.rest_api.messages import read_parameters

__all__ = ["OPENAI_DEFAULTS", "CompletionBody", "read_completion_body"]

# OpenAI's own, which its clients count on; a model's generation_config.json has no say here.
OPENAI_DEFAULTS = ModelDefaults(max_tokens=16)

# Fields that clients of OpenAI's API or of its lookalikes know, that would change the text, and
# that are not offered. The value beside each asks for what is done anyway and is let through.
_NOT_OFFERED: dict[str, object] = {
    **dict.fromkeys(
        (
            *("adapter", "allowed_token_ids", "audio", "bad_words", "beam_width", "ebnf"),
            *("function_call", "functions", "grammar", "guided_choice"),
            *("guided_grammar", "guided_json", "guided_regex", "guided_whitespace_pattern"),
            *("image", "image_data", "image_url", "images", "input_audio", "json_schema", "lora"),
            *("logits_processors", "max_completion_tokens", "messages", "mirostat", "modalities"),
            *("multi_modal_data", "prompt_embeds", "prompt_logprobs", "reasoning_effort", "regex"),
            *("response_format", "stop_regex", "structural_tag", "structured_outputs", "tfs_z"),
            *("thinking_token_budget", "tool_choice", "tools", "top_a", "truncate_prompt_tokens"),
            *("typical_p", "video", "videos"),
        )
    ),
    "add_special_tokens": True,
    "early_stopping": False,
    "include_stop_str_in_output": False,
    "length_penalty": 1.0,
    "return_token_ids": False,
    "return_tokens_as_token_ids": False,
    "skip_special_tokens": True,
    "spaces_between_special_tokens": True,
    "suffix": "",
    "use_beam_search": False,
}
_MAX_NAMED = 32
_MAX_NAME_CHARACTERS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionBody:
    """A body of /v1/completions.

    Attributes:
        requests: One for each prompt, in order.
        num_choices: Continuations of each prompt.
        has_usage_at_end: Whether a last event of a stream tells the usage.
        has_usage_in_each: Whether every event of a stream tells the usage so far.
        ignored: Names of fields that had no effect, fit for a header.
    """

    requests: tuple[GenerationRequest, ...]
    num_choices: int
    is_streamed: bool
    has_usage_at_end: bool
    has_usage_in_each: bool
    ignored: tuple[str, ...]


def read_completion_body(values: Mapping[str, object]) -> CompletionBody:
    """Read the fields of /v1/completions.

    Raises:
        RequestError: A field is of the wrong type or not offered, or there are too many prompts.
    """
    fields = JsonFields(values)
    model = fields.string("model")
    parameters = read_parameters(fields)
    prompts = _read_prompts(fields.take("prompt"))
    check_num_choices(parameters.n, num_prompts=len(prompts))
    num_choices = 1 if parameters.n is None else parameters.n
    best_of = fields.integer("best_of")
    if best_of is not None and best_of != num_choices:
        raise unsupported_parameter("best_of", f"is offered only equal to n, got {best_of}")
    is_streamed = fields.boolean("stream") or False
    options = fields.fields("stream_options")
    if options is not None and not is_streamed:
        raise invalid_value("stream_options", "is only for stream: true")
    options = options or JsonFields({})
    has_usage_at_end = options.boolean("include_usage") or False
    has_usage_in_each = options.boolean("continuous_usage_stats") or False
    _refuse_what_is_not_offered(fields)
    # Known, checked, and without effect on any text.
    user = () if fields.string("user") is None else ("user",)
    return CompletionBody(
        requests=tuple(
            GenerationRequest(
                model=model,
                prompt=prompt if isinstance(prompt, str) else None,
                prompt_ids=None if isinstance(prompt, str) else prompt,
                parameters=parameters,
                defaults=OPENAI_DEFAULTS,
            )
            for prompt in prompts
        ),
        num_choices=num_choices,
        is_streamed=is_streamed,
        has_usage_at_end=has_usage_at_end,
        has_usage_in_each=has_usage_in_each,
        ignored=_header_names(
            (*user, *fields.untaken, *(f"stream_options.{name}" for name in options.untaken))
        ),
    )


def _read_prompts(value: object) -> tuple[str | tuple[int, ...], ...]:
    """The prompts: a text, a list of texts, a list of ids, or a list of such lists."""
    match value:
        case None:
            raise invalid_value("prompt", "must be given")
        case str():
            return (value,)
        case list():
            return _read_prompt_list(cast("list[object]", value))
        case _:
            raise wrong_type("prompt", "a string or a list", value)


def _read_prompt_list(items: list[object]) -> tuple[str | tuple[int, ...], ...]:
    match items:
        case []:
            raise invalid_value("prompt", "must not be an empty list")
        case [str(), *_]:
            # Counted before they are looked at.
            check_num_choices(None, num_prompts=len(items))
            for item in items:
                if not isinstance(item, str):
                    raise wrong_type("prompt", "a list of strings only", item)
            return tuple(cast("list[str]", items))
        case [list(), *_]:
            check_num_choices(None, num_prompts=len(items))
            prompts: list[tuple[int, ...]] = []
            for item in items:
                if not isinstance(item, list):
                    raise wrong_type("prompt", "a list of lists only", item)
                prompts.append(read_integers("prompt", cast("list[object]", item)))
            return tuple(prompts)
        case _:
            return (read_integers("prompt", items),)


def _refuse_what_is_not_offered(fields: JsonFields) -> None:
    for name, harmless in _NOT_OFFERED.items():
        value = fields.take(name)
        if value is not None and not _is_same(value, harmless):
            raise unsupported_parameter(name, "is not offered")


def _is_same(value: object, harmless: object) -> bool:
    """Whether two JSON values are the same, in type too: 1 is not true."""
    return isinstance(value, bool) == isinstance(harmless, bool) and value == harmless


def _header_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names as a header may carry them, and not more than it may."""
    shown = tuple(quote(name[:_MAX_NAME_CHARACTERS], safe="") for name in names[:_MAX_NAMED])
    return shown if len(names) <= _MAX_NAMED else (*shown, "...")
