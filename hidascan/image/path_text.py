"""Decode lists of paths: their encoding, and names as existing files spell them."""

from __future__ import annotations

import codecs
import os
import re
import unicodedata

BLOCK = 1 << 16  # bytes read at a time
_MARKS = (  # byte-order marks, longest first, as that of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
UTF8 = ("utf-8", "utf-8-sig")
_DOCUMENT = re.compile(rb'(?:\xef\xbb\xbf)?\s*(?:<(?:[?!]|svg|html|head|table)|\{\s*"|\[\s*[\[{"])', re.IGNORECASE)


def document_kind(head: bytes) -> str:
    """Return the kind of a document, such as a web page, by its first bytes; "" for any other file."""
    return "a document (HTML, SVG, XML or JSON)" if _DOCUMENT.match(head) else ""


def encoding_of(head: bytes) -> str:
    """Return the encoding of a list, by its byte-order mark, or UTF-16 if every second byte is NUL."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    start = head[: min(len(head), 512) & ~1]
    for encoding, letters, nuls in (("utf-16-le", start[::2], start[1::2]), ("utf-16-be", start[1::2], start[::2])):
        few_letters = nuls.count(0) >= 0.7 * len(nuls)  # others are not Latin
        if len(nuls) >= 4 and few_letters and 0 not in letters and set(letters) & set(b"./\\"):
            return encoding
    return "utf-8"


def readable_name(name: str) -> str:
    """Return a spelling of a name of which a file exists; the name itself if there is none.

    Lists contain quotes and spaces around names, an apostrophe before them, as in reports of hidascan, other Unicode
    forms, and bytes of a Windows code page.
    """
    if os.path.lexists(name):
        return name
    bare = name.strip().strip('"')
    plain = bare.removeprefix("'")
    spellings = (bare, plain, plain.removesuffix("'"))
    for other in (*spellings, *(unicodedata.normalize(form, one) for one in spellings for form in ("NFC", "NFD"))):
        if other and os.path.lexists(other):
            return other
    if not any("\udc80" <= letter <= "\udcff" for letter in name):
        return name
    other = os.fsencode(name).decode("cp1252", "replace")
    return other if os.path.lexists(other) else name
