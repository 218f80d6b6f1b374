"""The one transformer: a decoder model in the Qwen3 layout (arXiv:2505.09388).

Parameter names are those of `Qwen3ForCausalLM`, so a state dict is a Hugging Face checkpoint.

Shapes: B rows, T tokens, S tokens attended to, D width, H query heads, K key/value heads, E features a head,
F features inside the feed-forward, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from groundup.model.config import ModelConfig
from groundup.model.linear import Linear, RMSNorm
from groundup.model.vision.encoder import ImageEmbeddings, ImageInputs, VisionEncoder


class Cache(Protocol):
    """Keeps keys and values between calls, and attends to them."""

    def attend(self, layer: int, q_BTHE: Tensor, k_BTKE: Tensor, v_BTKE: Tensor) -> Tensor:
        """Store the new keys and values; return what the queries gather from all they may look at, [B, T, H, E]."""


Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


def fused_attention(q_BTHE: Tensor, k_BSKE: Tensor, v_BSKE: Tensor, mask_BTS: Tensor | None) -> Tensor:
    """Attention by the library's kernel, which never holds the scores: right for long rows."""
    mask = None if mask_BTS is None else mask_BTS[:, None]
    q, k, v = (each.transpose(1, 2) for each in (q_BTHE, k_BSKE, v_BSKE))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=True).transpose(
        1, 2
    )


def dense_attention(q_BTHE: Tensor, k_BSKE: Tensor, v_BSKE: Tensor, mask_BTS: Tensor | None) -> Tensor:
    """Attention as two matrix products around a softmax: faster than the kernel for short rows, once compiled.

    The query heads that share a key head are stacked into one taller matrix.
    """
    q_BHTE, k_BKSE, v_BKSE = (each.transpose(1, 2) for each in (q_BTHE, k_BSKE, v_BSKE))
    (B, H, T, E), (K, S) = q_BHTE.shape, k_BKSE.shape[1:3]
    mask_BTS = torch.ones(1, T, S, dtype=torch.bool, device=q_BHTE.device).tril(S - T) if mask_BTS is None else mask_BTS
    scores = torch.bmm(q_BHTE.reshape(B * K, -1, E), k_BKSE.reshape(B * K, S, E).transpose(1, 2)).view(B, K, -1, T, S)
    shares: Tensor = _Shares.apply(scores, mask_BTS, E**-0.5)  # type: ignore[no-untyped-call]
    return torch.bmm(shares.view(B * K, -1, S), v_BKSE.reshape(B * K, S, E)).view(B, H, T, E).transpose(1, 2)


class _Shares(torch.autograd.Function):
    """Softmax in fp32 of scores where a query may look. Its gradient needs no more than the shares as they are
    multiplied: half the bytes.
    """

    @staticmethod
    def forward(context: Any, scores_BKGTS: Tensor, mask_BTS: Tensor, scale: float) -> Tensor:
        masked = (scores_BKGTS.float() * scale).masked_fill(~mask_BTS[:, None, None], float("-inf"))
        shares = masked.softmax(-1).to(scores_BKGTS.dtype)
        context.save_for_backward(shares)
        context.scale = scale
        return shares

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (shares,), gradient = context.saved_tensors, gradients[0].float()
        weighted = gradient * shares.float()
        return ((weighted - shares * weighted.sum(-1, keepdim=True)) * context.scale).to(shares.dtype), None, None


@dataclass(frozen=True)
class Context:
    """What all layers share in one forward: rotary angles, who may look at whom, and the cache."""

    cos_BTE: Tensor
    sin_BTE: Tensor
    mask_BTS: Tensor | None  # True where a query may look; None: plain causal
    cache: Cache | None
    attend: Attend
    selected_BA: Tensor | None = None  # the columns that go on through the layer; None: all

    def select(self, each_BTX: Tensor) -> Tensor:
        """The asked columns of a tensor, [B, A, X]."""
        return (
            each_BTX
            if self.selected_BA is None
            else each_BTX.gather(1, self.selected_BA[..., None].expand(-1, -1, each_BTX.shape[2]))
        )


class Rotary(nn.Module):
    """Cosines and sines of the rotary positions (arXiv:2104.09864), [B, T, features], fp32."""

    def __init__(self, features: int, base: float):
        super().__init__()
        self.features, self.base = features, base

    def forward(self, positions_BT: Tensor) -> tuple[Tensor, Tensor]:
        exponents = torch.arange(0, self.features, 2, device=positions_BT.device, dtype=torch.float32) / self.features
        angles = positions_BT[..., None].float() * self.base**-exponents
        cos, sin = angles.cos(), angles.sin()
        return torch.cat((cos, cos), dim=-1), torch.cat((sin, sin), dim=-1)


class Rotation(nn.Module):
    """Turns each pair of features (e, e + E/2) of every head by its position's angle."""

    def forward(self, x_BTHE: Tensor, cos_BTE: Tensor, sin_BTE: Tensor) -> Tensor:
        first, second = x_BTHE.chunk(2, dim=-1)
        turned = torch.cat((-second, first), dim=-1)
        return (x_BTHE * cos_BTE[:, :, None] + turned * sin_BTE[:, :, None]).to(x_BTHE.dtype)


class Attention(nn.Module):
    """Grouped-query attention (arXiv:2305.13245) with normalised queries and keys."""

    def __init__(self, config: ModelConfig, layer: int):
        super().__init__()
        self.layer, self.head_dim = layer, config.head_dim
        self.q_proj = Linear(config.width, config.heads * config.head_dim)
        self.k_proj = Linear(config.width, config.kv_heads * config.head_dim)
        self.v_proj = Linear(config.width, config.kv_heads * config.head_dim)
        self.o_proj = Linear(config.heads * config.head_dim, config.width)
        self.q_norm = RMSNorm(config.head_dim, config.norm_epsilon)
        self.k_norm = RMSNorm(config.head_dim, config.norm_epsilon)
        self.rotate = Rotation()

    def forward(self, x_BTD: Tensor, context: Context) -> Tensor:
        split = (-1, self.head_dim)
        q_BTHE = self.q_norm(self.q_proj(context.select(x_BTD)).unflatten(2, split))
        q_BTHE = self.rotate(q_BTHE, context.select(context.cos_BTE), context.select(context.sin_BTE))
        k_BTKE = self.rotate(self.k_norm(self.k_proj(x_BTD).unflatten(2, split)), context.cos_BTE, context.sin_BTE)
        v_BTKE = self.v_proj(x_BTD).unflatten(2, split)
        if context.cache is None:
            mask_BTS = None if context.mask_BTS is None else context.select(context.mask_BTS)
            o_BTHE = context.attend(q_BTHE, k_BTKE, v_BTKE, mask_BTS)
        else:
            o_BTHE = context.cache.attend(self.layer, q_BTHE, k_BTKE, v_BTKE)
        return self.o_proj(o_BTHE.flatten(2))


class Gate(nn.Module):
    """silu(gate) * up."""

    def forward(self, gate_BTF: Tensor, up_BTF: Tensor) -> Tensor:
        return F.silu(gate_BTF) * up_BTF


class FeedForward(nn.Module):
    """SwiGLU (arXiv:2002.05202): down(silu(gate(x)) * up(x))."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.gate = Gate()
        self.gate_proj = Linear(config.width, config.ffn)
        self.up_proj = Linear(config.width, config.ffn)
        self.down_proj = Linear(config.ffn, config.width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.down_proj(self.gate(self.gate_proj(x_BTD), self.up_proj(x_BTD)))


class Sum(nn.Module):
    """What a layer found, added to the stream."""

    def forward(self, stream_BTD: Tensor, found_BTD: Tensor) -> Tensor:
        return stream_BTD + found_BTD


class Block(nn.Module):
    """One layer: attention, then feed-forward, each on a normalised copy of the stream."""

    def __init__(self, config: ModelConfig, layer: int):
        super().__init__()
        self.input_layernorm = RMSNorm(config.width, config.norm_epsilon)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.width, config.norm_epsilon)
        self.mlp = FeedForward(config)
        self.add = Sum()

    def forward(self, x_BTD: Tensor, context: Context) -> Tensor:
        x_BTD = self.add(context.select(x_BTD), self.self_attn(self.input_layernorm(x_BTD), context))
        return self.add(x_BTD, self.mlp(self.post_attention_layernorm(x_BTD)))


class Stack(nn.Module):
    """Embedding, blocks and final norm."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab, config.width)
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.depth))
        self.norm = RMSNorm(config.width, config.norm_epsilon)


class Transformer(nn.Module):
    """The whole model. `precision` is the dtype activations are computed in; weights stay as they are."""

    def __init__(self, config: ModelConfig, precision: torch.dtype = torch.float32):
        super().__init__()
        self.config, self.precision = config, precision
        self.attend: Attend = fused_attention
        self.recompute = False
        self.rotary = Rotary(config.head_dim, config.rope_base)
        self.model = Stack(config)
        self.vision = VisionEncoder(config) if config.patch else None
        self.lm_head = Linear(config.width, config.vocab)
        if config.tied:
            self.lm_head.weight = self.model.embed_tokens.weight

    @torch.no_grad()
    def initialise(self, seed: int) -> "Transformer":
        """Fill the weights from a seed, the same on every device.

        Matrices into the block are uniform with variance 1/inputs, those out of it are zero, so that every block
        starts as the identity, and so are those that say what a patch is; the embedding has deviation 0.02.
        """
        generator = torch.Generator().manual_seed(seed)
        for name, weight in self.named_parameters():
            if name.endswith(
                ("o_proj.weight", "down_proj.weight", "vision.next_patch.weight", "vision.detection_head.weight")
            ):
                weight.zero_()
            elif weight.ndim == 1:
                weight.fill_(name.endswith(".weight"))  # of a norm; else a bias
            elif name.endswith(("embed_tokens.weight", "lm_head.weight")):
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.02)
            else:
                weight.copy_((torch.rand(weight.shape, generator=generator) * 2 - 1) * (3 / weight.shape[1]) ** 0.5)
        return self

    def forward(
        self,
        ids_BT: Tensor,
        positions_BT: Tensor,
        mask_BTS: Tensor | None = None,
        cache: Cache | None = None,
        images: ImageInputs | ImageEmbeddings | None = None,
        selected_BA: Tensor | None = None,
    ) -> Tensor:
        """The final, normalised states [B, T, D] of the tokens and patches; `logits` turns those of tokens into scores.

        With a mask, `selected_BA` may say in which columns of each row they are needed: the last layer then skips the
        others, whose states are zero.
        """
        cos_BTE, sin_BTE = self.rotary(positions_BT)
        context = Context(cos_BTE, sin_BTE, mask_BTS, cache, self.attend)
        last = context if selected_BA is None else replace(context, selected_BA=selected_BA)
        x_BTD = self.model.embed_tokens(ids_BT).to(self.precision)
        if images is not None and self.vision is not None:
            x_ND = (
                images.x_ND
                if isinstance(images, ImageEmbeddings)
                else self.vision(images, self.precision, self.recompute and self.training)
            )
            x_BTD = x_BTD.flatten(0, 1).index_copy(0, images.index_N, x_ND).view(x_BTD.shape)
        for layer, block in enumerate(self.model.layers, 1):
            shared = context if layer < self.config.depth else last
            if self.recompute and self.training:
                x_BTD = checkpoint(block, x_BTD, shared, use_reentrant=False)
            else:
                x_BTD = block(x_BTD, shared)
        x_BTD = self.model.norm(x_BTD)
        if selected_BA is None:
            return x_BTD
        return x_BTD.new_zeros(*ids_BT.shape, self.config.width).scatter(
            1, selected_BA[..., None].expand_as(x_BTD), x_BTD
        )

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.model.embed_tokens.weight.device

    def logits(self, x_BTD: Tensor) -> Tensor:
        """Scores of the next token, [..., V]."""
        return self.lm_head(x_BTD)


def document_mask(segments_BT: Tensor, blocks_BT: Tensor | None = None) -> Tensor:
    """Who may look at whom in packed rows, [B, T, T]: the past of the same document and oneself.

    Patches of one of the `blocks` (numbered from 1) also look at each other in both directions.
    """
    same = segments_BT[:, :, None] == segments_BT[:, None, :]
    if blocks_BT is None:
        return same.tril()
    return same.tril() | ((blocks_BT[:, :, None] == blocks_BT[:, None, :]) & (blocks_BT > 0)[:, :, None])
