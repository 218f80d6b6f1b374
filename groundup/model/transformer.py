"""The one transformer: a decoder in the Qwen3 layout (arXiv:2505.09388), its parameters named as `Qwen3ForCausalLM`'s.

Shapes: B rows, T tokens, S tokens attended to, A selected positions, D width, E features a head, V vocabulary.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from groundup.model.attention import Attend, Attention, Cache, Context, KVCacheSpec, fused_attention
from groundup.model.config import ModelConfig
from groundup.model.feed_forward import FeedForward
from groundup.model.linear import Embedding, Linear, RMSNorm
from groundup.model.ops import TORCH, Ops
from groundup.model.parameters import EMBEDDING, initialise
from groundup.model.vision.encoder import ImageEmbeddings, ImageInputs, VisionEncoder


class Block(nn.Module):
    """One layer: attention, then feed-forward, each on a normalised copy of the residual stream."""

    def __init__(self, config: ModelConfig, layer: int):
        super().__init__()
        self.input_layernorm = RMSNorm(config.width, config.norm_epsilon)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.width, config.norm_epsilon)
        self.mlp = FeedForward(config)

    def forward(self, x_BTD: Tensor, context: Context) -> Tensor:
        ops, norms = context.ops, (self.input_layernorm, self.post_attention_layernorm)
        residual_BTD = context.select(x_BTD)  # selected first: autograd sums gradients in the order of use
        attended_BTD = self.self_attn(ops.rms_norm(x_BTD, norms[0].weight, norms[0].epsilon), context)
        x_BTD = ops.residual_add(residual_BTD, attended_BTD)
        return ops.residual_add(x_BTD, self.mlp(ops.rms_norm(x_BTD, norms[1].weight, norms[1].epsilon), ops))


class Stack(nn.Module):
    """The parameters of embedding, blocks and final norm."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.embed_tokens = Embedding(config.vocab, config.width, EMBEDDING)
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.depth))
        self.norm = RMSNorm(config.width, config.norm_epsilon)


class Transformer(nn.Module):
    """The model: `precision` is the dtype of activations, `ops` the backend, `attend` attention without a KV cache."""

    def __init__(self, config: ModelConfig, precision: torch.dtype = torch.float32):
        super().__init__()
        self.config, self.precision = config, precision
        self.ops: Ops = TORCH
        self.attend: Attend = fused_attention
        self.recompute = False
        self.model = Stack(config)
        self.vision = VisionEncoder(config) if config.patch else None
        self.lm_head = Linear(config.width, config.vocab, EMBEDDING)
        if config.tied:
            self.lm_head.weight = self.model.embed_tokens.weight

    def initialise(self, seed: int) -> "Transformer":
        """Fill the weights from a seed, as their modules declare, the same on every device."""
        initialise(self, seed)
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
        """Final hidden states, normalised, [B, T, D], of tokens and patches; `logits` maps them to the vocabulary.

        With `selected_BA`, the last layer computes only these positions of each row; other states are zero.
        """
        angles = self.ops.rotary_angles(positions_BT, self.config.head_dim, self.config.rope_base)
        context = Context(self.ops, self.attend, *angles, mask_BTS, cache)
        last = context if selected_BA is None else replace(context, selected_BA=selected_BA)
        x_BTD = self.ops.embedding(ids_BT, self.model.embed_tokens.weight, self.precision)
        if images is not None:
            x_BTD = x_BTD.flatten(0, 1).index_copy(0, images.index_N, self._embeddings(images)).view(x_BTD.shape)
        for layer, block in enumerate(self.model.layers, 1):
            shared = context if layer < self.config.depth else last
            if self.recompute and self.training:
                x_BTD = checkpoint(block, x_BTD, shared, use_reentrant=False)
            else:
                x_BTD = block(x_BTD, shared)
        x_BTD = self.ops.rms_norm(x_BTD, self.model.norm.weight, self.model.norm.epsilon)
        if selected_BA is None:
            return x_BTD
        return x_BTD.new_zeros(*ids_BT.shape, self.config.width).scatter(
            1, selected_BA[..., None].expand_as(x_BTD), x_BTD
        )

    def _embeddings(self, images: ImageInputs | ImageEmbeddings) -> Tensor:
        """The embeddings of image patches, [N, D]."""
        if isinstance(images, ImageEmbeddings):
            return images.x_ND
        assert self.vision is not None, "a model without a vision encoder gets no images"
        x_ND: Tensor = self.vision(images, self.precision, self.recompute and self.training)
        return x_ND

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.model.embed_tokens.weight.device

    @property
    def cache_spec(self) -> KVCacheSpec:
        """The KV cache of each layer."""
        attention: Attention = self.model.layers[0].self_attn  # type: ignore[assignment]
        return attention.cache_spec

    def logits(self, x_BTD: Tensor) -> Tensor:
        """Logits of the next token, [..., V]."""
        return self.ops.linear(x_BTD, self.lm_head.weight)
