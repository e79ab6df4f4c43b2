"""A server that ends a replaced version without waiting for its streams: the control of swap.py."""

import sys

from service.main import main
from service.models.served_version import ServedVersion


async def wait_for_nobody(self: ServedVersion) -> None:
    """What takes the place of waiting until nobody holds a version."""
    del self


if __name__ == "__main__":
    ServedVersion.wait_released = wait_for_nobody
    sys.exit(main())
