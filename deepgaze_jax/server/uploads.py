"""The picture of a request: streamed, counted while it is read, never unpacked here."""

import io
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from deepgaze_jax.server.problems import Problem

__all__ = ["Upload", "check_headers", "read_upload"]

FILE_FIELD = "image"
_MAX_FIELDS = 16
_MAX_FIELD_BYTES = 1024
# Around the picture: boundaries and other fields of a form.
_FORM_BYTES = 32_768


@dataclass(frozen=True)
class Upload:
    """What a request carries.

    Attributes:
        data: the picture file.
        fields: names and values of a form's other fields.
    """

    data: bytes
    fields: tuple[tuple[str, str], ...] = ()


def check_headers(headers: Headers, max_bytes: int) -> bool:
    """Return whether the picture comes in a form, if the headers are those of one.

    Args:
        headers: of the request.
        max_bytes: of a picture.

    Raises:
        Problem: 413 for an announced length, 415 for another type of content.
    """
    kind = headers.get("content-type", "application/octet-stream")
    kind = kind.partition(";")[0].strip().lower()
    form = kind == "multipart/form-data"
    if not (form or kind.startswith("image/") or kind == "application/octet-stream"):
        raise Problem(
            415,
            f"the content is of type {kind[:80]!r}; expected image/*, "
            "application/octet-stream, or multipart/form-data with a file "
            f"{FILE_FIELD}",
        )
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise Problem(
            415,
            f"the content is encoded as {encoding[:40]!r}; send the picture as it is",
        )
    announced = headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes + _FORM_BYTES * form:
        raise too_long(int(announced), max_bytes)
    return form


async def read_upload(request: Request, max_bytes: int, *, form: bool) -> Upload:
    """Return the picture of a request.

    Args:
        request: with a form, or with the bytes of a picture as its body.
        max_bytes: whatever is longer is refused as soon as it is.
        form: whether it is a form.

    Raises:
        Problem: 400 for a form that cannot be read, 413 for its size, 422 for an
            empty picture.
    """
    stream = _counted(request, max_bytes + _FORM_BYTES * form, max_bytes)
    try:
        if form:
            return await _read_form(request, stream, max_bytes)
        # Not a list of chunks: each could be one byte.
        body = io.BytesIO()
        async for chunk in stream:
            body.write(chunk)
        data = body.getvalue()
    except ClientDisconnect:
        raise Problem(400, "the client went away before all of its picture") from None
    if not data:
        raise Problem(422, "picture: is empty (0 bytes)")
    return Upload(data)


def too_long(n_bytes: int, max_bytes: int) -> Problem:
    """Return the refusal of an upload."""
    return Problem(
        413,
        f"the upload has {n_bytes:,} bytes or more; at most {max_bytes:,} are read: "
        "shrink the picture, or save it as JPEG",
    )


async def _counted(
    request: Request, limit: int, max_bytes: int
) -> AsyncIterator[bytes]:
    n_bytes = 0
    async for chunk in request.stream():
        n_bytes += len(chunk)
        if n_bytes > limit:
            raise too_long(n_bytes, max_bytes)
        yield chunk


async def _read_form(
    request: Request, stream: AsyncIterator[bytes], max_bytes: int
) -> Upload:
    parser = MultiPartParser(
        request.headers,
        stream,
        max_files=1,
        max_fields=_MAX_FIELDS,
        max_part_size=_MAX_FIELD_BYTES,
    )
    # In memory, as it is without a form: whose picture it is, is nobody's business, and
    # the disk may be one that cannot be written.
    parser.spool_max_size = max_bytes + _FORM_BYTES
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise Problem(400, f"the form cannot be read: {error.message}") from None
    try:
        file = form.get(FILE_FIELD)
        if not isinstance(file, UploadFile):
            raise Problem(
                422, f"the form has no file {FILE_FIELD}; expected one picture in it"
            )
        fields = []
        for name, value in form.multi_items():
            if not isinstance(value, str):
                if name != FILE_FIELD:
                    raise Problem(
                        400, f"the form's file is {name[:40]!r}; expected {FILE_FIELD}"
                    )
                continue
            fields.append((name, value))
        data = await file.read(max_bytes + 1)
    finally:
        await form.close()
    if len(data) > max_bytes:
        raise too_long(len(data), max_bytes)
    if not data:
        raise Problem(422, "picture: is empty (0 bytes)")
    return Upload(data, tuple(fields))
