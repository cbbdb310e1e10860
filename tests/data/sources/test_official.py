"""Official files: downloaded, resumed, verified, and never confused with an error page of the server."""

import re
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import gdown
import pytest
from gdown.exceptions import FileURLRetrievalError

from gconv_gan.config.errors import UserError
from gconv_gan.data.sources import official
from gconv_gan.data.sources.official import OfficialFile, failure_page, fetch, fetch_and_unpack, read_verified, verify
from tests.data.made import noise, official_file
from tests.data.web import Web

QUOTA = """<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head><body><p class="uc-error-caption">Sorry, you
can't view or download this file at this time.</p><p class="uc-error-subcaption">Too many users have viewed or downloaded this file
recently. Please try accessing the file again later.</p></body></html>"""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail at the first broken connection."""
    monkeypatch.setattr(official, "RETRIES", 0)


def test_a_file_is_fetched_once_and_verified(web: Web, tmp_path: Path) -> None:
    (web.folder / "a.bin").write_bytes(noise(0, 5000).tobytes())
    file = official_file(web, "a.bin")
    fetch([file], tmp_path / "here")
    fetch([file], tmp_path / "here")
    assert (tmp_path / "here/a.bin").read_bytes() == noise(0, 5000).tobytes()
    assert web.requests == [("/a.bin", 0)]


@pytest.mark.usefixtures("impatient")
def test_an_interrupted_download_is_resumed(web: Web, tmp_path: Path) -> None:
    content = noise(0, 1_500_000).tobytes()
    (web.folder / "a.bin").write_bytes(content)
    file = official_file(web, "a.bin")
    web.break_after = 600_000
    with pytest.raises(UserError, match=r"cannot fetch http.*/a\.bin: .*announced 1500000 bytes; run the command again to resume"):
        fetch([file], tmp_path / "here")
    assert not (tmp_path / "here/a.bin").exists()
    web.break_after = None
    fetch([file], tmp_path / "here")
    assert (tmp_path / "here/a.bin").read_bytes() == content
    (_, first), (_, second) = web.requests[:1] + web.requests[-1:]
    assert first == 0
    assert 500_000 < second <= 600_000
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == [".download.lock", "a.bin"]


def test_a_connection_that_breaks_is_tried_again(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda a, b: 0.0)  # the pause between tries
    content = noise(0, 1_500_000).tobytes()
    (web.folder / "a.bin").write_bytes(content)
    web.break_after = 600_000
    fetch([official_file(web, "a.bin")], tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == content
    starts = [start for _, start in web.requests]
    assert starts[0] == 0
    assert len(starts) > 2
    assert starts == sorted(starts)


def test_a_terminal_shows_a_progress_bar(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    (web.folder / "a.bin").write_bytes(noise(0, 1_500_000).tobytes())
    fetch([official_file(web, "a.bin")], tmp_path)
    assert re.search(r"a\.bin: 100%.*1\.50M/1\.50M", capsys.readouterr().err)


def test_a_file_other_than_the_published_one_is_refused_and_deleted(web: Web, tmp_path: Path) -> None:
    (web.folder / "a.bin").write_bytes(b"one")
    file = replace(official_file(web, "a.bin"), checksum="sha256:" + "0" * 64)
    with pytest.raises(UserError, match=r"what http.*/a\.bin sent is not the official file: its SHA-256 is .*, not 0{64}"):
        fetch([file], tmp_path / "here")
    assert [path.name for path in (tmp_path / "here").iterdir()] == [".download.lock"]


@pytest.mark.usefixtures("impatient")
def test_an_absent_file_is_named(web: Web, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot fetch .*404.* or put the file at .*here/b\.bin yourself"):
        fetch([OfficialFile("b.bin", f"{web.url}/b.bin", "md5:0")], tmp_path / "here")


def test_the_quota_page_is_explained_in_one_sentence(tmp_path: Path) -> None:
    page = tmp_path / "img_align_celeba.zip"
    page.write_text(QUOTA)
    sentence = failure_page(page)
    assert sentence is not None
    assert "Google Drive's page that its download quota is used up: delete it, wait a day, or fetch the file with a browser" in sentence
    with pytest.raises(UserError, match="download quota is used up"):
        verify(page, "md5:00d2c5bc6d35e252742224ab0c1e8fcb")
    with pytest.raises(UserError, match="download quota is used up"):
        read_verified(page, "md5:00d2c5bc6d35e252742224ab0c1e8fcb")


def test_another_page_is_named_by_its_title(tmp_path: Path) -> None:
    page = tmp_path / "a.zip"
    page.write_text("\n <html><title>\n 503 Service\n Unavailable </title>")
    assert "is no data but a web page ('503 Service Unavailable'): a failed download" in str(failure_page(page))
    page.write_bytes(b"PK\x03\x04<html>")
    assert failure_page(page) is None


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        ("Too many users have viewed or downloaded this file recently.", r"quota of a\.zip is used up for today: start again tomorrow, or"),
        ("Cannot retrieve the public link of the file.", r"gives no link to a\.zip now: start again later, or"),
    ],
)
def test_a_refusal_of_google_drive_gives_instructions_for_a_manual_download(
    reason: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise FileURLRetrievalError(f"Failed to retrieve file url:\n\n\t{reason}")

    monkeypatch.setattr(gdown, "download", refuse)
    url = "https://drive.google.com/uc?id=x"
    with pytest.raises(UserError, match=f"{sentence}.* fetch {url.replace('?', '.')} with a browser while logged in and put it at .*a.zip"):
        fetch([OfficialFile("a.zip", url, "md5:0")], tmp_path)


def test_bytes_are_verified_as_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert read_verified(path, "md5:900150983cd24fb0d6963f7d28e17f72") == b"abc"  # RFC 1321
    verify(path, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")  # FIPS 180-2


@pytest.mark.parametrize("kind", ["zip", "tgz"])
def test_an_archive_is_unpacked_whole_or_not_at_all(kind: str, web: Web, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a.txt").write_text("hello")
    archive = web.folder / f"set.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as packed:
            packed.write(tmp_path / "set/a.txt", "set/a.txt")
    else:
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(tmp_path / "set", "set")
    here = tmp_path / "here"
    fetch_and_unpack(official_file(web, archive.name), here, member="set", wanted=[here / "set/a.txt"])
    assert (here / "set/a.txt").read_text() == "hello"
    assert sorted(path.name for path in here.iterdir()) == [".download.lock", "set", archive.name]
    with pytest.raises(UserError, match="has no other in it"):
        fetch_and_unpack(official_file(web, archive.name), here, member="other", wanted=[here / "other"])


def test_a_damaged_archive_is_named(web: Web, tmp_path: Path) -> None:
    (web.folder / "set.tgz").write_bytes(noise(0, 1000).tobytes())
    with pytest.raises(UserError, match=r"set\.tgz is damaged: file could not.*; delete it and fetch the set again"):
        fetch_and_unpack(official_file(web, "set.tgz"), tmp_path, member="set", wanted=[tmp_path / "set"])


def test_an_archive_cannot_write_elsewhere(web: Web, tmp_path: Path) -> None:
    (tmp_path / "evil").write_text("x")
    with tarfile.open(web.folder / "set.tgz", "w:gz") as tar:
        tar.add(tmp_path / "evil", "../../outside")
    with pytest.raises(UserError, match="is damaged"):
        fetch_and_unpack(official_file(web, "set.tgz"), tmp_path / "a" / "b", member="set", wanted=[tmp_path / "a/b/set"])
    assert not (tmp_path / "outside").exists()
    assert not (tmp_path / "a/outside").exists()
