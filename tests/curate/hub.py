"""A loopback server that serves files under given paths, and can be told to misbehave."""

import http.server
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote


class Hub(http.server.ThreadingHTTPServer):
    """Attributes: ``files`` by path; ``troubles`` by path, each for one GET; ``gets`` that came.

    A trouble is a status, ``cut`` (half the body, then the end), ``stall`` (half the body, then
    nothing) or ``drip`` (a byte now and then).
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes | Path] = {}
        self.troubles: dict[str, list[int | str]] = defaultdict(list)
        self.etags: dict[str, str] = {}
        self.gets: list[str] = []
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients that were ended hang up


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Any

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self.server.gets.append(self.path)
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        hub = self.server
        path = unquote(self.path.partition("?")[0])
        queue = hub.troubles[path]
        trouble = queue.pop(0) if queue and with_body else ""
        held = hub.files.get(path)
        if isinstance(trouble, int) or held is None:
            status = trouble if isinstance(trouble, int) else 404
            self.send_response(status)
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = held.read_bytes() if isinstance(held, Path) else held
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        if path in hub.etags:
            self.send_header("ETag", f'"{hub.etags[path]}"')
        self.end_headers()
        if not with_body:
            return
        if trouble == "drip":
            for byte in data:
                self.wfile.write(bytes([byte]))
                if hub.over.wait(0.05):
                    return
        self.wfile.write(data[: len(data) // 2] if trouble else data)
        self.wfile.flush()
        if trouble == "stall":
            hub.over.wait(20)

    def log_message(self, format: str, *args: Any) -> None:
        pass
