"""The scripts that look at a finished run: Lipschitz table, class agreement, gallery."""

import json
import re
from pathlib import Path

import pytest

from gconv_gan.config.errors import UserError
from gconv_gan.recipes import class_agreement, gallery, lipschitz


def test_the_lipschitz_table_brackets_every_layer(tiny_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lipschitz.main([str(tiny_run)])
    title, _, *rows = capsys.readouterr().out.splitlines()
    assert "checkpoint-480: discriminator, spectral normalisation" in title
    assert sum("Conv2d+spectral_norm" in row for row in rows) == 7
    for row in rows:
        lower, upper, _ = (float(number) for number in row.split()[-3:])
        assert lower <= upper * (1 + 1e-4)
    with pytest.raises(UserError, match="usage"):
        lipschitz.main([])


def test_class_agreement_asks_every_class(tiny_run: Path, judge: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class_agreement.main([str(tiny_run), "--classifier", str(judge), "--num-fake", "200"])
    shown = capsys.readouterr().out
    shares = [float(share) for share in re.findall(r"asked for \S+ +([\d.]+)", shown)]
    total = re.search(r"class agreement: ([\d.]+)", shown)
    assert len(shares) == 10
    assert total is not None
    assert float(total[1]) < 0.5  # fifteen steps teach nobody to write


def test_the_gallery_is_drawn_where_it_is_asked_for(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gallery.main([str(tiny_run), "--out", str(tmp_path / "pages"), "--checkpoint", "320"])
    page = tmp_path / "pages" / "index.html"
    assert str(page) in capsys.readouterr().out
    manifest = json.loads((tmp_path / "pages" / "manifest.json").read_text())
    assert "checkpoint-320" in json.dumps(manifest)
    assert "http" not in re.sub(r"http-equiv", "", page.read_text())
