"""One file over HTTP: resumed where it was cut off, and tried again where the other side failed."""

import errno
import http.client
import json
import re
import shutil
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from io import FileIO
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from generators.errors import DownloadError
from generators.storage import is_file

PASSING = {408, 425, 429}  # answers below 500 that ask to come again


@dataclass(frozen=True, kw_only=True)
class DownloadConfig:
    """How long to wait, and how often to try."""

    timeout: float = 30.0  # seconds without a byte, after which an attempt is given up
    attempts: int = 5  # in a row that bring nothing new, after which the address is
    backoff: float = 1.0  # seconds before the second attempt, doubled with each
    longest_wait: float = 60.0  # seconds; also where the server asks for more
    chunk: int = 1 << 20  # most bytes of one read; an attempt that brings so many is not counted


@dataclass(frozen=True)
class Progress:
    """Where a download stands."""

    done: int  # bytes, those of earlier runs included
    total: int | None  # bytes; None where the server does not tell
    note: str | None = None  # what has happened, where that is worth a line


Watch = Callable[[Progress], object]


class Refused(DownloadError):
    """An answer that another attempt would not change."""


class Passing(Exception):
    """A failure that may be gone the next time; wait is what the server asks for, in seconds."""

    def __init__(self, why: str, wait: float = 0.0) -> None:
        super().__init__(why)
        self.wait = wait


class SafeRedirects(HTTPRedirectHandler):
    """Follows redirects, but not to other kinds of address, nor from https to http."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        to = urlsplit(newurl).scheme
        if to not in ("http", "https") or (req.type == "https" and to == "http"):
            raise Refused(f"{req.host} sends on from {req.type} to {to}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(
    addresses: Sequence[str], part: Path, config: DownloadConfig | None = None, *, watch: Watch | None = None
) -> str:
    """Bring a whole file to part, from the first address that has it, which is returned.

    What part holds already is resumed where the server confirms that its file is still the same. When the download
    fails or is stopped, part keeps what came. watch sees every step. Raises DownloadError, in one line, where no
    address serves the file, attempts are used up, or the disk is full.
    """
    failures = []
    for address in addresses:
        try:
            persist(address, part, config or DownloadConfig(), watch or (lambda _: None))
            return address
        except DownloadError as error:
            failures.append(str(error))
            if not isinstance(error, Refused) and size_of(part):
                break  # another address would begin anew; this one can be resumed
    raise DownloadError("; ".join(dict.fromkeys(failures)))


def persist(address: str, part: Path, config: DownloadConfig, watch: Watch) -> None:
    """Attempt a download until it is whole; attempts are counted while nothing new comes."""
    failed, best = 0, size_of(part)
    while True:
        try:
            return attempt(address, part, config, watch)
        except Passing as error:
            have = size_of(part)
            failed = 0 if have >= best + config.chunk else failed + 1
            best = max(best, have)
            if failed >= config.attempts:
                kept = "; what came is kept, the same command goes on from there" if have else ""
                raise DownloadError(f"{short(address)} failed {failed} times: {error}{kept}") from error
            wait = min(config.longest_wait, max(error.wait, config.backoff * 2 ** max(failed - 1, 0)))
            watch(Progress(have, None, f"{error}; trying again in {wait:.0f} s"))
            time.sleep(wait)


def attempt(address: str, part: Path, config: DownloadConfig, watch: Watch) -> None:
    """One request; Passing or Refused where it does not end with the whole file in part."""
    if not is_address(address):
        raise Refused(f"{address!a} is no http address; give one like https://example.org/model.pkl")
    have, mark = resumable(address, part)
    headers = {"User-Agent": "latent-inversion", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": mark}
    try:
        with build_opener(SafeRedirects).open(Request(address, headers=headers), timeout=config.timeout) as response:
            receive(response, address, part, have, config, watch)
    except HTTPError as error:
        raise answered(error, address, part) from error
    except URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise Refused(f"{short(address)} has no valid certificate ({error.reason.verify_message})") from error
        raise Passing(f"no connection ({_why(error.reason)})") from error
    except (OSError, http.client.HTTPException) as error:
        raise Passing(f"the connection was lost ({_why(error)})") from error
    except ValueError as error:  # of headers and addresses that it sends on to
        raise Refused(f"{short(address)} answered with what is no HTTP ({_why(error)})") from error


def receive(
    response: http.client.HTTPResponse, address: str, part: Path, have: int, config: DownloadConfig, watch: Watch
) -> None:
    """Write what a response brings to part, behind what it has if the response goes on from there."""
    begin, total = extent(response)
    if begin != have:
        if begin:
            part.unlink(missing_ok=True)
            raise Passing(f"bytes from {begin} on came, from {have} on were asked for")
        have = 0
    kind = response.headers.get_content_type()
    if kind in ("text/html", "application/json"):  # a page to log in, a refusal with the wrong status
        raise Refused(f"{short(address)} answered with {kind}, not with a file")
    check_room(part, (total or have) - have)
    if not have:
        remember(part, address, response.headers)
    with guarded(part):
        file = open(part, "ab" if have else "wb", buffering=0)  # noqa: SIM115 - closed below
    with file:
        watch(Progress(have, total))
        while data := response.read1(config.chunk):
            with guarded(part):  # around the disk alone: the connection fails with OSError too
                write(file, data)
            have += len(data)
            watch(Progress(have, total))
    if total is not None and have < total:
        raise Passing(f"the connection ended after {have} of {total} bytes")


def answered(error: HTTPError, address: str, part: Path) -> Exception:
    """The failure that a status above 400 means."""
    if error.code == 416:  # part is as long as the file, or longer: not the same file
        part.unlink(missing_ok=True)
        return Passing("the part that was there did not fit")
    if error.code in PASSING or error.code >= 500:
        asked = error.headers.get("Retry-After", "") if error.headers else ""
        return Passing(f"the server answered {error.code}", float(asked) if re.fullmatch("[0-9]{1,9}", asked) else 0.0)
    why = {401: "wants a login", 403: "forbids it", 404: "does not have it", 410: "no longer has it"}
    return Refused(f"{short(address)} {why.get(error.code, 'refuses')} ({error.code})")


def extent(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """First byte that a response brings, and the length of the whole file, None where it does not tell."""
    if response.status == 206:
        found = re.fullmatch(
            r"bytes ([0-9]{1,18})-[0-9]+/([0-9]{1,18}|\*)", response.headers.get("Content-Range", "").strip()
        )
        if found is None:
            return -1, None
        return int(found[1]), None if found[2] == "*" else int(found[2])
    return 0, response.length


def resumable(address: str, part: Path) -> tuple[int, str]:
    """How much of part can be kept, and what tells the server which version it is of; 0 where that is not known."""
    try:
        about = json.loads(_notes(part).read_text()) if is_file(_notes(part)) else {}
        if about["address"] == address and isinstance(about["version"], str) and as_header(about["version"]):
            return size_of(part), about["version"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    return 0, ""


def as_header(value: str | None) -> str | None:
    """The value as a header can hold it; None for what came broken over lines, or in other letters."""
    return value if value and value.isascii() and value.isprintable() else None


def remember(part: Path, address: str, headers: Message) -> None:
    """Note beside part which version of the file it is of, so that two versions are never mixed."""
    tag = headers.get("ETag", "")
    version = headers.get("Last-Modified") if tag.startswith("W/") or not tag else tag  # RFC 9110, section 13.1.5
    with guarded(part):
        _notes(part).write_text(json.dumps({"address": address, "version": as_header(version)}))


def forget(part: Path) -> None:
    """Remove what was noted about part."""
    _notes(part).unlink(missing_ok=True)


def check_room(part: Path, missing: int) -> None:
    """DownloadError where the disk has no room for so many bytes."""
    free = shutil.disk_usage(part.parent).free
    if missing > free:
        raise DownloadError(
            f"{part.parent} has room for {free / 1e6:.0f} MB, {missing / 1e6:.0f} MB are missing; "
            "free space, or set LATENT_CACHE to another folder"
        )


def write(file: FileIO, data: bytes) -> None:
    """All of data, which a file without a buffer may take in pieces."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """DownloadError for what the disk refuses."""
    try:
        yield
    except OSError as error:
        why = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror or error
        raise DownloadError(
            f"cannot write {path}: {why}; free space, or set LATENT_CACHE to another folder; what came is kept"
        ) from error


def is_address(text: str) -> bool:
    """Tells a well-formed http or https address."""
    try:
        found = urlsplit(text)
        host = (found.hostname or "").encode("idna")
    except ValueError:  # UnicodeError is one
        return False
    return found.scheme in ("http", "https") and bool(host) and text.isascii() and not re.search(r"[\s\0-\x1f]", text)


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def short(address: str) -> str:
    """An address as messages name it, without its query, which may be signed."""
    return address.partition("?")[0]


def _notes(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _why(error: object) -> str:
    text = "no answer in time" if isinstance(error, TimeoutError) else getattr(error, "strerror", None) or str(error)
    return str(text) or type(error).__name__
