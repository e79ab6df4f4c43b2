"""Sampling parameters as protobuf messages, to and from the core's values."""

from nextword.v1 import text_generation_pb2 as pb

from service.parameters import EffectiveParameters, RequestedParameters

__all__ = ["choosing_message", "parameters_message", "read_parameters"]


def read_parameters(given: pb.SamplingParameters) -> RequestedParameters:
    """What a client set."""
    return RequestedParameters(
        max_tokens=given.max_tokens if given.HasField("max_tokens") else None,
        min_tokens=given.min_tokens if given.HasField("min_tokens") else None,
        temperature=given.temperature if given.HasField("temperature") else None,
        top_k=given.top_k if given.HasField("top_k") else None,
        top_p=given.top_p if given.HasField("top_p") else None,
        min_p=given.min_p if given.HasField("min_p") else None,
        repetition_penalty=(
            given.repetition_penalty if given.HasField("repetition_penalty") else None
        ),
        presence_penalty=given.presence_penalty if given.HasField("presence_penalty") else None,
        frequency_penalty=given.frequency_penalty if given.HasField("frequency_penalty") else None,
        seed=given.seed if given.HasField("seed") else None,
        stop=tuple(given.stop) or None,
        stop_token_ids=tuple(given.stop_token_ids) or None,
        n=given.n if given.HasField("n") else None,
        logit_bias=dict(given.logit_bias) or None,
        logprobs=given.logprobs if given.HasField("logprobs") else None,
        echo=given.echo if given.HasField("echo") else None,
        ignore_eos=given.ignore_eos if given.HasField("ignore_eos") else None,
    )


def parameters_message(
    parameters: EffectiveParameters, *, with_seed: bool = True
) -> pb.SamplingParameters:
    """What is in force."""
    return pb.SamplingParameters(
        max_tokens=parameters.max_tokens,
        min_tokens=parameters.min_tokens,
        temperature=parameters.temperature,
        top_k=parameters.top_k,
        top_p=parameters.top_p,
        min_p=parameters.min_p,
        repetition_penalty=parameters.repetition_penalty,
        presence_penalty=parameters.presence_penalty,
        frequency_penalty=parameters.frequency_penalty,
        seed=parameters.seed if with_seed else None,
        stop=parameters.stop,
        stop_token_ids=parameters.stop_token_ids,
        n=parameters.n,
        logit_bias=parameters.logit_bias,
        logprobs=parameters.logprobs,
        echo=parameters.echo,
        ignore_eos=parameters.ignore_eos,
    )


def choosing_message(parameters: EffectiveParameters) -> pb.SamplingParameters:
    """What is in force of the parameters that choose a token."""
    return pb.SamplingParameters(
        min_tokens=parameters.min_tokens,
        temperature=parameters.temperature,
        top_k=parameters.top_k,
        top_p=parameters.top_p,
        min_p=parameters.min_p,
        repetition_penalty=parameters.repetition_penalty,
        presence_penalty=parameters.presence_penalty,
        frequency_penalty=parameters.frequency_penalty,
        seed=parameters.seed,
        stop_token_ids=parameters.stop_token_ids,
        logit_bias=parameters.logit_bias,
        ignore_eos=parameters.ignore_eos,
    )
