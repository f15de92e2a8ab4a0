"""No input is skipped silently: unreadable folders, folders without images, lists of any origin, pipes, URLs."""

import codecs
import csv
import errno
import io
import json
import os
import socket
import struct
import subprocess
import sys
import unicodedata

import pytest
from PIL import Image

from hidascan import Scanner, ScanOptions
from hidascan.errors import UsageError
from hidascan.image.folders import Survey
from hidascan.image.path_lists import paths_in
from hidascan.image.sources import Selection, Unreadable, expand, is_stream
from tests.conftest import picture, save_picture

APPLE_DOUBLE = b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(200)


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def searched(*paths, **selection) -> tuple[list[str], list[str]]:
    """The files that are found, and the lines about those that are not."""
    survey = Survey()
    found = list(expand(map(str, paths), Selection(**selection), survey))
    return found, list(survey.lines())


@pytest.fixture
def locked(tmp_path, monkeypatch):
    """A folder that may not be read, beside one that may: in/a/x.png, in/b."""
    touch(tmp_path / "in", "a/x.png", "b/y.png", "b/deep/z.png")
    scandir = os.scandir

    def refused(path):
        if str(path).endswith("in/b"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    return tmp_path / "in"


def test_a_folder_that_may_not_be_read_has_a_row_and_exit_code_3(hidascan, locked):
    save_picture(locked / "a/x.png", 40, 40)
    ran = hidascan(locked, "--threshold", "1", "--csv", "-")
    rows = {row["path"]: row for row in csv.DictReader(io.StringIO(ran.out))}
    assert list(rows) == [str(locked / "a/x.png"), str(locked / "b")] and ran.code == 3
    assert rows[str(locked / "b")]["error"] == "cannot read folder: permission denied"
    assert f"{locked / 'b'}: cannot read folder: permission denied" in ran.err and "no images" not in ran.err


def test_a_folder_that_may_not_be_read_is_a_finding_in_python_too(tiny_weights, locked):
    scanner = Scanner(ScanOptions(str(tiny_weights)))
    (finding,) = scanner.scan([locked / "b"])
    assert (finding.path, finding.status) == (str(locked / "b"), "error") and "cannot read folder" in finding.error
    assert type(finding.path) is str


def test_a_folder_that_fails_during_listing_keeps_its_listed_files(tmp_path, monkeypatch):
    touch(tmp_path / "in", "x.png", "y.png")
    scandir = os.scandir

    class Failing:
        def __init__(self, path):
            self.entries = scandir(path)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.entries.close()

        def __iter__(self):
            yield next(self.entries)
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "scandir", Failing)
    first, second = expand([str(tmp_path / "in")])
    assert first.endswith(".png") and second == str(tmp_path / "in")
    assert isinstance(second, Unreadable) and second.reason == "cannot read folder: input/output error"


def test_folders_too_deep_for_a_path_have_a_row(tmp_path):
    name, here = "d" * 250, os.open(tmp_path, os.O_RDONLY)
    for _ in range(17):  # 17 * 250 is over the 4096 of a path
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    *_, last = expand([str(tmp_path)])
    assert isinstance(last, Unreadable) and last.reason == "cannot read folder: file name too long"
    assert subprocess.run(["rm", "-r", tmp_path / name]).returncode == 0  # pytest cannot


@pytest.mark.parametrize(
    ("names", "options", "expected"),
    [
        ([], {}, "; the folder is empty"),
        (["a.jxl", "b.DNG", "c.dng"], {}, "; 3 files of other types skipped (.dng 2, .jxl 1)"),
        (["notes", "sub/b.txt"], {}, "; 2 files of other types skipped (no suffix 1, .txt 1)"),
        (["a.png"], {"include": ("*.tif", "*.gif")}, "; none of 1 file matches --include *.tif or *.gif"),
        (["a.png", "sub/b.png"], {"exclude": ("a.*", "sub")}, "; 2 excluded by --exclude"),
        (["a.png", "sub/b.png"], {"exclude": ("a.*", "sub/")}, "; 2 excluded by --exclude"),
        (["sub/a.png"], {"recurse": False}, "; 1 folder not searched (--no-recurse)"),
        (["a.heatmap.png"], {}, "; 1 file named like a heatmap of hidascan skipped"),
        (["Thumbs.db", ".DS_Store"], {}, "; 2 system files skipped (.DS_Store, Thumbs.db)"),
    ],
)  # fmt: skip
def test_a_folder_without_images_is_named_with_the_reason(tmp_path, names, options, expected):
    (tmp_path / "in").mkdir()
    found, lines = searched(touch(tmp_path / "in", *names), **options)
    assert not found and lines == [f"no images found in {tmp_path / 'in'}{expected}"]


def test_nothing_scanned_is_exit_code_3_even_beside_images(hidascan, tmp_path):
    image = save_picture(tmp_path / "a.png", 80, 80)
    (tmp_path / "empty").mkdir()
    ran = hidascan(image, tmp_path / "empty", "--threshold", "1", "-q")
    assert ran.code == 3 and ran.err == f"hidascan: no images found in {tmp_path / 'empty'}; the folder is empty\n"
    assert hidascan(image, tmp_path / "empty", "--threshold", "0").code == 1


def test_many_places_without_images_are_reported_in_a_few_lines(tmp_path):
    for number in range(30):
        (tmp_path / f"{number:02d}").mkdir()
    _, lines = searched(*sorted(tmp_path.iterdir()))
    assert len(lines) == 9 and lines[-1] == "no images found in 22 other places"


def test_links_and_own_figures_are_named_beside_pictures_even_if_quiet(hidascan, tmp_path):
    save_picture(tmp_path / "in/a.png", 40, 40)
    touch(tmp_path / "in", "a.png.heatmap.png")
    (tmp_path / "usb").mkdir()
    (tmp_path / "in/usb").symlink_to(tmp_path / "usb")
    ran = hidascan(tmp_path / "in", "--threshold", "1", "-q")
    assert ran.err.splitlines() == [
        "hidascan: 1 link to folders not followed (use --follow-symlinks)",
        "hidascan: 1 file named like a heatmap of hidascan skipped",
    ]


def test_included_patterns_ignore_case_like_suffixes_and_excluded_ones_do_not(tmp_path):
    touch(tmp_path, "a.jpg", "IMG_1.JPG", "old_b.JPG", "OLD_c.jpg")
    found, _ = searched(tmp_path, include=("*.jpg",), exclude=("OLD*",))
    assert [path.rpartition("/")[2] for path in found] == ["IMG_1.JPG", "a.jpg", "old_b.JPG"]


def test_files_named_before_their_folder_do_not_make_it_empty(tmp_path):
    touch(tmp_path, "a.png")
    assert searched(tmp_path / "a.png", tmp_path) == ([str(tmp_path / "a.png")], [])


def test_a_scan_that_is_resumed_when_all_is_done_has_found_something(hidascan, tiny_weights, tmp_path):
    image = save_picture(tmp_path / "in/a.png", 40, 40)
    out, mark = tmp_path / "out.csv", tmp_path / "out.csv.unfinished"
    hidascan(image.parent, "--threshold", "1", "--csv", out)
    plain = hidascan(image.parent, "--threshold", "1", "--csv", tmp_path / "other.csv")
    mark.write_text(json.dumps(Scanner(ScanOptions(str(tiny_weights), threshold=1.0)).info.fingerprint()))
    ran = hidascan(image.parent, "--threshold", "1", "--csv", out, "--resume")
    assert (ran.code, ran.err) == (plain.code, "") == (0, "")


def test_pictures_of_other_formats_are_never_skipped_silently(hidascan, tmp_path):
    save_picture(tmp_path / "a.png", 40, 40)
    touch(tmp_path, "b.DNG", "c.dng", "d.jxl", "notes.txt")
    ran = hidascan(tmp_path, "--threshold", "1", "-q")
    line = "3 pictures in unsupported formats skipped: .dng 2, .jxl 1"
    assert ran.err == f"hidascan: {line}\n" and ran.code == 0
    assert searched(tmp_path, include=("*.png",))[1] == searched(tmp_path, exclude=("*.[djDJ]*",))[1] == []


def test_images_without_the_suffix_of_one_are_never_skipped_silently(tmp_path):
    image = save_picture(tmp_path / "a.png", 40, 40)
    for name in ("0f3a96", "b.jpg_large"):  # as in the cache of a browser, and from a web site
        (tmp_path / name).write_bytes(image.read_bytes())
    touch(tmp_path, "LICENSE", "notes.txt")
    line = "2 images without an image suffix skipped (--include '*' scans all files)"
    assert searched(tmp_path) == ([str(image)], [line])


def test_files_of_systems_are_counted_in_folders_and_scanned_by_name(tmp_path):
    image = save_picture(tmp_path / "a.png", 40, 40)
    litter = ["._a.png", "__MACOSX/._b.png", "x/@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg", ".AppleDouble/c.jpg", "Thumbs.db",
              "x/Desktop.ini", "$RECYCLE.BIN/S-1/$IABCDEF.jpg"]  # fmt: skip
    touch(tmp_path, *litter)
    (tmp_path / "._a.png").write_bytes(APPLE_DOUBLE)
    kept = save_picture(tmp_path / "$RECYCLE.BIN/S-1/$RABCDEF.jpg", 40, 40)
    hidden = save_picture(tmp_path / "._photo.jpg", 40, 40)
    found, lines = searched(tmp_path)
    assert found == [str(path) for path in (hidden, image, kept)]
    assert lines == ["7 system files skipped ($I*, .AppleDouble, ._*, @eaDir, Thumbs.db, __MACOSX, desktop.ini)"]
    assert searched(tmp_path / "._a.png", tmp_path / "x/@eaDir")[0] == [
        str(tmp_path / litter[0]),
        str(tmp_path / litter[2]),
    ]
    survey = Survey()
    assert len([*expand([str(tmp_path)], survey=survey)]) == 3 and not [*survey.lines(quiet=True)]


def test_special_files_in_a_folder_have_a_row_and_never_block(hidascan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_picture(tmp_path / "folder.jpg/inside.png", 40, 40)
    os.mkfifo("fifo.jpg")
    os.mkfifo("._fifo.jpg")
    os.symlink("nowhere", "broken.jpg")
    os.symlink("circle.jpg", "circle.jpg")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("socket.jpg")
    ran = hidascan(".", "--threshold", "1", "--csv", "-")
    listener.close()
    assert {row["path"]: row["error"] for row in csv.DictReader(io.StringIO(ran.out))} == {
        "./broken.jpg": "no such file or directory",
        "./circle.jpg": "too many levels of symbolic links",
        "./fifo.jpg": "not a regular file",
        "./socket.jpg": "not a regular file",
        "./folder.jpg/inside.png": "",
    }
    assert ran.code == 3 and "1 system file skipped (._*)" in ran.err


def test_two_names_of_one_file_are_two_rows_and_two_spellings_are_one(tmp_path, monkeypatch):
    monkeypatch.chdir(touch(tmp_path, "a.png", "sub/a.png", "far/sub/x"))
    os.link("a.png", "hard.png")
    os.symlink("a.png", "soft.png")
    os.symlink("far/sub", "link")
    assert [*expand(["a.png", "./a.png", "sub/../a.png", str(tmp_path / "a.png")])] == ["a.png"]
    assert [*expand(["a.png", "hard.png", "soft.png"])] == ["a.png", "hard.png", "soft.png"]
    touch(tmp_path / "far", "a.png")
    assert [*expand(["a.png", "link/../a.png", "far/a.png"])] == ["a.png", "link/../a.png"]


def test_a_file_that_vanishes_after_it_was_listed_has_a_row(tiny_weights, tmp_path):
    paths = [save_picture(tmp_path / f"{name}.png", 40, 40) for name in "ab"]

    def listed():
        for path in expand([str(tmp_path)]):
            if path == str(paths[0]):
                paths[0].unlink()
            yield path

    first, second = Scanner(ScanOptions(str(tiny_weights))).scan_files(listed())
    assert (first.error, second.error) == ("no such file or directory", None)


LISTED = ["a.jpg", "b c.jpg", "ü/日本 .jpg", " d.jpg"]


def read(tmp_path, data: bytes, name="list.txt", column="path", null=False) -> list[str]:
    (tmp_path / name).write_bytes(data)
    return list(paths_in(str(tmp_path / name), column, null))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-16-le", "utf-32"])
def test_lists_of_any_system_are_read(tmp_path, encoding, end, final):
    text = end.join([LISTED[0], "", *LISTED[1:], "  "]) + end * final
    mark = codecs.BOM_UTF16_BE if encoding == "utf-16-be" else b""
    assert read(tmp_path, mark + text.encode(encoding)) == LISTED


def test_a_list_in_utf_16_may_come_in_pieces(tmp_path):
    data = "".join(f"{number}/日本 {'x' * (number % 90)}.jpg\r\n" for number in range(3000)).encode("utf-16")
    names = read(tmp_path, data)
    assert len(names) == 3000 and names[2999] == f"2999/日本 {'x' * 29}.jpg"


def test_names_in_lists_are_taken_literally(tmp_path, monkeypatch):
    monkeypatch.chdir(touch(tmp_path, "Icon\r", "plain", " "))
    names = ["# no comment.jpg", "end ", "tab\t.jpg", "a,b;c.jpg", '"quoted".jpg', "Icon\r", " "]
    assert read(tmp_path, "\n".join([*names, "plain\r", "Icon\r\r", ""]).encode()) == [*names, "plain", "Icon\r"]
    assert read(tmp_path, b"a\nb\r\0\xef\xbb\xbfc\0 \0\0last", null=True) == ["a\nb\r", "\ufeffc", " ", "last"]
    assert read(tmp_path, b"a.jpg\rb.jpg\r") == ["a.jpg", "b.jpg"]
    (tmp_path / "Müller.jpg").write_bytes(b"")
    assert read(tmp_path, "Müller.jpg\nStraße.jpg\n".encode("cp1252")) == ["Müller.jpg", "Stra\udcdfe.jpg"]


@pytest.mark.parametrize(
    "table",
    ["path,label\na b.jpg,1\n", "path;label\r\na b.jpg;1\r\n", "label\tpath\r\n1\ta b.jpg\r\n", '"label","path"\n1,"a b.jpg"\n',
     "sep=;\r\npath;label\r\na b.jpg;1\r\n", '"sep=\t"\nlabel\tpath\n1\ta b.jpg\n', "\n\npath\na b.jpg\n", " path ;x\na b.jpg;2\n",
     "label;path\rx;a b.jpg\r", "path,label\na b.jpg,1\n,\n\n  ,\n",
     '#TYPE System.IO.FileInfo\r\n"label","path"\r\n"1","a b.jpg"\r\n', '"#TYPE Selected.System.IO.FileInfo"\npath;x\na b.jpg;1\n'],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("suffix", ["csv", "TSV"])
def test_tables_of_spreadsheets_are_read(tmp_path, table, encoding, suffix):
    assert read(tmp_path, table.encode(encoding), f"table.{suffix}") == ["a b.jpg"]


def test_the_column_is_the_one_that_is_named(tmp_path):
    table = b'"file; name";path\n"a;b ""c"".jpg";x.jpg\n'
    assert read(tmp_path, table, "t.csv", "file; name") == ['a;b "c".jpg']
    with pytest.raises(UsageError, match=r"no column 'image' \(--column\); columns: file; name, path"):
        read(tmp_path, table, "t.csv", "image")


def test_a_caption_with_a_quoted_part_does_not_end_a_table(tmp_path):
    table = b'path\tcaption\na.jpg\t"Hello" she said\nb.jpg\t"two\nlines"\nc.jpg\tx\n'
    assert read(tmp_path, table, "t.tsv") == ["a.jpg", "b.jpg", "c.jpg"]
    assert read(tmp_path, b'path,caption\na.jpg,"Hello" she said, loud\n', "t.csv") == ["a.jpg"]
    with pytest.raises(UsageError, match="line 2"):  # the cells cannot be told apart
        read(tmp_path, b'caption,path\n"A "nice" view, at dusk",d/a.jpg\n', "t.csv")
    with pytest.raises(UsageError, match="line 2: a quotation mark is not closed"):
        read(tmp_path, b'path\tcaption\na.jpg\t"Hello\nb.jpg\tx\nc.jpg\ty\n', "t.tsv")


def test_in_a_table_of_one_column_an_existing_file_decides(tmp_path, monkeypatch):
    monkeypatch.chdir(touch(tmp_path, "a.jpg", "b,c.jpg"))
    assert read(tmp_path, b"path\na.jpg,seen\nb,c.jpg\n", "t.csv") == ["a.jpg", "b,c.jpg"]


def image_bytes(form: str) -> bytes:
    data = io.BytesIO()
    Image.fromarray(picture(40, 40)).save(data, form)
    return data.getvalue()


@pytest.mark.parametrize(
    ("data", "null", "expected"),
    [
        (image_bytes("JPEG"), False, "looks like a JPEG image; to scan it, pass it as PATH"),
        (image_bytes("PNG"), True, "looks like a PNG image"),
        (image_bytes("GIF"), False, "looks like a GIF image"),
        (image_bytes("WEBP"), False, "looks like a WebP image"),
        (image_bytes("TIFF"), False, "looks like a TIFF image"),
        (image_bytes("BMP"), False, "looks like a BMP image"),
        (image_bytes("AVIF"), False, "looks like an AVIF image"),
        (b"%PDF-1.7\n", False, "looks like a PDF"),
        (b"PK\3\4\x14\0", False, "an Excel workbook; save the workbook as CSV"),
        (b"<!DOCTYPE html>\n<p>a.jpg\n", False, "a document"),
        (b'{"path": "a.jpg"}\n', False, "a document"),
        (struct.pack("<400H", *range(7, 407)), False, "it contains binary data"),
        (b"a.jpg\0b/c d.jpg\0", False, "looks NUL-separated: use -0"),
        (b"a\0b\0c\0d\0e\0", False, "looks NUL-separated: use -0"),
        (b"a.jpg\nb.jpg\n", True, "is not NUL-separated: omit -0"),
        (b"x" * 3_000_000, False, "a line is longer than any path"),
        (b"path;label\na.jpg;1\n", False, "looks like a table, not a list of paths: rename it to .csv or .tsv"),
        ("\ufeffpath\tlabel\r\n".encode("utf-16-le"), False, "looks like a table"),
    ],
)  # fmt: skip
def test_other_files_than_lists_are_refused_in_one_line(tmp_path, data, null, expected):
    with pytest.raises(UsageError) as raised:
        read(tmp_path, data, null=null)
    assert str(raised.value).startswith(f"--files-from {tmp_path}/list.txt ") and expected in str(raised.value)


def test_an_image_with_the_suffix_of_a_table_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is not a table: it looks like a PNG image"):
        read(tmp_path, image_bytes("PNG"), "t.csv")


@pytest.mark.parametrize("start", [b"<html>\n<table>", b"\xef\xbb\xbf<table border=1>", b"<!DOCTYPE html>"])
def test_a_web_page_with_the_suffix_of_a_table_is_refused(tmp_path, start):
    with pytest.raises(UsageError, match="is not a table: it looks like a document"):
        read(tmp_path, start + b"<tr><td>path</td></tr>", "t.csv")


def test_files_named_like_the_start_of_an_image_are_listed(tmp_path, monkeypatch):
    names = ["GIF89a.jpg", "PAR1", "path,sep.jpg", '{"a"}.png', "BM.jpg"]
    monkeypatch.chdir(touch(tmp_path, *names))
    for name in names:
        assert read(tmp_path, f"{name}\nother.jpg\n".encode()) == [name, "other.jpg"]


@pytest.mark.parametrize("content", [b"", b"\n\r\n", codecs.BOM_UTF8, b"\xff\xfe", b"  \n"])
@pytest.mark.parametrize("name", ["list.txt", "list.csv"])
def test_an_empty_list_is_exit_code_3(hidascan, tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    ran = hidascan("--files-from", tmp_path / name)
    assert ran.code == 3 and ran.err == f"hidascan: no paths in the list {tmp_path / name}\n"


@pytest.mark.parametrize("name", ["folder", "none.txt", "none.csv", "nul\0"])
def test_a_list_that_cannot_be_read_is_named(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match=r"--files-from .*: "):
        list(paths_in(str(tmp_path / name), "path", False))


def test_uris_of_files_are_paths_and_other_urls_have_a_row(hidascan, tmp_path):
    image = save_picture(tmp_path / "b ü#?.png", 40, 40)
    urls = ["https://example.org/a.jpg", "s3://bucket/b.jpg", "gs://bucket/c.jpg", "HTTP://example.org/d"]
    lines = [image.as_uri(), f"file://localhost{image}", "file://server/share/a.jpg", *urls]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    ran = hidascan("--files-from", tmp_path / "list.txt", "--threshold", "1", "--csv", "-")
    rows = [(row["path"], row["error"]) for row in csv.DictReader(io.StringIO(ran.out))]
    assert rows[:2] == [(str(image), ""), ("file://server/share/a.jpg", "file is on another machine: server")]
    assert rows[2:] == [(url, "URLs need --runner ray") for url in urls] and ran.code == 3


def test_a_folder_may_have_the_name_of_a_url(tmp_path, monkeypatch):
    monkeypatch.chdir(touch(tmp_path, "s3:/bucket/a.png", "~/a.png"))
    assert [*expand(["s3://bucket/a.png", "s3://bucket"])] == ["s3://bucket/a.png"]
    assert [*expand(["~/a.png", "file://" + str(tmp_path / "~")])] == ["~/a.png"]
    assert not any(isinstance(path, Unreadable) for path in expand(["~/a.png", "~"]))


def test_odd_paths_have_a_reason_of_their_own(hidascan):
    ran = hidascan("~/no such.jpg", "", "--csv", "-")
    first, second = csv.DictReader(io.StringIO(ran.out))
    assert "~ is not expanded in quotes and in lists" in first["error"]
    assert second["error"] == "the path is empty" and ran.code == 3
    assert [*expand(["~$letter.jpg", "a\0b"])] == ["~$letter.jpg", "a\0b"]


def test_an_image_from_a_pipe_is_scanned_under_the_name_of_the_pipe(hidascan, tmp_path):
    image = save_picture(tmp_path / "a.jpg", 40, 40)
    ends = [os.pipe() for _ in range(2)]
    os.write(ends[0][1], image.read_bytes())
    for _, write_end in ends:
        os.close(write_end)
    pipe, empty = (f"/dev/fd/{read_end}" for read_end, _ in ends)
    ran = hidascan(pipe, image, empty, "--jsonl", "-")
    for read_end, _ in ends:
        os.close(read_end)
    first, second, third = map(json.loads, ran.out.splitlines())
    assert first == second | {name: first[name] for name in ("path", "seconds", "file", "logit")}
    assert first["path"] == pipe and first["logit"] == pytest.approx(second["logit"], abs=1e-6)
    assert first["file"] == second["file"] | {"modified": ""} and third["error"] == "the file is empty"
    assert is_stream("/dev/stdin") and not is_stream(str(image)) and not is_stream("/dev/fd/a.jpg")


def on_stdin(monkeypatch, data: bytes):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_an_image_on_the_pipe_of_a_list_is_one_line(hidascan, monkeypatch):
    on_stdin(monkeypatch, image_bytes("JPEG"))
    ran = hidascan("-")
    expected = "stdin is not a list of paths: it looks like a JPEG image; to scan an image from a pipe, use /dev/stdin"
    assert ran.code == 2 and ran.err == f"hidascan: {expected}\n" and not ran.out
    monkeypatch.setattr(sys, "stdin", None)
    assert "stdin is closed" in hidascan("-").err


def test_a_list_on_stdin_is_read_once(hidascan, tmp_path, monkeypatch):
    image = save_picture(tmp_path / "a.png", 40, 40)
    on_stdin(monkeypatch, f"{image}\r\n".encode())
    ran = hidascan("-", "--files-from", "-", "--threshold", "1")
    assert ran.code == 0 and len(ran.out.splitlines()) == 1 and not ran.err
    on_stdin(monkeypatch, b"")
    ran = hidascan("-")
    assert ran.code == 3 and ran.err == "hidascan: no paths in the list on stdin\n"


def test_a_missing_working_folder_is_one_line(hidascan, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    ran = hidascan("a.jpg")
    assert ran.code == 2
    assert ran.err == "hidascan: the current folder no longer exists: change to another one with cd\n"


@pytest.mark.parametrize(
    "table", ["path,label\na.png,1\n,0\n", "label,path\n1,a.png\n0\n", "path,label\na.png,1\n  ,0\n,\n"]
)
def test_a_row_of_a_table_without_its_path_is_not_lost(hidascan, tmp_path, monkeypatch, table):
    monkeypatch.chdir(tmp_path)
    save_picture(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text(table)
    ran = hidascan("--files-from", "t.csv")
    assert ran.code == 3 and ran.out.count("\n") == 2 and "the path is empty" in ran.err


def test_a_missing_path_in_a_parquet_table_is_kept(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"path": ["a.png", None, ""]}), tmp_path / "t.parquet")
    assert list(paths_in(str(tmp_path / "t.parquet"), "path", False)) == ["a.png", "", ""]


def test_names_in_lists_are_found_in_other_spellings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    composed = unicodedata.normalize("NFC", "é.jpg")
    for name in ("a b.jpg", composed, "'it's'"):
        (tmp_path / name).touch()
    assert read(tmp_path, f"'a b.jpg'\n'it's'\n'{composed}'\n'none.jpg'\n".encode()) == [
        "a b.jpg", "'it's'", composed, "'none.jpg'",
    ]  # fmt: skip
    listed = f'"a b.jpg"\n a b.jpg \n{unicodedata.normalize("NFD", composed)}\nnone.jpg\n'
    assert read(tmp_path, listed.encode()) == ["a b.jpg", "a b.jpg", composed, "none.jpg"]


def test_a_path_in_a_table_of_one_column_may_contain_commas(tmp_path):
    assert read(tmp_path, b"path\nx, y.jpg\nz.jpg\n", "t.csv") == ["x, y.jpg", "z.jpg"]


def test_the_number_of_a_line_counts_all_lines_of_the_file(tmp_path):
    with pytest.raises(UsageError, match="line 6: a quotation mark is not closed"):
        read(tmp_path, b'sep=;\n\npath;caption\na.jpg;"two\nlines"\nb.jpg;"open\n', "t.csv")


def test_an_open_quote_in_a_table_swallows_no_rows(tmp_path):
    with pytest.raises(UsageError, match="line 2: a quotation mark is not closed"):
        read(tmp_path, b'path,n\n"a.jpg,1\nb.jpg,2\n', "t.csv")


def test_an_address_as_java_writes_it_is_a_file(tmp_path):
    (tmp_path / "a.png").touch()
    assert [*expand([f"file:{tmp_path}/a.png"])] == [f"{tmp_path}/a.png"]


def test_pictures_with_any_suffix_are_mentioned(hidascan, tmp_path):
    """As in the caches of apps, with a time in their names, and saved from pages made by scripts."""
    image = save_picture(tmp_path / "profile.jpg", 40, 40)
    names = ("0a1b2c.0", "77aa.1", "x.cnt", "WhatsApp Image 2026-11-30 at 10.15.42", "download.php", "example.com")
    for name in names:
        (tmp_path / name).write_bytes(image.read_bytes())
    (tmp_path / "raw.dng").write_bytes(b"II*\0" + bytes(60))
    (tmp_path / "notes.txt").write_text("BMW")
    os.mkfifo(tmp_path / "pipe.42")
    found, lines = searched(tmp_path)
    assert found == [str(image)] and len(lines) == 2
    assert lines[0].startswith("1 picture in an unsupported format") and lines[1].startswith("6 images without ")


def test_a_report_is_a_list_of_its_own_files(hidascan, tiny_weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["+49.jpg", "-5.jpg", "=x.jpg", "@user.jpg", "'@both.jpg"]
    for name in names:
        save_picture(tmp_path / name, 40, 40)
    assert hidascan("--csv", "first.csv", "--threshold", 1, "--weights", tiny_weights, "--", *names).code == 0
    ran = hidascan("--files-from", "first.csv", "--threshold", 1, "--format", "%p")
    assert ran.code == 0 and ran.out.splitlines() == names
