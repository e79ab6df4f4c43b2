"""OpenAI's ways to give texts: a text, a list of texts, a list of ids, or a list of such lists."""

from collections.abc import Callable
from typing import TypeAlias, cast

from service.errors import invalid_value
from service.rest_api.bodies import read_integers, wrong_type

__all__ = ["Texts", "read_texts"]

Texts: TypeAlias = tuple[str | tuple[int, ...], ...]


def read_texts(
    name: str,
    value: object,
    *,
    check_number: Callable[[int], None],
) -> Texts:
    """The texts of a field.

    Args:
        name: The field.
        value: What it holds.
        check_number: Raises RequestError where there are too many, before any is looked at.

    Raises:
        RequestError: There is none, there are too many, or it is of another type.
    """
    match value:
        case None:
            raise invalid_value(name, "must be given")
        case str():
            return (value,)
        case list():
            return _read_list(name, cast("list[object]", value), check_number)
        case _:
            raise wrong_type(name, "a string or a list", value)


def _read_list(name: str, items: list[object], check: Callable[[int], None]) -> Texts:
    match items:
        case []:
            raise invalid_value(name, "must not be an empty list")
        case [str(), *_]:
            check(len(items))
            for item in items:
                if not isinstance(item, str):
                    raise wrong_type(name, "a list of strings only", item)
            return tuple(cast("list[str]", items))
        case [list(), *_]:
            check(len(items))
            texts: list[tuple[int, ...]] = []
            for item in items:
                if not isinstance(item, list):
                    raise wrong_type(name, "a list of lists only", item)
                texts.append(read_integers(name, cast("list[object]", item)))
            return tuple(texts)
        case _:
            return (read_integers(name, items),)
