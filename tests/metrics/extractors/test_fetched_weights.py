"""Published weights that are missing are fetched on request: resumed after a broken connection, and compared with their hash."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gconv_gan.commands.score import scores
from gconv_gan.config.errors import UserError
from gconv_gan.metrics.extractors import weights
from tests.data.web import Web, serving

CONTENT = np.random.default_rng(0).bytes(1_500_000)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GCONV_GAN_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


def published(web: Web, content: bytes, monkeypatch: pytest.MonkeyPatch) -> weights.WeightsFile:
    """Serve ``CONTENT`` as Inception's weights, of which ``content`` has the published hash."""
    file = replace(weights.INCEPTION, name="w.pth", size=len(CONTENT), sha256=hashlib.sha256(content).hexdigest(), url=f"{web.url}/w.pth")
    monkeypatch.setattr(weights, "INCEPTION", file)
    (web.folder / "w.pth").write_bytes(CONTENT)
    return file


def test_a_broken_download_is_resumed(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda a, b: 0.0)  # the pause between tries
    (tmp_path / "server").mkdir()
    with serving(tmp_path / "server") as web:
        published(web, CONTENT, monkeypatch)
        web.break_after = 600_000
        assert weights.fetch_weights("inception:clean") == place / "w.pth"
        starts = [start for _, start in web.requests]
        assert starts[0] == 0
        assert max(starts) > 1_000_000
        assert (place / "w.pth").read_bytes() == CONTENT
        count = len(web.requests)
        assert weights.fetch_weights("inception") == place / "w.pth"
        assert len(web.requests) == count
    assert weights.fetch_weights("efficientnet_lite0") is None


def test_another_file_than_the_published_one_is_refused_by_the_command(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("server", "pictures"):
        (tmp_path / name).mkdir()
    from PIL import Image

    for index in range(4):
        Image.new("RGB", (8, 8), (index, 0, 0)).save(tmp_path / "pictures" / f"{index}.png")
    with serving(tmp_path / "server") as web:
        published(web, b"something else", monkeypatch)
        pictures = str(tmp_path / "pictures")
        command = [
            pictures,
            "--reference",
            pictures,
            "--extractor",
            "inception",
            "--metrics",
            "fid",
            "--cache-dir",
            str(tmp_path / "cache"),
        ]
        with pytest.raises(UserError, match=r"--download: what http.* sent is not the official file: its SHA-256 is"):
            scores.main([*command, "--download", "true"])
        assert not (place / "w.pth").exists()
        with pytest.raises(UserError, match=r"gconv-gan score --download true does both"):
            scores.main(command)
