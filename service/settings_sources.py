"""Where the values of the settings come from: flag, environment, the machine, default; in order."""

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.default_limits import DERIVED_SETTINGS
from service.machine_limits import MachineLimits, memory_text, read_machine_limits
from service.origins import check_origins
from service.setting_spec import Kind, SettingsError, SettingSpec
from service.settings import SETTING_SPECS, Settings

__all__ = ["ENVIRONMENT_PREFIX", "LoadedSettings", "flag_of", "load_settings", "variable_of"]

ENVIRONMENT_PREFIX = "NEXTWORD_"
_SIZE = re.compile(r"(?P<count>\d+(\.\d+)?) ?(?P<unit>[kKmMgGtT]?)i?[bB]?")
_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}
_SWITCHES = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """The settings in force, where each came from, and what to do instead of serving."""

    settings: Settings
    sources: Mapping[str, str]
    is_print_wanted: bool
    is_check_wanted: bool

    def table(self) -> str:
        """One line per setting: name, value, source."""
        lines: list[str] = []
        for name, spec in SETTING_SPECS.items():
            value: object = getattr(self.settings, name)
            shown = repr(value)
            if spec.kind is Kind.SIZE and isinstance(value, int):
                shown = f"{value}, {memory_text(value)}"
            lines.append(f"{name} = {shown}  ({self.sources[name]})")
        return "\n".join(lines)


def flag_of(name: str) -> str:
    """The flag of a setting."""
    return f"--{name.replace('_', '-')}"


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return ENVIRONMENT_PREFIX + name.upper()


def load_settings(
    arguments: Sequence[str],
    environment: Mapping[str, str] = os.environ,
    *,
    machine: MachineLimits | None = None,
) -> LoadedSettings:
    """Read flags and environment, and fit the rest to the machine.

    Args:
        machine: None reads this machine's limits.

    Raises:
        SettingsError: A value is of the wrong kind or out of its range.
        SystemExit: --help, or an unknown flag.
    """
    given = vars(_parser().parse_args(arguments))
    values: dict[str, object] = {}
    sources: dict[str, str] = {}
    for name, spec in SETTING_SPECS.items():
        flag, variable = flag_of(name), variable_of(name)
        if given[name] is not None:
            values[name], sources[name] = _parse(flag, given[name], spec), f"flag {flag}"
        elif variable in environment:
            values[name] = _parse(variable, environment[variable], spec)
            sources[name] = f"environment {variable}"
        elif name not in DERIVED_SETTINGS:
            values[name], sources[name] = spec.default, "default"
    machine = machine or read_machine_limits()
    for name, derive in DERIVED_SETTINGS.items():
        if name not in values:
            derived = derive(machine, values)
            values[name], sources[name] = derived.value, derived.source
    # The fields and their types are those of Settings by construction of `_parse`.
    settings = Settings(**values)  # pyright: ignore[reportArgumentType]
    if settings.max_connection_age_grace and not settings.max_connection_age:
        raise SettingsError(
            "--max-connection-age-grace needs --max-connection-age: without an age no connection "
            f"is asked to leave; got {settings.max_connection_age_grace:g}"
        )
    check_origins(settings.cors_origin)
    return LoadedSettings(settings, sources, bool(given["print_config"]), bool(given["check"]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nextword-serve",
        description="Serve the next words of trained models over REST and gRPC.",
        epilog=f"Each option can also be set as {ENVIRONMENT_PREFIX}NAME, for example "
        f"{ENVIRONMENT_PREFIX}REST_PORT=9000; a flag comes first. docs/settings.md explains all.",
        allow_abbrev=False,
    )
    for name, spec in SETTING_SPECS.items():
        default = spec.default_text or spec.default
        choices = f": {', '.join(spec.choices)}" if spec.choices else ""
        help_text = f"{spec.help_text}{choices} (default: {default})".replace("%", "%%")
        if spec.kind is Kind.SWITCH:
            parser.add_argument(
                flag_of(name),
                dest=name,
                action=argparse.BooleanOptionalAction,
                default=None,
                help=help_text,
            )
            continue
        parser.add_argument(
            flag_of(name),
            dest=name,
            metavar=spec.metavar or ("SIZE" if spec.kind is Kind.SIZE else name.upper()),
            action="append" if spec.kind is Kind.LIST else "store",
            help=help_text,
        )
    parser.add_argument(
        "--print-config", action="store_true", help="print every setting and its source, and exit"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="load and verify the models, let each make 8 tokens, print what they take, and exit",
    )
    return parser


def _parse(name: str, given: object, spec: SettingSpec) -> object:
    """A value from its text; flags of lists and switches come parsed."""
    if isinstance(given, bool | list):
        return given if isinstance(given, bool) else tuple(map(str, given))  # pyright: ignore
    text = str(given).strip()
    match spec.kind:
        case Kind.LIST:
            return tuple(part for part in text.split(",") if part)
        case Kind.SWITCH:
            if text.lower() not in _SWITCHES:
                raise SettingsError(f"{name} must be true or false, got {text[:80]!a}")
            return _SWITCHES[text.lower()]
        case Kind.INTEGER | Kind.NUMBER | Kind.SIZE:
            return _parse_number(name, text, spec)
        case Kind.TEXT:
            if spec.choices and text not in spec.choices:
                raise SettingsError(
                    f"{name} must be one of {', '.join(spec.choices)}, got {text[:80]!a}"
                )
            if not text:
                raise SettingsError(f"{name} must not be empty")
            return text


def _parse_number(name: str, text: str, spec: SettingSpec) -> int | float:
    try:
        match spec.kind:
            case Kind.INTEGER:
                number: int | float = int(text)
            case Kind.SIZE:
                number = _parse_size(text)
            case _:
                number = float(text)
    except ValueError:
        word = "a number" if spec.kind is Kind.NUMBER else f"a {spec.kind.value}"
        word = f"a size in {spec.kind.value}" if spec.kind is Kind.SIZE else word
        raise SettingsError(f"{name} must be {word}, got {text[:80]!a}") from None
    if not spec.minimum <= number <= spec.maximum:
        limits = [
            memory_text(int(x)) if spec.kind is Kind.SIZE else f"{x:g}" if x < 1e6 else f"{int(x)}"
            for x in (spec.minimum, spec.maximum)
        ]
        raise SettingsError(f"{name} must be from {limits[0]} to {limits[1]}, got {text[:80]}")
    return number


def _parse_size(text: str) -> int:
    """Bytes; units are powers of 1024."""
    size = _SIZE.fullmatch(text)
    if size is None:
        raise ValueError(text)
    return int(float(size["count"]) * 2 ** _UNITS[size["unit"].lower()])
