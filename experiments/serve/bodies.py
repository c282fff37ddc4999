"""The image of a request, as bytes: of bounded size, in bounded time, as the body itself or as a file of a form."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

MEBIBYTE = 2**20
_READ_ON = 4
"""Of a body that is too large, so many times the limit is read and thrown away: who still sends would not see the answer."""


@dataclasses.dataclass
class Bodies:
    """Reads the bodies of requests.

    Args:
      largest: of a body, in bytes.
      together: of all bodies that are held at once.
      seconds: within which a body must have come.
    """

    largest: int
    together: int
    seconds: float
    held: int = 0

    @contextlib.asynccontextmanager
    async def image(self, request: Request) -> AsyncIterator[bytes]:
        """The bytes of the image, which count as held inside.

        Raises:
          HTTPException: 400: there is no image; 408: it takes too long; 413: it is too large; 429: too much is held.
        """
        parts: list[bytes] = []
        try:
            await self._read(request, parts)
            yield await _file_of(request, b"".join(parts))
        finally:
            self.held -= sum(map(len, parts))

    async def _read(self, request: Request, parts: list[bytes]) -> None:
        size = 0
        try:
            async with asyncio.timeout(self.seconds):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > _READ_ON * self.largest:
                        break
                    if size <= self.largest and self.held + len(chunk) <= self.together:
                        parts.append(chunk)
                        self.held += len(chunk)
        except TimeoutError:
            raise HTTPException(408, f"the image did not come within {self.seconds:g} seconds; send it faster") from None
        if size > self.largest:
            raise HTTPException(413, f"the body is larger than {self.largest / MEBIBYTE:g} MiB; send a smaller file")
        if size > sum(map(len, parts)):
            raise HTTPException(429, "too many images come at once; try again in a second", {"retry-after": "1"})


async def _file_of(request: Request, body: bytes) -> bytes:
    """The body, or the one file of a form."""
    if not body:
        raise HTTPException(400, "the body is empty; send a PNG, JPEG or TIFF file, as the body or as a file of a form")
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        return body

    async def whole():
        return {"type": "http.request", "body": body, "more_body": False}

    async with Request(request.scope, whole).form(max_files=1, max_fields=8) as form:  # raises 400 for what is no form
        files = [value for value in form.values() if isinstance(value, UploadFile)]
        if not files:
            raise HTTPException(400, "the form has no file; send the image as one, such as curl -F image=@photo.jpg")
        return await files[0].read()
