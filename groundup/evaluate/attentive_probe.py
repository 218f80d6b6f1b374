"""An attentive probe: an image classifier trained on a model's frozen states (AIM, arXiv:2401.08541, section 3.3).

A learned query pools the patches by attention before a linear head. Shapes: N images, P patches, D width, C classes.
"""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groundup.data.document import Document
from groundup.evaluate.cases import answer_of, chunks
from groundup.evaluate.figure import Figure, proportion
from groundup.evaluate.prompts import prompt_of
from groundup.evaluate.suite import Advance, ignored
from groundup.generate.engine import Engine

IMAGES = 2000  # most images of each split: their states are in memory
EPOCHS = 20
BATCH = 64
RATE, DECAY = 2e-3, 0.05
SEED = 17


class Probe(nn.Module):
    """A learned query that pools an image's patches by attention, and a linear classifier."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.query = nn.Parameter(torch.randn(width))
        self.keys = nn.Linear(width, width, bias=False)
        self.values = nn.Linear(width, width, bias=False)
        self.classes = nn.Linear(width, classes)

    def forward(self, x_NPD: Tensor, there_NP: Tensor) -> Tensor:
        """Logits of the classes, [N, C]; `there` is False at the padding of smaller images."""
        x_NPD = self.norm(x_NPD.float())
        scores_NP = (self.keys(x_NPD) @ self.query) * x_NPD.shape[-1] ** -0.5
        weights_NP = scores_NP.masked_fill(~there_NP, float("-inf")).softmax(-1)
        found: Tensor = self.classes((weights_NP[:, None] @ self.values(x_NPD))[:, 0])
        return found


States = tuple[Tensor, Tensor, Tensor]  # [N, P, D], the padding mask [N, P], class indices [N]


def probe(
    engine: Engine,
    training: Iterable[Document],
    heldout: Iterable[Document],
    classes: Sequence[str],
    advance: Advance = ignored,
) -> Figure | None:
    """The probe's accuracy on held-out images after training on the others; None if either part is empty.

    Documents are conversations about one image that end with one of the `classes`.
    """
    learned, asked = (_states(engine, documents, classes, advance) for documents in (training, heldout))
    if learned is None or asked is None:
        return None
    found = _learned(learned, len(classes))
    with torch.inference_mode():
        parts = [slice(start, start + BATCH) for start in range(0, len(asked[2]), BATCH)]
        right = sum(int((found(asked[0][part], asked[1][part]).argmax(-1) == asked[2][part]).sum()) for part in parts)
    return proportion(right, len(asked[2]))


def _states(engine: Engine, documents: Iterable[Document], classes: Sequence[str], advance: Advance) -> States | None:
    """The normalised patch states of each document's first image, in half precision."""
    found: list[Tensor] = []
    places: list[int] = []
    for chunk in chunks(documents):
        rows = [prompt_of(engine, document) for document in chunk]
        found += [images[0].half().cpu() for images in engine.embedder.patches(rows)]
        places += [classes.index(answer_of(document)) for document in chunk]
        advance(len(chunk))
    if not found:
        return None
    there = nn.utils.rnn.pad_sequence([torch.ones(len(states), dtype=torch.bool) for states in found], batch_first=True)
    return nn.utils.rnn.pad_sequence(found, batch_first=True), there, torch.tensor(places)


def _learned(states: States, classes: int) -> Probe:
    x_NPD, there_NP, places_N = states
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = Probe(x_NPD.shape[-1], classes)
        steps = EPOCHS * -(-len(places_N) // BATCH)
        optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(EPOCHS):
            order = torch.randperm(len(places_N))
            for start in range(0, len(order), BATCH):
                part = order[start : start + BATCH]
                optimizer.zero_grad()
                torch.autograd.backward(F.cross_entropy(model(x_NPD[part], there_NP[part]), places_N[part]))
                optimizer.step()
                schedule.step()
    return model.eval()
