"""The real engine process, which takes its time over requests for many tokens."""

import sys
import threading

from service.engine.engine import Engine
from service.engine.messages import StepOutput, Submit
from service.engine.request import Observer
from service.engine_link import engine_start

# Requests for as many are slow, all others are not touched.
LONG_TOKENS = 500
# What each of their tokens takes at least: an answer of 4,000 takes 20 seconds.
TOKEN_SECONDS = 0.005


def slow_down() -> None:
    """Let steps that answer long requests take longer."""
    submit, step = Engine.submit, Engine.step
    long_ids: set[int] = set()

    def noted_submit(self: Engine, request: Submit, *, observer: Observer | None = None) -> None:
        submit(self, request, observer=observer)
        if request.max_tokens >= LONG_TOKENS:
            long_ids.add(request.request_id)

    def slow_step(self: Engine) -> StepOutput:
        output = step(self)
        num_tokens = [len(o.token_ids) for o in output.outputs if o.request_id in long_ids]
        if num_tokens:
            threading.Event().wait(TOKEN_SECONDS * max(num_tokens))
        return output

    Engine.submit = noted_submit
    Engine.step = slow_step


if __name__ == "__main__":
    slow_down()
    sys.exit(engine_start.main())
