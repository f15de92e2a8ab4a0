"""Count the files in folders that are not scanned, by reason, and report them at the end of a scan."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

# Suffixes of pictures that hidascan does not read; skipped files are reported.
_UNSUPPORTED_PICTURES = """
    .jxl .jp2 .j2k .j2c .jpc .jpf .jpx .jpm .mj2 .jph .jhc .jxr .wdp .hdp .jls .jng .mng .flif .bpg .heics .avifs .avcs
    .dng .cr2 .cr3 .crw .nef .nrw .arw .sr2 .srf .arq .raf .orf .ori .rw2 .rwl .raw .pef .ptx .srw .x3f .3fr .fff .iiq
    .mos .mef .mrw .kdc .dcr .k25 .erf .gpr .cap .eip .bay .livp
    .psd .psb .xcf .kra .clip .procreate .afphoto .svg .svgz .eps .ai .wmf .emf .cdr
    .ico .cur .icns .exr .hdr .tga .icb .vda .vst .pcx .pbm .pgm .ppm .pnm .pam .pfm .qoi .xpm .xbm .sgi .ras .dds
    .pict .pct .fits .dcm .webp2 .wp2
"""
UNSUPPORTED_PICTURES = frozenset(_UNSUPPORTED_PICTURES.split())

# Files of operating systems. Recycle bins are scanned, as a deleted picture may be the only copy.
_SYSTEM_FILES = {
    name.lower(): name for name in ("Thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", ".DS_Store")
}
_SYSTEM_FOLDERS = {
    name.lower(): name for name in ("__MACOSX", "@eaDir", ".AppleDouble", ".Spotlight-V100", ".fseventsd")
}
APPLE_DOUBLE = "._*"
_BIN = "$recycle.bin"
_MAX_KINDS = 200  # suffixes counted separately
_MAX_SHOWN = 8


def system_file(name: str, below: str) -> str:
    """Return the pattern of operating-system files that a file matches; `below` is its path below the searched folder."""
    if name.startswith("._"):
        return APPLE_DOUBLE
    if name.startswith("$I") and _BIN in below.lower().split("/"):
        return "$I*"  # metadata of a deleted file, under its suffix
    return _SYSTEM_FILES.get(name.lower(), "")


def system_folder(name: str) -> str:
    """Return the usual spelling of a folder of an operating system or file server; "" for other folders."""
    return _SYSTEM_FOLDERS.get(name.lower(), "")


class SkipReason(Enum):
    """Reason why a file or folder is not scanned."""

    OTHER_KIND = auto()  # no suffix of an image
    OWN = auto()  # a heatmap that hidascan wrote
    EXCLUDED = auto()  # matches --exclude
    NOT_INCLUDED = auto()  # matches no --include
    FOLDER = auto()  # an unsearched folder
    LINK = auto()  # an unfollowed link to a folder


@dataclass
class SkippedFiles:
    """Number of skipped files in a folder and its subfolders, by reason."""

    counts: Counter[SkipReason] = field(default_factory=Counter)  # numbers by reason, except OTHER_KIND
    others: Counter[str] = field(default_factory=Counter)  # number of files without the suffix of an image, by suffix
    system: Counter[str] = field(default_factory=Counter)  # number of files of operating systems, by pattern
    unnamed: int = 0  # number of images among `others`, by their first bytes

    def add(self, skip_reason: SkipReason, name: str) -> None:
        """Count a file or folder."""
        if skip_reason is SkipReason.OTHER_KIND:
            suffix, others = os.path.splitext(name.lower())[1], self.others
            known = suffix in others or len(others) < _MAX_KINDS or suffix in UNSUPPORTED_PICTURES
            others[suffix if known else "..."] += 1
        else:
            self.counts[skip_reason] += 1

    def parts(self, include: tuple[str, ...]) -> Iterator[str]:
        """Yield a few words for each reason."""
        counts = self.counts
        if self.others:
            yield f"{_count(self.others.total(), 'file')} of other types skipped ({_by_kind(self.others)})"
        if number := counts[SkipReason.NOT_INCLUDED]:
            yield f"none of {_count(number, 'file')} matches --include {' or '.join(include)}"
        if number := counts[SkipReason.EXCLUDED]:
            yield f"{number} excluded by --exclude"
        if number := counts[SkipReason.OWN]:
            yield f"{_count(number, 'file')} named like a heatmap of hidascan skipped"
        if self.system:
            yield _system_line(self.system)
        if number := counts[SkipReason.FOLDER]:
            yield f"{_count(number, 'folder')} not searched (--no-recurse)"
        if number := counts[SkipReason.LINK]:
            yield _links_line(number)


@dataclass
class Survey:
    """Summary of searched folders and lists."""

    empty: list[str] = field(default_factory=list)  # one line for each folder or list without anything to scan
    # Numbers in other folders: of pictures in unsupported formats, by suffix; of files of operating systems, by pattern.
    pictures: Counter[str] = field(default_factory=Counter)
    system: Counter[str] = field(default_factory=Counter)
    unnamed: int = 0  # number of images without the suffix of one
    own: int = 0  # number of files named like heatmaps of hidascan
    links: int = 0  # number of links to folders that were not followed

    def add_folder(self, folder: str, skipped: SkippedFiles, include: tuple[str, ...], found: bool) -> None:
        """Add a searched folder; `found` states whether it has an image or an unreadable folder."""
        self.unnamed += skipped.unnamed
        if found:
            self.pictures.update({kind: n for kind, n in skipped.others.items() if kind in UNSUPPORTED_PICTURES})
            self.system.update(skipped.system)
            self.own += skipped.counts[SkipReason.OWN]
            self.links += skipped.counts[SkipReason.LINK]
        else:
            reasons = [*skipped.parts(include)] or ["the folder is empty"]
            self.empty.append("; ".join([f"no images found in {folder}", *reasons]))

    def lines(self, quiet: bool = False) -> Iterator[str]:
        """Yield lines to report; with `quiet`, only those that may indicate an error."""
        yield from self.empty[:_MAX_SHOWN]
        if len(self.empty) > _MAX_SHOWN:
            yield f"no images found in {len(self.empty) - _MAX_SHOWN} other places"
        if self.pictures:
            total = self.pictures.total()
            yield (
                f"{_count(total, 'picture')} in {'unsupported formats' if total > 1 else 'an unsupported format'} "
                f"skipped: {_by_kind(self.pictures)}"
            )
        if self.unnamed:
            yield f"{_count(self.unnamed, 'image')} without an image suffix skipped (--include '*' scans all files)"
        if self.links:
            yield _links_line(self.links)
        if self.own:
            yield f"{_count(self.own, 'file')} named like a heatmap of hidascan skipped"
        if self.system and not quiet:
            yield _system_line(self.system)


def _system_line(system: Counter[str]) -> str:
    return f"{_count(system.total(), 'system file')} skipped ({', '.join(sorted(system))})"


def _links_line(number: int) -> str:
    return f"{_count(number, 'link')} to folders not followed (use --follow-symlinks)"


def _by_kind(counter: Counter[str]) -> str:
    """Format counts as ".dng 2, .jxl 1": by frequency, then by name."""
    ordered = sorted(counter.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{kind or 'no suffix'} {number}" for kind, number in ordered[:_MAX_SHOWN]]
    rest = sum(number for _, number in ordered[_MAX_SHOWN:])
    return ", ".join([*shown, f"others {rest}"] if rest else shown)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
