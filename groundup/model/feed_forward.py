"""The feed-forward layer. Shapes: B rows, T tokens, D width."""

from torch import Tensor, nn

from groundup.model.config import ModelConfig
from groundup.model.linear import Linear
from groundup.model.ops import Ops
from groundup.model.parameters import OUTPUT_MATRIX


class FeedForward(nn.Module):
    """SwiGLU (arXiv:2002.05202): down(silu(gate(x)) * up(x))."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.gate_proj = Linear(config.width, config.ffn)
        self.up_proj = Linear(config.width, config.ffn)
        self.down_proj = Linear(config.ffn, config.width, OUTPUT_MATRIX)

    def forward(self, x_BTD: Tensor, ops: Ops) -> Tensor:
        gate_BTF, up_BTF = ops.linear(x_BTD, self.gate_proj.weight), ops.linear(x_BTD, self.up_proj.weight)
        return ops.linear(ops.swiglu(gate_BTF, up_BTF), self.down_proj.weight)
