"""The one transformer: a decoder whose parts the fields of its config choose; parameters as in `Qwen3ForCausalLM`.

Shapes: B rows, T tokens, S tokens attended to, A selected positions, D width, E features a head, V vocabulary.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from groundup.model.attention import Attend, Attention, Cache, Context, KVCacheSpec, fused_attention, window_mask
from groundup.model.config import LayerKind, ModelConfig
from groundup.model.feed_forward import FeedForward
from groundup.model.linear import Embedding, Linear, NoNorm, RMSNorm
from groundup.model.ops import TORCH, Ops
from groundup.model.parameters import EMBEDDING, initialise
from groundup.model.vision.encoder import ImageEmbeddings, ImageInputs, VisionEncoder, insert_images


class Block(nn.Module):
    """One layer: attention, then feed-forward, each on a normalised copy of the residual stream."""

    def __init__(self, config: ModelConfig, layer: int):
        super().__init__()
        before = NoNorm if config.norms == "after" else RMSNorm
        after = NoNorm if config.norms == "before" else RMSNorm
        self.input_layernorm = before(config.width, config.norm_epsilon)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = before(config.width, config.norm_epsilon)
        self.mlp = FeedForward(config)
        self.attention_output_norm = after(config.width, config.norm_epsilon)
        self.feed_forward_output_norm = after(config.width, config.norm_epsilon)

    def forward(self, x_BTD: Tensor, context: Context) -> Tensor:
        ops = context.ops
        residual_BTD = context.select(x_BTD)  # first: autograd adds up gradients in the order of use
        attended_BTD = self.self_attn(self.input_layernorm(x_BTD, ops), context)
        x_BTD = ops.residual_add(residual_BTD, self.attention_output_norm(attended_BTD, ops))
        fed_BTD = self.mlp(self.post_attention_layernorm(x_BTD, ops), ops)
        return ops.residual_add(x_BTD, self.feed_forward_output_norm(fed_BTD, ops))


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
        contexts = self._contexts(positions_BT, mask_BTS, cache)
        x_BTD = self.ops.embedding(ids_BT, self.model.embed_tokens.weight, self.config.embed_scale, self.precision)
        if images is not None:
            x_BTD = insert_images(x_BTD, images, self.vision, self.recompute and self.training)
        for layer, block in enumerate(self.model.layers):
            context = contexts[self.config.kind(layer)]
            if selected_BA is not None and layer == self.config.depth - 1:
                context = replace(context, selected_BA=selected_BA)
            if self.recompute and self.training:
                x_BTD = checkpoint(block, x_BTD, context, use_reentrant=False)
            else:
                x_BTD = block(x_BTD, context)
        x_BTD = self.model.norm(x_BTD, self.ops)
        if selected_BA is None:
            return x_BTD
        return x_BTD.new_zeros(*ids_BT.shape, self.config.width).scatter(
            1, selected_BA[..., None].expand_as(x_BTD), x_BTD
        )

    def _contexts(self, positions_BT: Tensor, mask_BTS: Tensor | None, cache: Cache | None) -> dict[LayerKind, Context]:
        """The context of each kind of layer; a cache has its own masks."""
        contexts = {}
        for kind in dict.fromkeys(map(self.config.kind, range(self.config.depth))):
            angles = None if kind.rotary is None else self.ops.rotary_angles(positions_BT, kind.rotary)
            mask = mask_BTS if cache is not None else window_mask(positions_BT, kind.window, mask_BTS)
            contexts[kind] = Context(self.ops, self.attend, angles, mask, cache)
        return contexts

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.model.embed_tokens.weight.device

    @property
    def cache_specs(self) -> list[KVCacheSpec]:
        """The KV cache of each layer."""
        return [block.self_attn.cache_spec for block in self.model.layers]  # type: ignore[union-attr, misc]

    def logits(self, x_BTD: Tensor) -> Tensor:
        """Scores of the next token, [..., V]."""
        return self.lm_head(x_BTD, self.ops)
