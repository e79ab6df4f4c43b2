"""docs/settings.md, made from the declaration: `python -m service.settings_page` prints it."""

from service.setting_spec import Kind, SettingSpec
from service.settings import SETTING_SPECS
from service.settings_sources import flag_of, variable_of

__all__ = ["settings_page"]

HEAD = """# Settings of the server

Made by `make settings` from `service/settings.py`. A flag comes before its environment variable,
that before the default; there is no settings file. `nextword-serve --print-config` prints every
value in force and where it came from, `nextword-serve --check` whether the models can be served
with them.
"""


def settings_page() -> str:
    """The whole page."""
    sections = [_section(name, spec) for name, spec in SETTING_SPECS.items()]
    return "\n".join([HEAD, *sections])


def _section(name: str, spec: SettingSpec) -> str:
    written = spec.kind.value
    if spec.choices:
        written = ", ".join(f"`{choice}`" for choice in spec.choices)
    elif spec.kind in (Kind.INTEGER, Kind.NUMBER):
        written = f"{written} from {spec.minimum:g} to {_plain(spec.maximum)}"
    default = spec.default_text or f"`{spec.default}`"
    flag = flag_of(name)
    if spec.kind is Kind.SWITCH:
        flag = f"{flag}, --no-{flag[2:]}"
    return (
        f"## `{flag}`\n\n"
        f"{spec.help_text[0].upper()}{spec.help_text[1:]}.\n\n"
        f"- Variable: `{variable_of(name)}`\n"
        f"- Value: {written}\n"
        f"- Default: {default}\n"
    )


def _plain(number: float) -> str:
    return f"{number:g}" if number < 1e6 else f"{int(number)}"


if __name__ == "__main__":
    print(settings_page(), end="")
