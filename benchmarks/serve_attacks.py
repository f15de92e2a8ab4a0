"""Attack `hidascan serve`, and report the response to each attack, its cost, and whether other clients were served.

    python -m benchmarks.serve_attacks [--weights NAME|PATH]

Starts its own service, with a token and with low limits.
"""

from __future__ import annotations

import argparse
import io
import signal
import socket
import struct
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
from PIL import Image

from benchmarks.memory import peak_resident
from benchmarks.service import running_service

TOKEN, SECONDS = "a-long-token", 20
EXAMPLE = Path(__file__).parent.parent / "examples" / "rocket.jpg"


def png_bomb(width: int, height: int) -> bytes:
    """Make a PNG of few bytes that unpacks to width x height pixels, all black."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer, parts = zlib.compressobj(9), []
    for _ in range(height):
        parts.append(packer.compress(bytes(1 + 3 * width)))
    packed = b"".join(parts) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    """Make a PNG whose compressed text chunk unpacks to 200 MB."""
    plain = io.BytesIO()
    Image.new("RGB", (64, 64)).save(plain, "PNG")
    data = b"Comment\0\0" + zlib.compress(bytes(200_000_000), 9)
    chunk = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
    return plain.getvalue()[:33] + chunk + plain.getvalue()[33:]


class Attacks:
    """Attacks on a service: each public method is one, and returns the response."""

    def __init__(self, base: str):
        self.base, self.port = base, int(base.rpartition(":")[2])
        self.client = httpx.Client(base_url=base, timeout=120, headers={"Authorization": f"Bearer {TOKEN}"})

    def _post(self, name: str, data: bytes, **headers: str) -> str:
        answer = self.client.post("/v1/scan", files=[("file", (name, data))], headers=headers)
        if answer.status_code != 200:
            return f"{answer.status_code} {answer.text.strip()[:90]}"
        row = answer.json()
        return f"200 {row['path']}: {row['error'] or row['verdict']}"

    def _raw(self, data: bytes, wait: float = 10.0) -> str:
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait) as line:
            with suppress(OSError):
                line.sendall(data)
            try:
                got = line.recv(2000)
            except TimeoutError:
                return f"nothing in {wait:g} s"
            except OSError as error:
                return f"connection lost: {error.strerror}"
        return got.split(b"\r\n")[0].decode("latin-1") or "connection closed"

    def a_name_that_climbs_out(self) -> str:
        return self._post("../../../../etc/cron.d/x.jpg", EXAMPLE.read_bytes())

    def a_name_of_markup_and_escapes(self) -> str:
        return self._post("<script>alert(1)</script>\x1b[2J.jpg", EXAMPLE.read_bytes())

    def a_url_that_climbs_out(self) -> str:
        return self._raw(b"GET /../../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")

    def a_png_of_900_megapixels_in_a_few_megabytes(self) -> str:
        return self._post("bomb.png", png_bomb(30_000, 30_000))

    def a_png_of_81_megapixels_that_is_let_in(self) -> str:
        return self._post("bomb.png", png_bomb(9_000, 9_000))

    def a_text_chunk_that_unpacks_to_200_mb(self) -> str:
        return self._post("text.png", text_bomb())

    def a_body_that_says_it_is_gzip(self) -> str:
        return self._post("a.jpg", EXAMPLE.read_bytes(), **{"Content-Encoding": "gzip"})

    def a_body_of_30_mb(self) -> str:
        return self._post("large.jpg", bytes(30 << 20))

    def a_body_of_30_mb_without_a_length(self) -> str:
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
        answer = self.client.post("/v1/scan", content=iter([part, *[bytes(1 << 20)] * 30]), headers=headers)
        return f"{answer.status_code} {answer.text.strip()[:90]}"

    def fifty_files(self) -> str:
        answer = self.client.post("/v1/scan", files=[("file", (f"{n}.jpg", b"x")) for n in range(50)])
        return f"{answer.status_code} {answer.text.strip()[:90]}"

    def a_client_that_sends_its_body_slowly(self) -> str:
        head = (
            b"POST /v1/scan HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            b"Authorization: Bearer " + TOKEN.encode() + b"\r\nContent-Length: 90000\r\n\r\n--b\r\n"
        )
        return self._raw(head, SECONDS + 10)

    def a_hundred_clients_that_never_finish_their_headers(self) -> str:
        lines = [socket.create_connection(("127.0.0.1", self.port)) for _ in range(100)]
        for line in lines:
            line.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
        time.sleep(1)
        got = self._post("a.jpg", EXAMPLE.read_bytes())
        for line in lines:
            line.close()
        return f"a connection each; meanwhile another client got {got}"

    def headers_of_a_megabyte(self) -> str:
        return self._raw(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * (1 << 20) + b"\r\n\r\n")

    def another_host_by_dns(self) -> str:
        return self._raw(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n")

    def a_page_of_another_site(self) -> str:
        return self._post("a.jpg", EXAMPLE.read_bytes(), Origin="http://evil.example")

    def no_token(self) -> str:
        answer = httpx.post(f"{self.base}/v1/scan", files=[("file", ("a.jpg", b"x"))])
        return f"{answer.status_code} {answer.text.strip()[:90]}"

    def a_websocket(self) -> str:
        return self._raw(
            b"GET /v1/scan HTTP/1.1\r\nHost: evil.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )

    def two_lengths_for_one_body(self) -> str:
        return self._raw(
            b"POST /v1/scan HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"0\r\n\r\nGET /v1/model HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="hidascan-b")
    given = parser.parse_args()
    limits = ["--max-upload", "20", "--max-files", "10", "--timeout", str(SECONDS)]
    with running_service("--weights", given.weights, *limits, HIDASCAN_TOKEN=TOKEN) as (base, service):
        attacks = Attacks(base)
        attacks._post("a.jpg", EXAMPLE.read_bytes())
        print(f"memory after the first picture: {peak_resident(service.pid)} MB\n")
        print("| attack | got | seconds | then a client waits, s | memory at most, MB |\n|---|---|--:|--:|--:|")
        for name in vars(Attacks):
            if name.startswith("_"):
                continue
            attack: Callable[[], str] = getattr(attacks, name)
            started = time.perf_counter()
            got = attack().replace("|", "/").replace("\x1b", "ESC")
            took, started = time.perf_counter() - started, time.perf_counter()
            assert attacks._post("a.jpg", EXAMPLE.read_bytes()).startswith("200"), "the service no longer answers"
            waits = time.perf_counter() - started
            print(f"| {name.replace('_', ' ')} | {got} | {took:.1f} | {waits:.1f} | {peak_resident(service.pid)} |")
        service.send_signal(signal.SIGINT)
        print(f"\nexit code after Ctrl-C: {service.wait(60)}")


if __name__ == "__main__":
    main()
