"""A local web server that supports ranges and can break connections."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Web:
    """What is served, and how badly."""

    folder: Path
    url: str = ""
    break_after: int | None = None
    """Close the connection after this many bytes of a file."""
    requests: list[tuple[str, int]] = field(default_factory=list)
    """(path, first byte asked for) of every request."""


@contextmanager
def serving(folder: Path) -> Iterator[Web]:
    web = Web(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = web.folder / self.path.lstrip("/")
            wanted = self.headers.get("Range", "bytes=0-")
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            web.requests.append((self.path, start))
            if not path.is_file():
                self.send_error(404)
                return
            content = path.read_bytes()
            self.send_response(206 if "Range" in self.headers else 200)
            if "Range" in self.headers:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start:] if web.break_after is None else content[start : start + web.break_after])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        web.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield web
        finally:
            server.shutdown()
            thread.join()
