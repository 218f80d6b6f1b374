"""The feed-forward layer. Shapes: B rows, T tokens, D width."""

from torch import Tensor, nn

from groundup.model.config import ModelConfig
from groundup.model.linear import Linear
from groundup.model.ops import Ops
from groundup.model.parameters import OUTPUT_MATRIX


class FeedForward(nn.Module):
    """A gated linear unit (arXiv:2002.05202): down(activation(gate(x)) * up(x))."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.activation = config.activation
        self.gate_proj = Linear(config.width, config.ffn)
        self.up_proj = Linear(config.width, config.ffn)
        self.down_proj = Linear(config.ffn, config.width, OUTPUT_MATRIX)

    def forward(self, x_BTD: Tensor, ops: Ops) -> Tensor:
        gated = ops.swiglu if self.activation == "silu" else ops.geglu
        gate_BTF, up_BTF = self.gate_proj(x_BTD, ops), self.up_proj(x_BTD, ops)
        return self.down_proj(gated(gate_BTF, up_BTF), ops)
