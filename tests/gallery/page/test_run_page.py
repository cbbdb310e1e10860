import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from gconv_gan.config.errors import UserError
from gconv_gan.gallery.build import build_gallery
from gconv_gan.gallery.page.document import breakable
from gconv_gan.gallery.page.score_table import scores_html, setting
from gconv_gan.gallery.pictures.registry import PICTURES
from gconv_gan.gallery.score import read_score
from gconv_gan.gallery.trained_generator import TrainedGenerator

VOID = {"meta", "link", "img", "source", "br", "wbr", "hr", "input"}


class Outline(HTMLParser):
    """The elements of a page; fails on a tag that is closed out of order or never."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, Any]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute of <{tag}> is repeated"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def attributes(self, tag: str) -> list[dict[str, Any]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def page(gallery: Path) -> Outline:
    return Outline((gallery / "index.html").read_text())


def test_the_page_refers_to_no_file_outside_its_folder(page: Outline, gallery: Path) -> None:
    text = re.sub(r"data:image/png;base64,[\w+/=]+", "", (gallery / "index.html").read_text())
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<iframe|<script[^>]+src", text)
    references = [value for _, attributes in page.elements for key, value in attributes.items() if key in ("src", "href", "srcset")]
    files = {reference for reference in references if not reference.startswith(("#", "data:"))}
    assert files >= {"unconditional.png", "manifest.json", "history-losses.svg"}
    assert all((gallery / file).is_file() for file in files)
    assert files | {"index.html"} == {path.name for path in gallery.iterdir()}


def test_links_inside_the_page_have_targets(page: Outline) -> None:
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(names)) == len(names)
    targets = {link["href"][1:] for link in page.attributes("a") if link["href"].startswith("#")}
    targets |= {section["aria-labelledby"] for section in page.attributes("section")}
    assert targets >= {"pictures", "classes", "timeline", "interpolation", "gates", "scores", "training"}
    assert targets <= set(names)


def test_every_picture_has_a_caption_a_size_and_a_link_to_the_file(page: Outline) -> None:
    images = page.attributes("img")
    assert len({image["alt"] for image in images}) == len(images)
    assert all(len(image["alt"]) > 20 and int(image["width"]) > 0 and int(image["height"]) > 0 for image in images)
    assert {image["src"] for image in images} <= {link["href"] for link in page.attributes("a")}


def test_the_document_is_complete(page: Outline, gallery: Path) -> None:
    assert (gallery / "index.html").read_text().startswith("<!doctype html>")
    assert page.attributes("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.attributes("meta")
    assert len(page.attributes("h1")) == 1
    assert "prefers-color-scheme:dark" in (gallery / "index.html").read_text()


def test_a_score_is_listed_below_its_protocol(page: Outline) -> None:
    assert len(page.attributes("table")) == len(page.attributes("caption")) == 1
    words = [text for text in page.texts if text.strip()]
    start = words.index("tiny2k")
    assert words[start : start + 8] == [
        "tiny2k",
        " features of digits classifier, 2,000 against 1,797 images",
        "Fréchet distance ",
        "↓",
        "12.35",
        "Kernel distance ",
        "↓",
        "0.0123 ± 0.002",
    ]
    assert "fakes.batch_norm" in words


def test_two_scores_of_one_protocol_can_be_told_apart() -> None:
    usual = {"weights": "ema", "batch_norm": "eval", "images_seen": 12000, "seed": 0}
    unusual = {
        "weights": "raw",
        "batch_norm": "standing (16 batches)",
        "truncation": 0.5,
        "truncated": "w",
        "images_seen": 12000,
        "seed": 1,
    }
    parts = {"formula": {"protocol": "p", "num_fake": 10, "num_real": None}, "extractor": {"name": "x"}}
    of = lambda fakes: read_score({"scores": {"fd": 1.0}, "card": {**parts, "fakes": fakes}}, lower_is_better=())  # noqa: E731
    assert setting(of(usual)) == "features of x, 10 against ? images, after 12,000 images of training, seed 0"
    assert setting(of(unusual)) == (
        "features of x, 10 against ? images, after 12,000 images of training, weights of the last step, "
        "BatchNorm: standing (16 batches), w truncated at 0.5, seed 1"
    )


def test_long_names_may_break_where_their_words_are_joined() -> None:
    assert breakable("a_b-c:d/e=f&") == "a_<wbr>b-<wbr>c:<wbr>d/<wbr>e=<wbr>f&amp;"


@pytest.mark.parametrize(
    ("score", "message"),
    [
        ({"scores": {"fid": 9.0}}, r"\['fid'\] have no protocol"),
        ({"scores": {"fid": 9.0}, "card": {"formula": {"protocol": ""}, "extractor": {"name": "x"}}}, "have no protocol"),
        ({"scores": {"fid": 9.0}, "card": {"formula": {"protocol": "fid2k"}}}, "have no protocol or extractor"),
        ({"fid": 9.0}, r"needs an object 'scores'.*\['fid'\]"),
    ],
)
def test_a_bare_number_is_refused(score: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_score(score, lower_is_better=())


def test_no_scores_no_section() -> None:
    assert scores_html([]) == ""


def test_names_are_escaped_in_the_page(tmp_path: Path, trained: TrainedGenerator) -> None:
    hostile = '<script>alert("x")</script>&"'
    run = dataclasses.replace(trained.run, name=hostile, dataset=hostile, class_names=(hostile, "b", "c"), details={hostile: hostile})
    pictures = {kind: PICTURES[kind] for kind in ("unconditional", "classes")}
    page = Outline(build_gallery(tmp_path, dataclasses.replace(trained, run=run), pictures=pictures).read_text())
    assert len(page.attributes("script")) == 1
    assert hostile in page.texts
    assert any(hostile in image["alt"] for image in page.attributes("img"))


def test_a_shortened_hash_ends_with_an_ellipsis(page: Outline) -> None:
    assert f"{'ab' * 8}…" in page.texts


def test_best_and_worst_and_sample_and_neighbours_have_names_above_them(page: Outline) -> None:
    assert {"highest logits", "lowest logits", "sample", "nearest training images"} <= set(page.texts)


def test_the_command_of_a_class_names_its_folder(trained: TrainedGenerator) -> None:
    run = dataclasses.replace(trained.run, class_folders=("n01", "n 2", "n03"))
    sample = dataclasses.replace(trained, run=run).samples(3, 5, label=1)[4]
    assert (sample.number, sample.class_name) == (4, "dog")
    assert sample.command == f"{run.sample_command} --seed 3 --seeds 4 --label 'n 2' --out seed3-4-class1"
