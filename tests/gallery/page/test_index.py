import json
from pathlib import Path

import pytest

from gconv_gan.config.errors import UserError
from gconv_gan.gallery.page.index import write_index


def test_the_index_lists_every_gallery_and_does_not_overwrite_another_page(gallery: Path, tmp_path: Path) -> None:
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "manifest.json").write_text("[]")
    for name in ("one", "two/gallery"):
        (tmp_path / name).mkdir(parents=True)
        for file in ("manifest.json", "unconditional.png", "index.html"):
            (tmp_path / name / file).write_bytes((gallery / file).read_bytes())
    index = write_index(tmp_path)
    text = index.read_text()
    assert text.count('href="one/index.html"') == text.count('href="two/gallery/index.html"') == 2
    assert "foreign" not in text
    assert json.loads((gallery / "manifest.json").read_text())["run"]["name"].replace("_", "_<wbr>") in text
    assert write_index(tmp_path) == index
    index.write_text("<p>mine</p>")
    with pytest.raises(UserError, match="is another page and is not overwritten"):
        write_index(tmp_path)
    assert index.read_text() == "<p>mine</p>"
