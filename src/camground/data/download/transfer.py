"""One file from a list of addresses: resumed, retried, checked, and whole under its final name.

Each address in turn is asked, with waits that double in between, until a file of the right size and
digests is there. What came before a break stays as `<file>.part` and only the rest is asked for
(HTTP ranges), but never mixed with bytes of another version: a part goes on only where its digests are
known, or where the same address says by `If-Range` that its file is still the same.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from camground.study.errors import UserError
from camground.study.progress import log, track

# Bytes read at once from the network: what a break can lose.
PIECE = 1 << 14
# Statuses that may be others a moment later; any other error sends to the next address at once.
PASSING = (429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Patience:
    """How long to go on asking one address."""

    attempts: int = 6  # in a row that bring nothing new
    backoff: float = 1.0  # seconds before the second attempt, doubled for each further one
    longest: float = 60.0  # seconds of the longest wait
    timeout: float = 60.0  # seconds without a byte


@dataclass(frozen=True)
class Expected:
    """What is known of the file before it is there."""

    bytes: int | None = None
    digests: Mapping[str, str] = field(default_factory=dict)  # sha256, md5, git_blob
    problem: Callable[[Path], str | None] = lambda path: None  # why the content cannot be right


class _GiveUp(Exception):
    """This address will not do; the message says why."""


def digest(path: Path, name: str = "sha256") -> str:
    """A digest of a file in hexadecimal; git_blob is the id that git gives to its content."""
    algorithm, head = name, b""
    if name == "git_blob":
        algorithm, head = "sha1", f"blob {path.stat().st_size}\0".encode()
    start = hashlib.new(algorithm, head, usedforsecurity=False)
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: start).hexdigest()


def mismatch(path: Path, expected: Expected) -> str | None:
    """What differs between a file and what is expected; None when nothing does."""
    size = path.stat().st_size
    if expected.bytes is not None and size != expected.bytes:
        return f"it has {size} bytes, not {expected.bytes}"
    for name, value in expected.digests.items():
        if (actual := digest(path, name)) != value:
            return f"its {name} is {actual}, not {value}"
    return expected.problem(path)


def transfer(
    addresses: tuple[str, ...], target: Path, expected: Expected, patience: Patience | None = None
) -> str:
    """Fetch `target`, which is not there, from the first address that has it; returns that address.

    `UserError` lists what each address answered. A `.part` file may stay beside `target`, to go on from.
    """
    patience = patience or Patience()
    target.parent.mkdir(parents=True, exist_ok=True)
    failures = []
    with _session(patience) as session:
        for address in addresses:
            part = _Part(target, expected)
            try:
                _complete(session, address, part, patience)
                problem = mismatch(part.path, expected)
                if problem and part.resumed:
                    # it may have gone on from bytes of another mirror
                    log.warning("%s: %s; once more from its start", target.name, problem)
                    part.discard()
                    _complete(session, address, part, patience)
                    problem = mismatch(part.path, expected)
                if problem:
                    part.discard()
                    raise _GiveUp(f"{problem}; nothing of it was kept")
            except _GiveUp as reason:
                log.warning("%s: %s", address, reason)
                failures.append(f"{address}: {reason}")
                continue
            part.path.replace(target)
            part.version_file.unlink(missing_ok=True)
            return address
    raise UserError("\n  ".join([f"{target}: could not be downloaded:", *failures]))


class _Part:
    """`<file>.part`, what has come so far, and `<file>.part.json`, which version of which file it is."""

    def __init__(self, target: Path, expected: Expected) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self.version_file = target.with_name(f"{target.name}.part.json")
        self.expected, self.resumed = expected, False

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.version_file.unlink(missing_ok=True)
        self.resumed = False

    def resumption(self, address: str) -> dict[str, str]:
        """Headers that ask for the rest; none where the part cannot be resumed at this address."""
        if not self.size:
            return {}
        validator = self.validator(address)
        if self.expected.bytes is not None and self.size > self.expected.bytes:
            self.discard()
            return {}
        if validator is None and not self.expected.digests:
            return {}  # it stays until this address answers: it may be down, and a later one go on
        header = {"Range": f"bytes={self.size}-"}
        return header | ({"If-Range": validator} if validator else {})

    def validator(self, address: str) -> str | None:
        """The address's own name of the part's version; None: it gave none, or it is another address."""
        try:
            version = json.loads(self.version_file.read_text())
            validator: str | None = version["validator"] if version["address"] == address else None
            return validator
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def begin(self, address: str, response: requests.Response) -> None:
        """Start anew, with the bytes of this response."""
        self.discard()
        # ranges of a compressed transfer are not those of the file
        validator = None if _encoded(response) else _validator(response)
        self.version_file.write_text(json.dumps({"address": address, "validator": validator}))


def _session(patience: Patience) -> requests.Session:
    """A session that asks again by itself until a connection stands and the status is no passing one."""
    retry = Retry(
        total=None,
        connect=patience.attempts - 1,
        read=patience.attempts - 1,
        status=patience.attempts - 1,
        other=0,
        status_forcelist=PASSING,
        allowed_methods=("GET",),
        backoff_factor=patience.backoff,
        backoff_max=patience.longest,
        retry_after_max=int(patience.longest),
        raise_on_status=False,
    )
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    # the file's own bytes: sizes and ranges of a compressed transfer are others
    session.headers["Accept-Encoding"] = "identity"
    return session


def _complete(session: requests.Session, address: str, part: _Part, patience: Patience) -> None:
    """Bring `part` to its end from `address`, over breaks; `_GiveUp` when it goes no further."""
    furthest, fruitless = part.size, 0
    while True:
        try:
            if _request(session, address, part, patience):
                return
            reason = "the connection broke off"
        except requests.RequestException as error:
            reason = _innermost(error)
        fruitless = 0 if part.size > furthest else fruitless + 1
        furthest = max(furthest, part.size)
        if fruitless >= patience.attempts:
            raise _GiveUp(f"gave up after {fruitless} attempts in a row: {reason}")
        wait = min(patience.longest, patience.backoff * 2 ** max(0, fruitless - 1))
        log.warning("%s: %s at byte %d; again in %.0f s", part.path.name, reason, part.size, wait)
        time.sleep(wait)


def _request(session: requests.Session, address: str, part: _Part, patience: Patience) -> bool:
    """One request; True when the file is whole, as far as the server says."""
    headers = part.resumption(address)
    start = part.size if headers else 0
    try:
        response = session.get(address, headers=headers, stream=True, timeout=patience.timeout)
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
        raise _GiveUp(str(error)) from None
    except requests.exceptions.TooManyRedirects:
        raise _GiveUp("it redirects without end") from None
    except requests.exceptions.ConnectionError as error:
        # the session has asked often enough already
        raise _GiveUp(_innermost(error)) from None
    with response:
        if response.status_code == 416 and start:
            if _range(response)[1] == start:
                return True
            part.discard()  # it is longer than the file
            return False
        if response.status_code not in (200, 206):
            raise _GiveUp(f"answers {response.status_code} {response.reason}")
        if response.status_code == 206:
            first, total = _range(response)
            if not start or first != start or _encoded(response):
                part.discard()
                raise _GiveUp("answers with another range than asked for")
            before, now = part.validator(address), _validator(response)
            if before and now and before != now:
                part.discard()  # the file has changed, and the server has not heeded If-Range
                return False
            part.resumed = True
            log.info("%s: going on from byte %d", part.path.name, start)
        else:
            start = 0
            length = "" if _encoded(response) else response.headers.get("Content-Length", "")
            total = int(length) if length.isdecimal() else None
            part.begin(address, response)
        expected = part.expected.bytes
        if expected is not None and total is not None and total != expected:
            part.discard()
            raise _GiveUp(f"it has {total} bytes, not {expected}")
        chunked = "chunked" in response.headers.get("Transfer-Encoding", "")
        if total is None and not chunked and expected is None and not part.expected.digests:
            part.discard()
            raise _GiveUp("says nowhere how long the file is, so a break could not be told")
        _append(response, part, total or expected, start)
    return part.size >= (total or expected or 0)


def _append(response: requests.Response, part: _Part, total: int | None, start: int) -> None:
    """Write the response to the part from byte `start` on; bytes before a break are kept."""
    steps = None if total is None else -(-(total - start) // PIECE)
    name = f"{part.path.name.removesuffix('.part')} ({PIECE >> 10} KiB)"
    with part.path.open("ab" if start else "wb") as file:
        for piece in track(response.iter_content(PIECE), name, total=steps):
            file.write(piece)


def _encoded(response: requests.Response) -> bool:
    return response.headers.get("Content-Encoding", "identity") != "identity"


def _validator(response: requests.Response) -> str | None:
    """The version of the file for `If-Range`; a weak tag promises the same meaning, not the same bytes."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


def _range(response: requests.Response) -> tuple[int | None, int | None]:
    """First byte and total of `Content-Range: bytes 5-9/10` or `bytes */10`."""
    pattern = r"bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)"
    match = re.fullmatch(pattern, response.headers.get("Content-Range", ""))
    first, total = match.groups() if match else (None, None)
    return (int(first) if first else None), (int(total) if total else None)


def _innermost(error: Exception) -> str:
    """The innermost reason of a chain of wrapped errors."""
    inner = error.args[0] if error.args else error
    reason = getattr(inner, "reason", inner)
    return str(reason.args[0] if isinstance(reason, Exception) and reason.args else reason)
