"""Which vector of a text is most like that of the passage that follows it?

`python benchmarks/text_vectors.py MODEL_FOLDER TEXT_FILE...` takes some pairs of neighbouring
passages from each text, and counts how often a passage finds its neighbour among the neighbours of
all, and a passage of the same text. Run on texts that the model was not trained on.
"""

import argparse
import random
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from model.tokenizer import Tokenizer
from model.transformer import Transformer
from model.weights import load_transformer

PASSAGE_CHARACTERS = 500
GAP_CHARACTERS = 100
MAX_TOKENS = 120

# From the final norm's hidden states [T, C] and what goes into it [T, C] to one vector [C].
WAYS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean after the final norm": lambda after, before: after.mean(0),
    "mean before the final norm": lambda after, before: before.mean(0),
    "last token after the norm": lambda after, before: after[-1],
}


@torch.inference_mode()
def vectors(model: Transformer, token_ids: list[int]) -> dict[str, Tensor]:
    """The vectors of one passage, each of length 1."""
    inputs_of_norm: list[Tensor] = []

    def remember(_norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        inputs_of_norm.append(inputs[0][0].double())

    hook = model.model.norm.register_forward_pre_hook(remember)
    after = model.hidden_states(torch.tensor([token_ids]))[0].double()
    hook.remove()
    found = {name: way(after, inputs_of_norm[0]) for name, way in WAYS.items()}
    return {name: vector / vector.square().sum().sqrt() for name, vector in found.items()}


def pairs_of(text: str, num_pairs: int, rng: random.Random) -> list[tuple[str, str]]:
    """Neighbouring passages from anywhere in a text."""
    length = 2 * PASSAGE_CHARACTERS + GAP_CHARACTERS
    starts = [rng.randrange(len(text) - length) for _ in range(num_pairs)]
    second = PASSAGE_CHARACTERS + GAP_CHARACTERS
    return [
        (text[start : start + PASSAGE_CHARACTERS], text[start + second : start + length])
        for start in starts
    ]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("texts", type=Path, nargs="+")
    parser.add_argument("--pairs", type=int, default=5, help="of each text")
    arguments = parser.parse_args()
    model = load_transformer(arguments.model, device=torch.device("cpu"), dtype=torch.float32)
    tokenizer = Tokenizer.load(arguments.model)
    rng = random.Random(1)
    firsts: list[dict[str, Tensor]] = []
    seconds: list[dict[str, Tensor]] = []
    sources: list[int] = []
    for source, path in enumerate(arguments.texts):
        for pair in pairs_of(path.read_text("utf-8"), arguments.pairs, rng):
            for kept, passage in zip((firsts, seconds), pair, strict=True):
                ids = [*tokenizer.prefix_ids, *tokenizer.encode(passage)][:MAX_TOKENS]
                kept.append(vectors(model.eval(), ids))
            sources.append(source)
    print(f"{len(firsts)} pairs of {len(arguments.texts)} texts")
    print("| vector | neighbour first | among the first 5 | same text first | mean cosine |")
    print("| --- | --- | --- | --- | --- |")
    numbers = torch.tensor(sources)
    for name in WAYS:
        cosines = (
            torch.stack([each[name] for each in firsts])
            @ torch.stack([each[name] for each in seconds]).mT
        )
        ranks = (cosines > cosines.diag()[:, None]).sum(1)
        is_same = numbers[cosines.argmax(1)] == numbers
        shares = [ranks == 0, ranks < 5, is_same]
        columns = [f"{float(share.double().mean()):.2f}" for share in shares]
        print(f"| {name} | {' | '.join(columns)} | {float(cosines.mean()):.2f} |")


if __name__ == "__main__":
    main()
