"""What a load test must know of a server before it begins."""

from dataclasses import dataclass

import httpx2

from nextword.address import Address
from nextword.api_key import authorization
from nextword.bench.plan import Plan, check_fits, openai_url
from nextword.bench.plan_error import PlanError
from nextword.client import Client
from nextword.http_library import certificates, translated
from nextword.json_fields import read_json_object
from nextword.rest_messages import read_error

__all__ = ["ServerFacts", "ask_server"]

ASK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """A server that is measured.

    Attributes:
        url: Where it is.
        model: The model that is asked.
        model_version: Its version, where the server has such a thing.
        vocabulary_size: Number of token ids, where it tells it.
        context_tokens: Longest prompt, where it tells it.
        computed_by: Executor, device and number type, where it tells them.
    """

    url: str
    model: str
    model_version: str | None = None
    vocabulary_size: int | None = None
    context_tokens: int | None = None
    computed_by: str | None = None


def ask_server(address: Address, plan: Plan) -> ServerFacts:
    """Find the model that will be asked.

    Raises:
        PlanError: The plan does not fit to it.
        NextwordError: The server does not answer, or does not have the model.
    """
    if plan.api != "native":
        return _ask_openai(address, plan)
    with Client(
        address.url,
        timeout_seconds=ASK_SECONDS,
        api_key=plan.api_key,
        ca_file=plan.ca_file,
        max_retries=0,
    ) as client:
        model = client.list_models()[0] if plan.model is None else client.get_model(plan.model)
    check_fits(plan, context_tokens=model.context_tokens)
    return ServerFacts(
        url=address.url,
        model=model.id,
        model_version=model.version,
        vocabulary_size=model.vocabulary_size,
        context_tokens=model.context_tokens,
        computed_by=" ".join(
            part for part in (model.executor, model.device, model.dtype) if part is not None
        ),
    )


def _ask_openai(address: Address, plan: Plan) -> ServerFacts:
    with (
        translated(address.url, seconds=ASK_SECONDS),
        httpx2.Client(
            headers=authorization(plan.api_key),
            verify=certificates(address, plan.ca_file),
            trust_env=not address.is_loopback,
            timeout=ASK_SECONDS,
        ) as http,
    ):
        response = http.get(openai_url(address, "models"))
    if response.status_code != 200:
        raise read_error(response.status_code, response.content, response.headers)
    served = {
        model.text("id"): model for model in read_json_object(response.content).objects("data")
    }
    if not served:
        raise PlanError(f"{address.url} serves no model")
    name = next(iter(served)) if plan.model is None else plan.model
    if name not in served:
        raise PlanError(f"{address.url} does not list --model {name}; it lists {', '.join(served)}")
    facts = served[name]
    # llama.cpp's server has a place of its own for it, vLLM tells the context, OpenAI nothing.
    further = facts.object("meta") if facts.has("meta") else facts
    context = (
        further.optional_integer("n_ctx")
        or facts.optional_integer("max_model_len")
        or facts.optional_integer("context_tokens")
    )
    vocabulary = further.optional_integer("n_vocab") or facts.optional_integer("vocabulary_size")
    if context is not None:
        check_fits(plan, context_tokens=context)
    return ServerFacts(
        url=address.url,
        model=name,
        vocabulary_size=vocabulary,
        context_tokens=context,
    )
