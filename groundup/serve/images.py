"""Images of a request: extracted from messages, checked, decoded and cut into patches. No URL is ever fetched."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from starlette.concurrency import run_in_threadpool

from groundup.codecs import image
from groundup.codecs.image import BadImage
from groundup.codecs.messages import DETAILS
from groundup.core.errors import InputError
from groundup.generate import image_inputs
from groundup.generate.image_inputs import ImageInput
from groundup.model.config import ModelConfig
from groundup.serve.errors import ApiError
from groundup.serve.schema import MAX_IMAGE_BYTES, MAX_IMAGES

CONCURRENT_REQUESTS = 2  # requests that decode images at a time: a large image takes 200 MB until it is scaled


@dataclass(frozen=True)
class ImageRef:
    """An image of a request: its path in the body, for errors, and its URL."""

    where: str
    url: str


class ImageLoader:
    """Decodes the images of a few requests at a time. Requests may name files in `folder` by path."""

    def __init__(self, folder: Path | None = None):
        self._folder = None if folder is None else folder.resolve()
        self._semaphore = asyncio.Semaphore(CONCURRENT_REQUESTS)

    async def load(self, config: ModelConfig, refs: Sequence[ImageRef]) -> list[ImageInput]:
        """Image inputs for a model. Raises ApiError (400) that names the first image that cannot be used."""
        if not refs:
            return []
        if len(refs) > MAX_IMAGES:
            raise ApiError(400, f"the request has {len(refs)} images; the most is {MAX_IMAGES}", refs[MAX_IMAGES].where)
        async with self._semaphore:
            return await run_in_threadpool(self._load_all, config, refs)

    def _load_all(self, config: ModelConfig, refs: Sequence[ImageRef]) -> list[ImageInput]:
        found, pixels = [], 0
        for each in refs:
            try:
                image_inputs.require_vision(config)
                found.append(self._data(each.url))
                width, height = image.measure(found[-1])
            except InputError as error:
                raise _refused(each, error) from None
            pixels += width * height
            if pixels > image.MOST_PIXELS:
                raise ApiError(
                    400,
                    f"{each.where}: the images so far have {pixels:,} pixels; the most is {image.MOST_PIXELS:,}",
                    each.where,
                )
        return [self._load_one(config, each, data) for each, data in zip(refs, found, strict=True)]

    @staticmethod
    def _load_one(config: ModelConfig, ref: ImageRef, data: bytes) -> ImageInput:
        try:
            return image_inputs.from_bytes(config, data)
        except InputError as error:
            raise _refused(ref, error) from None

    def _data(self, url: str) -> bytes:
        """The bytes of a data URI or file URL. Raises BadImage."""
        kind = url[:5].lower()
        if kind == "data:":
            return image.from_uri(url, MAX_IMAGE_BYTES)
        if kind in ("http:", "https") or self._folder is None:
            raise BadImage(
                "not a data URI",
                "images are not fetched from elsewhere; send the image itself as data:image/png;base64,...",
            )
        return _read(self._folder, url)


def _refused(ref: ImageRef, error: InputError) -> ApiError:
    return ApiError(400, f"{ref.where}: {error}", ref.where)


def _read(folder: Path, url: str) -> bytes:
    """A file of the folder, by file URL or path. A file outside of it counts as missing. Raises BadImage."""
    try:
        parts = urlsplit(url)
        path = unquote(parts.path) if parts.scheme == "file" and parts.netloc in ("", "localhost") else url
        file = (folder / path).resolve(strict=True)
        if not file.is_relative_to(folder) or not file.is_file():
            raise OSError
        with file.open("rb") as opened:
            data = opened.read(MAX_IMAGE_BYTES + 1)
    except (OSError, ValueError):  # ValueError: a path with a zero byte
        raise BadImage("no such image", f"{url[:80]!r} is no file in the server's folder of images") from None
    if len(data) > MAX_IMAGE_BYTES:
        raise BadImage("too large", f"the most is {MAX_IMAGE_BYTES:,} bytes")
    return data


def single(item: dict[str, Any], where: str) -> ImageRef:
    """The reference of an item `{"image": URL}`. Raises ApiError (400) for any other item."""
    if item.keys() != {"image"} or not isinstance(item["image"], str):
        raise ApiError(
            400, f'{where} must be a text, ids, or {{"image": "data:image/..."}} with nothing beside it', where
        )
    return ImageRef(where, item["image"])


# --- extraction from messages ---------------------------------------------------------------------------------


def extract(messages: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[ImageRef]]:
    """Replace each image part by {"type": "image"}; return messages and image references. Raises ApiError (400)."""
    refs: list[ImageRef] = []
    return [_extract_message(message, f"messages[{place}]", refs) for place, message in enumerate(messages)], refs


def _extract_message(message: dict[str, Any], where: str, refs: list[ImageRef]) -> dict[str, Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return message | {
        "content": [
            _extract_part(message, part, f"{where}.content[{place}]", refs) for place, part in enumerate(content)
        ]
    }


def _extract_part(message: dict[str, Any], part: Any, where: str, refs: list[ImageRef]) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "image":
        raise ApiError(
            400, f'{where}: images come as {{"type": "image_url", "image_url": {{"url": "data:image/..."}}}}', where
        )
    if kind != "image_url":
        return part
    if message.get("role") != "user":
        raise ApiError(
            400, f"{where}: an image in a message of role {message.get('role')!r}; only a user shows images", where
        )
    refs.append(ImageRef(where, _url(part, where)))
    return {"type": "image"}


def _url(part: dict[str, Any], where: str) -> str:
    given = part.get("image_url")
    if not isinstance(given, dict) or not isinstance(given.get("url"), str):
        raise ApiError(400, f"{where}: image_url needs a url, which is a text", where)
    unknown = [
        key
        for key, value in (part | given).items()
        if value is not None and key not in ("type", "image_url", "url", "detail")
    ]
    if unknown:
        raise ApiError(400, f"{where}: {unknown[0]} is not supported here; leave it out", where, "unsupported_field")
    if given.get("detail") not in (None, *DETAILS):
        raise ApiError(400, f"{where}: detail is {given['detail']!r}; it must be one of {', '.join(DETAILS)}", where)
    return str(given["url"])
