"""A server over REST: one pool of connections; leaving a stream early closes its connection."""

import json
import time
from collections.abc import Generator, Sequence
from urllib.parse import quote

import httpx2

from nextword.address import Address
from nextword.answers import Generation, Model, TextPiece, Token
from nextword.api_key import authorization
from nextword.errors import ProtocolError
from nextword.event_stream import EventReader
from nextword.glass_box import GlassBoxCall
from nextword.http_library import certificates, deadline_passed, translated
from nextword.json_fields import JsonFields, read_json_object
from nextword.request import GRACE_SECONDS, GenerationRequest
from nextword.rest_messages import (
    read_error,
    read_generation,
    read_model,
    read_piece,
    read_tokens,
    request_body,
)

__all__ = ["RestTransport"]

# A stream is never silent for so long: the server pings every 15 seconds.
MAX_SILENCE_SECONDS = 40.0
CONNECT_SECONDS = 5.0


class RestTransport:
    """Calls over REST.

    Args:
        address: Where the server is.
        timeout_seconds: How long calls that generate nothing may take.
        api_key: Shown with every call.
    """

    def __init__(
        self, address: Address, *, timeout_seconds: float, api_key: str | None = None
    ) -> None:
        self._url = address.url
        self._timeout_seconds = timeout_seconds
        self._http = httpx2.Client(
            headers=authorization(api_key),
            verify=certificates(address),
            trust_env=not address.is_loopback,
        )

    def generate(self, request: GenerationRequest) -> Generation:
        """The whole continuation in one answer."""
        body = request_body(request, is_streamed=False)
        seconds = request.timeout_seconds + GRACE_SECONDS
        return read_generation(self._send("POST", "/v1/generate", body=body, seconds=seconds))

    def stream(self, request: GenerationRequest) -> Generator[TextPiece, None, None]:
        """The continuation as it is made; closing the generator cancels the request."""
        seconds = request.timeout_seconds + GRACE_SECONDS
        ends_at = time.monotonic() + seconds
        timeout = httpx2.Timeout(min(seconds, MAX_SILENCE_SECONDS), connect=CONNECT_SECONDS)
        body = json.dumps(request_body(request, is_streamed=True))
        reader = EventReader()
        with (
            translated(self._url, seconds=seconds),
            self._http.stream(
                "POST",
                f"{self._url}/v1/generate",
                content=body,
                headers={"content-type": "application/json"},
                timeout=timeout,
            ) as response,
        ):
            if response.status_code != 200:
                raise read_error(response.status_code, response.read(), response.headers)
            for data in response.iter_raw():
                for payload in reader.feed(data):
                    if payload == b"[DONE]":
                        return
                    yield read_piece(payload)
                if time.monotonic() > ends_at:
                    raise deadline_passed(request.timeout_seconds)
        raise ProtocolError("the stream ended in the middle")

    def tokenize(self, text: str, *, model: str | None) -> tuple[Token, ...]:
        """The tokens of a text."""
        return read_tokens(self._send("POST", "/v1/tokenize", body=_for(model) | {"text": text}))

    def detokenize(self, ids: Sequence[int], *, model: str | None) -> str:
        """The text of token ids."""
        body = _for(model) | {"ids": list(ids)}
        return read_json_object(self._send("POST", "/v1/detokenize", body=body)).text("text")

    def list_models(self) -> tuple[Model, ...]:
        """The served models, the default one first."""
        answer = read_json_object(self._send("GET", "/v1/models"))
        return tuple(read_model(model) for model in answer.objects("data"))

    def get_model(self, model: str) -> Model:
        """One model, with its card."""
        path = f"/v1/models/{quote(model, safe='@')}"
        return read_model(read_json_object(self._send("GET", path)))

    def ask(self, call: GlassBoxCall, body: dict[str, object], *, seconds: float) -> JsonFields:
        """The answer to a question of the glass box."""
        answer = self._send("POST", call.path, body=body, seconds=seconds + GRACE_SECONDS)
        return read_json_object(answer)

    def close(self) -> None:
        """Close the connections; streams that still run end."""
        self._http.close()

    def _send(
        self,
        method: str,
        path: str,
        *,
        body: dict[str, object] | None = None,
        seconds: float | None = None,
    ) -> bytes:
        seconds = self._timeout_seconds if seconds is None else seconds
        with translated(self._url, seconds=seconds):
            response = self._http.request(
                method,
                self._url + path,
                content=None if body is None else json.dumps(body),
                headers=None if body is None else {"content-type": "application/json"},
                timeout=httpx2.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS)),
            )
        if response.status_code != 200:
            raise read_error(response.status_code, response.content, response.headers)
        return response.content


def _for(model: str | None) -> dict[str, object]:
    return {} if model is None else {"model": model}
