"""The files of the page, out of the package."""

import hashlib
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response

from deepgaze_jax.server.problems import Problem

__all__ = ["page_file"]

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}


def page_file(request: Request, name: str) -> Response:
    """Return a file of the page; browsers ask each time whether it has changed.

    Args:
        request: may say which version the browser has.
        name: compared with the names that there are; nothing is opened by it.

    Raises:
        Problem: 404; there is no such file.
    """
    folder = resources.files("deepgaze_jax.server") / "page"
    files = {file.name: file for file in folder.iterdir()} if folder.is_dir() else {}
    kind = _TYPES.get(name[name.rfind(".") :])
    if name not in files or kind is None:
        raise Problem(404, f"the page has no file {name[:80]!r}")
    content = files[name].read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=kind, headers=headers)
