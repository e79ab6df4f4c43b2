"""Fields that bodies of OpenAI's API share, and those that are not offered here.

What its clients may send falls into four kinds: what is offered; what would change the answer and
is not offered (refused by name); what changes nothing and what nobody knows (served, and named in a
header, so that a misspelt field does not go unnoticed).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from service.errors import invalid_value, unsupported_parameter
from service.rest_api.bodies import JsonFields

__all__ = ["NOT_OFFERED", "StreamOptions", "header_names", "read_stream_options", "refuse_others"]

# Fields that clients of OpenAI's API or of its lookalikes know, that would change the answer, and
# that are not offered on any route. Values beside each ask for what is done anyway.
NOT_OFFERED: Mapping[str, tuple[object, ...]] = {
    **dict.fromkeys(
        (
            *("adapter", "allowed_token_ids", "audio", "bad_words", "beam_width", "ebnf"),
            *("function_call", "functions", "grammar", "guided_choice"),
            *("guided_grammar", "guided_json", "guided_regex", "guided_whitespace_pattern"),
            *("image", "image_data", "image_url", "images", "input_audio", "json_schema", "lora"),
            *("logits_processors", "mirostat", "modalities"),
            *("multi_modal_data", "prompt_embeds", "prompt_logprobs", "reasoning_effort", "regex"),
            *("response_format", "stop_regex", "structural_tag", "structured_outputs", "tfs_z"),
            *("thinking_token_budget", "tool_choice", "tools", "top_a", "truncate_prompt_tokens"),
            *("typical_p", "video", "videos"),
        ),
        (),
    ),
    "early_stopping": (False,),
    "include_stop_str_in_output": (False,),
    "length_penalty": (1.0,),
    "return_token_ids": (False,),
    "return_tokens_as_token_ids": (False,),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True,),
    "suffix": ("",),
    "use_beam_search": (False,),
}
_MAX_NAMED = 32
_MAX_NAME_CHARACTERS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """Whether and how a stream is asked for.

    Attributes:
        has_usage_at_end: Whether a last event of a stream tells the usage.
        has_usage_in_each: Whether every event of a stream tells the usage so far.
        ignored: Names of options that nobody knows.
    """

    is_streamed: bool
    has_usage_at_end: bool
    has_usage_in_each: bool
    ignored: tuple[str, ...]


def read_stream_options(fields: JsonFields) -> StreamOptions:
    """Read `stream` and `stream_options`.

    Raises:
        RequestError: One is of the wrong type, or there are options without a stream.
    """
    is_streamed = fields.boolean("stream") or False
    options = fields.fields("stream_options")
    if options is not None and not is_streamed:
        raise invalid_value("stream_options", "is only for stream: true")
    options = options or JsonFields({})
    return StreamOptions(
        is_streamed=is_streamed,
        has_usage_at_end=options.boolean("include_usage") or False,
        has_usage_in_each=options.boolean("continuous_usage_stats") or False,
        ignored=tuple(f"stream_options.{name}" for name in options.untaken),
    )


def refuse_others(fields: JsonFields, *tables: Mapping[str, tuple[object, ...]]) -> None:
    """Refuse what is not offered, unless its value asks for what is done anyway.

    Raises:
        RequestError: naming the first such field.
    """
    for name, harmless in (item for table in tables for item in table.items()):
        value = fields.take(name)
        if value is not None and not any(_is_same(value, each) for each in harmless):
            raise unsupported_parameter(name, "is not offered")


def _is_same(value: object, harmless: object) -> bool:
    """Whether two JSON values are the same, in type too: 1 is not true."""
    return isinstance(value, bool) == isinstance(harmless, bool) and value == harmless


def header_names(names: Iterable[str]) -> tuple[str, ...]:
    """Names as a header may carry them, and not more than it may."""
    names = tuple(names)
    shown = tuple(quote(name[:_MAX_NAME_CHARACTERS], safe="") for name in names[:_MAX_NAMED])
    return shown if len(names) <= _MAX_NAMED else (*shown, "...")
