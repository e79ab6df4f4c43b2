"""The page's twin of the sampler computes every stage, number and choice as the server does."""

import base64
import random

import numpy as np
import pytest
import torch

from service.engine.messages import Submit
from service.engine.random_numbers import random_words
from service.engine.request import Sequence
from service.engine.sampling_trace import trace_sampling
from service.engine.trace_messages import STAGE_NAMES
from tests.page.browser import Browser
from tests.page.scripted_server import ScriptedServer

SEED = 20261123
VOCABULARY = 200
TRACE = """
const { traceSampling } = await import("/page/sampler.js");
const { readFloats } = await import("/page/logits.js");
return given[0].map((each) => {
  const trace = traceSampling(readFloats(each.logits), each.parameters, each.place);
  return {
    ...trace,
    weights: Array.from(trace.weights),
    stages: trace.stages.map((stage) => ({
      ...stage, probabilities: Array.from(stage.probabilities),
    })),
  };
});
"""


def drawn_parameters(source: random.Random) -> dict[str, object]:
    """Each of them off in about half of the cases."""

    def sometimes(value: float, off: float) -> float:
        return value if source.random() < 0.5 else off

    return {
        "temperature": source.choice([0.0, 0.1, 0.7, 1.0, 1.3, 2.0]),
        "top_k": int(sometimes(source.randint(1, 80), 0)),
        "top_p": sometimes(source.uniform(0.05, 0.99), 1.0),
        "min_p": sometimes(source.uniform(0.001, 0.4), 0.0),
        "repetition_penalty": sometimes(source.uniform(0.8, 1.6), 1.0),
        "presence_penalty": sometimes(source.uniform(-1, 1), 0.0),
        "frequency_penalty": sometimes(source.uniform(-1, 1), 0.0),
    }


def test_every_stage_is_what_the_server_computes(
    browser: Browser, scripted: ScriptedServer
) -> None:
    source = random.Random(SEED)
    sequences: list[Sequence] = []
    rows: list[torch.Tensor] = []
    cases: list[dict[str, object]] = []
    for number in range(48):
        parameters = drawn_parameters(source)
        bias = {source.randrange(VOCABULARY): source.uniform(-9, 9)}
        prompt = [source.randrange(VOCABULARY) for _ in range(source.randint(1, 9))]
        request = Submit(
            request_id=number + 1,
            prompt_ids=prompt,
            max_tokens=99,
            seed=source.getrandbits(64),
            logit_bias=tuple(bias.items()),
            **parameters,  # pyright: ignore[reportArgumentType]
        )
        sequence = Sequence(request)
        sequence.token_ids += [source.randrange(40) for _ in range(source.randint(0, 20))]
        # In halves where a tie is wanted: at the edge of top-k, or of top-p.
        row = torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(number)) * 3
        rows.append((row * 2).round() / 2 if number % 3 == 0 else row)
        sequences.append(sequence)
        place = (request.seed, 0, len(sequence.token_ids))
        cases.append(
            {
                "logits": base64.b64encode(rows[-1].numpy().astype("<f4").tobytes()).decode(),
                "parameters": {**parameters, "logit_bias": bias},
                "place": {
                    "idsBefore": sequence.token_ids,
                    "numPromptIds": len(prompt),
                    "word": random_words([place])[0],
                },
            }
        )
    browser.open(scripted.address)
    for row, sequence, shown in zip(
        rows, sequences, browser.await_script(TRACE, cases), strict=True
    ):
        expected = trace_sampling(row, sequence)
        assert shown["chosenId"] == expected.token_id, SEED
        assert shown["weights"] == expected.weights_V.tolist()
        assert [stage["name"] for stage in shown["stages"]] == list(STAGE_NAMES)
        for probabilities_V, twin in zip(expected.probabilities_V, shown["stages"], strict=True):
            probabilities = probabilities_V.numpy()
            assert np.abs(np.array(twin["probabilities"]) - probabilities).max() < 1e-9
            assert twin["kept"] == np.count_nonzero(probabilities), (SEED, twin["name"])
            entropy = -sum(p * np.log2(p) for p in probabilities if p > 0)
            assert twin["entropyBits"] == pytest.approx(entropy, abs=1e-6)


def test_the_random_number_of_any_place_is_the_servers(
    browser: Browser, scripted: ScriptedServer
) -> None:
    source = random.Random(SEED)
    places = [
        (source.getrandbits(source.choice([8, 53, 64])), source.randrange(9), source.randrange(600))
        for _ in range(200)
    ]
    browser.open(scripted.address)
    words = browser.await_script(
        """
        const { randomWord } = await import("/page/random_number.js");
        return given[0].map(([seed, ...place]) => randomWord(BigInt(seed), ...place));
        """,
        # As text: JavaScript's own numbers end at 53 bits.
        [(str(seed), choice, position) for seed, choice, position in places],
    )
    assert words == random_words(places)
