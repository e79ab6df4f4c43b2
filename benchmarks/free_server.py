"""nextword-serve with an engine that computes nothing: `python -m benchmarks.free_server OPTIONS`.

Everything but the engine process is the service as it is; `benchmarks/transport.py` measures it.
With NEXTWORD_FREE_SERVER=apart no two tokens share a message, however many wait.
"""

import os
import sys

from benchmarks import free_engine
from service import token_stream
from service.engine_link import engine_launch
from service.main import main

__all__ = ["APART", "APART_VARIABLE"]

APART_VARIABLE = "NEXTWORD_FREE_SERVER"
APART = "apart"

if __name__ == "__main__":
    engine_launch.ENGINE_MODULE = free_engine.__name__
    if os.environ.get(APART_VARIABLE) == APART:
        token_stream.MAX_BATCH_TOKENS = 1
    sys.exit(main(sys.argv[1:]))
