"""Rows with images through the model, many at once and without a cache: states, likelihoods, things and attention; and
answers of the engine.

Shapes: B rows, T tokens and patches, D width, H query heads, E features a head, N patches, C answers, V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from groundup.codecs import boxes, chat
from groundup.codecs.boxes import Detection
from groundup.codecs.patches import frames
from groundup.codecs.text import Tokenizer
from groundup.data.document import Document
from groundup.evaluate import likelihood
from groundup.evaluate.likelihood import cross_entropy
from groundup.generate.engine import Engine, labels
from groundup.generate.look import Look, prompt, see
from groundup.model.transformer import Transformer, document_mask
from groundup.model.vision.encoder import ImageInputs

TAILS = 1024  # tokens of the answers that one row weighs: more answers take several rows


@dataclass(frozen=True)
class Row:
    """A prompt and its images; after it `tails`, each of which sees the prompt and itself, as if it alone came next."""

    ids: list[int]
    looks: tuple[Look, ...] = ()
    tails: tuple[list[int], ...] = ()

    @property
    def size(self) -> int:
        """Tokens and patches in all."""
        return len(self.ids) + sum(map(len, self.tails))


def look(model: Transformer, tokenizer: Tokenizer, document: Document) -> Row:
    """The prompt of a conversation's last answer, with its images as the model sees them.

    A document without a conversation is its images alone, as a user shows them. Raises BadImage for an image that
    cannot be used, and InputError for a model without eyes.
    """
    views = [see(model.config, data) for data in document.images]
    messages = document.messages or chat.shown(len(views))
    if messages[-1]["role"] == "assistant":
        messages = messages[:-1]
    return Row(*prompt(tokenizer, messages, views, document.tools))


def spoken(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of an answer as tuning trains on them, the <|im_end|> after it among them."""
    ids, trained = chat.encode(tokenizer, [{"role": "assistant", "content": text}])
    return [id for id, own in zip(ids, trained, strict=True) if own]


def batches(rows: Sequence[Row]) -> Iterator[list[int]]:
    """Numbers of rows in batches of similar length."""
    return likelihood.batches([row.size for row in rows])


# --- forwards ---------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def states(model: Transformer, rows: Sequence[Row]) -> Tensor:
    """The final states of a batch, [B, T, D], T that of the longest row: what stands behind a shorter one means
    nothing.
    """
    B, T = len(rows), max(row.size for row in rows)
    ids_BT, positions_BT, branches_BT, blocks_BT = (torch.zeros(B, T, dtype=torch.long) for _ in range(4))
    branches_BT -= 1  # padding: nobody's past
    for number, row in enumerate(rows):
        start = len(row.ids)
        runs = [(0, 0, row.ids), *((start, branch, tail) for branch, tail in enumerate(row.tails, 1))]
        place = 0
        for first, branch, ids in runs:
            run = slice(place, place + len(ids))
            ids_BT[number, run] = torch.tensor(ids, dtype=torch.long)
            positions_BT[number, run] = first + torch.arange(len(ids))
            branches_BT[number, run] = branch
            place += len(ids)
        for each in row.looks:
            blocks_BT[number, each.place : each.place + each.view.grid.patches] = each.place
    past_BTT = document_mask(torch.zeros_like(ids_BT), blocks_BT)
    own_BTT = (branches_BT[:, :, None] == branches_BT[:, None, :]) | (branches_BT == 0)[:, None, :]
    inputs = (each.to(model.device) for each in (ids_BT, positions_BT, past_BTT & own_BTT))
    found: Tensor = model(*inputs, images=_image_inputs(rows, T, model.device))
    return found


def _image_inputs(rows: Sequence[Row], T: int, device: torch.device) -> ImageInputs | None:
    looks = [(number * T + each.place, each) for number, row in enumerate(rows) for each in row.looks]
    if not looks:
        return None
    patches_NP = np.concatenate([each.view.patches for _, each in looks])
    index_N = np.concatenate([start + np.arange(each.view.grid.patches) for start, each in looks])
    grid_N2 = np.concatenate([each.view.grid.coordinates() for _, each in looks])
    images = frames(grid_N2, np.ones(len(grid_N2), bool))
    patches, places, grid = (torch.from_numpy(array).to(device) for array in (patches_NP, index_N, grid_N2))
    return ImageInputs(patches, places, grid, frames=images)


def of_patches(states_BTD: Tensor, rows: Sequence[Row]) -> list[list[Tensor]]:
    """The states [N, D] of each image of each row."""
    return [
        [states_TD[each.place : each.place + each.view.grid.patches] for each in row.looks]
        for states_TD, row in zip(states_BTD, rows, strict=True)
    ]


# --- answers ----------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def likelihoods(model: Transformer, rows: Sequence[Row], answers: Sequence[list[int]]) -> Tensor:
    """log p(answer | row) for each row and each of the same answers (lists of ids, with what ends them), [B, C],
    fp32.
    """
    parts = [_weighed(model, rows, answers[start:stop]) for start, stop in _groups(answers)]
    return torch.cat(parts, 1)


def _groups(answers: Sequence[list[int]]) -> Iterator[tuple[int, int]]:
    """Stretches of answers that are together at most TAILS tokens long, or one."""
    start, size = 0, 0
    for number, answer in enumerate(answers):
        if number > start and size + len(answer) > TAILS:
            yield start, number
            start, size = number, 0
        size += len(answer)
    yield start, len(answers)


def _weighed(model: Transformer, rows: Sequence[Row], answers: Sequence[list[int]]) -> Tensor:
    tails = tuple(answer[:-1] for answer in answers)  # nothing comes after the last id
    found_BC = torch.zeros(len(rows), len(answers))
    full = [replace(row, tails=tails) for row in rows]
    targets = torch.tensor([id for answer in answers for id in answer], device=model.device)
    whose = torch.tensor([number for number, answer in enumerate(answers) for _ in answer])
    for batch in batches(full):
        states_BTD = states(model, [full[number] for number in batch])
        for number, states_TD in zip(batch, states_BTD, strict=True):
            nats = cross_entropy(model, states_TD[_before(len(rows[number].ids), tails)], targets)
            found_BC[number].index_add_(0, whose, -nats.cpu())
    return found_BC


def _before(size: int, tails: Sequence[list[int]]) -> list[int]:
    """Where each id of each answer is predicted: its first at the prompt's end, the others in its tail."""
    places, start = [], size
    for tail in tails:
        places += [size - 1, *range(start, start + len(tail))]
        start += len(tail)
    return places


def answer(
    engine: Engine, rows: Sequence[Row], limit: int, advance: Callable[[int], None] = lambda done: None
) -> list[str]:
    """The likeliest continuation of each row, id by id, at most `limit`. A row too long for the context is answered
    with nothing.
    """
    fitting = [number for number, row in enumerate(rows) if row.size < engine.config.context]
    chosen = [rows[number] for number in fitting]
    said = engine.complete([row.ids for row in chosen], limit, advance=advance, images=[row.looks for row in chosen])
    answers = [""] * len(rows)
    for number, ids in zip(fitting, said, strict=True):
        answers[number] = engine.tokenizer.decode(ids)
    advance(len(rows) - len(fitting))
    return answers


# --- things and attention ---------------------------------------------------------------------------------------------


@torch.inference_mode()
def things(model: Transformer, rows: Sequence[Row]) -> list[list[list[Detection]]]:
    """What the labels of the patches say lies in each image of each row, the surest first."""
    assert model.vision is not None, "things are seen with eyes"
    found: list[list[list[Detection]]] = [[] for _ in rows]
    for batch in batches(rows):
        chosen = [rows[number] for number in batch]
        for number, row, patches in zip(batch, chosen, of_patches(states(model, chosen), chosen), strict=True):
            for each, states_ND in zip(row.looks, patches, strict=True):
                found[number].append(
                    boxes.from_labels(*labels(model.vision, states_ND), each.view.grid, list(model.config.classes))
                )
    return found


@torch.inference_mode()
def attention(model: Transformer, row: Row) -> list[npt.NDArray[np.float32]]:
    """What the last token of a row attends to in the last block, the mean of its heads: the shares of each image's
    patches, [N].
    """
    kept: list[Tensor] = []
    usual = model.attend

    def attend(q_BTHE: Tensor, k_BSKE: Tensor, v_BSKE: Tensor, mask_BTS: Tensor | None) -> Tensor:
        kept[:] = [q_BTHE[0, -1], k_BSKE[0]]  # each block's in turn; the last ones stay
        return usual(q_BTHE, k_BSKE, v_BSKE, mask_BTS)

    model.attend = attend
    try:
        states(model, [replace(row, tails=())])
    finally:
        model.attend = usual
    q_HE, k_SKE = (each.float() for each in kept)
    k_SHE = k_SKE.repeat_interleave(q_HE.shape[0] // k_SKE.shape[1], 1)
    shares_S = (torch.einsum("he,she->hs", q_HE, k_SHE) * q_HE.shape[-1] ** -0.5).softmax(-1).mean(0)
    return [shares_S[each.place : each.place + each.view.grid.patches].cpu().numpy() for each in row.looks]
