"""What one setting of the server is: how it is written, its default, its limits, its meaning."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["MAX_BYTES", "SPEC", "Kind", "SettingSpec", "SettingsError", "setting"]

# The key of a field's metadata under which its spec lies.
SPEC = "spec"
MAX_BYTES = 1 << 50
MAX_COUNT = 1_000_000_000


class SettingsError(ValueError):
    """A setting cannot be used; one line naming it, its limit and the given value."""


class Kind(enum.Enum):
    """How a value is written."""

    TEXT = "text"
    LIST = "list, separated by commas in the environment"
    INTEGER = "whole number"
    NUMBER = "number"
    SIZE = "bytes, or with a unit: 512MiB, 4GiB"
    SWITCH = "true or false"


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingSpec:
    """One setting.

    Attributes:
        default: Its value when nothing is given; None where `default_limits` works it out.
        default_text: What the default is, for people, where the value does not say it.
        minimum: Smallest value of a number.
        maximum: Largest.
        choices: All values of a text; empty where any is good.
        metavar: What stands for the value in the help.
    """

    kind: Kind
    default: object
    help_text: str
    default_text: str = ""
    minimum: float = 0
    maximum: float = MAX_COUNT
    choices: tuple[str, ...] = ()
    metavar: str = ""


def setting(
    kind: Kind,
    default: object,
    help_text: str,
    *,
    default_text: str = "",
    limits: tuple[float, float] = (0, MAX_COUNT),
    choices: tuple[str, ...] = (),
    metavar: str = "",
) -> Mapping[str, SettingSpec]:
    """The metadata of a setting's field; the arguments are those of `SettingSpec`."""
    spec = SettingSpec(
        kind=kind,
        default=default,
        help_text=help_text,
        default_text=default_text,
        minimum=limits[0],
        maximum=limits[1],
        choices=choices,
        metavar=metavar,
    )
    return {SPEC: spec}
