"""From preset files, the user's file and ``--set`` to one checked TrainingConfig.

Later sources win: declared defaults, preset, ``--config`` file, flags and ``--set``. A section or
key that is not declared is an error that names the nearest declared one.
"""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Literal, cast, get_args, get_origin, get_type_hints

from training.config import ConfigurationError, TrainingConfig
from training.corpus import CorpusError

__all__ = ["PRESETS", "SettingHelp", "build_config", "describe_settings", "preset_for", "read_toml"]

PRESETS = ("smoke", "quickstart", "small", "base", "finetune")
# Up to so many bytes of text a preset is taken on its own.
_QUICKSTART_BYTES = 800_000
_SMALL_BYTES = 20_000_000

Values = Mapping[str, Mapping[str, object]]


def preset_for(train_bytes: int, *, has_parent: bool) -> str:
    """The preset that suits a corpus's size, where the user names none."""
    if has_parent:
        return "finetune"
    if train_bytes < _QUICKSTART_BYTES:
        return "quickstart"
    return "small" if train_bytes < _SMALL_BYTES else "base"


def read_preset(name: str) -> Values:
    """The values of a preset that comes with the package."""
    text = resources.files("training").joinpath("configs", f"{name}.toml").read_text("utf-8")
    return cast("Values", tomllib.loads(text))


def read_toml(path: Path) -> Values:
    """The values of a user's settings file.

    Raises:
        ConfigurationError: It cannot be read or is not TOML of sections with values.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--config {path}: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"--config {path}: is not valid TOML: {error}") from error
    for section, content in values.items():
        if not isinstance(content, dict):
            raise ConfigurationError(f"--config {path}: {section} must be a [section]")
    return cast("Values", values)


def build_config(*sources: Values, assignments: Sequence[str] = ()) -> TrainingConfig:
    """Merge sources, later over earlier, then ``section.field=value`` assignments, and check all.

    Raises:
        ConfigurationError: A key is unknown, or a value of the wrong type or out of its range.
    """
    merged: dict[str, dict[str, object]] = {}
    for source in sources:
        for section, values in source.items():
            merged.setdefault(section, {}).update(values)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        section, dot, name = key.strip().partition(".")
        if not equals or not dot:
            raise ConfigurationError(f"--set must be section.field=value, got {assignment!r}")
        declared = _declared(section, name)
        merged.setdefault(section, {})[name] = _parse(text.strip(), declared, f"{section}.{name}")
    built: dict[str, object] = {}
    for section, section_type in _sections().items():
        values = merged.pop(section, {})
        for name, value in values.items():
            values[name] = _checked(value, _declared(section, name), f"{section}.{name}")
        try:
            built[section] = section_type(**values)
        except CorpusError as error:
            raise ConfigurationError(str(error)) from error
    if merged:
        raise ConfigurationError(_unknown(next(iter(merged)), "", _sections()))
    return TrainingConfig(**built)  # pyright: ignore[reportArgumentType]


class SettingHelp:
    """One setting as the help shows it: its name, default and text."""

    __slots__ = ("default", "name", "text")

    def __init__(self, name: str, default: object, text: str) -> None:
        self.name = name
        self.default = default
        self.text = text


def describe_settings() -> dict[str, list[SettingHelp]]:
    """Every setting by section, from its one declaration."""
    described: dict[str, list[SettingHelp]] = {}
    for section, section_type in _sections().items():
        described[section] = [
            SettingHelp(
                f"{section}.{declared.name}",
                None if declared.default is MISSING else declared.default,
                str(declared.metadata["help"]),
            )
            for declared in fields(section_type)  # pyright: ignore[reportArgumentType]
        ]
    return described


def _sections() -> dict[str, type]:
    hints = get_type_hints(TrainingConfig)
    return {declared.name: hints[declared.name] for declared in fields(TrainingConfig)}


def _declared(section: str, name: str) -> object:
    """The declared type of a setting."""
    sections = _sections()
    if section not in sections:
        raise ConfigurationError(_unknown(section, "", sections))
    declared: tuple[Field[object], ...] = fields(sections[section])
    names = {field.name for field in declared}
    if name not in names:
        raise ConfigurationError(_unknown(name, f"{section}.", names))
    return get_type_hints(sections[section])[name]


def _unknown(name: str, prefix: str, known: Mapping[str, object] | set[str]) -> str:
    kind = "setting" if prefix else "section"
    near = difflib.get_close_matches(name, list(known), n=1)
    hint = f"did you mean {prefix}{near[0]}?" if near else f"known: {', '.join(sorted(known))}"
    return f"there is no {kind} {prefix}{name}; {hint}"


def _parse(text: str, declared: object, key: str) -> object:
    """A value typed on the command line, by the declared type."""
    try:
        if declared is int:
            return int(text.replace("_", ""))
        if declared is float:
            return float(text)
        if declared is bool:
            return {"true": True, "false": False}[text.lower()]
    except (ValueError, KeyError) as error:
        kind = "true or false" if declared is bool else f"a number ({_type_name(declared)})"
        raise ConfigurationError(f"{key} must be {kind}, got {text!r}") from error
    if get_origin(declared) is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text


def _checked(value: object, declared: object, key: str) -> object:
    """A value from a file: its type must be the declared one; an integer may stand for a float."""
    if declared is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if get_origin(declared) is tuple:
        items = cast("list[object]", value) if isinstance(value, list | tuple) else [value]
        if all(isinstance(item, str) for item in items):
            return tuple(items)
        raise ConfigurationError(f"{key} must be a list of texts, got {value!r}")
    expected: tuple[type, ...] = (
        (str,) if get_origin(declared) in (Literal, UnionType) else (cast("type", declared),)
    )
    if not isinstance(value, expected) or (isinstance(value, bool) and declared is not bool):
        choices = get_args(declared)
        wanted = ", ".join(map(str, choices)) if choices else _type_name(declared)
        raise ConfigurationError(f"{key} must be {wanted}, got {value!r}")
    return value


def _type_name(declared: object) -> str:
    names = {int: "an integer", float: "a number", bool: "true or false", str: "a text"}
    return names.get(cast("type", declared), str(declared))
