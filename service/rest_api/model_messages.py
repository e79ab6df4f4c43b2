"""Models as REST shows them: OpenAI's shape, with our facts beside it."""

from dataclasses import asdict

from service.models.model_facts import ModelFacts
from service.parameter_rules import PARAMETER_RULES
from service.parameters import (
    MAX_LOGIT_BIAS_ENTRIES,
    MAX_STOP_BYTES,
    MAX_STOP_STRINGS,
    MAX_STOP_TOKEN_IDS,
)
from service.text_generator import DEFAULT_TIMEOUT_SECONDS, MAX_TIMEOUT_SECONDS
from service.transport_limits import MAX_MESSAGE_BYTES

__all__ = ["detailed_model_object", "model_object"]


def model_object(facts: ModelFacts) -> dict[str, object]:
    """A model, as lists show it."""
    defaults = asdict(facts.default_parameters)
    # Every request draws its own.
    del defaults["seed"]
    return {
        "id": facts.id,
        "object": "model",
        "created": facts.created,
        "owned_by": "nextword",
        "version": facts.version,
        "is_default": facts.is_default,
        "is_ready": facts.is_ready,
        "context_tokens": facts.context_tokens,
        "vocabulary_size": facts.vocabulary_size,
        "num_parameters": facts.num_parameters,
        "default_parameters": defaults,
        "status": facts.status,
        "versions": facts.versions,
        "refused": [asdict(refused) for refused in facts.refused],
        "kv_cache_tokens": facts.kv_cache_tokens,
        "max_running": facts.max_running,
        "max_queued": facts.max_queued,
        "max_request_tokens": facts.max_request_tokens,
        "device": facts.device,
        "dtype": facts.dtype,
        "executor": facts.executor,
        "kind": facts.kind,
    }


def detailed_model_object(facts: ModelFacts, *, card: str) -> dict[str, object]:
    """A model with its card and with what a request to it may ask."""
    return {
        **model_object(facts),
        "limits": {
            "max_prompt_tokens": facts.context_tokens,
            # The last token made is not read again.
            "max_total_tokens": facts.context_tokens + 1,
            "max_choices": PARAMETER_RULES["n"].maximum,
            "max_logprobs": PARAMETER_RULES["logprobs"].maximum,
            "max_stop_strings": MAX_STOP_STRINGS,
            "max_stop_bytes": MAX_STOP_BYTES,
            "max_stop_token_ids": MAX_STOP_TOKEN_IDS,
            "max_logit_bias_entries": MAX_LOGIT_BIAS_ENTRIES,
            "max_body_bytes": MAX_MESSAGE_BYTES,
            "max_timeout_seconds": MAX_TIMEOUT_SECONDS,
            "default_timeout_seconds": DEFAULT_TIMEOUT_SECONDS,
        },
        "card": card,
    }
