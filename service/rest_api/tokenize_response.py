"""The answer of /v1/tokenize, which may be forty times as long as its text."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.errors import ErrorKind, RequestError, invalid_value
from service.models.served_models import ServedModels
from service.request_ids import Exchange
from service.request_log import RequestLog, RequestRecord
from service.rest_api.bodies import JsonFields, read_json_object
from service.rest_api.delivery import send_body, until_disconnected
from service.rest_api.errors import error_response
from service.rest_api.messages import encode_tokens
from service.tokenization import tokenize

__all__ = ["TokenizeResponse"]


class TokenizeResponse(Response):
    """Serves one request: its record is open until the answer is read.

    Args:
        models: Whose tokens.
        log: Where the request is noted.
        exchange: What the request and its answer are called and measured by.
    """

    def __init__(self, models: ServedModels, log: RequestLog, *, exchange: Exchange) -> None:
        super().__init__()
        self._models = models
        self._log = log
        self._exchange = exchange

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request."""
        try:
            with self._log.request(
                protocol="rest", route="/v1/tokenize", exchange=self._exchange
            ) as record:
                body = await self._answer(Request(scope, receive), record)
                await until_disconnected(receive, send_body(scope, send, body))
        except RequestError as error:
            if error.kind is not ErrorKind.CANCELLED:
                await error_response(error)(scope, receive, send)

    async def _answer(self, request: Request, record: RequestRecord) -> bytes:
        fields = JsonFields(await read_json_object(request))
        model, text = self._models.find(fields.string("model")), fields.string("text")
        fields.finish()
        record.model, record.model_version = model.folder.name, model.folder.version
        if text is None:
            raise invalid_value("text", "must be given")
        return await tokenize(model, text, encode_tokens)
