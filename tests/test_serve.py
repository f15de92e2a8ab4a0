"""The service: many clients with one scanner, and rejected requests."""

import io
import json
import os
import signal
import socket
import struct
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from PIL import Image
from pillow_heif import register_heif_opener

from benchmarks.service import running_service
from hidascan import Finding, Scanner, ScanOptions
from hidascan.finding import RunInfo
from hidascan.serve import run
from hidascan.serve.answers import PAGE_LINES
from hidascan.serve.app import make_app
from hidascan.serve.requests import Limits
from hidascan.serve.scan_queue import Busy, ScanQueue
from tests.conftest import HOSTILE, picture, save_picture

fastapi_client = pytest.importorskip("starlette.testclient").TestClient


def png(tmp_path, seed: int = 0, height: int = 60, width: int = 80) -> bytes:
    return save_picture(tmp_path / f"made-{seed}-{height}.png", height, width, seed).read_bytes()


@pytest.fixture
def client(tiny_weights):
    pool = ScanQueue(Scanner(ScanOptions(str(tiny_weights), precision="fp32")), 200)
    with fastapi_client(make_app(pool, Limits()), base_url="http://localhost") as client:
        yield client


def files(*named: tuple[str, bytes]) -> list:
    return [("file", one) for one in named]


def rows(answer) -> list[dict]:
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def test_rows_are_those_of_the_command_line_in_order(client, hidascan, tiny_weights, tmp_path):
    named = [(f"{seed}.png", png(tmp_path, seed)) for seed in range(3)] + [("broken.jpg", b"no picture")]
    found = rows(client.post("/v1/scan", files=files(*named)))
    assert [row["path"] for row in found] == [name for name, _ in named]
    for name, data in named:
        (tmp_path / name).write_bytes(data)
    paths = [tmp_path / name for name, _ in named]
    ran = hidascan(*paths, "--jsonl", "-", "--precision", "fp32", "--weights", tiny_weights)
    for one, other in zip(found, map(json.loads, ran.out.splitlines()), strict=True):
        assert one["score"] == other["score"] and one["error"] == other["error"] and one["scan"] == other["scan"]
        assert one["summary"] == other["summary"]
        assert one["file"]["sha256"] == other["file"]["sha256"]


def test_nothing_is_kept_after_the_answer(client, tmp_path):
    folder = client.app.state.folder
    client.post("/v1/scan", files=files(("a.png", png(tmp_path))))
    assert folder.is_dir() and not list(folder.iterdir())


def test_uploads_are_kept_on_request(tiny_weights, tmp_path):
    (tmp_path / "kept").mkdir()
    pool = ScanQueue(Scanner(ScanOptions(str(tiny_weights))), 9)
    with fastapi_client(make_app(pool, Limits(), tmp_path / "kept"), base_url="http://localhost") as client:
        client.post("/v1/scan", files=files(("../../a.png", png(tmp_path))))
    (kept,) = (tmp_path / "kept").iterdir()
    assert kept.suffix == ".png" and len(kept.stem) == 32


def test_names_of_uploads_are_never_used_as_paths(client, tmp_path):
    named = [(name, png(tmp_path)) for name in ("../../etc/passwd.png", "a\x1b[2J.png", HOSTILE, "x" * 300 + ".png")]
    found = rows(client.post("/v1/scan", files=files(*named), headers={"Accept": PAGE_LINES}))
    assert found[0]["row"]["path"] == "passwd.png" and "\x1b" not in found[1]["row"]["path"]
    assert "<img src=x" not in found[2]["html"] and [one["row"]["status"] for one in found] == ["ok"] * 4


def test_the_page_gets_the_rows_of_the_report(client, tmp_path):
    (one,) = rows(client.post("/v1/scan", files=files(("a.png", png(tmp_path))), headers={"Accept": PAGE_LINES}))
    assert one["html"].lstrip().startswith("<article") and 'alt="the scanned picture"' in one["html"]
    page = client.get("/")
    assert "http://" not in page.text and "https://" not in page.text
    assert "connect-src 'self'" in page.headers["content-security-policy"]
    frame = client.get("/v1/report-frame", params={"made": "<b>today"}).json()
    assert frame["head"].startswith("<!doctype html>") and "<b>today" not in frame["head"]


@pytest.mark.parametrize(
    ("kind", "named", "path"),
    [
        ("image/png", None, "upload"),
        ("application/octet-stream", "attachment; filename=a.png", "a.png"),
        ("image/png", "attachment; filename*=UTF-8''caf%C3%A9.png", "caf\u00e9.png"),
    ],
)
def test_a_picture_may_be_the_body(client, tmp_path, kind, named, path):
    headers = {"content-type": kind} | ({"content-disposition": named} if named else {})
    (row,) = rows(client.post("/v1/scan", content=png(tmp_path), headers=headers))
    assert (row["path"], row["status"]) == (path, "ok") and not list(client.app.state.folder.iterdir())


def test_other_files_than_pictures_are_answered_with_advice(client, tmp_path):
    asked = [
        client.post("/v1/scan"),
        client.post("/v1/scan", json={"url": "https://example.org/a.png"}),
        client.post("/v1/scan", data={"url": "https://example.org/a.png"}),
        client.post("/v1/scan", content=b"", headers={"content-type": "image/png"}),
        client.get("/v1/scan"),
    ]
    assert [answer.status_code for answer in asked] == [400, 400, 400, 400, 405]
    assert all("curl -F file=@photo.jpg" in answer.json()["error"] for answer in asked)
    assert "/v1/scan" in client.get("/v1/nothing").json()["error"]


def test_options_in_the_address_are_refused_and_not_ignored(client, tmp_path):
    answer = client.post("/v1/scan?threshold=0.9", files=files(("a.png", png(tmp_path))))
    assert answer.status_code == 400 and "threshold" in answer.json()["error"]


@pytest.fixture
def judge(tiny_weights):
    """A client of a service that calls every picture `ai`, and by `low-fpr` none."""

    def start(**options):
        scanner = Scanner(ScanOptions(str(tiny_weights), precision="fp32"))
        scanner.options = replace(scanner.options, **options)  # the tiny weights could not be loaded with --fast
        scanner.info = replace(scanner.info, options=scanner.options)
        bounds = {"low-fpr": (1e-6, 1 - 1e-6), "balanced": (1e-6, 1e-6), "high-recall": (0.0, 0.0)}
        calibration = replace(scanner.header.calibration, thresholds=bounds)
        scanner.header = replace(scanner.header, calibration=calibration)
        return fastapi_client(make_app(ScanQueue(scanner, 9), Limits()), base_url="http://localhost")

    return start


@pytest.mark.parametrize("accept", ["*/*", "text/event-stream"])
def test_a_request_may_choose_the_profile_of_its_verdicts(judge, tmp_path, accept):
    side = 300 if accept == "*/*" else 1200  # large enough for a preliminary verdict
    named, headers = files(("a.png", png(tmp_path, 0, side, side))), {"Accept": accept}

    def answered(query):
        answer = client.post("/v1/scan" + query, files=named, headers=headers)
        if accept == "*/*":
            return rows(answer)[0]
        seen = events_of(answer.text)
        last = seen[-1][1]["row"]
        assert {data["verdict"] for _, data in seen if data.get("verdict")} == {last["verdict"]}
        return last

    with judge() as client:
        found = [answered(query) for query in ("", "?profile=low-fpr", "?profile=balanced")]
    assert [row["verdict"] for row in found] == ["ai", "inconclusive", "ai"]
    assert [row["scan"]["profile"] for row in found] == ["balanced", "low-fpr", "balanced"]
    assert [row["score"] for row in found] == pytest.approx([found[0]["score"]] * 3, abs=1e-6)


def test_the_card_and_the_report_have_the_bounds_of_the_chosen_profile(judge, tmp_path):
    named, headers = files(("a.png", png(tmp_path, 0, 300, 300))), {"Accept": PAGE_LINES}
    with judge() as client:
        (line,) = rows(client.post("/v1/scan?profile=low-fpr", files=named, headers=headers))
        head = client.get("/v1/report-frame?profile=low-fpr").json()["head"]
        assert "low-fpr" not in client.get("/v1/report-frame").json()["head"]
    assert "Cannot tell" in line["html"] and "AI from 1.000" in head and "scanned with profile low-fpr" in head


def test_a_parameter_of_another_type_is_refused_with_one_line(judge, tmp_path):
    with judge() as client:
        answer = client.post("/v1/scan?stress=perhaps", files=files(("a.png", png(tmp_path))))
        assert answer.status_code == 400 and answer.json()["error"].startswith(
            "stress: Input should be a valid boolean"
        )


@pytest.mark.parametrize(
    ("options", "profile", "message"),
    [
        ({}, "fair", "--profile must be one of low-fpr, balanced, high-recall, not fair"),
        ({}, "", "--profile must be one of"),
        ({"threshold": 0.5}, "low-fpr", "--threshold cannot be combined with --profile"),
        ({"fast": True}, "low-fpr", "--fast works with profile balanced here"),
    ],
)
def test_a_profile_that_cannot_be_met_is_refused(judge, tmp_path, options, profile, message):
    with judge(**options) as client:
        answer = client.post(f"/v1/scan?profile={profile}", files=files(("a.png", png(tmp_path))))
        assert answer.status_code == 400 and message in answer.json()["error"]
        assert client.post("/v1/scan", files=files(("a.png", png(tmp_path)))).status_code == 200
        assert ("Fewer false alarms" in client.get("/").text) == (not options)


def test_health_model_and_schema_are_served(client):
    assert client.get("/v1/health").json() == {"status": "ok", "waiting": 0}
    model = client.get("/v1/model").json()
    assert model["detector"] == "hidanet" and 0 <= model["real_below"] <= model["ai_from"] <= 1
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/v1/scan", "/v1/health", "/v1/model"} == paths.keys() and "429" in paths["/v1/scan"]["post"]["responses"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Host": ""}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:9"}, 403),
        ({"Origin": "http://localhost"}, 200),
        ({"Host": "127.0.0.1:8765", "Origin": "http://127.0.0.1:8765"}, 200),
    ],
)
def test_other_hosts_and_cross_origin_requests_are_rejected(client, tmp_path, headers, status):
    answer = client.post("/v1/scan", files=files(("a.png", png(tmp_path))), headers=headers)
    assert answer.status_code == status and "access-control-allow-origin" not in answer.headers


def test_a_proxy_that_rewrites_the_host_is_named_with_its_remedy(desk):
    headers = {"Host": "127.0.0.1:8765", "Origin": "https://scan.example.org"}
    words = desk.post("/v1/scan", files=files(("a.png", b"x")), headers=headers).json()["error"]
    assert "the page is from https://scan.example.org, the request is for 127.0.0.1:8765;" in words
    assert "let the proxy pass Host, and start hidascan serve with --allow-host NAME" in words


def test_allowed_host_names_are_compared_without_case(tiny_weights):
    pool = ScanQueue(Scanner(ScanOptions(str(tiny_weights))), 9)
    with fastapi_client(make_app(pool, Limits(hosts=("Laptop.Local",))), base_url="http://laptop.local") as client:
        assert client.get("/v1/health", headers={"Host": "Laptop.Local:8765"}).status_code == 200


def test_a_token_is_needed_where_there_is_one(tiny_weights, tmp_path):
    pool = ScanQueue(Scanner(ScanOptions(str(tiny_weights))), 9)
    with fastapi_client(make_app(pool, Limits(token="secret")), base_url="http://localhost") as client:
        assert client.get("/").status_code == client.get("/v1/health").status_code == 200
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}):
            assert client.get("/v1/model", headers=headers).status_code == 401
        assert client.get("/v1/model", headers={"Authorization": "Bearer secret"}).status_code == 200


def test_bodies_over_the_limit_too_many_files_and_no_files_are_refused(tiny_weights, tmp_path):
    pool = ScanQueue(Scanner(ScanOptions(str(tiny_weights))), 9)
    with fastapi_client(make_app(pool, Limits(body=20_000, files=2)), base_url="http://localhost") as client:
        assert client.post("/v1/scan", files=files(("a.png", b"x" * 30_000))).status_code == 413

        def drip():
            for _ in range(40):
                yield b"x" * 1000

        form = {"Content-Type": "multipart/form-data; boundary=b"}
        assert client.post("/v1/scan", content=drip(), headers=form).status_code == 413
        small = png(tmp_path, 0, 8, 8)
        assert client.post("/v1/scan", files=files(*[(f"{n}.png", small) for n in range(3)])).status_code == 400
        for answer in (
            client.post("/v1/scan", data={"a": "b"}),
            client.post("/v1/scan", content=b"plain"),
            client.post("/v1/scan", content=b"--b\r\nbroken", headers=form),
        ):
            assert answer.status_code == 400 and answer.json()["error"]
        assert client.post("/v1/scan", files=files(("a.png", small))).status_code == 200
        assert not list(client.app.state.folder.iterdir())


class NoScanner(ScanQueue):
    """Replacement for a scanner in tests of responses; records received files."""

    def __init__(self, run_info):
        rule = SimpleNamespace(calibration=SimpleNamespace(localisation=0.5))
        self.scanner = SimpleNamespace(info=run_info, info_with=lambda profile: run_info, rule=rule)
        self.failing = None

    def submit(self, path, on_progress=None, options=None):
        if self.failing:
            raise self.failing
        future = Future()
        future.set_result(Finding(path, "error", error=Path(path).read_bytes().decode("latin-1")))
        return future

    def waiting(self):
        return 0

    def close(self):
        pass


@pytest.fixture
def run_info():
    return RunInfo("1", "tiny", "0" * 64, "hidanet", "float32", 0.2, 0.9, True, ScanOptions())


@pytest.fixture
def desk(run_info):
    """A client of a service that scans nothing."""
    app = make_app(NoScanner(run_info), Limits(body=4 << 20))
    with fastapi_client(app, base_url="http://localhost") as client:
        yield client
        assert not list(client.app.state.folder.iterdir())


def part(disposition: str, data: bytes = b"pixels", *headers: str) -> bytes:
    head = "\r\n".join([f"Content-Disposition: form-data; {disposition}", *headers])
    return b"--b\r\n" + head.encode() + b"\r\n\r\n" + data + b"\r\n"


FORM = {"Content-Type": "multipart/form-data; boundary=b"}


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (part("name=file; filename*=UTF-8''%E2%82%AC%20b.png"), "€ b.png"),
        (part("name=file; filename*=utf-8'en'..%2F..%2Fa.png"), "a.png"),
        (part("name=file; filename*=iso-8859-1''caf%E9.png"), "café.png"),
        (part("name=file; filename*=nonsense''a.png"), "a.png"),
        (part('name=file; filename="日本.png"'), "日本.png"),
        (part('name=file; filename="a.png"; filename*=UTF-8b.png'), "a.png"),
        (part("name=picture; filename=a.png"), "a.png"),
        (part('name=file; filename=""'), "upload"),
        (part('name=file; filename=".."'), "upload"),
        (part('name=file; filename="/"'), "upload"),
        (part("name=file", b"pixels", "Content-Type: image/png"), "upload"),
        (part("name=file", b"p" * (2 << 20), "Content-Type: application/octet-stream"), "upload"),
    ],
)
def test_a_part_is_recognised_as_a_file_in_any_form(desk, body, name):
    (row,) = rows(desk.post("/v1/scan", content=body + b"--b--\r\n", headers=FORM))
    assert row["path"] == name and row["error"] in ("pixels", "p" * (2 << 20))


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"Content-Type": "image/jpeg"}, "upload"),
        ({"Content-Type": "IMAGE/HEIC; charset=binary"}, "upload"),
        ({"Content-Type": "application/octet-stream", "Content-Disposition": "attachment; filename=a.jpg"}, "a.jpg"),
        ({"Content-Type": "image/png", "Content-Disposition": "inline; filename*=UTF-8''%E2%82%AC.png"}, "€.png"),
        ({"Content-Type": "image/png", "Content-Disposition": 'x; filename="../日本.png"'.encode()}, "日本.png"),
    ],
)
def test_a_body_that_is_one_image_is_scanned(desk, headers, name):
    (row,) = rows(desk.post("/v1/scan", content=b"pixels", headers=headers))
    assert (row["path"], row["error"]) == (name, "pixels")


@pytest.mark.parametrize(
    ("content", "kind", "why"),
    [
        (b"\x89PNG", "application/x-www-form-urlencoded", "application/x-www-form-urlencoded"),  # curl --data-binary
        (b'{"url": "https://example.org/a.jpg"}', "application/json", "application/json"),
        (b"https://example.org/a.jpg", "text/uri-list", "text/uri-list"),
        (b"plain", "", "no Content-Type"),
        (b"", "image/png", "empty"),
        (b"", "multipart/form-data; boundary=b", "no file"),
        (b"--b--\r\n", "multipart/form-data; boundary=b", "no file"),
        (part('name=file; filename=""', b"") + b"--b--\r\n", "multipart/form-data; boundary=b", "no file"),
        (part("filename=a.png") + b"--b--\r\n", "multipart/form-data; boundary=b", "name"),
        (part("name=file") + b"--b--\r\n", "multipart/form-data; boundary=b", "file is not a file"),
        (
            part("name=file; filename=a.png") + part("name=threshold", b"0.9") + b"--b--\r\n",
            "multipart/form-data; boundary=b",
            "threshold is not a file",
        ),
        (b"--b\r\nno header\x00\r\n\r\n", "multipart/form-data; boundary=b", "multipart"),
        (b"x", "multipart/form-data", "boundary"),
    ],
)
def test_any_other_body_is_answered_with_advice(desk, content, kind, why):
    answer = desk.post("/v1/scan", content=content, headers={"Content-Type": kind} if kind else {})
    assert answer.status_code == 400 and [*answer.json()] == ["error"]
    message = answer.json()["error"]
    assert why in message and "curl -F file=@" in message and "\n" not in message


@pytest.mark.parametrize(
    ("method", "url", "headers", "status", "message"),
    [
        ("POST", "/v1/scan?threshold=0.9", FORM, 400, "(threshold)"),
        ("POST", "/v1/scan?fast&0.9&a%1B%5B2J=1", FORM, 400, r"(fast, 0.9, a\x1b[2J)"),
        ("GET", "/v1/model?weights=b", {}, 400, "(weights)"),
        ("GET", "/v1/report-frame?made=x&other=1", {}, 400, "(other)"),
        ("GET", "/?profile=low-fpr", {}, 400, "(profile)"),
        ("GET", "/v2/scan", {}, 404, "/v1/scan"),
        ("POST", "/v1/scan/", FORM, 404, "/v1/scan"),
        ("GET", "/v1/scan", {}, 405, "curl -F file=@"),
        ("PUT", "/v1/scan", {}, 405, "curl -F file=@"),
        ("POST", "/", FORM, 405, "curl -F file=@"),
        ("GET", "/", {"Host": "["}, 421, "host"),
        ("GET", "/", {"Origin": "http://["}, 403, "cross-origin"),
        ("POST", "/v1/scan", {"Content-Length": "\xb2"}, 400, "Content-Length"),
    ],
)
def test_every_mistake_is_answered_with_a_sentence(desk, method, url, headers, status, message):
    headers = {name: value.encode("latin-1") for name, value in headers.items()}
    answer = desk.request(method, url, headers=headers, follow_redirects=False)
    assert answer.status_code == status and [*answer.json()] == ["error"] and message in answer.json()["error"]


def test_an_internal_error_is_one_line_on_stderr_and_a_response(run_info, capfd):
    pool = NoScanner(run_info)
    pool.failing = ValueError("two\nlines")
    with fastapi_client(make_app(pool, Limits()), base_url="http://localhost") as client:
        answer = client.post("/v1/scan", files=files(("a.png", b"x")))
        assert answer.status_code == 500 and "terminal" in answer.json()["error"]
        assert capfd.readouterr().err == "hidascan: unexpected ValueError: two\\nlines\n"
        assert not list(client.app.state.folder.iterdir())


class SlowScanner:
    """Stands in for a scanner that is held up."""

    def __init__(self, scanner):
        self.info, self._scanner, self.go = scanner.info, scanner, threading.Event()
        self.info_with, self.rule = scanner.info_with, scanner.rule

    def scan_files(self, paths, **options):
        for finding in self._scanner.scan_files(paths, **options):
            self.go.wait(20)
            yield finding


def test_a_scanner_that_always_fails_answers_and_closes(run_info):
    scans = []

    def fail(paths, **options):
        scans.append(paths)
        raise RuntimeError("broken")

    pool = ScanQueue(SimpleNamespace(info=run_info, scan_files=fail), 9)
    for future in [pool.submit("a.png"), pool.submit("b.png")]:
        with pytest.raises(RuntimeError, match="broken"):
            future.result(5)
    closing = threading.Thread(target=pool.close, daemon=True)
    closing.start()
    closing.join(5)
    assert not closing.is_alive() and len(scans) <= 2


def test_a_full_queue_is_answered_with_retry_after(tiny_weights, tmp_path):
    slow = SlowScanner(Scanner(ScanOptions(str(tiny_weights))))
    pool = ScanQueue(slow, 2)
    picture, path, other = png(tmp_path), *(save_picture(tmp_path / f"{name}.png", 20, 20) for name in "ab")
    with fastapi_client(make_app(pool, Limits()), base_url="http://localhost") as client:
        handed_in = [pool.submit(str(path)), pool.submit(str(other))]
        with pytest.raises(Busy):
            pool.submit(str(tmp_path / "third.png"))
        answer = client.post("/v1/scan", files=files(("a.png", picture)))
        assert answer.status_code == 429 and int(answer.headers["retry-after"]) > 0
        slow.go.set()
        assert all(future.result(20).status == "ok" for future in handed_in)
        assert client.post("/v1/scan", files=files(("a.png", picture))).status_code == 200


def test_a_late_response_times_out(tiny_weights, tmp_path):
    slow = SlowScanner(Scanner(ScanOptions(str(tiny_weights))))
    with fastapi_client(make_app(ScanQueue(slow, 9), Limits(seconds=0.3)), base_url="http://localhost") as client:
        assert client.post("/v1/scan", files=files(("a.png", png(tmp_path)))).status_code == 504
        assert not list(client.app.state.folder.iterdir())
        slow.go.set()
        deadline = time.time() + 10
        while client.get("/v1/health").json()["waiting"] and time.time() < deadline:
            time.sleep(0.05)
        assert client.get("/v1/health").json()["waiting"] == 0


def test_a_form_that_is_cut_off_is_refused(tiny_weights, tmp_path):
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + png(tmp_path) + b"\r\n"
    app = make_app(ScanQueue(Scanner(ScanOptions(str(tiny_weights))), 9), Limits())
    with fastapi_client(app, base_url="http://localhost") as client:
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        cut = client.post("/v1/scan", content=part + part[:-20], headers=headers)
        assert cut.status_code == 400 and "the form is cut off" in cut.json()["error"]
        assert client.post("/v1/scan", content=part + b"--b--", headers=headers).status_code == 200


def test_kept_uploads_stay_after_a_timeout(tiny_weights, tmp_path):
    slow, kept = SlowScanner(Scanner(ScanOptions(str(tiny_weights)))), tmp_path / "kept"
    kept.mkdir()
    app = make_app(ScanQueue(slow, 9), Limits(seconds=0.3), kept)
    with fastapi_client(app, base_url="http://localhost") as client:
        assert client.post("/v1/scan", files=files(("a.png", png(tmp_path)))).status_code == 504
        slow.go.set()
    assert len(list(kept.iterdir())) == 1


def test_after_the_time_limit_finished_files_keep_their_rows(tiny_weights, tmp_path):
    slow = SlowScanner(Scanner(ScanOptions(str(tiny_weights))))
    slow.go.set()
    scan_files = slow.scan_files

    def first_only(paths, **options):
        for number, finding in enumerate(scan_files(paths, **options)):
            yield finding
            if number == 0:
                slow.go.clear()

    slow.scan_files = first_only
    named = [("a.png", png(tmp_path)), ("b.png", png(tmp_path, 1)), ("c.png", png(tmp_path, 2))]
    with fastapi_client(make_app(ScanQueue(slow, 9), Limits(seconds=1.5)), base_url="http://localhost") as client:
        found = rows(client.post("/v1/scan", files=files(*named)))
        assert [(row["path"], row["status"]) for row in found] == [
            ("a.png", "ok"),
            ("b.png", "error"),
            ("c.png", "error"),
        ]
        assert (
            found[0]["score"] is not None and found[1]["error"] == "not finished within the time limit of 1.5 seconds"
        )
        assert client.get("/v1/health").json()["waiting"] == 0  # what is unfinished is cancelled
        assert not list(client.app.state.folder.iterdir())
        slow.go.set()


def test_a_scanner_that_fails_does_not_end_the_service(tiny_weights, tmp_path):
    scanner = Scanner(ScanOptions(str(tiny_weights)))
    pool, path = ScanQueue(scanner, 9), save_picture(tmp_path / "a.png", 20, 20)
    encode = scanner.engine.runner.encode
    scanner.engine.runner.encode = lambda *given: 1 / 0
    with pytest.raises(ZeroDivisionError):
        pool.submit(str(path)).result(20)
    scanner.engine.runner.encode = encode
    assert pool.submit(str(path)).result(20).status == "ok"
    pool.close()


def test_cancelling_stops_the_scan_in_the_engine(tiny_weights, tmp_path):
    scanner = Scanner(ScanOptions(str(tiny_weights), precision="fp32", batch_size=4))
    pool, encode, encoded = ScanQueue(scanner, 9), scanner.engine.runner.encode, []
    begun, go_on = threading.Event(), threading.Event()

    def counted(views, where):
        encoded.append(len(views))
        begun.set()
        go_on.wait(20)
        return encode(views, where)

    scanner.engine.runner.encode = counted
    large, small = save_picture(tmp_path / "large.png", 1500, 1500), save_picture(tmp_path / "small.png", 20, 20, 1)
    futures = [pool.submit(str(path)) for path in (large, small)]
    cancelled_early = pool.submit(str(save_picture(tmp_path / "third.png", 20, 20, 2)))
    assert begun.wait(20) and cancelled_early.cancel() and futures[0].cancel() and pool.waiting() == 1
    go_on.set()
    assert futures[1].result(20).status == "ok" and pool.waiting() == 0
    pool.close()
    assert (
        sum(encoded) <= 3 * 4
    )  # of more than 49 views: the batch that ran, one that was filled, and the small picture


def test_progress_begins_with_a_preliminary_verdict_and_changes_no_result(tiny_weights, tmp_path):
    scanner, seen = Scanner(ScanOptions(str(tiny_weights), precision="fp32", explain=True)), []
    pool, path = ScanQueue(scanner, 9), str(save_picture(tmp_path / "a.png", 1200, 1200))
    watched = pool.submit(path, lambda finding, run, missing: seen.append((finding.verdict, run, missing))).result(60)
    pool.close()
    (plain,) = scanner.scan_files([path])
    assert watched.logit == pytest.approx(plain.logit, abs=1e-6) and watched.verdict == plain.verdict
    assert watched.heatmap == pytest.approx(plain.heatmap, abs=1e-6)
    effects = [[one.effect for one in finding.attributions] for finding in (watched, plain)]
    assert effects[0] == pytest.approx(effects[1], abs=1e-6) and len(effects[0]) == plain.patches
    total = plain.patches + 1
    assert seen[0] == (None, 0, total) and seen[-1][1:] == (total, 0)
    assert all(run + missing == total for _, run, missing in seen)
    first = next(one for one in seen if one[0])
    assert first[1] == 8 and {verdict for verdict, run, _ in seen if run > 8} <= {"ai", "real", "inconclusive"}


def events_of(text: str) -> list[tuple[str, dict]]:
    blocks = [block.split("\n") for block in text.split("\n\n") if block and not block.startswith(":")]
    return [(kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for kind, data in blocks]


@pytest.mark.parametrize("accept", ["*/*", "text/event-stream"])
def test_a_request_may_ask_for_a_stress_test(client, hidascan, tiny_weights, tmp_path, accept):
    path = save_picture(tmp_path / "a.png", 240, 300)
    named, headers = files(("a.png", path.read_bytes())), {"Accept": accept}
    answer = client.post("/v1/scan?stress=true", files=named, headers=headers)
    seen = [] if accept == "*/*" else events_of(answer.text)
    row = seen[-1][1]["row"] if seen else rows(answer)[0]
    other = json.loads(hidascan(path, "--stress", "--jsonl", "-", "--precision", "fp32", "--weights", tiny_weights).out)
    assert len(row["stress"]) == 5 and row["scan"]["stress"] is True
    assert row["stress"] == pytest.approx(other["stress"], abs=1e-5)
    assert (row["verdict"], row["notes"], row["scan"]) == (other["verdict"], other["notes"], other["scan"])
    progress = [data for _, data in seen if data.get("state") == "scanning"]
    assert all(data["patches"] > 4 for data in progress)  # those of all copies
    done = [data["done"] for data in progress]
    assert done == sorted(done) and bool(done) == bool(seen)
    (plain,) = rows(client.post("/v1/scan", files=named))
    assert plain["stress"] == {} and plain["score"] == pytest.approx(row["score"], abs=1e-5)


def test_events_report_progress_and_each_row(client, tmp_path):
    named = files(("a.png", png(tmp_path, 0, 1200, 1200)), ("broken.png", b"no picture"))
    headers = {"Accept": "text/event-stream"}
    answer = client.post("/v1/scan", files=named, headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    seen = events_of(answer.text)
    progress = [data for kind, data in seen if kind == "progress" and data["state"] == "scanning"]
    assert [data["file"] for kind, data in seen[:2]] == [0, 1] and {data["state"] for _, data in seen[:2]} == {
        "waiting"
    }
    assert progress[0]["done"] == 0 and progress[-1]["done"] == progress[-1]["patches"] == 36
    assert progress[0]["seconds_left"] is None and progress[1]["seconds_left"] > 0 == progress[-1]["seconds_left"]
    assert progress[0]["verdict"] is None and progress[-1]["verdict"] in ("ai", "real", "inconclusive")
    last = {data["file"]: data["row"] for kind, data in seen if kind == "row"}
    assert last.keys() == {0, 1} and (last[0]["status"], last[1]["status"]) == ("ok", "error")
    (plain,) = rows(client.post("/v1/scan", files=named[:1]))
    assert {*plain} == {*last[0]} and plain["score"] == pytest.approx(last[0]["score"], abs=1e-5)
    assert not list(client.app.state.folder.iterdir())


def test_a_form_without_javascript_is_answered_with_a_page(client, tmp_path):
    headers = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    answer = client.post("/v1/scan", files=files(("a.png", png(tmp_path)), ("b.png", b"broken")), headers=headers)
    assert answer.headers["content-type"].startswith("text/html") and answer.text.count("<article") == 2
    wrong = client.post("/v1/scan", data={"a": "b"}, headers=headers)
    assert wrong.status_code == 400 and "<h1>Not scanned</h1>" in wrong.text and "nor a picture" in wrong.text
    assert "curl" not in wrong.text


@pytest.mark.parametrize(
    ("headers", "size", "status", "words"),
    [
        ({}, 5 << 20, 413, "larger than 4 MB"),
        ({"Origin": "http://evil.example"}, 1, 403, "cross-origin"),
        ({"Host": "evil.example"}, 1, 421, "unknown host name"),
    ],
)
def test_a_rejected_form_without_javascript_is_answered_with_a_page(desk, headers, size, status, words):
    headers = {"Accept": "text/html,*/*;q=0.8", **headers}
    answer = desk.post("/v1/scan", files=files(("a.png", b"x" * size)), headers=headers)
    assert answer.status_code == status and answer.headers["content-type"].startswith("text/html")
    assert "<h1>Not scanned</h1>" in answer.text and words in answer.text


def test_the_page_names_both_limits_and_the_bounds_with_fewer_false_alarms(judge):
    with judge(max_pixels=25_000_000) as client:
        text = client.get("/").text
        assert "up to 100 MB and 25 megapixels each" in text
        assert "With “Fewer false alarms”: from 1.000, and below 0.000." in text
    with judge(fast=True) as client:
        assert "Fewer false alarms" not in client.get("/").text


@pytest.mark.parametrize("kind", ["TIFF", "HEIF"])
def test_pictures_that_browsers_cannot_show_have_a_preview_the_right_way_up(client, tmp_path, kind):
    register_heif_opener()
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a"
    Image.fromarray(picture(400, 3100)).save(path, kind, **({"exif": exif} if kind == "TIFF" else {}))
    answer = client.post("/v1/preview", files=files((f"a.{kind.lower()}", path.read_bytes())))
    assert answer.headers["content-type"] == "image/jpeg"
    size = Image.open(io.BytesIO(answer.content)).size
    assert size == ((387, 3000) if kind == "TIFF" else (3000, 387))
    wrong = client.post("/v1/preview", files=files(("a.png", b"no picture")))
    assert wrong.status_code == 400 and "cannot draw" in wrong.json()["error"]
    assert not list(client.app.state.folder.iterdir())


def test_a_figure_is_drawn_only_from_a_sound_description(client, tmp_path):
    data = png(tmp_path, 0, 300, 300)
    (line,) = rows(client.post("/v1/scan", files=files(("a.png", data)), headers={"Accept": PAGE_LINES}))
    row = line["row"]
    wrong = [
        {"row": row, "heatmap": line["heatmap"][:-8]},
        {"row": row, "heatmap": "nonsense"},
        {"row": row | {"width": 10**6, "height": 10**6}, "heatmap": line["heatmap"]},
        {"row": row | {"width": 299}, "heatmap": line["heatmap"]},
        {"row": {}, "heatmap": line["heatmap"]},
        [],
    ]
    for described in [*wrong, line]:
        sent = files(("a.png", data), ("finding.json", json.dumps(described).encode()))
        answer = client.post("/v1/figure", files=sent)
        assert answer.status_code == (200 if described is line else 400), answer.text
    assert Image.open(io.BytesIO(answer.content)).format == "PNG"


@pytest.mark.parametrize(
    ("host", "local", "keep", "words"),
    [
        ("localhost", True, False, "Nothing leaves this computer, and nothing is kept."),
        ("localhost", True, True, "Nothing leaves this computer. Copies"),
        ("localhost", False, False, "sent to the computer that runs this service and deleted there"),
        ("localhost", False, True, "sent to the computer that runs this service and stored there"),
        ("pictures.example", True, False, "sent to the computer that runs this service"),
    ],
)
def test_the_page_says_truly_where_pictures_go(run_info, tmp_path, host, local, keep, words):
    limits = Limits(hosts=("localhost", "pictures.example"))
    app = make_app(NoScanner(run_info), limits, tmp_path if keep else None, local)
    with fastapi_client(app, base_url=f"http://{host}") as client:
        text = " ".join(client.get("/").text.split())
        assert words in text and ("Nothing leaves" in words or "Nothing leaves" not in text)


def test_the_page_is_served_with_its_style_script_and_icon(desk):
    page = desk.get("/").text
    for name in ("page.css", "page.js", "favicon.svg"):
        assert f'"page/{name}"' in page and desk.get(f"/page/{name}").status_code == 200
    assert desk.get("/page/page.html").status_code == 404
    assert (
        "<script>" not in page
        and "unsafe-inline" not in desk.get("/").headers["content-security-policy"].split("script-src")[1]
    )


@pytest.mark.parametrize(
    ("terminal", "variables", "opens"),
    [
        (True, {"DISPLAY": ":0"}, True),
        (True, {"WAYLAND_DISPLAY": "wayland-0"}, True),
        (False, {"DISPLAY": ":0"}, False),
        (True, {}, False),
        (True, {"DISPLAY": ":0", "SSH_CONNECTION": "1"}, False),
    ],
)
def test_the_browser_is_opened_only_at_a_terminal_with_a_display(monkeypatch, terminal, variables, opens):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    stream = SimpleNamespace(isatty=lambda: terminal)
    monkeypatch.setattr(run, "sys", SimpleNamespace(stdout=stream, stderr=stream, platform="linux"))
    assert run.has_display() is opens


# The whole thing, as a process.


@pytest.fixture
def server(tiny_weights):
    """The address and the process of a service for one test, which ends it."""
    with running_service("--weights", tiny_weights) as service:
        yield service


@pytest.fixture(scope="module")
def shared_server(tiny_weights):
    """The address of a service for several tests, which ends without a complaint."""
    with running_service("--weights", tiny_weights) as (base, process):
        yield base
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0 and process.stderr.read() == ""


def test_many_clients_at_once_lose_nothing_and_ctrl_c_drains(server, tmp_path):
    base, process = server
    pictures = {f"{seed}.png": png(tmp_path, seed) for seed in range(6)}

    def ask(number: int) -> tuple[int, list[str], list[str]]:
        names = [f"{(number + offset) % 6}.png" for offset in range(3)]
        named = files(*[(name, pictures[name]) for name in names], ("broken.png", b"broken"))
        answer = httpx.post(f"{base}/v1/scan", files=named, timeout=60)
        return answer.status_code, names, [json.loads(line)["path"] for line in answer.text.splitlines()]

    with ThreadPoolExecutor(8) as clients:
        for status, names, names_back in clients.map(ask, range(16)):
            assert status == 200 and names_back == [*names, "broken.png"]
        last = clients.submit(ask, 0)
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        with suppress(httpx.ConnectError):  # it may come too late
            assert last.result()[0] == 200
    assert process.wait(30) == 0


def test_ctrl_c_names_the_files_that_it_finishes_and_a_second_one_stops_at_once(server, tmp_path):
    base, process = server
    Image.fromarray(np.tile(picture(300, 300), (12, 16, 1))).save(tmp_path / "large.jpg")
    named = files(("large.jpg", (tmp_path / "large.jpg").read_bytes()))
    headers = {"Accept": "text/event-stream"}
    address = f"{base}/v1/scan?stress=true"
    with httpx.stream("POST", address, files=named, headers=headers, timeout=60) as answer:
        lines = answer.iter_lines()
        next(line for line in lines if '"scanning"' in line)
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline() == "hidascan: finishing 1 file; press Ctrl-C again to stop at once\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0 and process.stderr.read() == ""


def test_a_plain_request_stops_when_its_client_goes_away(shared_server, tmp_path):
    Image.fromarray(np.tile(picture(300, 300), (8, 10, 1))).save(tmp_path / "large.jpg")
    data = (tmp_path / "large.jpg").read_bytes()
    head = b"POST /v1/scan?stress=true HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\n"

    def waiting() -> int:
        return httpx.get(f"{shared_server}/v1/health", timeout=20).json()["waiting"]

    with socket.create_connection(("127.0.0.1", int(shared_server.rpartition(":")[2]))) as client:
        client.sendall(head + b"Content-Length: %d\r\n\r\n" % len(data) + data)
        deadline = time.time() + 20
        while not waiting() and time.time() < deadline:
            time.sleep(0.02)
        assert waiting() == 1
        begun = time.time()
    while waiting() and time.time() < deadline:
        time.sleep(0.02)
    stopped = time.time() - begun
    assert not waiting()
    again = httpx.post(
        f"{shared_server}/v1/scan?stress=true", content=data, headers={"Content-Type": "image/jpeg"}, timeout=60
    )
    assert again.status_code == 200 and stopped < again.elapsed.total_seconds() / 2


def test_closing_the_connection_stops_the_scan(shared_server, tmp_path):
    tile = np.tile(picture(300, 300), (12, 16, 1))
    Image.fromarray(tile).save(tmp_path / "large.jpg")
    named = files(("large.jpg", (tmp_path / "large.jpg").read_bytes()))
    headers = {"Accept": "text/event-stream"}
    with httpx.stream("POST", f"{shared_server}/v1/scan", files=named, headers=headers, timeout=60) as answer:
        lines = answer.iter_lines()
        next(line for line in lines if '"scanning"' in line)
        assert httpx.get(f"{shared_server}/v1/health").json()["waiting"] == 1
    deadline = time.time() + 10
    while httpx.get(f"{shared_server}/v1/health", timeout=20).json()["waiting"] and time.time() < deadline:
        time.sleep(0.05)
    assert httpx.get(f"{shared_server}/v1/health").json()["waiting"] == 0
    assert httpx.post(f"{shared_server}/v1/scan", files=files(("a.png", png(tmp_path))), timeout=60).status_code == 200


def test_disconnecting_or_malformed_clients_affect_no_others(shared_server, tmp_path):
    port = int(shared_server.rpartition(":")[2])
    head = b"POST /v1/scan HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    form = head + b"Content-Type: multipart/form-data; boundary=b\r\n"
    begun = part("name=file; filename=a.png", b"x" * 1000)
    for sent in (
        head + b"Content-Length: 5000\r\n\r\nhalf",
        form + b"Content-Length: 5000\r\n\r\n" + begun,
        form + b"Content-Length: 5000\r\n\r\n",
        form + b"Transfer-Encoding: chunked\r\n\r\n10\r\n--b",
        form + b"Content-Length: %d\r\n\r\n" % (len(begun) + 7) + begun + b"--b--\r\n",  # and no ear for the answer
        form + b"Content-Length: 8\r\n\r\n--b\r\n\x00\x00\x00",
        head + b"Content-Type: image/png\r\nContent-Length: 5000\r\n\r\nhalf",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",  # https://
        b"nonsense\r\n\r\n",
        b"",
    ):
        for reset in (False, True):
            with socket.create_connection(("127.0.0.1", port)) as cut:
                cut.sendall(sent)
                if reset:  # a reset, as of a process that is killed, and not a good-bye
                    cut.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    time.sleep(0.02)
    with socket.create_connection(("127.0.0.1", port)) as huge:
        huge.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"y" * 200_000 + b"\r\n\r\n")
        huge.settimeout(10)
        with suppress(ConnectionError):
            assert b"200 OK" not in huge.recv(100)
    answer = httpx.post(f"{shared_server}/v1/scan", files=files(("a.png", png(tmp_path))), timeout=60)
    assert answer.status_code == 200


def test_binding_to_the_network_requires_a_token(hidascan, tiny_weights):
    ran = hidascan("serve", "--host", "0.0.0.0", "--weights", tiny_weights)
    assert ran.code == 2 and "--token" in ran.err and ran.err.count("\n") == 1
    ran = hidascan("serve", "--token", "clé", "--weights", tiny_weights)
    assert ran.code == 2 and "--token must consist of ASCII characters" in ran.err
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        ran = hidascan("serve", "--port", taken.getsockname()[1], "--weights", tiny_weights)
    assert ran.code == 2 and ran.err.count("\n") == 1 and os.strerror(98).lower() in ran.err
