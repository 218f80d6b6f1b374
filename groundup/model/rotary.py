"""Rotary embedding (arXiv:2104.09864): the frequencies of pairs of features, scaled for contexts beyond the first."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class RopeScaling:
    """Divides slow frequencies by `factor` and keeps fast ones, with a ramp of `keep` from 0 to 1 between.

    `linear` divides all (arXiv:2306.15595). Between `low` and `high` rotations in the `original` context, the ramp of
    `llama3` rises by rotations, that of `yarn` (arXiv:2309.00071) by features; `magnitude` multiplies the embedding.
    """

    kind: Literal["linear", "llama3", "yarn"]
    factor: float
    original: int = 0
    low: float = 0.0
    high: float = 0.0
    magnitude: float = 1.0

    def scaled(self, frequencies: Tensor, base: float) -> Tensor:
        """The frequencies [E/2] of a base, scaled."""
        keep = torch.zeros_like(frequencies)
        if self.kind == "llama3":
            keep = (self.original / (2 * math.pi) * frequencies - self.low) / (self.high - self.low)
        elif self.kind == "yarn":
            pairs = len(frequencies)
            first, last = (pairs * math.log(self.original / (2 * math.pi * n), base) for n in (self.high, self.low))
            start, stop = max(math.floor(first), 0), min(math.ceil(last), 2 * pairs - 1)
            keep = 1 - (torch.arange(pairs, device=keep.device) - start) / (stop - start or 1e-3)
        keep = keep.clamp(0, 1)
        return frequencies * (keep + (1 - keep) / self.factor)


@dataclass(frozen=True)
class Rotary:
    """The rotary embedding of `features` a head."""

    features: int
    base: float
    scaling: RopeScaling | None = None

    def angles(self, positions_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines of each pair, twice, [B, T, features], fp32."""
        exponents = torch.arange(0, self.features, 2, device=positions_BT.device, dtype=torch.float32) / self.features
        frequencies, magnitude = self.base**-exponents, 1.0
        if self.scaling is not None:
            frequencies, magnitude = self.scaling.scaled(frequencies, self.base), self.scaling.magnitude
        angles = positions_BT[..., None].float() * frequencies
        cos, sin = angles.cos() * magnitude, angles.sin() * magnitude
        return torch.cat((cos, cos), dim=-1), torch.cat((sin, sin), dim=-1)
