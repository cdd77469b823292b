"""A web server on this machine that breaks off, lies, errs, redirects, and knows ranges or not."""

from __future__ import annotations

import hashlib
import io
import re
import threading
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from camground.data.download.transfer import PIECE, Patience

QUICK = Patience(attempts=3, backoff=0.001, longest=0.01, timeout=5)
CONTENT = np.random.default_rng(0).bytes(40 * PIECE + 17)
HALF = 20 * PIECE


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def zipped(**members: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "/"), text)
    return buffer.getvalue()


@dataclass
class Page:
    """How the server answers at one path; `breaks` holds the bytes after which answers break off."""

    content: bytes = CONTENT
    statuses: list[int] = field(default_factory=list)
    location: str = ""
    ranges: bool = True
    tag: str = '"v1"'
    breaks: list[int] = field(default_factory=list)
    vanishes: bool = False  # answers 404 once an answer has broken off
    length: bool = True
    heeds_if_range: bool = True
    first_byte: int = 0  # added to where a range starts
    asked: list[str] = field(default_factory=list)  # Range headers, "" for none
    sent: int = 0


class Server:
    """Pages by path, on a port of this machine."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        pages = self.pages

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *arguments: Any) -> None:
                pass

            def do_GET(self) -> None:
                page = pages.get(self.path)
                if page is None:
                    return self.send_error(404)
                asked = self.headers.get("Range", "")
                page.asked.append(asked)
                if page.location:
                    self.send_response(302)
                    self.send_header("Location", page.location)
                    self.send_header("Content-Length", "0")
                    return self.end_headers()
                if page.statuses:
                    return self.send_error(page.statuses.pop(0))
                total = len(page.content)
                version = self.headers.get("If-Range", page.tag)
                start = 0
                if asked and page.ranges and (version == page.tag or not page.heeds_if_range):
                    start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) + page.first_byte
                    if start >= total:
                        self.send_response(416)
                        self.send_header("Content-Range", f"bytes */{total}")
                        self.send_header("Content-Length", "0")
                        return self.end_headers()
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
                else:
                    self.send_response(200)
                if page.tag:
                    self.send_header("ETag", page.tag)
                if page.length:
                    self.send_header("Content-Length", str(total - start))
                self.end_headers()
                if page.breaks and page.vanishes:
                    page.statuses.append(404)
                end = start + page.breaks.pop(0) if page.breaks else total
                page.sent += min(end, total) - start
                self.wfile.write(page.content[start:end])

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def add(self, path: str, **how: Any) -> str:
        """A page at `path`; its address."""
        self.pages[path] = Page(**how)
        return self.address(path)

    def address(self, path: str) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}{path}"
