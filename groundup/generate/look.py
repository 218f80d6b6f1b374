"""Images in a prompt: one way from encoded files to ids and patches, for the API, the chat and evaluation.

Shapes: N patches of P values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from groundup.codecs import chat
from groundup.codecs.image import MOST_BYTES, BadImage, decode
from groundup.codecs.messages import Message
from groundup.codecs.patches import PatchGrid, Pixels, to_patches
from groundup.codecs.text import Tokenizer
from groundup.core.errors import InputError
from groundup.data.image_shards import ImageResolution
from groundup.data.paths import there
from groundup.model.config import ModelConfig


@dataclass(frozen=True, eq=False)
class View:
    """An image as a model sees it. `digest` tells it from any other."""

    grid: PatchGrid
    patches: npt.NDArray[np.uint8]  # [N, P]
    digest: bytes

    @staticmethod
    def of(grid: PatchGrid, patches: npt.NDArray[np.uint8]) -> "View":
        """The view of patches."""
        return View(grid, patches, blake2b(patches.tobytes(), key=repr(tuple(grid)).encode(), digest_size=16).digest())


@dataclass(frozen=True, eq=False)
class Look:
    """An image of a prompt: its patches stand in place of the ids from `place` on."""

    place: int
    view: View

    @property
    def end(self) -> int:
        """The place after its last patch."""
        return self.place + self.view.grid.patches


def see(config: ModelConfig, data: bytes) -> View:
    """An encoded image as a model sees it. Raises BadImage as `codecs.image.decode` does, and InputError for
    a model without eyes.
    """
    require(config)
    return see_pixels(config, decode(data))


def see_pixels(config: ModelConfig, pixels: Pixels) -> View:
    """The same for an image that is decoded, [H, W, 3]."""
    grid, scaled = ImageResolution(config.patch, config.patches).scale(pixels)
    return View.of(grid, to_patches(scaled, config.patch))


def see_file(config: ModelConfig, file: Path) -> View:
    """The same for a file; raises InputError that names it, also for a pipe or a device, which might never end."""
    if not there(file):
        raise InputError(f"{file}: cannot be read (no such file); give an image's file")
    try:
        if file.stat().st_size > MOST_BYTES:
            raise InputError(f"{file}: larger than {MOST_BYTES:,} bytes; give a smaller image")
        return see(config, file.read_bytes())
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); give an image's file") from None
    except BadImage as error:
        raise InputError(f"{file}: {error}") from None


def require(config: ModelConfig) -> None:
    """Raise InputError for a model without eyes."""
    if not config.patch:
        raise InputError(
            "the model has no eyes, it reads only text; leave the image out, or ask a model that was grown with images"
        )


def prompt(
    tokenizer: Tokenizer, messages: list[Message], views: Sequence[View], tools: list[dict[str, Any]] | None = None
) -> tuple[list[int], tuple[Look, ...]]:
    """The ids after which the assistant's answer comes, and the images among them. Raises InputError as
    `codecs.chat.prompt` does.
    """
    return placed(tokenizer, chat.prompt(tokenizer, messages, tools, [view.grid for view in views]), views)


def shown(tokenizer: Tokenizer, view: View) -> tuple[list[int], tuple[Look, ...]]:
    """An image as a user shows it, up to its end: patches see nothing behind it."""
    ids, looks = prompt(tokenizer, chat.shown(), [view])
    return ids[: looks[0].end + 1], looks


def alone(tokenizer: Tokenizer, view: View) -> tuple[list[int], tuple[Look, ...]]:
    """An image with nothing around it."""
    return placed(tokenizer, chat.image(tokenizer, view.grid), [view])


def placed(tokenizer: Tokenizer, ids: list[int], views: Sequence[View]) -> tuple[list[int], tuple[Look, ...]]:
    """Ids, and where among them the images stand."""
    places = chat.image_positions(tokenizer, ids) if views else []
    return ids, tuple(Look(place, view) for place, view in zip(places, views, strict=True))
