"""Published files of data sets: download and verification.

Downloads use ``gdown``, which resumes a partial file by HTTP ranges, retries, and supports Google Drive. A download is complete only if
the file has its published checksum. If a server sends a web page instead of the file (Google Drive does, with status 200, above its
download quota), the error names that page.
"""

import hashlib
import re
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from gconv_gan.config.errors import UserError
from gconv_gan.runtime.files.full_disk import writing
from gconv_gan.runtime.files.locking import exclusive

QUOTA_PHRASES = ("quota exceeded", "too many users have viewed or downloaded")
RETRIES = 3
TIMEOUT = 60.0


@dataclass(frozen=True)
class OfficialFile:
    """One published file: its name, where it comes from, its checksum ("md5:…" or "sha256:…"), its size in bytes (0: not known)."""

    name: str
    url: str
    checksum: str
    size: int = 0

    @property
    def needs(self) -> str:
        """The file's size as text: "(170 MB)", or the empty string if unknown."""
        return f" ({self.size / 1e6:,.0f} MB)" if self.size else ""


def verify(path: Path, checksum: str) -> None:
    """Compare a file with its published checksum.

    Raises:
        UserError: it differs; the message says what the file is, if this is recognised.

    """
    with path.open("rb") as file:
        _require(path, hashlib.file_digest(file, partial(_algorithm, checksum)).hexdigest(), checksum)


def read_verified(path: Path, checksum: str) -> bytes:
    """Return the content of a file, compared with its published checksum as ``verify`` does."""
    content = path.read_bytes()
    digest = _algorithm(checksum)
    digest.update(content)
    _require(path, digest.hexdigest(), checksum)
    return content


def _algorithm(checksum: str) -> Any:
    return hashlib.new(checksum.partition(":")[0], usedforsecurity=False)


def _require(path: Path, found: str, checksum: str) -> None:
    algorithm, _, expected = checksum.partition(":")
    if found == expected:
        return
    page = failure_page(path)
    if page:
        raise UserError(f"data.path: {page}")
    name = {"md5": "MD5", "sha256": "SHA-256"}[algorithm]
    raise UserError(f"data.path: {path} is not the official file: its {name} is {found}, not {expected}; delete it and fetch the set again")


def failure_page(path: Path) -> str | None:
    """Return a message about the web page at ``path``, sent by a server instead of a file; None if it is not a web page."""
    with path.open("rb") as file:
        start = file.read(65_536)
    if start.lstrip()[:1] != b"<":
        return None
    text = start.decode(errors="replace")
    if any(phrase in text.lower() for phrase in QUOTA_PHRASES):
        return (
            f"{path} is no data but Google Drive's page that its download quota is used up: delete it, wait a day, or fetch "
            "the file with a browser while logged in and put it there"
        )
    title = re.search(r"<title>\s*(.*?)\s*</title>", text, re.DOTALL | re.IGNORECASE)
    said = f" ('{' '.join(title.group(1).split())}')" if title else ""
    return f"{path} is no data but a web page{said}: a failed download; delete it and fetch the file again"


# --- fetching --------------------------------------------------------------------------------------------------------------------


def fetch(files: Sequence[OfficialFile], folder: Path) -> None:
    """Download the missing ones of ``files`` into ``folder`` and verify their checksums; existing files are not changed.

    Raises:
        UserError: a file cannot be downloaded, or is not the published one.

    """
    with exclusive(folder / ".download.lock", purpose=f"fetching into {folder}"):
        for file in files:
            if not (folder / file.name).exists():
                _download(file, folder / file.name)


def fetch_and_unpack(file: OfficialFile, folder: Path, *, member: str, wanted: Sequence[Path]) -> None:
    """Create the paths ``wanted`` by unpacking the archive's top-level ``member`` into ``folder``; download the archive if it is absent.

    Raises:
        UserError: the archive cannot be downloaded, is not the published one, or is damaged.

    """
    with exclusive(folder / ".download.lock", purpose=f"fetching into {folder}"):
        if all(path.exists() for path in wanted):
            return
        archive = folder / file.name
        if archive.exists():
            verify(archive, file.checksum)
        else:
            _download(file, archive)
        unpack(archive, member, folder)


def _download(file: OfficialFile, target: Path) -> None:
    import gdown  # imported here, since the import takes half a second
    import requests
    from gdown.exceptions import DownloadError, FileURLRetrievalError

    target.parent.mkdir(parents=True, exist_ok=True)
    arriving = target.with_name(f".{target.name}.arriving")
    arriving.unlink(missing_ok=True)
    with tqdm(total=file.size or None, unit="B", unit_scale=True, desc=file.name, disable=not sys.stderr.isatty()) as bar:

        def progress(done: int, total: int | None) -> None:
            bar.total = total or bar.total
            bar.update(done - bar.n)

        try:
            with writing(arriving):
                gdown.download(
                    file.url, str(arriving), quiet=True, use_cookies=False, resume=True, retries=RETRIES, timeout=TIMEOUT, progress=progress
                )
        except FileURLRetrievalError as error:
            raise UserError(_refused(file, target, str(error))) from error
        except (DownloadError, requests.RequestException, OSError) as error:
            raise UserError(
                f"data.download: cannot fetch {file.url}: {_one_line(error)}; run the command again to resume, "
                f"or put the file at {target} yourself"
            ) from error
    try:
        verify(arriving, file.checksum)
    except UserError as error:
        arriving.unlink()
        raise UserError(str(error).replace(f"data.path: {arriving}", f"data.download: what {file.url} sent")) from error
    arriving.rename(target)


def _refused(file: OfficialFile, target: Path, reason: str) -> str:
    """Return the message on a failed download from Google Drive, with the manual way."""
    by_hand = f"fetch {file.url} with a browser while logged in and put it at {target}, it is then only verified"
    if any(phrase in reason.lower() for phrase in QUOTA_PHRASES):
        return f"data.download: Google Drive's download quota of {file.name} is used up for today: start again tomorrow, or {by_hand}"
    return f"data.download: Google Drive gives no link to {file.name} now: start again later, or {by_hand}"


def _one_line(error: Exception) -> str:
    return re.split(r"\.\s", " ".join(str(error).split()))[0]


# --- unpacking -------------------------------------------------------------------------------------------------------------------


def unpack(archive: Path, member: str, folder: Path) -> None:
    """Unpack ``archive`` (zip or tar) and move its top-level ``member`` into ``folder``, replacing what is there.

    Raises:
        UserError: the archive is damaged or has no such member.

    """
    aside = folder / f".{archive.name}.unpacking"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(aside)
        else:
            with tarfile.open(archive) as packed_tar:
                packed_tar.extractall(aside, filter="data")
        if not (aside / member).exists():
            raise UserError(f"data.path: {archive} has no {member} in it")
        shutil.rmtree(folder / member, ignore_errors=True)
        (aside / member).rename(folder / member)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise UserError(f"data.path: {archive} is damaged: {_one_line(error)}; delete it and fetch the set again") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
