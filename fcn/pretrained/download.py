"""Files from the network: once, checked, and never half of one."""

import hashlib
import http.client
import os
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from fcn.draft import replacing
from fcn.environment import cache_folder

_CHUNK = 2**20
_LARGEST = 2**33
"""Bytes of a file; more are not taken."""
_PATIENCE = 60.0
"""Seconds for the beginning of an answer, and in which `_LEAST` bytes must come."""
_LEAST = 2**19
_LONGEST = 6 * 3600.0
"""Seconds for all of it."""


def weights_folder() -> Path:
    """Where downloaded weights are kept: FCN_WEIGHTS_DIR, else `fcn/weights` in the user's cache folder."""
    if "FCN_WEIGHTS_DIR" in os.environ:
        return Path(os.environ["FCN_WEIGHTS_DIR"]).expanduser()
    return cache_folder() / "weights"


def download(url: str, sha256: str, folder: str | Path | None = None, *, progress: bool = True) -> Path:
    """The file at `url`, from the folder if it is there, else from the network.

    The file gets its name only when it is complete and its checksum is right, so several processes may ask for it at once, and
    one that is killed leaves no half of it under that name.

    Args:
      url: of the file; its last part is the file's name.
      sha256: beginning of the SHA-256 of the content, as hexadecimal digits.
      folder: where it is kept (default: `weights_folder()`); made if it does not exist.
      progress: show a progress bar on a terminal.

    Returns:
      The path of the file.

    Raises:
      ConnectionError: the file cannot be had, comes too slowly or is too large; the message says why and where it may be put by
        hand.
      OSError: the folder cannot be written to, or the disk is full.
      ValueError: what came, or what was in the folder, has another checksum.
    """
    folder = weights_folder() if folder is None else Path(folder)
    target = folder / url.rsplit("/", 1)[-1]
    if target.is_file():
        with target.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if not digest.startswith(sha256):
            raise ValueError(f"{target} is not the published file: its SHA-256 is {digest}, not {sha256}...; remove it")
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(target) as draft:
        with draft.open("xb") as file:
            digest = _fetch(url, file, target, progress)
        if not digest.startswith(sha256):
            raise ValueError(f"{url} has the SHA-256 {digest}, not {sha256}...; it was changed or damaged on its way")
    return target


def _fetch(url, file, target, progress) -> str:
    """Copies the content of `url` into `file`; its SHA-256. What is wrong with the disk is told as it is."""
    digest = hashlib.sha256()
    with tqdm(unit="B", unit_scale=True, desc=target.name, disable=None if progress else True) as bar:
        for chunk, bar.total in _received(url, target):
            file.write(chunk)
            digest.update(chunk)
            bar.update(len(chunk))
    return digest.hexdigest()


def _received(url: str, target: Path) -> Iterator[tuple[bytes, int | None]]:
    """The content of `url` as it comes, with the number of bytes that was announced.

    Raises:
      ConnectionError: it cannot be had, or not whole.
    """
    done, by_hand = 0, f"; download it by other means and put it at {target}"
    try:
        with _answer(url) as answer:
            size = answer.headers.get("Content-Length", "")
            total = int(size) if size.isdecimal() else None
            for chunk in _chunks(answer, total or 0):
                done += len(chunk)
                yield chunk, total
    except urllib.error.HTTPError as error:
        raise ConnectionError(f"{url} answered {error.code} {error.reason}{by_hand}") from error
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionError(f"{url} cannot be had ({getattr(error, 'reason', error)}){by_hand}") from error
    if total is not None and done != total:
        raise ConnectionError(f"{url} broke off after {done} of {total} bytes; try again")


def _answer(url: str) -> http.client.HTTPResponse:
    """What the server answers, begun in time. The time-out of a socket starts anew with every byte: a thread waits instead.

    Raises:
      OSError, http.client.HTTPException: there is no answer, no proper one, or none in time.
    """
    found: queue.SimpleQueue = queue.SimpleQueue()

    def ask():
        try:
            found.put(urllib.request.urlopen(url, timeout=_PATIENCE))
        except (OSError, ValueError, http.client.HTTPException) as error:
            found.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = found.get(timeout=_PATIENCE)
    except queue.Empty:
        raise TimeoutError(f"no answer in {_PATIENCE:g} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _chunks(answer: http.client.HTTPResponse, announced: int) -> Iterator[bytes]:
    """The content as it comes.

    Raises:
      OSError: it comes too slowly, or more comes or is announced than is taken.
    """
    begin = since = time.monotonic()
    done = lately = 0
    while chunk := answer.read1(_CHUNK):
        done, lately, now = done + len(chunk), lately + len(chunk), time.monotonic()
        if max(done, announced) > _LARGEST:
            raise OSError(f"it has more than {_LARGEST:,} bytes")
        if now - begin > _LONGEST:
            raise TimeoutError(f"{done:,} bytes came in {_LONGEST:g} s")
        if now - since > _PATIENCE:
            if lately < _LEAST:
                raise TimeoutError(f"only {lately:,} bytes came in {now - since:.0f} s")
            since, lately = now, 0
        yield chunk
