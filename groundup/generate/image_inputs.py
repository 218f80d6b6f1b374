"""Image inputs of a prompt, from encoded files to ids and patches. Shapes: N patches of P values."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from groundup.codecs import chat
from groundup.codecs.chat_template import A_DAY
from groundup.codecs.image import MOST_BYTES, BadImage, decode
from groundup.codecs.messages import Message
from groundup.codecs.patches import PatchGrid, Pixels, to_patches
from groundup.codecs.text import Tokenizer
from groundup.core.errors import InputError
from groundup.data.image_shards import ImageResolution
from groundup.data.paths import there
from groundup.model.config import ModelConfig


@dataclass(frozen=True, eq=False)
class ImageInput:
    """An image input of a prompt: its patches replace the ids from `position` on; `digest` identifies the image."""

    grid: PatchGrid
    patches: npt.NDArray[np.uint8]  # [N, P]
    digest: bytes
    position: int = 0

    @staticmethod
    def of(grid: PatchGrid, patches: npt.NDArray[np.uint8]) -> "ImageInput":
        """The image of these patches."""
        digest = blake2b(patches.tobytes(), key=repr(tuple(grid)).encode(), digest_size=16).digest()
        return ImageInput(grid, patches, digest)

    def at(self, position: int) -> "ImageInput":
        """The image at a position of a prompt."""
        return replace(self, position=position)

    @property
    def end(self) -> int:
        """The position after its last patch."""
        return self.position + self.grid.patches


def from_bytes(config: ModelConfig, data: bytes) -> ImageInput:
    """Decode and scale an image for a model. Raises BadImage, or InputError for a model without a vision encoder."""
    require_vision(config)
    return from_pixels(config, decode(data))


def from_pixels(config: ModelConfig, pixels: Pixels) -> ImageInput:
    """Scale a decoded image, [H, W, 3], for a model."""
    grid, scaled = ImageResolution(config.patch, config.patches).scale(pixels)
    return ImageInput.of(grid, to_patches(scaled, config.patch))


def from_file(config: ModelConfig, file: Path) -> ImageInput:
    """Read an image file for a model. Raises InputError with the file's name, also for a pipe or a device."""
    if not there(file):
        raise InputError(f"{file}: cannot be read (no such file); give an image's file")
    try:
        if file.stat().st_size > MOST_BYTES:
            raise InputError(f"{file}: larger than {MOST_BYTES:,} bytes; give a smaller image")
        return from_bytes(config, file.read_bytes())
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); give an image's file") from None
    except BadImage as error:
        raise InputError(f"{file}: {error}") from None


def require_vision(config: ModelConfig) -> None:
    """Raise InputError for a model without a vision encoder."""
    if not config.patch:
        raise InputError(
            "the model has no vision encoder; leave the image out, or use a model that was trained on images"
        )


def prompt(
    tokenizer: Tokenizer,
    messages: list[Message],
    images: Sequence[ImageInput],
    tools: list[dict[str, Any]] | None = None,
    today: datetime = A_DAY,
) -> tuple[list[int], tuple[ImageInput, ...]]:
    """Ids of a conversation up to the assistant's answer, and its images with positions. Raises as `chat.prompt`."""
    return placed(tokenizer, chat.prompt(tokenizer, messages, tools, [image.grid for image in images], today), images)


def user_turn(tokenizer: Tokenizer, image: ImageInput) -> tuple[list[int], tuple[ImageInput, ...]]:
    """The prompt of a user's turn with one image, up to the end of the image; patches attend to nothing after it."""
    ids, images = prompt(tokenizer, chat.shown(), [image])
    return ids[: images[0].end + 1], images


def alone(tokenizer: Tokenizer, image: ImageInput) -> tuple[list[int], tuple[ImageInput, ...]]:
    """An image alone, without the chat template."""
    return placed(tokenizer, chat.image(tokenizer, image.grid), [image])


def placed(
    tokenizer: Tokenizer, ids: list[int], images: Sequence[ImageInput]
) -> tuple[list[int], tuple[ImageInput, ...]]:
    """The ids, and the images with their positions among them."""
    positions = chat.image_positions(tokenizer, ids) if images else []
    return ids, tuple(image.at(position) for position, image in zip(positions, images, strict=True))
