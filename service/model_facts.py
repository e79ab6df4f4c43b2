"""What both transports tell of a served model."""

from dataclasses import dataclass

from service.parameters import EffectiveParameters, RequestedParameters, resolve_parameters
from service.served_models import ServedModel, ServedModels

__all__ = ["ModelFacts", "facts_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """One model, as lists and answers show it.

    Attributes:
        created: When it was published, in seconds since 1970.
        context_tokens: Longest prompt.
        default_parameters: What an empty request gets; its seed means nothing.
    """

    id: str
    version: str
    is_default: bool
    is_ready: bool
    created: int
    context_tokens: int
    vocabulary_size: int
    num_parameters: int
    default_parameters: EffectiveParameters


def facts_of(model: ServedModel, models: ServedModels) -> ModelFacts:
    """The facts of one of a server's models."""
    folder = model.folder
    return ModelFacts(
        id=folder.name,
        version=folder.version,
        is_default=model is models.default,
        is_ready=model.is_ready,
        created=folder.created,
        context_tokens=model.context_tokens,
        vocabulary_size=folder.vocabulary_size,
        num_parameters=folder.artifact.config.num_parameters,
        default_parameters=resolve_parameters(
            RequestedParameters(),
            folder.defaults,
            num_prompt_tokens=1,
            context_tokens=model.context_tokens,
            vocabulary_size=folder.vocabulary_size,
        ),
    )
