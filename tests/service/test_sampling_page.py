"""The code in docs/sampling.md draws what the service draws."""

import math
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch

from service.engine.messages import Submit
from service.engine.request import Sequence
from service.engine.sampler import Choice, sample

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sampling.md"


def test_the_documented_code_draws_the_same_tokens() -> None:
    code = re.search(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert code
    names: dict[str, object] = {"math": math}
    exec(code[1], names)
    random_word = cast("Callable[[int, int, int], int]", names["random_word"])
    weight = cast("Callable[[float, float, float], int]", names["weight"])
    drawn = cast("Callable[[list[int], int], int]", names["drawn"])
    source = random.Random(3)
    for number in range(200):
        # Halves are exact in f32, and so are their differences divided by these temperatures.
        logits = [source.randrange(-20, 20) / 2 for _ in range(50)]
        temperature = source.choice([0.5, 1.0, 2.0])
        request = Submit(
            request_id=number + 1,
            prompt_ids=[0] * source.randrange(1, 9),
            max_tokens=3,
            temperature=temperature,
            seed=source.getrandbits(64),
        )
        sequence = Sequence(request, choice=source.randrange(5))
        (result,) = sample(torch.tensor([logits]), [sequence])
        assert isinstance(result, Choice)
        word = random_word(request.seed, sequence.choice, len(request.prompt_ids))
        weights = [weight(logit, max(logits), temperature) for logit in logits]
        assert result.token_id == drawn(weights, word)
