"""The origins whose pages may ask from a browser: what --cors-origin takes."""

import re
from collections.abc import Collection

from service.setting_spec import SettingsError

__all__ = ["ANY_ORIGIN", "check_origins"]

ANY_ORIGIN = "*"
# As browsers write one (RFC 6454 section 6.2): they compare letter by letter.
_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(:(?P<port>[1-9][0-9]{0,4}))?"
)
_USUAL_PORTS = {"http": "80", "https": "443"}


def check_origins(origins: Collection[str]) -> None:
    """See whether a browser could name them.

    Raises:
        SettingsError: It would write one in another way, or the star does not stand alone.
    """
    if ANY_ORIGIN in origins and len(origins) > 1:
        raise SettingsError(
            f"--cors-origin {ANY_ORIGIN} is every origin and must stand alone, got "
            f"{', '.join(origins)[:200]!a}"
        )
    for origin in origins:
        parts = _ORIGIN.fullmatch(origin)
        if origin != ANY_ORIGIN and parts is None:
            raise SettingsError(
                "--cors-origin must be SCHEME://HOST or SCHEME://HOST:PORT as browsers write it, "
                f"in small letters with nothing after it, or *, got {origin[:200]!a}"
            )
        if parts and parts["port"] and _USUAL_PORTS.get(parts["scheme"]) == parts["port"]:
            raise SettingsError(
                f"--cors-origin must leave out the port {parts['port']} of {parts['scheme']}, "
                f"as browsers do, got {origin[:200]!a}"
            )
