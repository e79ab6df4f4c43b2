"""What both transports tell of a served model."""

from dataclasses import dataclass

from service.engine.messages import ModelKind
from service.engine_link.engine_supervisor import EngineState
from service.models.served_models import RefusedVersion, ServedModel, ServedModels
from service.parameters import EffectiveParameters, RequestedParameters, resolve_parameters

__all__ = ["ModelFacts", "facts_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """One model, as lists and answers show it.

    Attributes:
        kind: The network, or the n-gram model beside it.
        is_default: Whether requests that name no model get this one.
        status: "ready", "loading", "restarting" or "stopped".
        created: When it was published, in seconds since 1970.
        versions: Those that can be asked for as NAME@VERSION, what the name means first.
        refused: Versions in the store that would be served but cannot be, and why.
        context_tokens: Longest text.
        kv_cache_tokens: Tokens that its key-value cache holds, for all requests together.
        max_running: Requests computed at once.
        max_queued: Requests that may wait beside those.
        max_request_tokens: Prompt and continuations of one request, at most.
        num_parameters: Trained numbers of a network, n-grams of an n-gram model.
        device: What computes it, None before it was loaded.
        dtype: Number type of its weights.
        executor: Kind of program that computes it.
        system_fingerprint: Executor, device and dtype in one word, as answers have it.
        default_parameters: What an empty request gets; its seed means nothing.
    """

    id: str
    version: str
    kind: ModelKind
    is_default: bool
    is_ready: bool
    status: str
    created: int
    versions: tuple[str, ...]
    refused: tuple[RefusedVersion, ...]
    context_tokens: int
    kv_cache_tokens: int
    max_running: int
    max_queued: int
    max_request_tokens: int
    vocabulary_size: int
    num_parameters: int
    device: str | None
    dtype: str | None
    executor: str | None
    system_fingerprint: str | None
    default_parameters: EffectiveParameters


def facts_of(model: ServedModel, models: ServedModels) -> ModelFacts:
    """The facts of one of a server's models."""
    folder, plan, loaded = model.folder, model.plan, model.loaded
    state, client = model.supervisor.state, model.supervisor.client
    return ModelFacts(
        id=folder.name,
        version=folder.version,
        kind=model.kind,
        is_default=model is models.default,
        is_ready=model.is_ready,
        # A stalled engine is about to be replaced.
        status=str(EngineState.RESTARTING if state == "ready" and not model.is_ready else state),
        created=folder.created,
        versions=models.versions_of(folder.name),
        refused=models.refused(folder.name),
        context_tokens=model.context_tokens,
        kv_cache_tokens=plan.kv_cache_tokens,
        max_running=plan.load.max_running,
        max_queued=plan.max_requests - plan.load.max_running,
        max_request_tokens=plan.max_tokens,
        vocabulary_size=folder.vocabulary_size,
        num_parameters=model.num_parameters,
        device=None if loaded is None else loaded.device,
        dtype=None if loaded is None else loaded.dtype,
        executor=None if loaded is None else loaded.executor,
        system_fingerprint=None if client is None else client.system_fingerprint(model.kind),
        default_parameters=resolve_parameters(
            RequestedParameters(),
            folder.defaults,
            num_prompt_tokens=1,
            context_tokens=model.context_tokens,
            vocabulary_size=folder.vocabulary_size,
        ),
    )
