"""Single values of a ``config.json``: each of its type, or an error that names key and value."""

from collections.abc import Mapping
from typing import cast

__all__ = ["ConfigError", "boolean", "integer", "number", "refusal", "token_ids"]


class ConfigError(ValueError):
    """A model configuration is incomplete, contradictory or asks for what is not implemented."""


def refusal(key: str, value: object) -> ConfigError:
    """The error for a value that would change the numbers and is not implemented."""
    return ConfigError(f"config key {key}={value!r} is not supported")


def integer(values: Mapping[str, object], key: str, default: int | None = None) -> int:
    """An integer; a missing or null one is the default.

    Raises:
        ConfigError: It is of another type, or missing without a default.
    """
    value = values.get(key)
    if value is None and default is not None:
        return default
    if value is None:
        raise ConfigError(f"config key {key} is missing")
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"config key {key} must be an integer, got {value!r}")
    return value


def number(values: Mapping[str, object], key: str, default: float | None = None) -> float:
    """A number; a missing one is the default, a null one is an error.

    Raises:
        ConfigError: It is of another type or too large, or missing without a default.
    """
    if key not in values and default is None:
        raise ConfigError(f"config key {key} is missing")
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"config key {key} must be a number, got {value!r}")
    try:
        return float(value)
    except OverflowError:
        raise ConfigError(f"config key {key} must be a number below 1e308") from None


def boolean(values: Mapping[str, object], key: str, *, default: bool) -> bool:
    """True or false; a missing one is the default, a null one is an error.

    Raises:
        ConfigError: It is of another type.
    """
    value = values.get(key, default)
    if not isinstance(value, bool):
        raise ConfigError(f"config key {key} must be true or false, got {value!r}")
    return value


def token_ids(values: Mapping[str, object], key: str) -> tuple[int, ...]:
    """One id, a list of ids, or null for none.

    Raises:
        ConfigError: It is something else.
    """
    value = values.get(key)
    if value is None:
        return ()
    ids: list[int] = []
    for candidate in cast("list[object]", value) if isinstance(value, list) else [value]:
        if isinstance(candidate, bool) or not isinstance(candidate, int):
            raise ConfigError(f"config key {key} must hold token ids, got {value!r}")
        ids.append(candidate)
    return tuple(ids)
