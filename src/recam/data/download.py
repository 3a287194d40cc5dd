"""Public data sets from their official addresses: checksummed, resumable, unpacked safely.

Checksums: VOC's is the one that torchvision and others check; those of COCO are the ones that several public code bases
check (COCO publishes none). An archive without one is held to the server's Content-Length and to the checksums inside
the archive.

SBD's masks, which make VOC's 1464 training images the 10 582 of ``train_aug``, have no official address in VOC's form:
see the `note` of ``voc2012`` for what to put where.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import lzma
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import IO

from recam.errors import DataError, RecipeError, StoreError, first_line, near_matches
from recam.files import expand_home, require_folder, write_bytes

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, bytes done, bytes in all; 0 where the server does not send it)."""

WORK_FOLDER = ".download"
TRIES = 5
RETRY_WAIT = 1.0
"""Seconds before the second try; doubled before each further one. A try that brought bytes starts the count again."""
_TIMEOUT = 60.0
_CHUNK = 1 << 20
_GIGABYTE = 10**9
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError, OverflowError)
"""How archives that are damaged fail while they are unpacked."""


@dataclass(frozen=True)
class Archive:
    """One file to fetch and unpack.

    Attributes:
        md5: hexadecimal; None where none is known.
        size: about how many bytes, for the check of the disk.
        growth: about how many times larger the unpacked files are.
    """

    url: str
    md5: str | None
    size: int
    growth: float = 1.05

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class DownloadableSet:
    """A data set as archives that are unpacked into one folder.

    Attributes:
        kind: how `recam.data.open_catalog` names this kind of data set.
        inner: where it lies in the folder.
        note: what a user still has to do or know.
    """

    archives: tuple[Archive, ...]
    kind: str
    inner: str = ""
    note: str = ""


@dataclass(frozen=True)
class Downloaded:
    """Where a data set now lies.

    Attributes:
        location: as ``--data`` takes it.
        fetched: names of the archives that were unpacked now; empty where it was complete.
        note: what a user still has to do or know.
    """

    location: str
    fetched: tuple[str, ...]
    note: str

    def __str__(self) -> str:
        what = f"fetched {', '.join(self.fetched)}" if self.fetched else "everything is already there"
        return "\n".join(line for line in (f"{what}; use it with --data {self.location}", self.note) if line)


_COCO = "http://images.cocodataset.org"
DOWNLOADABLE: Mapping[str, DownloadableSet] = {
    "voc2012": DownloadableSet(
        (
            Archive(
                "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
                "6cd6e144f989b92b3379bac3b3de84fd",
                2 * _GIGABYTE,
            ),
        ),
        kind="voc",
        inner="VOCdevkit/VOC2012",
        note=(
            "The published training set train_aug (10 582 images) adds SBD (Hariharan et al., ICCV 2011), which is not"
            " part of the devkit. Its images and their labels are included; put DeepLab's list, one id per line, at"
            " ImageSets/Segmentation/train_aug.txt, and, to score on these images too, the masks in VOC's form (12 031"
            " PNGs, known as SegmentationClassAug.zip) into SegmentationClassAug/. Without the list, train (1464"
            " images) is used."
        ),
    ),
    "coco2014": DownloadableSet(
        (
            Archive(
                f"{_COCO}/annotations/annotations_trainval2014.zip",
                "0a379cfc70b0e71301e0f377548639bd",
                _GIGABYTE // 4,
                growth=4,
            ),
            Archive(f"{_COCO}/zips/val2014.zip", "a3d79f5ed8d289b7a7554ce06a5782b3", 67 * _GIGABYTE // 10),
            Archive(f"{_COCO}/zips/train2014.zip", "0da8c0bd3d6becc4dcb32757491aca88", 136 * _GIGABYTE // 10),
        ),
        kind="coco",
    ),
}


def download(
    name: str,
    folder: Path | str,
    *,
    progress: Progress | None = None,
    sets: Mapping[str, DownloadableSet] = DOWNLOADABLE,
) -> Downloaded:
    """Fetch and unpack a data set; the same call after an interruption resumes, and does nothing where it is complete.

    Archives are kept in ``.download`` in the folder until they are unpacked.

    Args:
        name: a key of `sets`, e.g. ``voc2012`` or ``coco2014``.
        folder: made where it is missing.

    Raises:
        RecipeError: an unknown name.
        StoreError: too little space, or the folder may not be written.
        DataError: the server cannot be reached or does not have the file; a checksum differs; an archive that would
            write elsewhere.
    """
    if name not in sets:
        raise RecipeError(f"unknown data set {name!r} to download.{near_matches(name, sets)}")
    chosen, folder = sets[name], expand_home(folder)
    report = progress or (lambda what, done, total: None)
    require_folder(folder)
    try:
        (folder / WORK_FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder} cannot be made ({error.strerror}). Choose another folder.") from error
    pending = [archive for archive in chosen.archives if not _marker(archive, folder).is_file()]
    _check_space(pending, folder)
    for archive in pending:
        path = _fetch(archive, folder, report)
        _unpack(path, folder, report)
        write_bytes(_marker(archive, folder), json.dumps({"url": archive.url, "md5": archive.md5}).encode())
        path.unlink()
    return Downloaded(f"{chosen.kind}:{folder / chosen.inner}", tuple(archive.name for archive in pending), chosen.note)


def _marker(archive: Archive, folder: Path) -> Path:
    return folder / WORK_FOLDER / f"{archive.name}.done"


def _check_space(pending: list[Archive], folder: Path) -> None:
    """Everything unpacked, and the largest archive beside it, less what is fetched already."""
    if not pending:
        return
    work = folder / WORK_FOLDER
    there = sum(
        path.stat().st_size for a in pending for path in (work / a.name, work / f"{a.name}.part") if path.is_file()
    )
    needed = int(sum(a.size * a.growth for a in pending)) + max(a.size for a in pending) - there
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StoreError(
            f"{folder} has {free / _GIGABYTE:.1f} GB free, but fetching and unpacking"
            f" {', '.join(a.name for a in pending)} takes about {needed / _GIGABYTE:.1f} GB."
            " Free space or choose another folder."
        )


def _fetch(archive: Archive, folder: Path, report: Progress) -> Path:
    """The archive whole and checked on disk."""
    path = folder / WORK_FOLDER / archive.name
    part = path.with_name(f"{archive.name}.part")
    if path.is_file():
        return path
    failures = 0
    while True:
        before = _size(part)
        try:
            complete, reason = _fetch_more(archive, part, report)
        except (http.client.HTTPException, OSError) as error:  # URLError, timeouts and resets are OSErrors
            complete, reason = False, f"{type(error).__name__}: {error}"
        if complete:
            break
        failures = 1 if _size(part) > before else failures + 1
        if failures >= TRIES:
            raise DataError(
                f"{archive.url} cannot be fetched ({reason}); {_size(part)} bytes are kept. Check the network; the same"
                " command resumes there."
            )
        time.sleep(RETRY_WAIT * 2 ** (failures - 1))
    if archive.md5 is not None:
        found = _md5(part, archive.name, report)
        if found != archive.md5:
            part.unlink()
            raise DataError(
                f"{archive.url} came with the MD5 {found}, expected {archive.md5}; it was deleted. Run the same"
                " command again."
            )
    part.replace(path)
    return path


def _fetch_more(archive: Archive, part: Path, report: Progress) -> tuple[bool, str]:
    """One request for what is missing; whether the file is complete now, and if not why."""
    done = _size(part)
    request = urllib.request.Request(archive.url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            if error.headers.get("Content-Range", "").endswith(f"/{done}"):
                return True, ""  # killed between the last byte and the check
            part.unlink()
            return False, "the file on the server is shorter than what is here"
        if error.code < http.HTTPStatus.INTERNAL_SERVER_ERROR:
            raise DataError(
                f"{archive.url} is refused by the server ({error.code} {error.reason}). Look for a newer release."
            ) from error
        raise
    with response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT and response.headers.get(
            "Content-Range", ""
        ).startswith(f"bytes {done}-")
        if done and not resumed:
            done = 0  # the server ignores ranges
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else 0
        with _open(part, "ab" if resumed else "wb") as file:
            while chunk := response.read(_CHUNK):
                _write(file, chunk, part)
                done += len(chunk)
                report(archive.name, done, total)
    return not total or done == total, f"the connection ended after {done} of {total} bytes"


def _open(part: Path, mode: str) -> IO[bytes]:
    try:
        return part.open(mode, buffering=0)  # what is counted as done is on the disk
    except OSError as error:
        advice = "Give write permission or choose another folder."
        raise StoreError(f"{part} cannot be written ({error.strerror}). {advice}") from error


def _write(file: IO[bytes], chunk: bytes, part: Path) -> None:
    rest = memoryview(chunk)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        advice = "free space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "see to the disk"
        raise StoreError(f"{part} cannot be written ({error.strerror}); {advice}, the same command resumes.") from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _md5(path: Path, name: str, report: Progress) -> str:
    digest, done, total = hashlib.md5(usedforsecurity=False), 0, _size(path)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            report(f"checking {name}", done, total)
    return digest.hexdigest()


def _unpack(path: Path, folder: Path, report: Progress) -> None:
    """All files of the archive into the folder; a damaged one is deleted, one that reaches out of the folder is refused
    whole."""
    try:
        if path.suffix == ".zip":
            _unpack_zip(path, folder, report)
        else:
            _unpack_tar(path, folder, report)
    except tarfile.FilterError as error:
        raise DataError(
            f"{path} would write outside of {folder} ({error}); nothing of it was unpacked. Do not use it."
        ) from error
    except DAMAGE as error:
        path.unlink(missing_ok=True)
        raise DataError(
            f"{path} is damaged ({error}) and was deleted. Run the same command again to fetch it anew."
        ) from error
    except RuntimeError as error:  # a password, or (NotImplementedError) a compression that Python does not know
        raise DataError(
            f"{path} cannot be unpacked ({first_line(error)}): unpack it into {folder} with another program."
        ) from error
    except OSError as error:
        raise StoreError(
            f"{path} cannot be unpacked into {folder} ({error}). Free space and run the same command again."
        ) from error


def _unpack_zip(path: Path, folder: Path, report: Progress) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        for member in members:
            inner = PureWindowsPath(member.filename)  # splits at both slashes and knows drives
            if inner.drive or inner.root or ".." in inner.parts:
                raise DataError(
                    f"{path} holds {member.filename!r}, which lies outside of {folder}; nothing was unpacked. Do not"
                    " use it."
                )
        if locked := [member.filename for member in members if member.flag_bits & 1]:
            raise DataError(
                f"{path} is locked by a password ({locked[0]!r} first); nothing was unpacked. Unpack it into {folder}"
                " by hand."
            )
        done, total = 0, sum(member.file_size for member in members)
        for member in members:
            archive.extract(member, folder)  # compares each file's CRC
            done += member.file_size
            report(f"unpacking {path.name}", done, total)


def _unpack_tar(path: Path, folder: Path, report: Progress) -> None:
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        for member in members:
            tarfile.data_filter(member, str(folder))
        done, total = 0, sum(member.size for member in members)
        for member in members:
            archive.extract(member, folder, filter="data")
            done += member.size
            report(f"unpacking {path.name}", done, total)
