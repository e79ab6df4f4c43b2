"""`python -m service` and `nextword-serve`."""

import sys

from service.main import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
