"""Every setting of the server, declared once: flag, environment variable, default, help, limits.

Precedence: flag, environment, default. `--print-config` shows each value and where it came from.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import cast

__all__ = [
    "ENVIRONMENT_PREFIX",
    "LoadedSettings",
    "Settings",
    "SettingsError",
    "load_settings",
    "model_folders",
    "store_root",
]

ENVIRONMENT_PREFIX = "NEXTWORD_"
DEFAULT_ROOT = "artifacts"
_INT_MAX = 2**31 - 1


class SettingsError(ValueError):
    """A setting cannot be used; one line naming it, its limit and the given value."""


def _setting(
    default: object,
    help_text: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    metavar: str | None = None,
) -> dict[str, object]:
    return {
        "default": default,
        "help": help_text,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "metavar": metavar,
    }


def _usable_cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a server runs."""

    model: tuple[str, ...] = field(
        metadata=_setting(
            (),
            "serve the model folder DIR under NAME, or under its own name; may be repeated "
            "(in the environment: separated by commas)",
            metavar="[NAME=]DIR",
        )
    )
    models: str = field(
        metadata=_setting(
            "",
            "serve every name in the model store ROOT, the newest version of each "
            f"(default: {DEFAULT_ROOT} unless --model is given)",
            metavar="ROOT",
        )
    )
    host: str = field(metadata=_setting("127.0.0.1", "address to listen on, for both protocols"))
    rest_port: int = field(
        metadata=_setting(8000, "port of REST; 0 takes a free one", minimum=0, maximum=65535)
    )
    grpc_port: int = field(
        metadata=_setting(50051, "port of gRPC; 0 takes a free one", minimum=0, maximum=65535)
    )
    device: str = field(
        metadata=_setting("auto", "where models compute", choices=("auto", "cpu", "cuda"))
    )
    dtype: str = field(
        metadata=_setting(
            "auto",
            "number type of the weights; auto is the folder's own where the processor has it, "
            "else f32",
            choices=("auto", "f32", "bf16"),
        )
    )
    threads: int = field(
        metadata=_setting(
            max(1, _usable_cores() - 1),
            "compute threads of each model's engine (default: the usable cores but one)",
            minimum=1,
            maximum=1024,
        )
    )
    max_context: int = field(
        metadata=_setting(
            0, "longest prompt in tokens; 0 is each model's own", minimum=0, maximum=_INT_MAX
        )
    )
    max_running: int = field(
        metadata=_setting(16, "requests of one model computed at once", minimum=1, maximum=4096)
    )
    max_queued: int = field(
        metadata=_setting(
            64, "requests of one model that may wait beside those", minimum=0, maximum=1_000_000
        )
    )
    drain_timeout: float = field(
        metadata=_setting(
            30.0,
            "seconds that running requests get to end after SIGTERM or Ctrl-C",
            minimum=0.0,
            maximum=86400.0,
        )
    )


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """The settings in force and where each came from: flag, environment or default."""

    settings: Settings
    sources: Mapping[str, str]
    is_print_wanted: bool

    def table(self) -> str:
        """One line per setting: name, value, source."""
        values = {each.name: getattr(self.settings, each.name) for each in fields(Settings)}
        return "\n".join(
            f"{name} = {value!r}  ({self.sources[name]})" for name, value in values.items()
        )


def load_settings(
    arguments: Sequence[str], environment: Mapping[str, str] = os.environ
) -> LoadedSettings:
    """Read flags and environment.

    Raises:
        SettingsError: A value is of the wrong type or out of its range.
        SystemExit: --help, or an unknown flag.
    """
    given = vars(_parser().parse_args(arguments))
    values: dict[str, object] = {}
    sources: dict[str, str] = {}
    for each in fields(Settings):
        flag, variable = f"--{each.name.replace('_', '-')}", ENVIRONMENT_PREFIX + each.name.upper()
        if given[each.name] is not None:
            text: object = given[each.name]
            sources[each.name], spelled = "flag", flag
        elif variable in environment:
            text, sources[each.name], spelled = environment[variable], "environment", variable
            if each.name == "model":
                text = [part for part in environment[variable].split(",") if part]
        else:
            values[each.name], sources[each.name] = each.metadata["default"], "default"
            continue
        values[each.name] = _parse(spelled, text, each.metadata)
    # The fields and their types are those of Settings by construction of `_parse`.
    settings = Settings(**values)  # pyright: ignore[reportArgumentType]
    return LoadedSettings(settings, sources, bool(given["print_config"]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nextword-serve",
        description="Serve the next words of trained models over REST and gRPC.",
        epilog=f"Each option can also be set as {ENVIRONMENT_PREFIX}NAME, for example "
        f"{ENVIRONMENT_PREFIX}REST_PORT=9000.",
        allow_abbrev=False,
    )
    for each in fields(Settings):
        metadata = each.metadata
        default = metadata["default"]
        shown = f" (default: {default})" if default and "default:" not in metadata["help"] else ""
        if metadata["choices"]:
            shown = f": {', '.join(metadata['choices'])}{shown}"
        parser.add_argument(
            f"--{each.name.replace('_', '-')}",
            dest=each.name,
            metavar=metadata["metavar"] or each.name.rpartition("_")[2].upper(),
            action="append" if each.name == "model" else "store",
            help=f"{metadata['help']}{shown}",
        )
    parser.add_argument(
        "--print-config", action="store_true", help="print every setting and its source, and exit"
    )
    return parser


def _parse(name: str, given: object, metadata: Mapping[str, object]) -> object:
    """A value from its text, by the type of its default."""
    if isinstance(given, list):
        return tuple(cast("list[str]", given))
    text = str(given)
    default = metadata["default"]
    if isinstance(default, int | float):
        try:
            number = type(default)(text)
        except ValueError:
            word = "a whole number" if isinstance(default, int) else "a number"
            raise SettingsError(f"{name} must be {word}, got {text[:80]!a}") from None
        minimum, maximum = cast("float", metadata["minimum"]), cast("float", metadata["maximum"])
        if not minimum <= number <= maximum:
            raise SettingsError(f"{name} must be from {minimum} to {maximum}, got {text[:80]}")
        return number
    choices = cast("tuple[str, ...]", metadata["choices"])
    if choices and text not in choices:
        raise SettingsError(f"{name} must be one of {', '.join(choices)}, got {text[:80]!a}")
    if not text:
        raise SettingsError(f"{name} must not be empty")
    return text


def model_folders(settings: Settings) -> list[tuple[str | None, Path]]:
    """The folders of --model, with the name that each is to be served under."""
    folders: list[tuple[str | None, Path]] = []
    for text in settings.model:
        name, separator, directory = text.partition("=")
        folders.append((name, Path(directory)) if separator else (None, Path(text)))
    return folders


def store_root(settings: Settings) -> Path | None:
    """The model store to serve: --models, else the default one when no --model is given."""
    if settings.models:
        return Path(settings.models)
    return None if settings.model else Path(DEFAULT_ROOT)
