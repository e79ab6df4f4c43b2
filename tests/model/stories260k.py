"""Converts shared data's stories260K (llama2.c layout) into a Hugging Face Llama folder.

Follows data/stories260K/format.md. Plain numpy, so that tests without torch can use it too.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import (
    save_file,  # pyright: ignore[reportUnknownVariableType]: numpy types without their parameters
)

__all__ = ["Piece", "convert", "read_pieces"]

_SPACE_MARK = "\u2581"
_FIRST_ORDINARY_PIECE = 259
_CONTROL_PIECES = ("<unk>", "<s>", "</s>")


@dataclass(frozen=True, slots=True)
class Piece:
    """One entry of the vocabulary: a higher score is merged earlier."""

    text: str
    score: float


def convert(shared_dir: Path, out_dir: Path) -> None:
    """Writes config.json, model.safetensors, tokenizer.json and tokenizer_config.json.

    Args:
        shared_dir: the folder that holds stories260K/ (the `shared_data` fixture).
        out_dir: an existing folder to write into.
    """
    source = shared_dir / "stories260K"
    config, tensors = _read_checkpoint((source / "stories260K.bin").read_bytes())
    save_file(tensors, out_dir / "model.safetensors", metadata={"format": "pt"})
    _write_json(out_dir / "config.json", config)
    pieces = read_pieces(source / "tok512.bin")
    _write_json(out_dir / "tokenizer.json", _tokenizer(pieces))
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "clean_up_tokenization_spaces": False,
    }
    _write_json(out_dir / "tokenizer_config.json", tokenizer_config)


def read_pieces(path: Path) -> list[Piece]:
    """The vocabulary of a llama2.c tokenizer file, in id order, spaces as spaces."""
    raw = path.read_bytes()
    position = 4  # the length of the longest piece stands in front
    pieces: list[Piece] = []
    while position < len(raw):
        score, length = struct.unpack_from("<fi", raw, position)
        text = raw[position + 8 : position + 8 + length].decode("utf-8")
        pieces.append(Piece(text, score))
        position += 8 + length
    return pieces


def _read_checkpoint(raw: bytes) -> tuple[dict[str, object], dict[str, npt.NDArray[np.float32]]]:
    dim, hidden, layers, heads, kv_heads, vocab, context = struct.unpack("<7i", raw[:28])
    floats = np.frombuffer(raw, "<f4", offset=28)
    head_dim = dim // heads
    position = 0

    def take(*shape: int) -> npt.NDArray[np.float32]:
        nonlocal position
        size = int(np.prod(shape))
        position += size
        return floats[position - size : position].reshape(shape)

    def halves(rows: npt.NDArray[np.float32], num_heads: int) -> npt.NDArray[np.float32]:
        # The file turns neighbouring pairs of each head, Hugging Face its two halves.
        pairs = rows.reshape(num_heads, head_dim // 2, 2, dim)
        return pairs.transpose(0, 2, 1, 3).reshape(num_heads * head_dim, dim)

    embedding = take(abs(vocab), dim)
    attention_norm = take(layers, dim)
    query = take(layers, heads * head_dim, dim)
    key = take(layers, kv_heads * head_dim, dim)
    value = take(layers, kv_heads * head_dim, dim)
    output = take(layers, dim, heads * head_dim)
    # The second norm lies here, not beside the first.
    feed_forward_norm = take(layers, dim)
    gate = take(layers, hidden, dim)
    down = take(layers, dim, hidden)
    up = take(layers, hidden, dim)
    tensors = {"model.embed_tokens.weight": embedding, "model.norm.weight": take(dim)}
    for layer in range(layers):
        of_layer = {
            "input_layernorm": attention_norm[layer],
            "self_attn.q_proj": halves(query[layer], heads),
            "self_attn.k_proj": halves(key[layer], kv_heads),
            "self_attn.v_proj": value[layer],
            "self_attn.o_proj": output[layer],
            "post_attention_layernorm": feed_forward_norm[layer],
            "mlp.gate_proj": gate[layer],
            "mlp.down_proj": down[layer],
            "mlp.up_proj": up[layer],
        }
        tensors |= {f"model.layers.{layer}.{name}.weight": of_layer[name] for name in of_layer}
    # Two tables of rotary angles follow that no reader needs; then the output unless it is tied.
    take(2 * context * head_dim // 2)
    if vocab < 0:
        tensors["lm_head.weight"] = take(-vocab, dim)
    assert position == floats.size, "the file is longer than its header says"
    config: dict[str, object] = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": abs(vocab),
        "hidden_size": dim,
        "intermediate_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "max_position_embeddings": context,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": vocab > 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": "float32",
    }
    return config, {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


def _tokenizer(pieces: list[Piece]) -> dict[str, object]:
    """A tokenizer.json: BPE over characters with byte fallback and a space in front."""
    names = [piece.text.replace(" ", _SPACE_MARK) for piece in pieces]
    names[: len(_CONTROL_PIECES)] = _CONTROL_PIECES
    known = set(names[_FIRST_ORDINARY_PIECE:])
    merges = [
        [name[:cut], name[cut:]]
        for name in names[_FIRST_ORDINARY_PIECE:]
        for cut in range(1, len(name))
        if name[:cut] in known and name[cut:] in known
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": token_id,
                "content": content,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for token_id, content in enumerate(_CONTROL_PIECES)
        ],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": _SPACE_MARK},
                {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE_MARK},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "<s>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ],
            "pair": [
                {"SpecialToken": {"id": "<s>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 1}},
            ],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": _SPACE_MARK}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {name: token_id for token_id, name in enumerate(names)},
            "merges": merges,
        },
    }


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
