"""A server that ignores one parameter, for the control of campaign 2.

`python -m campaigns.broken_builds.ignoring_server FILE [options of nextword-serve]`: a real server
that reads the parameter's name from a file at each request, so that one process serves for all.
"""

import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import cast

from google.protobuf.message import Message

from service.grpc_api import glass_box_requests
from service.grpc_api.handlers import Handlers
from service.grpc_transport.call import Call
from service.main import main
from service.models.served_models import ServedModel, ServedModels
from service.request_log import RequestRecord
from service.rest_api.bodies import JsonFields

__all__: list[str] = []

Reader = Callable[..., object]
Handler = Callable[[Handlers, Message, Call, RequestRecord], Awaitable[Message | None]]


def _ignore_over_rest(ignored: Callable[[], str]) -> None:
    read = JsonFields.__init__

    def altered(self: JsonFields, values: Mapping[str, object]) -> None:
        # The fields of an object are read the same way as those of the body.
        name = ignored().rpartition(".")[2]
        read(self, {key: value for key, value in values.items() if key != name})

    JsonFields.__init__ = altered


def _ignore_over_grpc(ignored: Callable[[], str]) -> None:
    def altered(handle: Handler) -> Handler:
        def handle_less(
            self: Handlers, message: Message, context: Call, record: RequestRecord
        ) -> Awaitable[Message | None]:
            _clear(message, ignored())
            return handle(self, message, context, record)

        return handle_less

    for name in ("generate_text", "stream_generate_text", "tokenize", "detokenize", "get_model"):
        setattr(Handlers, name, altered(getattr(Handlers, name)))

    def altered_reader(read: Reader) -> Reader:
        def read_less(message: Message, *, deadline: float | None) -> object:
            _clear(message, ignored())
            return read(message, deadline=deadline)

        return read_less

    for name in glass_box_requests.__all__:
        setattr(glass_box_requests, name, altered_reader(getattr(glass_box_requests, name)))


def _clear(message: Message, name: str) -> None:
    """Take a parameter out of a message, wherever in it the parameter stands."""
    outer, _, inner = name.rpartition(".")
    if outer and outer in message.DESCRIPTOR.fields_by_name:
        if message.HasField(outer):
            _clear(getattr(message, outer), inner)
        return
    parts = [message]
    group = message.DESCRIPTOR.fields_by_name.get("parameters")
    if group is not None and not group.is_repeated:
        parts.append(cast("Message", getattr(message, group.name)))
    for part in parts:
        if name in part.DESCRIPTOR.fields_by_name:
            part.ClearField(name)


def _ignore_in_paths(ignored: Callable[[], str]) -> None:
    find = ServedModels.find

    def altered(self: ServedModels, name: str | None) -> ServedModel:
        return find(self, None if ignored() == "model_id" else name)

    ServedModels.find = altered


if __name__ == "__main__":
    file = Path(sys.argv[1])
    for alter in (_ignore_over_rest, _ignore_over_grpc, _ignore_in_paths):
        alter(file.read_text)
    sys.exit(main(sys.argv[2:]))
