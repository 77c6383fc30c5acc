"""A web server of the files in a folder, which serves ranges."""

from __future__ import annotations

import contextlib
import http.server
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class _Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder: str
    with_etags: bool

    def __init__(self, *args: Any) -> None:
        super().__init__(*args, directory=self.folder)

    def log_message(self, *args: object) -> None:
        """Write no log."""

    def do_GET(self) -> None:
        """Send a file, or the range of it that was asked for."""
        self._send(with_body=True)

    def do_HEAD(self) -> None:
        """Send what is known about a file."""
        self._send(with_body=False)

    def _send(self, *, with_body: bool) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            found = self._range(size)
            if found is None:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{size}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start, stop = found
            self._send_head(os.fstat(file.fileno()), start, stop)
            file.seek(start)
            if with_body:
                shutil.copyfileobj(_Limited(file, stop - start), self.wfile, 1 << 18)

    def _range(self, size: int) -> tuple[int, int] | None:
        """Return the range that was asked for, all without one, or `None` if it is empty."""
        found = _RANGE.fullmatch(self.headers.get("Range", ""))
        if found is None:
            return 0, size
        first, last = found.groups()
        start = int(first) if first else max(size - int(last), 0)
        stop = min(int(last) + 1, size) if first and last else size
        return (start, stop) if start < stop else None

    def _send_head(self, status: os.stat_result, start: int, stop: int) -> None:
        partial = "Range" in self.headers
        self.send_response(206 if partial else 200)
        if partial:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{status.st_size}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(stop - start))
        self.send_header("Last-Modified", self.date_time_string(int(status.st_mtime)))
        if self.with_etags:
            self.send_header("ETag", f'"{status.st_mtime_ns:x}-{status.st_size:x}"')
        self.end_headers()


class _Limited:
    """The next bytes of a file, up to a number of them."""

    def __init__(self, file: Any, left: int) -> None:
        self._file, self._left = file, left

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        piece = self._file.read(min(size, self._left))
        self._left -= len(piece)
        return piece


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, *args: object) -> None:
        """Say nothing about clients that close their connections."""


@contextlib.contextmanager
def file_server(folder: Path | str, *, etags: bool = True) -> Iterator[str]:
    """Serve the files of a folder in the block; yield the address."""
    names = {"folder": os.fspath(folder), "with_etags": etags}
    with _Server(("127.0.0.1", 0), type("Handler", (_Handler,), names)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
