"""Proxies: one that asks for a login, and one that shows a page under a sub-path, as nginx and others do."""

import re
import socket
import socketserver
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace

from pages import in_thread

MOST_OF_A_HEAD = 65536


@contextmanager
def login_proxy(login: str = "") -> Iterator[SimpleNamespace]:
    """A proxy that asks for a login, whatever is wanted: its `address`, and the first lines of what was `asked`."""
    asked: list[str] = []

    class Refusing(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            asked.append(self.rfile.readline().decode("latin-1").strip())
            while self.rfile.readline().strip():
                pass
            self.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refusing) as server:
        in_thread(server.serve_forever)
        yield SimpleNamespace(asked=asked, address=f"http://{login}127.0.0.1:{server.server_address[1]}")
        server.shutdown()


@contextmanager
def reverse_proxy(upstream: str, prefix: str, *, strips: bool) -> Iterator[str]:
    """`upstream` is HOST:PORT. Gives the address under which the page is shown, with a slash at its end.

    A proxy that `strips` takes the sub-path off what it asks for; one that does not leaves it.
    """
    door = socket.create_server(("127.0.0.1", 0))
    port = door.getsockname()[1]

    def serve() -> None:
        while True:
            try:
                visitor, _ = door.accept()
            except OSError:  # closed
                return
            in_thread(passed_on, visitor)

    def passed_on(visitor: socket.socket) -> None:
        with visitor, suppress(OSError):
            head, rest = _head(visitor)
            line, *headers = head.split("\r\n")
            method, path, version = line.split(" ")
            if not path.startswith(f"{prefix}/") and path != prefix:
                visitor.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            path = (path[len(prefix) :] or "/") if strips else path
            own = {"x-forwarded-host": f"127.0.0.1:{port}", "x-forwarded-proto": "http"}
            kept = [header for header in headers if header.split(":")[0].lower() not in own]
            if not any(re.match("(?i)upgrade:", header) for header in kept):
                kept = [header for header in kept if not re.match("(?i)connection:", header)] + ["Connection: close"]
            written = [f"{method} {path} {version}", *kept, *(f"{name}: {value}" for name, value in own.items())]
            host, _, number = upstream.partition(":")
            with socket.create_connection((host, int(number))) as server:
                server.sendall("\r\n".join([*written, "", ""]).encode("latin-1") + rest)
                back = in_thread(_pump, server, visitor)
                _pump(visitor, server)
                back.join()

    in_thread(serve)
    try:
        yield f"http://127.0.0.1:{port}{prefix}/"
    finally:
        door.close()


def _head(visitor: socket.socket) -> tuple[str, bytes]:
    read = b""
    while b"\r\n\r\n" not in read:
        piece = visitor.recv(MOST_OF_A_HEAD)
        if not piece or len(read) > MOST_OF_A_HEAD:
            raise OSError("no request")
        read += piece
    head, _, rest = read.partition(b"\r\n\r\n")
    return head.decode("latin-1"), rest


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
