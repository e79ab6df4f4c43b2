"""A random model over bytes, small enough that a campaign spends its time on the service.

Its weights are larger than fresh ones, so that it prefers some tokens to others; what it writes is
no language, and has invalid UTF-8 in plenty.
"""

import json
from pathlib import Path

import numpy as np
import torch

from model.config import ModelConfig
from model.store import publish
from model.tokenizer import Tokenizer
from model.transformer import Transformer
from model.weights import save_weights
from training.ngram.training import TrainedNgram, train_ngram
from training.tokenizer_training import save_tokenizer, train_tokenizer

__all__ = ["CHAT_TEMPLATE", "publish_tiny_model"]

END_OF_TEXT_ID = 0
# Turns as a name, a text and the token that ends them; the assistant's is left open.
CHAT_TEMPLATE = """{% for message in messages %}
{{ message.role }}: {{ message.content }}{{ eos_token }}
{% endfor %}
{% if add_generation_prompt %}assistant: {% endif %}"""
# What the n-gram model has counted: enough for it to know some contexts and not others.
TEXTS = ("the cat sat on the mat", "the dog sat on the cat", "caf\u00e9 on the mat", "a \u732b sat")


def publish_tiny_model(
    root: Path,
    *,
    context_tokens: int = 1024,
    seed: int = 1,
    has_ngram: bool = False,
    chat_template: str | None = None,
) -> Path:
    """Publish the next version of the model in a folder of a store.

    Args:
        root: The model's folder, ROOT/NAME.
        context_tokens: Longest prompt.
        seed: Of its weights.
        has_ngram: Whether an n-gram model of some words lies beside the network.
        chat_template: How it wants conversations written; None is not at all.

    Returns:
        The version's folder.
    """
    tokenizer = train_tokenizer(["any text"], kind="bytes", vocab_size=257, announce=_say_nothing)
    config = ModelConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=context_tokens,
        eos_token_ids=(END_OF_TEXT_ID,),
    )
    model = Transformer(config)
    model.initialize(torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)

    def write(directory: Path) -> None:
        (directory / "config.json").write_text(json.dumps(config.to_dict()))
        generation = {"temperature": 0.9, "top_k": 40, "max_new_tokens": 12}
        (directory / "generation_config.json").write_text(json.dumps(generation))
        (directory / "README.md").write_text("# tiny\n\nA random model.\n")
        save_tokenizer(tokenizer, directory, context_length=context_tokens)
        if chat_template is not None:
            (directory / "chat_template.jinja").write_text(chat_template)
        save_weights(model, directory, dtype=torch.float32, max_shard_bytes=1 << 24)
        if has_ngram:
            _trained_ngram(Tokenizer.load(directory)).save(directory)

    return publish(root, write, manifest={})


def _trained_ngram(tokenizer: Tokenizer) -> TrainedNgram:
    ids = [token_id for text in TEXTS for token_id in (*tokenizer.encode(text), END_OF_TEXT_ID)]
    return train_ngram(
        [np.array(ids)],
        vocab_size=tokenizer.vocab_size,
        end_of_text_id=END_OF_TEXT_ID,
        announce=_say_nothing,
    )


def _say_nothing(text: str) -> None:
    del text
