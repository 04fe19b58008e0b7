"""A proxy before a local S3 server that misbehaves by a plan: what networks and stores do."""

import contextlib
import http.client
import http.server
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Literal
from urllib.parse import urlsplit

Fault = Literal["", "503", "slow_down", "cut", "mute", "stall", "denied"]
Plan = Callable[[str, str], Fault]  # method and path -> what happens to the request

_SAID = {
    "503": (503, "ServiceUnavailable", "Please try again"),
    "slow_down": (503, "SlowDown", "Please reduce your request rate."),
    "denied": (403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist"),
}
_HOP = {"connection", "transfer-encoding", "keep-alive"}


def no_fault(method: str, path: str) -> Fault:
    return ""


class Proxy(http.server.ThreadingHTTPServer):
    """Passes requests on to ``endpoint``.

    ``cut``: the connection breaks in the middle of the request's body. ``mute``: the request is
    done, and the connection breaks before the answer. ``stall``: no answer for ``stall_s``.
    """

    daemon_threads = True

    def __init__(self, endpoint: str, plan: Plan = no_fault, stall_s: float = 1.0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = urlsplit(endpoint).netloc
        self.plan = plan
        self.stall_s = stall_s
        self.done: Counter[str] = Counter()  # faults that were made
        self.requests: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the plan."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Any
    protocol_version = "HTTP/1.1"

    def _do(self) -> None:
        fault: Fault = self.server.plan(self.command, self.path)
        self.server.requests.append((self.command, self.path))
        if fault:
            self.server.done[fault] += 1
        length = int(self.headers.get("Content-Length", 0))
        if fault == "cut":
            self.rfile.read(length // 2)
            self._hang_up()
            return
        body = self.rfile.read(length)
        if fault in _SAID:
            status, code, message = _SAID[fault]
            text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message>"
            self._answer(status, {"Content-Type": "application/xml"}, f"{text}</Error>".encode())
            return
        if fault == "stall":
            time.sleep(self.server.stall_s)
        away = http.client.HTTPConnection(self.server.target, timeout=60)
        with contextlib.closing(away):
            headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP}
            away.request(self.command, self.path, body, headers)
            reply = away.getresponse()
            data = reply.read()
        if fault == "mute":
            self._hang_up()
            return
        kept = {k: v for k, v in reply.getheaders() if k.lower() not in _HOP | {"content-length"}}
        if self.command == "HEAD":
            kept["Content-Length"] = reply.getheader("Content-Length", "0")
        self._answer(reply.status, kept, data)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _do

    def _answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def faulty(endpoint: str, plan: Plan = no_fault, stall_s: float = 1.0) -> Iterator[Proxy]:
    """Run a proxy; its plan may be replaced while it runs."""
    with Proxy(endpoint, plan, stall_s) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()


def now_and_then(share: float, seed: int, faults: tuple[Fault, ...]) -> Plan:
    """Let a share of all requests meet one of some faults, by a seed."""
    draw, lock = random.Random(seed), threading.Lock()

    def plan(method: str, path: str) -> Fault:
        with lock:
            return draw.choice(faults) if draw.random() < share else ""

    return plan


def first(count: int, fault: Fault, of: str = "") -> Plan:
    """Let the first requests whose method and path hold a text meet a fault."""
    left, lock = [count], threading.Lock()

    def plan(method: str, path: str) -> Fault:
        with lock:
            if of not in f"{method} {path}" or not left[0]:
                return ""
            left[0] -= 1
            return fault

    return plan
