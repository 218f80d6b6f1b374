"""Images of a request: out of messages and inputs, and through the model's eyes; never fetched from elsewhere."""

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
from groundup.generate import look
from groundup.generate.look import View
from groundup.model.config import ModelConfig
from groundup.serve.errors import ApiError
from groundup.serve.schema import IMAGE_BYTES, IMAGES

AT_A_TIME = 2  # requests whose images are decoded: a large one takes 200 MB until it is scaled


@dataclass(frozen=True)
class Shown:
    """An image that a request shows: where, and its address."""

    where: str
    url: str


class Gallery:
    """Decodes images, a few requests at a time. `folder` is where they may be named by path, if anywhere."""

    def __init__(self, folder: Path | None = None):
        self._folder = None if folder is None else folder.resolve()
        self._turns = asyncio.Semaphore(AT_A_TIME)

    async def look(self, config: ModelConfig, shown: Sequence[Shown]) -> list[View]:
        """Images as a model of a config sees them. Raises ApiError that names the first that cannot be used."""
        if not shown:
            return []
        if len(shown) > IMAGES:
            raise ApiError(400, f"the request has {len(shown)} images; the most is {IMAGES}", shown[IMAGES].where)
        async with self._turns:
            return await run_in_threadpool(self._views, config, shown)

    def _views(self, config: ModelConfig, shown: Sequence[Shown]) -> list[View]:
        found, pixels = [], 0
        for each in shown:
            try:
                look.require(config)
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
        return [self._view(config, each, data) for each, data in zip(shown, found, strict=True)]

    @staticmethod
    def _view(config: ModelConfig, shown: Shown, data: bytes) -> View:
        try:
            return look.see(config, data)
        except InputError as error:
            raise _refused(shown, error) from None

    def _data(self, url: str) -> bytes:
        """The bytes that an address stands for; raises BadImage."""
        kind = url[:5].lower()
        if kind == "data:":
            return image.from_uri(url, IMAGE_BYTES)
        if kind in ("http:", "https") or self._folder is None:
            raise BadImage(
                "not a data URI",
                "images are not fetched from elsewhere; send the image itself as data:image/png;base64,...",
            )
        return _read(self._folder, url)


def _refused(shown: Shown, error: InputError) -> ApiError:
    return ApiError(400, f"{shown.where}: {error}", shown.where)


def _read(folder: Path, url: str) -> bytes:
    """A file of the folder, named by a file URL or a path. What lies outside is as good as not there."""
    try:
        parts = urlsplit(url)
        path = unquote(parts.path) if parts.scheme == "file" and parts.netloc in ("", "localhost") else url
        file = (folder / path).resolve(strict=True)
        if not file.is_relative_to(folder) or not file.is_file():
            raise OSError
        with file.open("rb") as opened:
            data = opened.read(IMAGE_BYTES + 1)
    except (OSError, ValueError):  # ValueError: a path with a zero byte
        raise BadImage("no such image", f"{url[:80]!r} is no file in the server's folder of images") from None
    if len(data) > IMAGE_BYTES:
        raise BadImage("too large", f"the most is {IMAGE_BYTES:,} bytes")
    return data


def alone(item: dict[str, Any], where: str) -> Shown:
    """The image of an item that is one; raises ApiError for any other."""
    if item.keys() != {"image"} or not isinstance(item["image"], str):
        raise ApiError(
            400, f'{where} must be a text, ids, or {{"image": "data:image/..."}} with nothing beside it', where
        )
    return Shown(where, item["image"])


# --- out of messages --------------------------------------------------------------------------------------------


def taken(messages: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Shown]]:
    """Messages with {"type": "image"} where an image is, and the images. Raises ApiError for a part that cannot be
    one.
    """
    shown: list[Shown] = []
    return [_without(message, f"messages[{place}]", shown) for place, message in enumerate(messages)], shown


def _without(message: dict[str, Any], where: str, shown: list[Shown]) -> dict[str, Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return message | {
        "content": [_part(message, part, f"{where}.content[{place}]", shown) for place, part in enumerate(content)]
    }


def _part(message: dict[str, Any], part: Any, where: str, shown: list[Shown]) -> Any:
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
    shown.append(Shown(where, _url(part, where)))
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
