"""The parameters in force as the sampler in an engine reads them. Torch-free."""

from service.engine.trace_messages import SamplingSettings
from service.models.model_store import ModelFolder
from service.parameters import EffectiveParameters

__all__ = ["sampling_settings"]


def sampling_settings(parameters: EffectiveParameters, folder: ModelFolder) -> SamplingSettings:
    """What the sampler is told.

    Args:
        parameters: In force for the request.
        folder: Knows which tokens end a text.
    """
    return SamplingSettings(
        min_tokens=parameters.min_tokens,
        temperature=parameters.temperature,
        top_k=parameters.top_k,
        top_p=parameters.top_p,
        min_p=parameters.min_p,
        repetition_penalty=parameters.repetition_penalty,
        presence_penalty=parameters.presence_penalty,
        frequency_penalty=parameters.frequency_penalty,
        seed=parameters.seed,
        end_token_ids=() if parameters.ignore_eos else folder.end_token_ids,
        stop_token_ids=parameters.stop_token_ids,
        logit_bias=tuple(parameters.logit_bias.items()),
    )
