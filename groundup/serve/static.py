"""The page: static files under a strict content security policy."""

from functools import partial
from hashlib import sha256
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
TYPES = {  # instead of the machine's table, which differs between systems
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".json": "application/json",
    ".woff2": "font/woff2",
    ".txt": "text/plain",
}


def routes(folder: Path) -> APIRouter:
    """A route for each file in the folder whose suffix is in TYPES, and / for index.html."""
    router = APIRouter()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in TYPES:
            place = path.relative_to(folder).as_posix()
            for url in ("/", "/index.html") if place == "index.html" else (f"/{place}",):
                router.add_route(url, partial(_send, path), methods=["GET"])
    return router


async def _send(path: Path, request: Request) -> Response:
    """Send a small file, read in the event loop: it needs no thread of the pool."""
    found = path.read_bytes()
    headers = HEADERS | {"ETag": f'"{sha256(found).hexdigest()[:32]}"'}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(found, media_type=TYPES[path.suffix], headers=headers)
