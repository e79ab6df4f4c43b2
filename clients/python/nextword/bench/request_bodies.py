"""What a request of a load test looks like in each API."""

import json
from dataclasses import replace

from nextword.address import Address
from nextword.bench.native_parameters import read_native_parameters
from nextword.bench.plan import Plan, openai_url
from nextword.bench.prompts import Ask
from nextword.grpc_messages import fill_request
from nextword.request import GenerationRequest
from nextword.rest_messages import request_body
from nextword.v1 import text_generation_pb2 as pb

__all__ = ["RequestBodies", "http_path"]


class RequestBodies:
    """Makes the bodies of a plan's requests.

    Args:
        plan: The load test.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._parameters = read_native_parameters(plan.parameters if plan.api == "native" else {})

    def http(self, ask: Ask) -> bytes:
        """A body in JSON."""
        if self._plan.api == "native":
            return json.dumps(request_body(self._native(ask), is_streamed=True)).encode()
        return json.dumps(self._openai(ask)).encode()

    def grpc(self, ask: Ask) -> bytes:
        """A message, serialized."""
        message = pb.StreamGenerateTextRequest()
        fill_request(message, self._native(ask))
        return message.SerializeToString()

    def _native(self, ask: Ask) -> GenerationRequest:
        plan = self._plan
        parameters = replace(
            self._parameters,
            max_tokens=ask.max_tokens,
            temperature=plan.temperature,
            seed=ask.seed,
            ignore_eos=True,
        )
        return GenerationRequest(
            prompt=ask.prompt,
            parameters=parameters,
            model=plan.model,
            timeout_seconds=plan.timeout_seconds,
        )

    def _openai(self, ask: Ask) -> dict[str, object]:
        plan = self._plan
        body: dict[str, object] = {
            "max_tokens": ask.max_tokens,
            "seed": ask.seed,
            "stream": True,
            "stream_options": {"include_usage": True},
            # Not OpenAI's own word, but that of every server one would measure.
            "ignore_eos": True,
        }
        if plan.api == "openai-chat":
            body["messages"] = [{"role": "user", "content": ask.prompt}]
        else:
            body["prompt"] = ask.prompt if isinstance(ask.prompt, str) else list(ask.prompt)
        if plan.model is not None:
            body["model"] = plan.model
        if plan.temperature is not None:
            body["temperature"] = plan.temperature
        return body | dict(plan.parameters)


def http_path(address: Address, plan: Plan) -> str:
    """The path that requests go to, with what the server's URL has before it."""
    match plan.api:
        case "native":
            url = f"{address.url}/v1/generate"
        case "openai":
            url = openai_url(address, "completions")
        case "openai-chat":
            url = openai_url(address, "chat/completions")
    return "/" + url.split("/", 3)[3]
