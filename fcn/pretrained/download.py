"""Files from the network: once, checked, and never half of one."""

import hashlib
import http.client
import os
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

_CHUNK = 2**20


def weights_folder() -> Path:
    """Where downloaded weights are kept: FCN_WEIGHTS_DIR, else `fcn/weights` in the user's cache folder."""
    if "FCN_WEIGHTS_DIR" in os.environ:
        return Path(os.environ["FCN_WEIGHTS_DIR"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "fcn" / "weights"


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
      ConnectionError: the file cannot be had; the message says why and where it may be put by hand.
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
    handle, draft = tempfile.mkstemp(prefix=f".{target.name}-", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            digest = _fetch(url, file, target, progress)
        if not digest.startswith(sha256):
            raise ValueError(f"{url} has the SHA-256 {digest}, not {sha256}...; it was changed or damaged on its way")
        os.replace(draft, target)
    finally:
        Path(draft).unlink(missing_ok=True)
    return target


def _fetch(url, file, target, progress) -> str:
    """Copies the content of `url` into `file`; its SHA-256."""
    digest, done = hashlib.sha256(), 0
    by_hand = f"; download it by other means and put it at {target}"
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            size = answer.headers.get("Content-Length")
            total = int(size) if size else None
            with tqdm(total=total, unit="B", unit_scale=True, desc=target.name, disable=None if progress else True) as bar:
                while chunk := answer.read(_CHUNK):
                    file.write(chunk)
                    digest.update(chunk)
                    done += len(chunk)
                    bar.update(len(chunk))
    except urllib.error.HTTPError as error:
        raise ConnectionError(f"{url} answered {error.code} {error.reason}{by_hand}") from error
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionError(f"{url} cannot be reached ({getattr(error, 'reason', error)}){by_hand}") from error
    if total is not None and done != total:
        raise ConnectionError(f"{url} broke off after {done} of {total} bytes; try again")
    return digest.hexdigest()
