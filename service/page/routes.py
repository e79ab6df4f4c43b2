"""The page's files over HTTP: read once, never looked up on disk by a request, never run elsewhere.

Every answer carries the content policy: scripts, styles and calls of this server only, nothing
inline, nothing framed, and no string that a script could turn into markup.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

__all__ = ["PAGE_HEADERS", "PageFile", "page_paths", "page_router", "read_page_files"]

_FOLDER = Path(__file__).parent / "static"
_INDEX = "index.html"
# Python's table takes the system's, which on some systems calls JavaScript plain text.
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # A browser that knows these refuses innerHTML and its kin altogether.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
PAGE_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Kept by the browser, and asked for anew: an upgraded server never meets half an old page.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file of the page.

    Attributes:
        content: Its bytes.
        media_type: What the browser is told that it is.
        entity_tag: Changes when the content does.
    """

    content: bytes
    media_type: str
    entity_tag: str


def read_page_files() -> dict[str, PageFile]:
    """Every file of the page by name."""
    files: dict[str, PageFile] = {}
    for path in sorted(_FOLDER.iterdir()):
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()[:32]
        files[path.name] = PageFile(content, _MEDIA_TYPES[path.suffix], f'"{digest}"')
    assert _INDEX in files, f"no {_INDEX} in the package"
    return files


def page_paths() -> frozenset[str]:
    """Where the page and its files are: the same for everybody, and nothing of the models."""
    return frozenset(("/", *(f"/page/{name}" for name in read_page_files())))


def page_router() -> APIRouter:
    """The routes `/` and `/page/NAME`; they are no part of the API."""
    router = APIRouter(include_in_schema=False)
    files = read_page_files()

    @router.api_route("/", methods=["GET", "HEAD"], response_model=None)
    async def index(request: Request) -> Response:
        """The page."""
        return _answer(request, files[_INDEX])

    @router.api_route("/page/{name}", methods=["GET", "HEAD"], response_model=None)
    async def part(request: Request, name: str) -> Response:
        """A file that the page asks for."""
        if name not in files:
            raise HTTPException(404)
        return _answer(request, files[name])

    return router


def _answer(request: Request, file: PageFile) -> Response:
    headers = {**PAGE_HEADERS, "ETag": file.entity_tag}
    if _is_known(request.headers.get("if-none-match", ""), file.entity_tag):
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)


def _is_known(if_none_match: str, entity_tag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return entity_tag in tags or "*" in tags
