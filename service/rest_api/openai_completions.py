"""Bodies of OpenAI's older /v1/completions, read into the core's values."""

from collections.abc import Mapping

from service.errors import unsupported_parameter
from service.generation import GenerationRequest
from service.parameters import ModelDefaults, check_num_choices
from service.rest_api.bodies import JsonFields
from service.rest_api.messages import read_parameters
from service.rest_api.openai_body import OpenAIBody
from service.rest_api.openai_fields import (
    NOT_OFFERED,
    header_names,
    read_stream_options,
    refuse_others,
)
from service.rest_api.text_lists import read_texts

__all__ = ["read_completion_body"]

# OpenAI's own, which its clients count on; a model's generation_config.json has no say here.
_DEFAULTS = ModelDefaults(max_tokens=16)
# Of other routes, or without a choice here.
_OF_OTHERS: Mapping[str, tuple[object, ...]] = {
    "add_special_tokens": (True,),
    "max_completion_tokens": (),
    "messages": (),
}


def read_completion_body(values: Mapping[str, object]) -> OpenAIBody:
    """Read the fields of /v1/completions.

    Raises:
        RequestError: A field is of the wrong type or not offered, or there are too many prompts.
    """
    fields = JsonFields(values)
    model = fields.string("model")
    parameters = read_parameters(fields)
    prompts = read_texts("prompt", fields.take("prompt"), check_number=_check_number)
    check_num_choices(parameters.n, num_prompts=len(prompts))
    num_choices = 1 if parameters.n is None else parameters.n
    best_of = fields.integer("best_of")
    if best_of is not None and best_of != num_choices:
        raise unsupported_parameter("best_of", f"is offered only equal to n, got {best_of}")
    timeout_seconds = fields.number("timeout_seconds")
    stream = read_stream_options(fields)
    refuse_others(fields, NOT_OFFERED, _OF_OTHERS)
    # Known, checked, and without effect on any text.
    user = () if fields.string("user") is None else ("user",)
    return OpenAIBody(
        requests=tuple(
            GenerationRequest(
                model=model,
                prompt=prompt if isinstance(prompt, str) else None,
                prompt_ids=None if isinstance(prompt, str) else prompt,
                parameters=parameters,
                defaults=_DEFAULTS,
                timeout_seconds=timeout_seconds,
            )
            for prompt in prompts
        ),
        num_choices=num_choices,
        stream=stream,
        ignored=header_names((*user, *fields.untaken, *stream.ignored)),
    )


def _check_number(num_prompts: int) -> None:
    check_num_choices(None, num_prompts=num_prompts)
