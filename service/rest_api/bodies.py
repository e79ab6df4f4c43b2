"""Request bodies: read up to a limit, parsed strictly, typed by the table of parameters."""

from collections.abc import Mapping
from typing import cast

import msgspec
from starlette.requests import ClientDisconnect, Request

from service.errors import ErrorKind, RequestError, invalid_value, unsupported_parameter
from service.transport_limits import MAX_MESSAGE_BYTES

__all__ = [
    "JsonFields",
    "read_integers",
    "read_json_object",
    "wrong_type",
]

# No route has as many; a body of a hundred thousand fields is not read one by one.
MAX_FIELDS = 256
_KINDS: dict[type, str] = {
    dict: "an object",
    list: "a list",
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a number with a fraction or exponent",
    str: "a string",
}


async def read_json_object(request: Request) -> Mapping[str, object]:
    """The JSON object in a request's body.

    Raises:
        RequestError: It is of another type, too large, malformed or no object, or the client left.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise RequestError(
            ErrorKind.UNSUPPORTED_MEDIA_TYPE,
            "the body must be sent as Content-Type: application/json",
        )
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RequestError(
            ErrorKind.UNSUPPORTED_MEDIA_TYPE, "the body must be sent without Content-Encoding"
        )
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_MESSAGE_BYTES:
                raise RequestError(
                    ErrorKind.REQUEST_TOO_LARGE,
                    f"the body must be at most {MAX_MESSAGE_BYTES} bytes",
                )
    except ClientDisconnect:
        raise RequestError(ErrorKind.CANCELLED, "the client left") from None
    try:
        value: object = msgspec.json.decode(bytes(body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # The parser's own words may quote the body.
        raise RequestError(ErrorKind.INVALID_JSON, "the body is not valid JSON") from None
    if not isinstance(value, dict):
        raise RequestError(ErrorKind.INVALID_JSON, "the body must be a JSON object")
    values = cast("dict[str, object]", value)
    if len(values) > MAX_FIELDS:
        raise RequestError(
            ErrorKind.INVALID_JSON,
            f"the body must have at most {MAX_FIELDS} fields, got {len(values)}",
        )
    return values


class JsonFields:
    """The fields of a JSON object, taken one by one; null is the same as absent."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = dict(values)

    def integer(self, name: str) -> int | None:
        """An integer; 5.0, "5" and true are none."""
        value = self._values.pop(name, None)
        return None if value is None else _integer(name, value)

    def number(self, name: str) -> float | None:
        """A number, whole or not."""
        value = self._values.pop(name, None)
        return None if value is None else _number(name, value)

    def boolean(self, name: str) -> bool | None:
        """True or false."""
        value = self._values.pop(name, None)
        if value is None or isinstance(value, bool):
            return value
        raise wrong_type(name, "true or false", value)

    def string(self, name: str) -> str | None:
        """A string."""
        value = self._values.pop(name, None)
        if value is None or isinstance(value, str):
            return value
        raise wrong_type(name, "a string", value)

    def integers(self, name: str) -> tuple[int, ...] | None:
        """A list of integers."""
        value = self._values.pop(name, None)
        if value is None:
            return None
        if not isinstance(value, list):
            raise wrong_type(name, "a list of integers", value)
        return read_integers(name, cast("list[object]", value))

    def strings(self, name: str) -> tuple[str, ...] | None:
        """A string, or a list of strings."""
        value = self._values.pop(name, None)
        if value is None or isinstance(value, str):
            return None if value is None else (value,)
        if not isinstance(value, list):
            raise wrong_type(name, "a string or a list of strings", value)
        strings: list[str] = []
        for item in cast("list[object]", value):
            if not isinstance(item, str):
                raise wrong_type(name, "a list of strings", item)
            strings.append(item)
        return tuple(strings)

    def fields(self, name: str) -> "JsonFields | None":
        """An object, as fields of its own."""
        value = self._values.pop(name, None)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise wrong_type(name, "an object", value)
        return JsonFields(cast("dict[str, object]", value))

    def take(self, name: str) -> object:
        """A value of any type; the caller looks at it."""
        return self._values.pop(name, None)

    def biases(self, name: str) -> dict[int, float] | None:
        """An object whose keys are token ids in decimal and whose values are numbers."""
        value = self._values.pop(name, None)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise wrong_type(name, "an object from token ids to numbers", value)
        biases: dict[int, float] = {}
        for key, item in cast("dict[str, object]", value).items():
            digits = key.removeprefix("-")
            if not (digits.isascii() and digits.isdecimal() and len(digits) <= 20):
                raise invalid_value(name, "must have token ids as keys")
            biases[int(key)] = _number(name, item)
        return biases

    @property
    def untaken(self) -> tuple[str, ...]:
        """Names of the fields that nobody asked for."""
        return tuple(self._values)

    def finish(self, *, inside: str | None = None) -> None:
        """Refuse what was not taken: a misspelt field would otherwise change nothing silently.

        Args:
            inside: The field that holds these, where it is not the body itself.
        """
        for name in self._values:
            shown = name if name.isascii() and name.isprintable() and len(name) <= 64 else "a field"
            if inside is not None:
                raise unsupported_parameter(inside, f"has no field {shown}")
            raise unsupported_parameter(shown, "is not a field of this request")


def read_integers(name: str, items: list[object]) -> tuple[int, ...]:
    """The items of a list that may hold nothing but integers.

    Raises:
        RequestError: naming the field and what is in it.
    """
    # The types of half a million ids in one pass; true is no integer here either.
    if set(map(type, items)) <= {int}:
        return tuple(cast("list[int]", items))
    return tuple(_integer(name, item) for item in items)


def _integer(name: str, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise wrong_type(name, "an integer", value)


def _number(name: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise invalid_value(name, "is too large for a number") from None
    raise wrong_type(name, "a number", value)


def wrong_type(name: str, expected: str, value: object) -> RequestError:
    """The error of a field of another JSON type than the expected one."""
    return invalid_value(name, f"must be {expected}, got {_KINDS[type(value)]}")
