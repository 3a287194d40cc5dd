"""Downloads from a server on this machine: resumed, checked, unpacked inside the folder."""

import hashlib
import io
import os
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from recam.data import download as module
from recam.data.download import DOWNLOADABLE, Archive, DownloadableSet, _unpack, download
from recam.errors import DataError, RecipeError, StoreError

PICTURES = {f"photos/{i}.jpg": os.urandom(60_000) for i in range(4)}


class Server:
    """Serves `files`; records the Range of each request and misbehaves as told."""

    def __init__(self):
        self.files, self.ranges = {}, []
        self.cut_after = []  # bytes after which the next connections are cut
        self.ignore_range = self.no_length = False
        self.status = None
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.answer(self)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def url(self, name):
        return f"http://127.0.0.1:{self.http.server_port}/{name}"

    def answer(self, request):
        wanted = request.headers.get("Range")
        self.ranges.append(wanted)
        content = self.files.get(request.path.lstrip("/"))
        if self.status or content is None:
            return request.send_error(self.status or 404)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and not self.ignore_range else 0
        if start >= len(content):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(content)}")
            return request.end_headers()
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if not self.no_length:
            request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        end = start + self.cut_after.pop(0) if self.cut_after else len(content)
        request.wfile.write(content[start:end])


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(module, "RETRY_WAIT", 0.0)
    monkeypatch.setattr(module, "_CHUNK", 10_000)
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(files, **attributes):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for key, value in attributes.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def offer(server, name="photos.zip", content=None, md5=True, size=1000):
    """Puts an archive on the server and gives the table that names it."""
    content = zipped(PICTURES) if content is None else content
    server.files[name] = content
    digest = hashlib.md5(content).hexdigest() if md5 is True else md5
    return {
        "mine": DownloadableSet(
            (Archive(server.url(name), digest, size),), kind="folder", inner="photos", note="read me"
        )
    }


def assert_complete(folder):
    assert {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.glob("photos/*")} == PICTURES
    assert not list(folder.rglob("*.part"))
    assert not [p for p in folder.rglob("*") if p.suffix in (".zip", ".tar")], "archives are deleted once unpacked"


@pytest.mark.parametrize(("name", "pack"), [("photos.zip", zipped), ("photos.tar", tarred)])
def test_fetched_checked_unpacked_and_not_twice(server, tmp_path, name, pack):
    sets = offer(server, name, pack(PICTURES))
    calls = []
    done = download("mine", tmp_path / "new", progress=lambda *call: calls.append(call), sets=sets)
    assert (done.location, done.fetched, done.note) == (f"folder:{tmp_path / 'new/photos'}", (name,), "read me")
    assert_complete(tmp_path / "new")
    size = len(server.files[name])
    assert [what for what, done, total in calls if done == total] == [name, f"checking {name}", f"unpacking {name}"]
    assert {total for what, _, total in calls if what == name} == {size}
    assert download("mine", tmp_path / "new", sets=sets).fetched == ()
    assert server.ranges == [None], "the second call asks the server for nothing"


def test_a_cut_connection_is_taken_up_where_it_ended(server, tmp_path):
    server.cut_after = [100_000, 50_000]
    download("mine", tmp_path, sets=offer(server))
    assert server.ranges == [None, "bytes=100000-", "bytes=150000-"]
    assert_complete(tmp_path)


def test_a_later_call_goes_on_with_what_an_earlier_one_left(server, tmp_path):
    sets = offer(server)
    (tmp_path / ".download").mkdir()
    (tmp_path / ".download/photos.zip.part").write_bytes(server.files["photos.zip"][:70_000])
    download("mine", tmp_path, sets=sets)
    assert server.ranges == ["bytes=70000-"]
    assert_complete(tmp_path)


def test_a_server_without_ranges_sends_everything_again(server, tmp_path):
    server.cut_after, server.ignore_range = [100_000], True
    download("mine", tmp_path, sets=offer(server))
    assert server.ranges == [None, "bytes=100000-"]
    assert_complete(tmp_path)


def test_killed_after_the_last_byte(server, tmp_path):
    sets = offer(server)
    (tmp_path / ".download").mkdir()
    part = tmp_path / ".download/photos.zip.part"
    part.write_bytes(server.files["photos.zip"])
    download("mine", tmp_path, sets=sets)
    assert len(server.ranges) == 1
    assert_complete(tmp_path)


def test_a_part_longer_than_the_file_is_thrown_away(server, tmp_path):
    sets = offer(server)
    (tmp_path / ".download").mkdir()
    (tmp_path / ".download/photos.zip.part").write_bytes(bytes(500_000))
    download("mine", tmp_path, sets=sets)
    assert server.ranges == ["bytes=500000-", None]
    assert_complete(tmp_path)


def test_killed_while_unpacking_unpacks_again(server, tmp_path):
    sets = offer(server)
    (tmp_path / ".download").mkdir()
    (tmp_path / ".download/photos.zip").write_bytes(server.files["photos.zip"])
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/0.jpg").write_bytes(b"half")
    download("mine", tmp_path, sets=sets)
    assert server.ranges == []
    assert_complete(tmp_path)


def test_a_wrong_checksum_deletes_the_file_and_unpacks_nothing(server, tmp_path):
    sets = offer(server, md5="0" * 32)
    with pytest.raises(DataError, match=r"photos\.zip came with the MD5 [0-9a-f]{32}, expected 0{32}; it was deleted"):
        download("mine", tmp_path, sets=sets)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_without_a_checksum_the_crc_inside_finds_damage(server, tmp_path):
    content = bytearray(zipped(PICTURES))
    content[30_000] ^= 1
    with pytest.raises(DataError, match=r"photos\.zip is damaged \(Bad CRC-32.*was deleted"):
        download("mine", tmp_path, sets=offer(server, content=bytes(content), md5=None))
    assert not list((tmp_path / ".download").iterdir())


def test_without_a_length_the_end_of_the_connection_is_the_end(server, tmp_path):
    server.no_length = True
    download("mine", tmp_path, sets=offer(server))
    assert_complete(tmp_path)


@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:\\evil.txt"])
def test_a_zip_that_reaches_out_is_refused_whole(server, tmp_path, name):
    with pytest.raises(DataError, match="lies outside of"):
        download("mine", tmp_path / "in", sets=offer(server, content=zipped({"good.txt": b"x", name: b"x"})))
    assert not list(tmp_path.rglob("*.txt"))


@pytest.mark.parametrize("attributes", [{}, {"type": tarfile.SYMTYPE, "linkname": "../../etc/passwd"}])
def test_a_tar_that_reaches_out_is_refused_whole(server, tmp_path, attributes):
    files = {"good.txt": b"", "link" if attributes else "../evil.txt": b""}
    with pytest.raises(DataError, match="would write outside of"):
        download("mine", tmp_path / "in", sets=offer(server, "a.tar", tarred(files, **attributes)))
    assert not list(tmp_path.rglob("*.txt"))


def test_a_server_that_stays_away_is_told_with_what_is_kept(server, tmp_path):
    sets = offer(server)
    server.cut_after = [40_000, 0, 0, 0, 0, 0]
    with pytest.raises(
        DataError, match=r"ended after 40000 of \d+ bytes\); 40000 bytes are kept.*the same command resumes there"
    ):
        download("mine", tmp_path, sets=sets)
    assert len(server.ranges) == module.TRIES
    server.cut_after = []
    download("mine", tmp_path, sets=sets)
    assert_complete(tmp_path)


def test_errors_of_the_server(server, tmp_path):
    sets = offer(server)
    server.files.clear()
    with pytest.raises(DataError, match=r"refused by the server \(404 Not Found\)"):
        download("mine", tmp_path, sets=sets)
    assert len(server.ranges) == 1, "what is not there is not asked for again"
    server.status = 503
    with pytest.raises(DataError, match=r"cannot be fetched \(HTTPError: HTTP Error 503"):
        download("mine", tmp_path, sets=sets)
    assert len(server.ranges) == 1 + module.TRIES


def test_space_is_checked_before_anything_is_fetched(server, tmp_path):
    with pytest.raises(
        StoreError, match=r"GB free, but fetching and unpacking photos\.zip takes about 205000000\.0 GB"
    ):
        download("mine", tmp_path, sets=offer(server, size=10**17))
    assert server.ranges == []


def test_a_disk_that_fills_up_is_told_and_what_came_is_kept(server, tmp_path, monkeypatch):
    sets = offer(server)
    real = module._write

    class Full:
        def write(self, _):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(
        module, "_write", lambda file, chunk, part: real(Full() if part.stat().st_size else file, chunk, part)
    )
    with pytest.raises(StoreError, match=r"No space left on device.*free space, the same command resumes"):
        download("mine", tmp_path, sets=sets)
    monkeypatch.setattr(module, "_write", real)
    download("mine", tmp_path, sets=sets)
    assert_complete(tmp_path)


def test_the_official_table():
    with pytest.raises(RecipeError, match=r"unknown data set 'coco2015' to download\. Did you mean 'coco2014'"):
        download("coco2015", "nowhere")
    assert {name: [a.name for a in s.archives] for name, s in DOWNLOADABLE.items()} == {
        "voc2012": ["VOCtrainval_11-May-2012.tar"],
        "coco2014": ["annotations_trainval2014.zip", "val2014.zip", "train2014.zip"],
    }
    assert "train_aug.txt" in DOWNLOADABLE["voc2012"].note


def test_a_locked_zip_is_refused_before_anything_is_unpacked(tmp_path):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a.txt", "cat")
        archive.writestr("b.txt", "dog")
    raw = bytearray(content.getvalue())
    raw[raw.rindex(b"PK\x01\x02") + 8] |= 1  # the directory says that the last one has a password
    (tmp_path / "x.zip").write_bytes(raw)
    with pytest.raises(DataError, match=r"x\.zip is locked by a password \('b\.txt' first\); nothing was unpacked"):
        _unpack(tmp_path / "x.zip", tmp_path / "out", lambda what, done, total: None)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("inner", ["", "deeper"])
def test_a_file_in_the_place_of_the_folder(tmp_path, inner):
    (tmp_path / "afile").write_text("x")
    with pytest.raises(StoreError, match="afile is a file; name a folder"):
        download("voc2012", tmp_path / "afile" / inner)
