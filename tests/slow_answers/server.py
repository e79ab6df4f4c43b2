"""The server that tests ask: the real one, whose long answers take seconds on any machine.

`python -m tests.slow_answers.server`, options as usual. What a test sees while an answer runs must
not depend on how soon it looks.
"""

import sys

from service.engine_link import engine_launch
from service.main import main

if __name__ == "__main__":
    engine_launch.ENGINE_MODULE = "tests.slow_answers.engine"
    sys.exit(main())
