"""The network: a decoder-only transformer of the Llama shape, in plain torch.

Pre-norm blocks of grouped-query attention with rotary positions and a SwiGLU layer; biases and
norms of queries and keys where the family has them. The parameter names are those of Hugging Face's
classes (``LlamaForCausalLM``, ``Qwen3ForCausalLM``, ...), so a state dict is a file format.
Shape letters: B rows, T new tokens, H query heads, K key-value heads, D head width, C hidden width,
V vocabulary. Suffixes of names say which, in order.

Sources: Touvron et al. 2023 (Llama), Vaswani et al. 2017 (attention), Su et al. 2021 (rotary
positions), Zhang and Sennrich 2019 (RMSNorm), Shazeer 2020 (SwiGLU), Ainslie et al. 2023 (GQA).
"""

from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ModelConfig

__all__ = ["Cached", "Transformer", "rotation_tables"]

# On the CPU the whole matrix of attention weights, forward and backward, takes 0.7 of the time of
# scaled_dot_product_attention at 64 tokens, 0.8 at 128, as much at 256 and more beyond.
_MAX_SHORT_TOKENS = 128


class Cached(Protocol):
    """New tokens of rows whose earlier tokens are in a cache."""

    @property
    def positions_N(self) -> Tensor:  # noqa: N802
        """Position of each new token in its sequence."""
        ...

    @property
    def num_keys(self) -> int:
        """Tokens of the longest row."""
        ...

    def attend(self, layer: int, q_HND: Tensor, k_KND: Tensor, v_KND: Tensor) -> Tensor:
        """Store the new tokens of one layer; what they attend to, [H, N, D]."""
        ...

    def keep_hidden_states(self, hidden_NC: Tensor) -> None:
        """Take note of the states between two layers."""
        ...


class Attention(nn.Module):
    """Causal grouped-query attention with rotary positions."""

    def __init__(self, config: ModelConfig, *, layer: int, dropout: float) -> None:
        super().__init__()
        self.config = config
        self.layer = layer
        self.dropout = dropout
        query_width = config.num_attention_heads * config.head_dim
        key_value_width = config.num_key_value_heads * config.head_dim
        bias = config.attention_bias
        self.q_proj = nn.Linear(config.hidden_size, query_width, bias=bias)
        self.k_proj = nn.Linear(config.hidden_size, key_value_width, bias=bias)
        self.v_proj = nn.Linear(config.hidden_size, key_value_width, bias=bias)
        output_bias = config.attention_output_bias
        self.o_proj = nn.Linear(query_width, config.hidden_size, bias=output_bias)
        self.q_norm = _head_norm(config)
        self.k_norm = _head_norm(config)

    def forward(
        self, x_BTC: Tensor, rotation: tuple[Tensor, Tensor], cached: Cached | None
    ) -> Tensor:
        batch, num_new, _ = x_BTC.shape
        heads, kv_heads = self.config.num_attention_heads, self.config.num_key_value_heads
        width = self.config.head_dim
        q_BHTD = self.q_proj(x_BTC).view(batch, num_new, heads, width).transpose(1, 2)
        k_BKTD = self.k_proj(x_BTC).view(batch, num_new, kv_heads, width).transpose(1, 2)
        if self.q_norm is not None and self.k_norm is not None:
            q_BHTD, k_BKTD = self.q_norm(q_BHTD), self.k_norm(k_BKTD)
        v_BKTD = self.v_proj(x_BTC).view(batch, num_new, kv_heads, width).transpose(1, 2)
        q_BHTD, k_BKTD = _rotate(q_BHTD, rotation), _rotate(k_BKTD, rotation)
        if cached is None:
            dropout = self.dropout if self.training else 0.0
            out_BHTD = _attend(q_BHTD, k_BKTD, v_BKTD, dropout=dropout)
        else:
            # The rows of the batch stand one after another in a single one.
            out_BHTD = cached.attend(self.layer, q_BHTD[0], k_BKTD[0], v_BKTD[0])[None]
        return self.o_proj(out_BHTD.transpose(1, 2).reshape(batch, num_new, heads * width))


def _head_norm(config: ModelConfig) -> nn.RMSNorm | None:
    return nn.RMSNorm(config.head_dim, eps=config.rms_norm_eps) if config.qk_norm else None


class FeedForward(nn.Module):
    """SwiGLU: ``down(silu(gate(x)) * up(x))``."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x_BTC: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x_BTC)) * self.up_proj(x_BTC))


class Block(nn.Module):
    """One layer: ``x += attention(norm(x)); x += feed_forward(norm(x))``."""

    def __init__(self, config: ModelConfig, *, layer: int, dropout: float) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.self_attn = Attention(config, layer=layer, dropout=dropout)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.mlp = FeedForward(config)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x_BTC: Tensor, rotation: tuple[Tensor, Tensor], cached: Cached | None
    ) -> Tensor:
        attended_BTC = self.self_attn(self.input_layernorm(x_BTC), rotation, cached)
        x_BTC = x_BTC + self.dropout(attended_BTC)
        return x_BTC + self.dropout(self.mlp(self.post_attention_layernorm(x_BTC)))


class TokenEmbedding(nn.Embedding):
    """A vector for each token id."""

    def reset_parameters(self) -> None:
        """Draw numbers where there are any: for the meta device torch would load its compiler."""
        if not self.weight.is_meta:
            super().reset_parameters()


class Decoder(nn.Module):
    """Embedding, blocks and the final norm; the ``model.`` part of a Hugging Face state dict."""

    def __init__(self, config: ModelConfig, *, dropout: float) -> None:
        super().__init__()
        self.embed_tokens = TokenEmbedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            Block(config, layer=layer, dropout=dropout) for layer in range(config.num_hidden_layers)
        )
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)


class Transformer(nn.Module):
    """The whole network, from token ids to logits.

    Args:
        config: Its shape.
        dropout: Probability of dropping a value after the embedding, in the attention weights and
            after each half of a block, in training mode only.
    """

    cos_PD: Tensor
    sin_PD: Tensor

    def __init__(self, config: ModelConfig, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.lm_head = (
            None
            if config.tie_word_embeddings
            else nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        )
        cos_PD, sin_PD = rotation_tables(config)
        self.register_buffer("cos_PD", cos_PD, persistent=False)
        self.register_buffer("sin_PD", sin_PD, persistent=False)

    @property
    def output_weight(self) -> Tensor:
        """The matrix [V, C] that turns hidden states into logits."""
        return self.model.embed_tokens.weight if self.lm_head is None else self.lm_head.weight

    def embedding_rows(self, first: int, last: int) -> Tensor:
        """Vectors [last - first, C] of consecutive token ids, as the network reads them."""
        return self.model.embed_tokens.weight[first:last]

    def initialize(self, generator: torch.Generator) -> None:
        """Draw fresh weights: normal(0, 0.02), the two outputs of a block scaled by depth.

        The scaling by ``1/sqrt(2 * layers)`` keeps the residual stream's variance independent of
        depth (Radford et al. 2019). Drawn on the CPU so that every device starts alike.
        """
        depth_scale = (2 * self.config.num_hidden_layers) ** -0.5
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if parameter.dim() < 2:
                    parameter.fill_(0.0 if name.endswith(".bias") else 1.0)
                    continue
                is_output = name.endswith(("o_proj.weight", "down_proj.weight"))
                std = 0.02 * (depth_scale if is_output else 1.0)
                drawn = torch.empty(parameter.shape).normal_(0.0, std, generator=generator)
                parameter.copy_(drawn)

    def hidden_states(self, token_ids_BT: Tensor, *, cached: Cached | None = None) -> Tensor:
        """Normalised hidden states [B, T, C] of the last layer; arguments as ``forward``."""
        num_tokens = token_ids_BT.shape[1] if cached is None else cached.num_keys
        if num_tokens > self.config.max_position_embeddings:
            raise ValueError(
                f"a sequence has at most {self.config.max_position_embeddings} tokens "
                f"(max_position_embeddings), got {num_tokens}"
            )
        positions = slice(num_tokens) if cached is None else cached.positions_N
        x_BTC = self.dropout(self.model.embed_tokens(token_ids_BT))
        rotation = (self.cos_PD[positions].to(x_BTC.dtype), self.sin_PD[positions].to(x_BTC.dtype))
        for block in self.model.layers:
            if cached is not None:
                cached.keep_hidden_states(x_BTC[0])
            x_BTC = block(x_BTC, rotation, cached)
        x_BTC = self.model.norm(x_BTC)
        if cached is not None:
            cached.keep_hidden_states(x_BTC[0])
        return x_BTC

    def logits(self, hidden_C: Tensor) -> Tensor:
        """Logits [..., V] of normalised hidden states [..., C]."""
        return F.linear(hidden_C, self.output_weight)

    def forward(self, token_ids_BT: Tensor, *, cached: Cached | None = None) -> Tensor:
        """Logits [B, T, V] of the token after each of ``token_ids_BT``.

        Without a cache every row starts at position 0 and attends to itself, causally. With one, B
        is 1 and T are the new tokens of all the batch's rows, one after another; each is stored
        and attends to everything before it in its own sequence. The cache is for inference:
        gradients do not flow through it.

        Args:
            token_ids_BT: Ids below ``vocab_size``, T at least 1.
            cached: Rows of a cache of the same configuration, device and number type.

        Raises:
            ValueError: A row becomes longer than ``max_position_embeddings``.
        """
        return self.logits(self.hidden_states(token_ids_BT, cached=cached))


def rotation_tables(
    config: ModelConfig, *, num_positions: int | None = None
) -> tuple[Tensor, Tensor]:
    """Cosine and sine [P, D] of the rotary angles at every position P, halves repeated.

    On the CPU and in float32 whatever the defaults are: real values also in a model that is built
    without memory for its weights, and the same ones on every device.

    Args:
        config: Of the network.
        num_positions: Of the first positions; None is all that it has.
    """
    even_D = torch.arange(0, config.head_dim, 2, dtype=torch.float32, device="cpu")
    frequencies_D = 1.0 / config.rope_theta ** (even_D / config.head_dim)
    if config.rope_scaling is not None:
        divisors = config.rope_scaling.divisors(cast("list[float]", frequencies_D.tolist()))
        frequencies_D /= torch.tensor(divisors, dtype=torch.float32, device="cpu")
    num_positions = num_positions or config.max_position_embeddings
    positions_P = torch.arange(num_positions, dtype=torch.float32, device="cpu")
    angles_PD = torch.outer(positions_P, frequencies_D).repeat(1, 2)
    return angles_PD.cos(), angles_PD.sin()


def _attend(q_BHTD: Tensor, k_BKTD: Tensor, v_BKTD: Tensor, *, dropout: float) -> Tensor:
    """Attention [B, H, T, D] of each token to itself and all before it."""
    is_plain = dropout == 0.0 and q_BHTD.shape == k_BKTD.shape and not q_BHTD.is_cuda
    if is_plain and q_BHTD.shape[2] <= _MAX_SHORT_TOKENS and torch.compiler.is_compiling():
        return _attend_in_full(q_BHTD, k_BKTD, v_BKTD)
    return F.scaled_dot_product_attention(
        q_BHTD,
        k_BKTD,
        v_BKTD,
        dropout_p=dropout,
        is_causal=True,
        enable_gqa=q_BHTD.shape[1] != k_BKTD.shape[1],
    )


def _attend_in_full(q_BHTD: Tensor, k_BHTD: Tensor, v_BHTD: Tensor) -> Tensor:
    """The same with the whole matrix of weights, which a compiler fuses."""
    scores_BHTT = torch.matmul(q_BHTD * q_BHTD.shape[-1] ** -0.5, k_BHTD.mT)
    positions_T = torch.arange(q_BHTD.shape[2], device=q_BHTD.device)
    is_visible_TT = positions_T[:, None] >= positions_T
    return torch.matmul(
        scores_BHTT.masked_fill(~is_visible_TT, float("-inf")).softmax(dim=-1), v_BHTD
    )


def _rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Turn the pairs (i, i + D/2) of the last dimension by the position's angles."""
    # Under autocast queries and keys are narrower than what they were made of.
    cos, sin = (table.to(x.dtype) for table in rotation)
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin
