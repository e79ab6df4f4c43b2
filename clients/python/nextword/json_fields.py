"""Fields of a server's JSON, typed as they are taken; anything else is a ProtocolError."""

import json
from collections.abc import Mapping
from typing import cast

from nextword.errors import ProtocolError

__all__ = ["JsonFields", "read_json_object"]


def read_json_object(data: bytes | str) -> "JsonFields":
    """The JSON object in an answer.

    Raises:
        ProtocolError: It is none.
    """
    try:
        value = cast("object", json.loads(data))
    except (ValueError, RecursionError):
        raise ProtocolError("the server's answer is not JSON") from None
    return _object(value, "the server's answer")


class JsonFields:
    """The fields of one JSON object of an answer; fields that nobody asks for are ignored."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self._values.get(name) is not None

    def text(self, name: str) -> str:
        """A string."""
        value = self._values.get(name)
        if isinstance(value, str):
            return value
        raise _wrong(name, "a string", value)

    def optional_text(self, name: str) -> str | None:
        """A string, or None where there is none."""
        return self.text(name) if self.has(name) else None

    def integer(self, name: str) -> int:
        """A whole number."""
        value = self._values.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise _wrong(name, "an integer", value)

    def optional_integer(self, name: str) -> int | None:
        """A whole number, or None where there is none."""
        return self.integer(name) if self.has(name) else None

    def number(self, name: str) -> float:
        """A number."""
        return _number(name, self._values.get(name))

    def optional_number(self, name: str) -> float | None:
        """A number, or None where there is none."""
        return self.number(name) if self.has(name) else None

    def boolean(self, name: str) -> bool:
        """True or false."""
        value = self._values.get(name)
        if isinstance(value, bool):
            return value
        raise _wrong(name, "true or false", value)

    def optional_boolean(self, name: str) -> bool | None:
        """True or false, or None where neither is given."""
        return self.boolean(name) if self.has(name) else None

    def integers(self, name: str) -> tuple[int, ...]:
        """A list of whole numbers."""
        values = self._list(name)
        for value in values:
            if not isinstance(value, int) or isinstance(value, bool):
                raise _wrong(name, "a list of integers", value)
        return tuple(cast("list[int]", values))

    def numbers(self, name: str) -> tuple[float, ...]:
        """A list of numbers."""
        return tuple(_number(name, value) for value in self._list(name))

    def rows_of_numbers(self, name: str) -> tuple[tuple[float, ...], ...]:
        """A list of lists of numbers."""
        rows = [JsonFields({name: row}) for row in self._list(name)]
        return tuple(row.numbers(name) for row in rows)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        values = self._list(name)
        for value in values:
            if not isinstance(value, str):
                raise _wrong(name, "a list of strings", value)
        return tuple(cast("list[str]", values))

    def biases(self, name: str) -> dict[int, float]:
        """An object from token ids to numbers."""
        values = self.object(name)._values
        try:
            return {int(key): _number(name, value) for key, value in values.items()}
        except ValueError:
            raise _wrong(name, "an object from token ids to numbers", values) from None

    def other_facts(self, *names: str) -> dict[str, str]:
        """The strings and whole numbers in all other fields than these, as strings."""
        return {
            name: str(value)
            for name, value in self._values.items()
            if name not in names and isinstance(value, str | int)
        }

    def object(self, name: str) -> "JsonFields":
        """An object."""
        return _object(self._values.get(name), name)

    def objects(self, name: str) -> list["JsonFields"]:
        """A list of objects."""
        return [_object(value, name) for value in self._list(name)]

    def _list(self, name: str) -> "list[object]":
        value = self._values.get(name)
        if isinstance(value, list):
            return cast("list[object]", value)
        raise _wrong(name, "a list", value)


def _object(value: object, name: str) -> JsonFields:
    if isinstance(value, dict):
        return JsonFields(cast("dict[str, object]", value))
    raise _wrong(name, "an object", value)


def _number(name: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise _wrong(name, "a number", value)


def _wrong(name: str, expected: str, value: object) -> ProtocolError:
    shown = repr(value)
    return ProtocolError(f"the server's answer is broken: {name} is not {expected}: {shown[:80]}")
