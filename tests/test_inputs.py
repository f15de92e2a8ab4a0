"""Nothing is passed over in silence: folders that cannot be read or hold no image, lists of any origin, pipes, URLs."""

import codecs
import io
import struct

import pytest
from PIL import Image

from hidascan.errors import UsageError
from hidascan.image.manifests import paths_in
from tests.conftest import picture


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


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


def test_names_in_lists_are_taken_to_the_letter(tmp_path, monkeypatch):
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
     "label;path\rx;a b.jpg\r", "path,label\na b.jpg,1\n,2\n\n  ,3\n"],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("suffix", ["csv", "TSV"])
def test_tables_of_spreadsheets_are_read(tmp_path, table, encoding, suffix):
    assert read(tmp_path, table.encode(encoding), f"table.{suffix}") == ["a b.jpg"]


def test_the_column_is_the_one_that_is_named(tmp_path):
    table = b'"file; name";path\n"a;b ""c"".jpg";x.jpg\n'
    assert read(tmp_path, table, "t.csv", "file; name") == ['a;b "c".jpg']
    with pytest.raises(UsageError, match=r"no column 'image' among file; name, path \(--column\)"):
        read(tmp_path, table, "t.csv", "image")


def image_bytes(form: str) -> bytes:
    data = io.BytesIO()
    Image.fromarray(picture(40, 40)).save(data, form)
    return data.getvalue()


@pytest.mark.parametrize(
    ("data", "null", "said"),
    [
        (image_bytes("JPEG"), False, "starts like a JPEG image; to scan it, name it alone"),
        (image_bytes("PNG"), True, "starts like a PNG image"),
        (image_bytes("GIF"), False, "starts like a GIF image"),
        (image_bytes("WEBP"), False, "starts like a WebP image"),
        (image_bytes("TIFF"), False, "starts like a TIFF image"),
        (image_bytes("BMP"), False, "starts like a BMP image"),
        (image_bytes("AVIF"), False, "starts like an AVIF image"),
        (b"%PDF-1.7\n", False, "starts like a PDF"),
        (b"PK\3\4\x14\0", False, "an Excel workbook; save a workbook as CSV"),
        (b"<!DOCTYPE html>\n<p>a.jpg\n", False, "a document"),
        (b'{"path": "a.jpg"}\n', False, "a document"),
        (struct.pack("<400H", *range(7, 407)), False, "it holds binary data"),
        (b"a.jpg\0b/c d.jpg\0", False, "looks NUL-separated: use -0"),
        (b"a\0b\0c\0d\0e\0", False, "looks NUL-separated: use -0"),
        (b"a.jpg\nb.jpg\n", True, "is not separated by NUL: leave out -0"),
        (b"x" * 3_000_000, False, "a line is longer than any path"),
        (b"path;label\na.jpg;1\n", False, "looks like a table, not a list of paths: give it the suffix .csv or .tsv"),
        ("\ufeffpath\tlabel\r\n".encode("utf-16-le"), False, "looks like a table"),
    ],
)  # fmt: skip
def test_what_is_no_list_is_said_in_one_line(tmp_path, data, null, said):
    with pytest.raises(UsageError) as raised:
        read(tmp_path, data, null=null)
    assert str(raised.value).startswith(f"--files-from {tmp_path}/list.txt ") and said in str(raised.value)


def test_an_image_named_as_a_table_is_no_table(tmp_path):
    with pytest.raises(UsageError, match="is not a table: it starts like a PNG image"):
        read(tmp_path, image_bytes("PNG"), "t.csv")


def test_files_named_like_the_start_of_an_image_are_listed(tmp_path, monkeypatch):
    names = ["GIF89a.jpg", "PAR1", "path,sep.jpg", '{"a"}.png', "BM.jpg"]
    monkeypatch.chdir(touch(tmp_path, *names))
    for name in names:
        assert read(tmp_path, f"{name}\nother.jpg\n".encode()) == [name, "other.jpg"]
