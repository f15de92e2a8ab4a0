"""Decoders in separate processes: results on valid and hostile files, and isolation of failures."""

import csv
import io
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from hidascan.errors import ImageError
from hidascan.image import isolation
from hidascan.image.decode import decode
from hidascan.image.isolation import Decoders
from tests.conftest import save_picture

# A faulty decoder, whose behaviour depends on the name of the file.
FAULTY = """
import os, signal, sys, time
del sys.path[0]
from hidascan.image import isolation
sound = isolation.decode
def decode(path, *rest, **more):
    name = os.path.basename(path)
    if name == "crash.png":
        os.kill(os.getpid(), signal.SIGSEGV)
    if name == "hang.png":
        while True:
            pass
    if name == "greedy.png":
        bytearray(1 << 34)
    if name == "chatty.png":
        os.write(1, b"libfoo: warning\\n"), os.write(2, b"libfoo: warning\\n")
    return sound(path, *rest, **more)
isolation.decode, isolation._SECONDS, isolation._READING_SECONDS = decode, 1, 2
isolation.decode_requests()
"""


@pytest.fixture
def faulty(monkeypatch):
    monkeypatch.setattr(isolation, "COMMAND", [sys.executable, "-c", FAULTY])
    isolation.decoders.cache_clear()
    yield
    isolation.decoders.cache_clear()


def test_pixels_and_metadata_are_transferred_unchanged(tmp_path):
    exif = save_picture(tmp_path / "a.jpg", 301, 203, quality=83)
    save_picture(tmp_path / "b.png", 240, 300)
    pool = Decoders()
    for path in (exif, tmp_path / "b.png"):
        there, here = pool.decode(path, 10**9), decode(path, traced=True)
        assert np.array_equal(there.pixels, here.pixels) and not there.pixels.flags.writeable
        for name in ("format", "orientation", "jpeg", "trace", "claims", "manifest", "notes"):
            assert getattr(there, name) == getattr(here, name)


def test_an_image_waits_until_its_pixels_are_admitted(tmp_path):
    seen = []
    Decoders().decode(save_picture(tmp_path / "a.png", 100, 70), 10**9, seen.append)
    assert seen == [224 * 224]  # with those that padding adds later


def test_undecodable_names_are_transferred(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff\n\xe2\x80\xae.png"
    os.rename(save_picture(tmp_path / "a.png"), path)
    assert Decoders().decode(os.fsdecode(path), 10**9).pixels.shape == (240, 300, 3)


def test_limits_and_damage_have_the_same_messages_as_without_isolation(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    save_picture(tmp_path / "big.png")
    pool = Decoders()
    for path, limit in ((tmp_path / "bad.png", 10**9), (tmp_path / "big.png", 10), (tmp_path / "gone.png", 10)):
        with pytest.raises(ImageError) as here:
            decode(path, limit)
        with pytest.raises(ImageError) as there:
            pool.decode(path, limit)
        assert str(there.value) == str(here.value)


def test_crashes_hangs_and_greed_cost_their_own_rows_only(hidascan, faulty, tmp_path):
    for name in ("a", "chatty", "crash", "greedy", "hang", "z"):
        save_picture(tmp_path / f"{name}.png")
    ran = hidascan(tmp_path, "--csv", "-", "--threshold", 1)
    found = {os.path.basename(row["path"]): row["error"] for row in csv.DictReader(ran.out.splitlines())}
    assert "crashed (SIGSEGV)" in found.pop("crash.png")
    assert found.pop("hang.png") == "took too long to read or decode"
    assert "memory" in found.pop("greedy.png")
    assert found == {"a.png": "", "chatty.png": "", "z.png": ""} and ran.code == 3 and "libfoo" not in ran.err


def test_a_scan_does_not_import_what_lies_in_the_folder_it_runs_in(tmp_path, monkeypatch):
    (tmp_path / "PIL.py").write_text("open('owned', 'w')")
    path = save_picture(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    Decoders().decode(path, 10**9)
    assert not (tmp_path / "owned").exists()


def test_a_decoder_ends_when_the_scan_is_killed(tmp_path):
    pool = Decoders()
    pool.decode(save_picture(tmp_path / "a.png"), 10**9)
    process = pool.idle[0].process
    process.stdin.close()  # what the system does when a process ends, however it does
    assert process.wait(5) == 0


def test_a_decoder_that_died_meanwhile_is_replaced(tmp_path):
    pool, path = Decoders(), save_picture(tmp_path / "a.png")
    pool.decode(path, 10**9)
    pool.idle[0].process.send_signal(signal.SIGKILL)
    pool.idle[0].process.wait()
    assert pool.decode(path, 10**9).pixels.shape == (240, 300, 3)


def test_a_relative_name_is_resolved_in_the_current_working_folder(tmp_path, monkeypatch):
    pool = Decoders()
    save_picture(tmp_path / "there" / "a.png")
    monkeypatch.chdir(tmp_path / "there")
    assert pool.decode("a.png", 10**9).pixels.shape == (240, 300, 3)


def test_a_large_file_has_memory_and_time_to_be_read(tmp_path, monkeypatch):
    (tmp_path / "a.tif").touch()
    os.truncate(tmp_path / "a.tif", 3 << 30)
    small = decode(save_picture(tmp_path / "b.png", 8, 8))
    monkeypatch.setattr(isolation, "decode", lambda *given, **options: small)
    memory, seconds = [], []
    monkeypatch.setattr(isolation, "_allow_memory", memory.append)
    monkeypatch.setattr(isolation, "_allow_seconds", seconds.append)
    request = {"path": str(tmp_path / "a.tif"), "max_pixels": 10**9, "trust": None}
    isolation.answer(request, io.BytesIO(), io.BytesIO(), 0)
    assert memory[0] == 4 << 30 and seconds[0] > 600


def test_the_time_of_a_decoder_starts_when_the_file_is_read(tmp_path, monkeypatch):
    happened, read = [], Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: (happened.append("read"), read(path))[1])
    monkeypatch.setattr(isolation, "_allow_memory", lambda size: None)
    monkeypatch.setattr(isolation, "_allow_seconds", happened.append)
    request = {"path": str(save_picture(tmp_path / "a.png")), "max_pixels": 10**9, "trust": None}
    isolation.answer(request, io.BytesIO(b"{}\n"), io.BytesIO(), 0)
    assert happened[:3] == [isolation._READING_SECONDS, "read", isolation._SECONDS]


SHIM = """
import importlib, sys
open({mark!r}, "w").close()
sys.path.remove({folder!r})
del sys.modules["PIL"]
sys.modules["PIL"] = importlib.import_module("PIL")
"""


def test_a_decoder_finds_what_its_scan_finds_also_in_safe_mode(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONSAFEPATH", "1")  # the first folder of the path is not the working folder then
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "PIL.py").write_text(SHIM.format(mark=str(tmp_path / "mark"), folder=str(tmp_path)))
    assert Decoders().decode(save_picture(tmp_path / "a.png"), 10**9).pixels.shape == (240, 300, 3)
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("raise SystemExit(3)", "the decoder could not be started: exit code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "damaged image: its decoder crashed (SIGSEGV)"),
        (
            "from hidascan.image import isolation; isolation.decode = None; isolation.decode_requests()",
            "damaged image: its decoder crashed (exit code 1)",
        ),
    ],
)
def test_a_decoder_that_cannot_start_makes_no_image_a_damaged_one(hidascan, monkeypatch, tmp_path, code, expected):
    monkeypatch.setattr(isolation, "COMMAND", [sys.executable, "-c", code])
    isolation.decoders.cache_clear()
    ran = hidascan(save_picture(tmp_path / "a.png"), "--format", "%e")
    isolation.decoders.cache_clear()
    assert ran.code == 3 and ran.out == f"{expected}\n"
