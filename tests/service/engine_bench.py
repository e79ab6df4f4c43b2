"""An engine over an executor without a network, with a clock that is set by hand."""

from dataclasses import dataclass, field

from service.engine.engine import Engine
from service.engine.messages import EngineFinish, Submit, TokenOutput
from tests.service.remembering_executor import RememberingExecutor

Key = tuple[int, int]


@dataclass
class Bench:
    """An engine with its executor and its clock, and what came out so far."""

    num_blocks: int = 40
    max_running: int = 4
    now: float = 0.0
    tokens: dict[Key, list[int]] = field(default_factory=dict[Key, list[int]])
    ends: dict[Key, EngineFinish] = field(default_factory=dict[Key, EngineFinish])

    def __post_init__(self) -> None:
        self.executor = RememberingExecutor(num_blocks=self.num_blocks)
        self.engine = Engine(
            self.executor, max_running=self.max_running, clock=lambda: self.now, max_step_tokens=64
        )

    def submit(self, *requests: Submit) -> "Bench":
        for request in requests:
            self.engine.submit(request)
        return self

    def step(self) -> list[TokenOutput]:
        outputs = self.engine.step().outputs
        self.engine.check_conservation()
        for output in outputs:
            key = (output.request_id, output.choice)
            assert key not in self.ends
            self.tokens.setdefault(key, []).extend(output.token_ids)
            if output.finish is not None:
                self.ends[key] = output.finish
        return outputs

    def finish(self) -> "Bench":
        while self.engine.has_work:
            self.step()
        assert self.engine.is_empty
        assert self.engine.num_free_blocks == self.num_blocks
        return self


def request(number: int, *, size: int = 9, max_tokens: int = 12) -> Submit:
    return Submit(
        request_id=number,
        prompt_ids=[(number + place) % 17 for place in range(size)],
        max_tokens=max_tokens,
        temperature=0.9,
        seed=number,
    )


def alone(subject: Submit) -> list[int]:
    return Bench().submit(subject).finish().tokens[subject.request_id, 0]
