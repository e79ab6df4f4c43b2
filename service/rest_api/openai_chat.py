"""Bodies of OpenAI's /v1/chat/completions, read into the core's values."""

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from service.chat.messages import ChatMessage, Role
from service.errors import fields_inside, invalid_value, unsupported_parameter
from service.generation import GenerationRequest
from service.parameter_rules import PARAMETER_RULES
from service.parameters import ModelDefaults, RequestedParameters, check_num_choices
from service.rest_api.bodies import JsonFields, wrong_type
from service.rest_api.messages import read_parameters
from service.rest_api.openai_body import OpenAIBody
from service.rest_api.openai_fields import (
    NOT_OFFERED,
    header_names,
    read_stream_options,
    refuse_others,
)

__all__ = ["MAX_MESSAGES", "read_chat_body"]

# More turns than a body of a megabyte is sensibly cut into; each costs the template some work.
MAX_MESSAGES = 2048
# As OpenAI's: up to what the context leaves.
_DEFAULTS = ModelDefaults(max_tokens=int(PARAMETER_RULES["max_tokens"].maximum or 0))
# What would change the answer and is not offered here, beside what no route offers. A template
# comes from the model's folder and from nowhere else.
_OF_OTHERS: Mapping[str, tuple[object, ...]] = {
    "add_generation_prompt": (True,),
    "add_special_tokens": (False,),
    "best_of": (1,),
    "chat_template": (),
    "chat_template_kwargs": ({},),
    "continue_final_message": (False,),
    "documents": (),
    "echo": (False,),
    "enable_thinking": (),
    "include_reasoning": (True,),
    "prompt": (),
    "verbosity": (),
    "web_search_options": (),
}
# Values with which programs say by themselves that they want nothing special.
_NOTHING_SPECIAL: Mapping[str, tuple[object, ...]] = {
    "functions": ([],),
    "function_call": ("none",),
    "modalities": (["text"],),
    "response_format": ({"type": "text"},),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
}
_ROLES: Mapping[str, Role] = {
    "system": "system",
    # OpenAI's newer word for who tells the model how to behave; templates know the older one.
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}
# Parts of a message that would change the answer.
_NOT_OFFERED_IN_MESSAGES: Mapping[str, tuple[object, ...]] = {
    "audio": (),
    "function_call": (),
    "refusal": (),
    "tool_call_id": (),
    "tool_calls": ([],),
}


def read_chat_body(values: Mapping[str, object]) -> OpenAIBody:
    """Read the fields of /v1/chat/completions.

    Raises:
        RequestError: A field is of the wrong type or not offered.
    """
    fields = JsonFields(values)
    model = fields.string("model")
    messages, ignored = _read_messages(fields.take("messages"))
    refuse_others(fields, {**NOT_OFFERED, **_OF_OTHERS, **_NOTHING_SPECIAL})
    parameters = _read_parameters(fields)
    check_num_choices(parameters.n)
    timeout_seconds = fields.number("timeout_seconds")
    stream = read_stream_options(fields)
    # Known, checked, and without effect on any text.
    user = () if fields.string("user") is None else ("user",)
    return OpenAIBody(
        requests=(
            GenerationRequest(
                model=model,
                prompt=None,
                prompt_ids=None,
                messages=messages,
                timeout_seconds=timeout_seconds,
                parameters=parameters,
                defaults=_DEFAULTS,
            ),
        ),
        num_choices=1 if parameters.n is None else parameters.n,
        stream=stream,
        ignored=header_names((*user, *fields.untaken, *stream.ignored, *ignored)),
    )


def _read_parameters(fields: JsonFields) -> RequestedParameters:
    """The parameters of every route, in the words of this one."""
    has_logprobs = fields.boolean("logprobs") or False
    num_rivals = fields.integer("top_logprobs")
    if num_rivals is not None:
        if not has_logprobs:
            raise invalid_value("top_logprobs", "is only for logprobs: true")
        rule = PARAMETER_RULES["logprobs"]
        if not rule.accepts(num_rivals):
            raise invalid_value("top_logprobs", f"must be {rule.range_text}, got {num_rivals}")
    most = fields.integer("max_completion_tokens")
    parameters = read_parameters(fields)
    if most is not None:
        if parameters.max_tokens not in (None, most):
            raise invalid_value(
                "max_completion_tokens",
                f"must be max_tokens, its older name, where both are given; got {most} and "
                f"{parameters.max_tokens}",
            )
        parameters = replace(parameters, max_tokens=most)
    return replace(parameters, logprobs=(num_rivals or 0) if has_logprobs else None)


def _read_messages(value: object) -> tuple[tuple[ChatMessage, ...], tuple[str, ...]]:
    """The conversation, and the names of what nobody knows in its messages."""
    if value is None:
        raise invalid_value("messages", "must be given")
    if not isinstance(value, list):
        raise wrong_type("messages", "a list of objects", value)
    items = cast("list[object]", value)
    if not 1 <= len(items) <= MAX_MESSAGES:
        raise invalid_value("messages", f"must hold 1 to {MAX_MESSAGES} messages, got {len(items)}")
    ignored: dict[str, None] = {}
    messages: list[ChatMessage] = []
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise wrong_type(f"messages[{index}]", "an object", item)
        fields = JsonFields(cast("dict[str, object]", item))
        with fields_inside(f"messages[{index}]."):
            messages.append(_read_message(fields))
        ignored |= dict.fromkeys(f"messages.{name}" for name in fields.untaken)
    return tuple(messages), tuple(ignored)


def _read_message(fields: JsonFields) -> ChatMessage:
    given = fields.string("role")
    role = _ROLES.get(given or "")
    if role is None:
        got = "none" if given is None else "another"
        raise invalid_value("role", f"must be {', '.join(_ROLES)}; got {got}")
    content = _read_content(fields.take("content"))
    refuse_others(fields, _NOT_OFFERED_IN_MESSAGES)
    return ChatMessage(role=role, content=content, name=fields.string("name"))


def _read_content(value: object) -> str:
    """A text, whole or in parts; parts of other kinds are not offered."""
    match value:
        case str():
            return value
        case list():
            texts: list[str] = []
            for index, part in enumerate(cast("list[object]", value)):
                match part:
                    case {"type": "text", "text": str(text)}:
                        texts.append(text)
                    case {"type": str(kind)} if kind != "text":
                        raise unsupported_parameter(
                            f"content[{index}]", "is not offered: parts must be of type text"
                        )
                    case _:
                        raise invalid_value(
                            f"content[{index}]", 'must be {"type": "text", "text": a string}'
                        )
            return "".join(texts)
        case None:
            raise invalid_value("content", "must be given")
        case _:
            raise wrong_type("content", "a string or a list of parts", value)
