import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ofa_core.run.download import ATTEMPTS, download

CONTENT = bytes(range(256)) * 4000  # about 1 MB
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT under every name but /missing. ranges: honours Range. cut_after: bytes sent before the response is cut."""

    ranges = True
    cut_after: int | None = None

    def __init__(self):
        self.asked: list[str | None] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        if self.path == "/missing":
            return self.send_error(404)
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and self.server.ranges else 0
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start:][: self.server.cut_after])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "file.bin"


def start_part(path, content):
    path.parent.mkdir()
    part = path.with_name("file.bin.part")
    part.write_bytes(content)
    return part


def test_downloads_with_a_progress_bar(server, path, capsys):
    download(f"{server.url}/file", path, MD5)
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]
    assert "file.bin: 100%" in capsys.readouterr().err
    download(f"{server.url}/file", path, MD5)
    assert len(server.asked) == 1, "a file that has the MD5 is not asked for again"


@pytest.mark.parametrize("md5", [MD5, None])
@pytest.mark.parametrize("ranges", [True, False])
def test_continues_a_part(server, path, ranges, md5):
    server.ranges = ranges
    start_part(path, CONTENT[:1000])
    download(f"{server.url}/file", path, md5)
    assert path.read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-"]


@pytest.mark.parametrize("md5", [MD5, None])
def test_a_complete_part_is_not_downloaded_again(server, path, md5):
    start_part(path, CONTENT)
    download(f"{server.url}/file", path, md5)
    assert path.read_bytes() == CONTENT
    assert server.asked == ([] if md5 else [f"bytes={len(CONTENT)}-"])


def test_a_part_longer_than_the_file_is_begun_again(server, path):
    start_part(path, CONTENT + b"more")
    download(f"{server.url}/file", path)
    assert path.read_bytes() == CONTENT


def test_goes_on_after_cut_connections(server, path):
    server.cut_after = len(CONTENT) // 3
    download(f"{server.url}/file", path, MD5)
    assert path.read_bytes() == CONTENT
    assert len(server.asked) == 4


def test_gives_up_on_a_connection_that_is_always_cut_and_keeps_the_part(server, path):
    server.cut_after = 1000
    with pytest.raises(ValueError, match=rf"/file: connection cut \({1000 * ATTEMPTS} of {len(CONTENT)} bytes\); run again"):
        download(f"{server.url}/file", path, MD5)
    assert not path.exists()
    server.cut_after = None
    download(f"{server.url}/file", path, MD5)
    assert path.read_bytes() == CONTENT
    assert server.asked[-1] == f"bytes={1000 * ATTEMPTS}-"


@pytest.mark.parametrize("part", [b"", b"a part of another file"])
def test_wrong_md5_deletes_the_part(server, path, part):
    start_part(path, part)
    path.write_bytes(b"older")
    expected = "0" * 32 if not part else MD5
    with pytest.raises(ValueError, match=rf"/file: MD5 \w+ is not the expected {expected}"):
        download(f"{server.url}/file", path, expected)
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]
    assert path.read_bytes() == b"older"


def test_not_found(server, path):
    with pytest.raises(ValueError, match=rf"^{server.url}/missing: HTTP error 404 \(Not Found\)$"):
        download(f"{server.url}/missing", path)


def test_no_server(path):
    server = Server()
    server.server_close()
    with pytest.raises(ValueError, match=rf"^{server.url}/file: cannot be reached: Connection refused$"):
        download(f"{server.url}/file", path)


def test_file_url(path, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    start_part(path, b"x")
    download(source.as_uri(), path, MD5)
    assert path.read_bytes() == CONTENT
    with pytest.raises(ValueError, match=r"nowhere: cannot be reached: No such file"):
        download((tmp_path / "nowhere").as_uri(), path)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "nonsense", "http://"])
def test_bad_url(path, url):
    with pytest.raises(ValueError, match=f"^{url}: "):
        download(url, path)


def test_cannot_write(server, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ValueError, match=r"below: cannot be written: "):
        download(f"{server.url}/file", tmp_path / "file" / "below")


def test_full_disk(server, path):
    path.parent.mkdir()
    path.with_name("file.bin.part").symlink_to("/dev/full")
    with pytest.raises(ValueError, match=r"file\.bin: cannot be written: no space left on the disk$"):
        download(f"{server.url}/file", path)
