"""Downloads a file: resumes where it stopped, checks the MD5, and puts the file in place only when it is complete."""

import errno
import http.client
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from ofa_core.run import files
from ofa_core.run.errors import InputError

CHUNK = 1 << 18  # bytes
TIMEOUT = 30  # seconds without a byte
ATTEMPTS = 4
"""Attempts per call, if a transfer starts and is cut. Each attempt resumes where the previous one stopped."""


class _CutError(Exception):
    """The connection ended before the end of the file."""


def download(url: str, path: str | Path, md5: str | None = None) -> None:
    """Downloads `url` (http, https or file) to `path`, with a progress bar.

    Bytes first go to `path` + ".part". A part file of an earlier call is continued with an HTTP range request. If the server
    does not support ranges, the download starts again. The finished file replaces `path` in one step. If `path` already has the
    MD5, nothing is requested. Give an MD5 if one is known: only it shows that the file on the server changed between two parts.

    Raises InputError, one line: no connection, an HTTP error, a cut connection (the part is kept for the next call), a wrong
    MD5 (the part is deleted), a full disk.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    if not re.match(r"(https?|file)://", url):
        raise InputError(f"{url}: not a http, https or file URL")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if md5 and path.is_file() and files.md5(path) == md5:
            return
        if not (md5 and part.is_file() and files.md5(part) == md5):
            _transfer(url, part, path.name)
            _check(url, part, md5)
        part.replace(path)
    except OSError as error:
        reason = "no space left on the disk" if error.errno == errno.ENOSPC else error.strerror or error
        raise InputError(f"{path}: cannot be written: {reason}") from None


def _check(url: str, part: Path, md5: str | None) -> None:
    if md5 and (got := files.md5(part)) != md5:
        part.unlink()
        raise InputError(f"{url}: MD5 {got} is not the expected {md5}; the download was deleted")


def _transfer(url: str, part: Path, label: str) -> None:
    """Fills `part`. Raises OSError for local errors (disk, permission) and InputError for everything else."""
    for attempt in range(ATTEMPTS):
        try:
            return _transfer_once(url, part, label)
        except _CutError as cut:
            if attempt == ATTEMPTS - 1:
                raise InputError(f"{url}: connection cut ({cut}); run again to continue") from None


def _transfer_once(url: str, part: Path, label: str) -> None:
    have = part.stat().st_size if part.is_file() else 0
    response = _open(url, have)
    if response is None:  # the server has no byte after `have`: the part is complete, or belongs to another file
        return
    with response:
        start = _start(response, have)
        length = response.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else None
        # If the part cannot be continued, the response starts at byte 0, so the part is emptied.
        with (
            part.open("r+b" if start else "wb") as file,
            tqdm(total=total, initial=start, desc=label, unit="B", unit_scale=True, unit_divisor=1024) as bar,
        ):
            file.seek(start)
            _copy(response, file, bar)
            if total is not None and file.tell() < total:
                raise _CutError(f"{file.tell()} of {total} bytes")


def _open(url: str, have: int) -> http.client.HTTPResponse | None:
    """The response with the bytes from `have` on, or from 0 if the server has no ranges. None if nothing is left."""
    request = urllib.request.Request(url, headers={"User-Agent": "ofa_core", **({"Range": f"bytes={have}-"} if have else {})})
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:
            whole = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
            return None if whole and int(whole[1]) == have else _open(url, 0)
        raise InputError(f"{url}: HTTP error {error.code} ({error.reason})") from None
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(f"{url}: cannot be reached: {getattr(reason, 'strerror', None) or reason}") from None


def _start(response: http.client.HTTPResponse, have: int) -> int:
    """The offset in the file of the response's first byte."""
    if getattr(response, "status", None) != 206:
        return 0
    span = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if span is None or int(span[1]) != have:
        raise InputError(f"{response.url}: the server sent a different range than requested")
    return have


def _copy(response: http.client.HTTPResponse, file: BinaryIO, bar: tqdm) -> None:
    while True:
        try:
            block = response.read(CHUNK)
        except (http.client.HTTPException, OSError) as error:  # a failed read is the network, a failed write below is the disk
            raise _CutError(f"{file.tell()} bytes, {error}") from None
        if not block:
            return
        file.write(block)
        bar.update(len(block))
