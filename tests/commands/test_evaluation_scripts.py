"""Scripts on a finished run: table of Lipschitz constants, class agreement, gallery."""

import json
import re
import shutil
from pathlib import Path

import pytest

from gconv_gan.commands import export, gallery
from gconv_gan.commands.score import class_agreement
from gconv_gan.commands.studies import lipschitz
from gconv_gan.commands.train import gan
from gconv_gan.config.errors import UserError
from gconv_gan.runtime.tracking import read_metrics
from tests.training.tiny import tiny


def test_the_lipschitz_table_has_bounds_of_every_layer(tiny_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lipschitz.main([str(tiny_run)])
    title, _, *rows = capsys.readouterr().out.splitlines()
    assert "checkpoint-480: discriminator, spectral normalisation" in title
    assert sum("Conv2d+spectral_norm" in row for row in rows) == 7
    for row in rows:
        lower, upper, _ = (float(number) for number in row.split()[-3:])
        assert lower <= upper * (1 + 1e-4)
    with pytest.raises(UserError, match="RUN is missing: The run folder"):
        lipschitz.main([])


def test_class_agreement_covers_every_class(tiny_run: Path, judge: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class_agreement.main([str(tiny_run), "--classifier", str(judge), "--num-fake", "200"])
    shown = capsys.readouterr().out
    shares = [float(share) for share in re.findall(r"  class \S+ +([\d.]+)", shown)]
    total = re.search(r"class agreement: ([\d.]+)", shown)
    assert len(shares) == 10
    assert total is not None
    assert float(total[1]) < 0.5  # after 15 steps the images show no digits


def test_the_gallery_is_written_to_the_given_folder(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gallery.main([str(tiny_run), "--out", str(tmp_path / "pages"), "--checkpoint", "320"])
    page = tmp_path / "pages" / "index.html"
    assert str(page) in capsys.readouterr().out
    manifest = json.loads((tmp_path / "pages" / "manifest.json").read_text())
    assert "checkpoint-320" in json.dumps(manifest)
    assert "http" not in re.sub(r"http-equiv", "", page.read_text())


def test_the_curves_alone_are_one_small_picture(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "log" / "curves.png"
    gallery.main([str(tiny_run), "--curves", str(picture)])
    assert str(picture) in capsys.readouterr().out
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["curves.png"]
    whole = picture.read_bytes()
    assert whole.startswith(b"\x89PNG")
    assert len(whole) < 1_000_000
    gallery.main([str(tiny_run), "--curves", str(picture), "--checkpoint", "160"])
    assert picture.read_bytes() != whole
    with pytest.raises(UserError, match=r"curves\.jpg: the picture is a PNG: name a file that ends in \.png"):
        gallery.main([str(tiny_run), "--curves", str(tmp_path / "curves.jpg")])


def test_a_score_curve_is_drawn_and_a_damaged_score_is_named(run: Path, tmp_path: Path) -> None:
    (run / "scores").mkdir(exist_ok=True)
    card = {"formula": {"protocol": "p"}, "extractor": {"name": "x"}, "fakes": {}}
    for images in (160, 320, 480):
        content = {"scores": {"fd": 1.0 + images}, "card": {**card, "fakes": {"images_seen": images}}}
        (run / "scores" / f"{images}.json").write_text(json.dumps(content))
    gallery.main([str(run), "--out", str(tmp_path / "pages"), "--checkpoint", "320"])
    page = (tmp_path / "pages" / "index.html").read_text()
    assert (tmp_path / "pages" / "history-curve-0-fd.svg").is_file()
    assert "fd: 161 at first, 321 at last" in page  # the later checkpoint is left out
    assert page.count("<table>") == 1
    assert "after 320 images of training" in page
    (run / "scores" / "480.json").write_text("{")
    with pytest.raises(UserError, match=r"480\.json is damaged"):
        gallery.main([str(run), "--curves", str(tmp_path / "curves.png")])


def test_an_incomplete_last_line_of_the_log_prevents_neither_curves_nor_resuming(run: Path, tmp_path: Path) -> None:
    records = read_metrics(run / "metrics.jsonl")
    gallery.main([str(run), "--curves", str(tmp_path / "whole.png")])
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"images": 480, "loss_d": 1.')
    gallery.main([str(run), "--curves", str(tmp_path / "torn.png")])
    assert (tmp_path / "torn.png").read_bytes() == (tmp_path / "whole.png").read_bytes()
    gan.fit(tiny(tmp_path))
    assert read_metrics(run / "metrics.jsonl") == records
    assert (run / "metrics.jsonl").read_text().endswith("}\n")


def test_an_output_path_that_cannot_be_written_is_refused_before_drawing(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawn(*_: object, **__: object) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr(gallery, "trained_generator", drawn)
    monkeypatch.setattr(export, "describe", drawn)
    (tmp_path / "README.md").touch()
    inside = tmp_path / "README.md" / "pages"
    sentence = rf"--out {inside}: {tmp_path / 'README.md'} is a file, not a folder; name another folder"
    for command in (
        lambda: gallery.main([str(tiny_run), "--out", str(inside)]),
        lambda: gallery.main([str(tiny_run), str(tiny_run), "--out", str(inside)]),
        lambda: export.main([str(tiny_run), "--out", str(inside), "--no-onnx"]),
    ):
        with pytest.raises(UserError, match=sentence):
            command()


def test_pages_go_into_the_run_and_nowhere_else(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, here = tmp_path / "runs" / "one", tmp_path / "here"
    shutil.copytree(tiny_run, run)
    here.mkdir()
    monkeypatch.chdir(here)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    gallery.main([str(run), "--index", str(tmp_path / "runs")])
    gallery.main([str(run), str(run)])
    written = {path.relative_to(tmp_path / "runs") for path in tmp_path.rglob("*") if path.is_file() and path not in before}
    name = json.loads((run / "config.json").read_text())["name"]
    pages = {Path("index.html"), Path("one/gallery/index.html"), Path(f"one/comparisons/{name}/index.html")}
    assert pages <= written
    assert {path for path in written if path.parent not in {page.parent for page in pages}} == set()
    assert 'href="one/gallery/index.html"' in (tmp_path / "runs" / "index.html").read_text()
    gallery.main([str(run), str(run), "--picture", str(here / "two.png")])
    assert {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file() and path not in before} == {
        *(Path("runs") / path for path in written),
        Path("here/two.png"),
    }


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["RUN", "RUN", "--picture", "two.jpg"], r"--picture two\.jpg: .* ends in \.png"),
        (["RUN", "--picture", "a.png", "--out", "page"], "--out page: not together with --picture, which draws no page"),
        (["RUN", "--curves", "a.png", "--index", "runs"], "--index runs: not together with --curves, which draws no page"),
        (["RUN", "RUN", "--curves", "a.png"], "--curves a.png: for a single run, but several are named; leave it out"),
        (["RUN", "RUN", "--extractor", "efficientnet_lite0"], "--extractor efficientnet_lite0: for a single run"),
        ([], "RUN is missing: name the folder of a run"),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else "",
)
def test_options_of_another_sort_of_page_are_refused(
    options: list[str], sentence: str, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=sentence):
        gallery.main([str(tiny_run) if option == "RUN" else option for option in options])
    assert not list(tmp_path.iterdir())
