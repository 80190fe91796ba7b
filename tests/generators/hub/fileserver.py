"""A server of files on 127.0.0.1 that misbehaves as it is told to, for the tests of downloads."""

import hashlib
import random
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONTENT = random.Random(1).randbytes(30_000)  # of a file


class Files(ThreadingHTTPServer):
    """Serves `files`, path -> bytes. Each request takes the next of `script`; then all are answered well.

    A line of the script is "ok", "cut N" (closes after N bytes), "stall N" (says nothing after N bytes), "status N",
    "redirect URL", "html", "whole" (ignores Range), "shifted" (a range that was not asked for), "drip" (byte by
    byte), "nolength" (ends with the connection), or "retry N" (503 with Retry-After).
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.script: list[str] = []
        self.asked: list[tuple[str, str | None]] = []  # path and Range of each request
        self.tagged = True  # whether answers carry an ETag
        self.tag = ""  # instead of the right one
        self.over = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Files

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        server, self.close_connection = self.server, True
        server.asked.append((self.path, self.headers.get("Range")))
        what, _, value = (server.script.pop(0) if server.script else "ok").partition(" ")
        content = server.files.get(self.path.partition("?")[0])
        if what == "redirect":
            return self.answer(302, b"", {"Location": value})
        if what == "html":
            return self.answer(200, b"<html>please log in</html>", {"Content-Type": "text/html; charset=utf-8"})
        if what in ("status", "retry") or content is None:
            more = {"Retry-After": value} if what == "retry" else {}
            return self.answer(503 if what == "retry" else int(value or 404), b"no", more)
        self.serve(content, what, int(value or 0))

    def serve(self, content: bytes, what: str, stop: int) -> None:
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        about = {"ETag": self.server.tag or tag} if self.server.tagged else {}
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        status, first = 200, 0
        if wanted and what != "whole" and self.headers.get("If-Range", tag) == tag:
            status, first = 206, int(wanted[1])
            if first >= len(content):
                return self.answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            said = first + 1 if what == "shifted" else first
            about["Content-Range"] = f"bytes {said}-{len(content) - 1}/{len(content)}"
        body = content[first:]
        self.send_response(status)
        if what != "nolength":
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        for key, value in about.items():
            self.send_header(key, value)
        self.end_headers()
        pieces = [body[i : i + 1] for i in range(len(body))] if what == "drip" else [body]
        for piece in [body[:stop]] if what in ("cut", "stall") else pieces:
            self.wfile.write(piece)
            self.wfile.flush()
        if what == "stall":
            self.server.over.wait(10)

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), "Connection": "close", **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving() -> Iterator[Files]:
    server = Files()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005})
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
