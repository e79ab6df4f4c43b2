"""Reads the facts of one log line with their types: the border between JSON and the typed events.

A float that JSON cannot hold travels as one of the strings "NaN", "Infinity" and "-Infinity".
Knows nothing of what the facts mean.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

JsonValue: TypeAlias = (
    "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
)

_NON_FINITE = frozenset({"NaN", "Infinity", "-Infinity"})


class EventError(ValueError):
    """An event has an unknown kind, or lacks a fact, or has a fact of the wrong type."""


def to_json_value(value: JsonValue) -> JsonValue:
    """Returns `value` with floats that are not finite spelled as strings, so that any JSON parser
    reads it."""
    match value:
        case bool() | int() | str() | None:
            return value
        case float():
            if math.isfinite(value):
                return value
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case Mapping():
            return {key: to_json_value(item) for key, item in value.items()}
        case _:
            return [to_json_value(item) for item in value]


class FactReader:
    """Typed access to the facts of one event; every complaint names the kind and the fact."""

    def __init__(self, kind: str, facts: Mapping[str, JsonValue]) -> None:
        self._kind = kind
        self._facts = facts

    def text(self, key: str) -> str:
        value = self._required(key)
        if not isinstance(value, str):
            raise self._wrong(key, "a text", value)
        return value

    def text_or_none(self, key: str) -> str | None:
        return None if self._facts.get(key) is None else self.text(key)

    def count(self, key: str) -> int:
        return self._as_count(key, self._required(key))

    def count_or_none(self, key: str) -> int | None:
        return None if self._facts.get(key) is None else self.count(key)

    def number(self, key: str) -> float:
        return self._as_number(key, self._required(key))

    def number_or_none(self, key: str) -> float | None:
        return None if self._facts.get(key) is None else self.number(key)

    def flag_or_none(self, key: str) -> bool | None:
        value = self._facts.get(key)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(key, "true or false", value)
        return value

    def mapping(self, key: str) -> Mapping[str, JsonValue]:
        value = self._facts.get(key)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise self._wrong(key, "a mapping", value)
        return value

    def counts(self, key: str) -> Mapping[str, int]:
        return {name: self._as_count(key, value) for name, value in self.mapping(key).items()}

    def texts(self, key: str) -> tuple[str, ...]:
        return tuple(self._as_text(key, item) for item in self._sequence(key))

    def numbers(self, key: str) -> tuple[float, ...]:
        return tuple(self._as_number(key, item) for item in self._sequence(key))

    def examples(self, key: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """A list of [text, [token, ...]] pairs."""
        pairs: list[tuple[str, tuple[str, ...]]] = []
        for item in self._sequence(key):
            match item:
                case [str() as text, [*tokens]]:
                    pairs.append((text, tuple(self._as_text(key, token) for token in tokens)))
                case _:
                    raise self._wrong(key, "a list of [text, [token, ...]]", item)
        return tuple(pairs)

    def _required(self, key: str) -> JsonValue:
        value = self._facts.get(key)
        if value is None:
            raise EventError(f"{self._kind}: the fact {key!r} is missing")
        return value

    def _sequence(self, key: str) -> Sequence[JsonValue]:
        value = self._facts.get(key)
        if value is None:
            return ()
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise self._wrong(key, "a list", value)
        return value

    def _as_text(self, key: str, value: JsonValue) -> str:
        if not isinstance(value, str):
            raise self._wrong(key, "a list of texts", value)
        return value

    def _as_count(self, key: str, value: JsonValue) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(key, "a whole number", value)
        return value

    def _as_number(self, key: str, value: JsonValue) -> float:
        if isinstance(value, str) and value in _NON_FINITE:
            return float(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(key, "a number", value)
        return float(value)

    def _wrong(self, key: str, expected: str, value: JsonValue) -> EventError:
        return EventError(f"{self._kind}: the fact {key!r} must be {expected}, not {value!r:.80}")
