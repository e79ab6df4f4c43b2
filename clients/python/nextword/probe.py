"""`python -m nextword.probe URL`: a container's health check, for a quarter of the command's cost.

It asks what `nextword health` asks, without the libraries of the command line: a probe runs every
few seconds beside the server, on the server's processors.
"""

import sys

from nextword.address import parse_address
from nextword.errors import AddressError
from nextword.health import check_health

__all__ = ["main"]

TIMEOUT_SECONDS = 3.0


def main() -> int:
    """Exit status 0 when the server at the given URL takes requests, 1 when not, 2 for no URL."""
    if len(sys.argv) != 2:
        print(f"nextword.probe: needs one URL, got {len(sys.argv) - 1}", file=sys.stderr)
        return 2
    try:
        found = check_health(parse_address(sys.argv[1]), timeout_seconds=TIMEOUT_SECONDS)
    except AddressError as error:
        print(f"nextword.probe: {error}", file=sys.stderr)
        return 2
    print(f"{found.url}: {found.status}")
    return 0 if found.is_ready else 1


if __name__ == "__main__":
    sys.exit(main())
