"""The page of a run in a browser: it fits phones and desktops, prints, and answers to keys and the pointer."""

import dataclasses
from pathlib import Path

import pytest

from gconv_gan.gallery.build import build_gallery
from gconv_gan.gallery.page.theme import DARK, LIGHT, Theme
from gconv_gan.gallery.score import read_score
from gconv_gan.gallery.trained_generator import TrainedGenerator
from tests.browser import Browser
from tests.gallery.conftest import LOW

LONG = {
    "scores": {"fd_infinity": 123456.789, "kid_mean": 0.4894, "kid_std": 5.3e-16, "intra_fd": 1.0},
    "card": {
        "formula": {
            "protocol": "fd50k_efficientnet (metrics=('fid', 'is', 'kid', 'prdc'), num_fake=512)",
            "num_fake": 512,
            "num_real": 512,
        },
        "extractor": {"name": "efficientnet_lite0:bilinear96"},
    },
}
LAYERS = tuple(
    {
        "images": 100 * step,
        **{f"effective_learning_rate/generator/{name}": 10.0**-place / step for place, name in enumerate(("a", "b", "c"))},
    }
    for step in range(1, 5)
)


@pytest.fixture(scope="module")
def wide(trained: TrainedGenerator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with long names of classes, scores, options and protocols, and with curves of layers."""
    names = ("brown bear", "remote control", "sewing machine of long ago")
    details = {"Command": "train_gan.py " + "--discriminator.long-option.of-an-optimiser value " * 9}
    run = dataclasses.replace(trained.run, class_names=names, details=details)
    records = (*trained.records, *LAYERS)
    long = read_score(LONG, lower_is_better=LOW)
    return build_gallery(
        tmp_path_factory.mktemp("wide"),
        dataclasses.replace(trained, run=run, records=records, scores=(*trained.scores, long, long)),
        seed=3,
    )


MEASURED = """(()=>{const right=s=>Math.max(...[...document.querySelectorAll(s)].map(e=>Math.ceil(e.getBoundingClientRect().right)));
  return {page:document.documentElement.scrollWidth,main:right("main *:not(.rows *):not(.wide *)"),nav:right("nav a"),
    pictures:[...document.images].every(i=>i.loading==="lazy"||i.naturalWidth>0),
    taller:Math.max(...[...document.querySelectorAll(".labelled:has(ol)")].map(e=>
      Math.ceil(e.querySelector("ol").offsetHeight-e.querySelector("img").offsetHeight))),
    whole:[...document.querySelectorAll(".rows span")].filter(e=>e.title=="brown bear").every(e=>e.scrollHeight<=e.clientHeight+1),
    groups:[...document.querySelectorAll(".groups b")].every(e=>e.scrollWidth<=e.clientWidth+1),
    background:getComputedStyle(document.body).backgroundColor.replaceAll(" ","")}})()"""


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_the_page_fits_the_width_of_a_phone_and_a_desktop(browser: Browser, wide: Path, width: int, theme: Theme) -> None:
    browser.open(wide, width=width, scheme=theme.name)
    found = browser.run(MEASURED)
    assert max(found["page"], found["main"], found["nav"]) <= width
    assert found["pictures"]
    assert found["taller"] <= 1  # row labels keep beside their rows
    assert found["whole"] or width < 390
    assert found["groups"]
    assert found["background"] == "rgb({},{},{})".format(*bytes.fromhex(theme.page[1:]))


def box(browser: Browser) -> tuple[list[str], str] | None:
    """The facts and the command that are shown for a sample; None while no box is open."""
    found = browser.run(
        """(()=>{const box=document.querySelector("dialog[open]");
        return box&&[[...box.querySelectorAll("dt,dd")].map(e=>e.textContent),box.querySelector("code").textContent]})()"""
    )
    return None if found is None else (found[0], found[1])


HERO = "a[href='unconditional.png']"


def place_of(browser: Browser, picture: str, row: int, column: int) -> tuple[float, float]:
    """Where the middle of an image of a grid is in the window."""
    x, y = browser.run(
        f"""(()=>{{const link=document.querySelector({picture!r}),img=link.querySelector("img"),data=JSON.parse(link.dataset.samples);
        img.scrollIntoView({{block:"start"}});scrollBy(0,-100);const b=img.getBoundingClientRect(),s=b.width/img.getAttribute("width");
        return [b.x+s*(data.lefts[{column}]+data.side/2),b.y+s*(data.step*{row}+data.side/2)]}})()"""
    )
    return x, y


@pytest.mark.parametrize("width", [390, 1280])
def test_a_click_on_a_sample_shows_its_seed_its_class_and_its_command(
    browser: Browser, gallery: Path, trained: TrainedGenerator, width: int
) -> None:
    browser.open(gallery / "index.html", width=width)
    assert box(browser) is None
    sample = trained.samples(3, 80)[37]
    browser.click(*place_of(browser, HERO, 3, 7))
    assert box(browser) == (["Seed", "3", "Image", "37", "Class", sample.class_name], sample.command)
    browser.click(*browser.centre("dialog .copy"))
    browser.run("new Promise(done=>setTimeout(done,100))")
    assert browser.run("document.querySelector('dialog .copy').textContent") == "Copied"
    browser.press("Escape", code=27)
    assert box(browser) is None
    browser.click(*place_of(browser, "a[href='truncation.png']", 1, 2))
    sample = trained.samples(3, 3, truncation=0.5)[2]
    assert box(browser) == (["Seed", "3", "Image", "2", "Class", sample.class_name, "Truncation", "0.5"], sample.command)


def test_the_arrow_keys_and_enter_do_the_same(browser: Browser, gallery: Path, trained: TrainedGenerator) -> None:
    browser.open(gallery / "index.html", width=1280)
    samples = trained.samples(3, 80)
    browser.press("j", text="j")
    assert browser.run("document.activeElement.getAttribute('href')") == "unconditional.png"
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        browser.press(key)
    browser.press("Enter", text="\r", code=13)
    assert (box(browser) or ("", ""))[1] == samples[12].command
    browser.press("ArrowLeft")  # within the box, to the sample beside it
    assert (box(browser) or ("", ""))[1] == samples[11].command
    browser.press("Escape", code=27)
    assert box(browser) is None
    assert browser.run("document.activeElement.getAttribute('href')") == "unconditional.png"


def test_a_training_image_is_no_sample(browser: Browser, gallery: Path, trained: TrainedGenerator) -> None:
    browser.open(gallery / "index.html", width=1280)
    browser.run("document.querySelector(\"a[href='neighbours-pixels.png']\").focus()")
    for key in ("ArrowRight", "ArrowDown"):
        browser.press(key)
    browser.press("Enter", text="\r", code=13)
    assert (box(browser) or ("", ""))[1] == trained.samples(3, 2)[1].command
    browser.press("Escape", code=27)
    browser.click(*place_of(browser, "a[href='neighbours-pixels.png']", 0, 3))
    browser.until("location.pathname.endsWith('neighbours-pixels.png')")  # the whole picture


def test_the_pointer_and_the_arrow_keys_show_gates_and_the_values_of_layers(browser: Browser, wide: Path) -> None:
    browser.open(wide, width=1280)
    words = "document.querySelector('svg.map .axis').textContent"
    rest = browser.run(words)
    browser.move(*browser.centre("svg.map"))
    under = browser.run(words)
    assert under.startswith("image ")
    assert 0 <= float(under.rpartition(": ")[2]) <= 2
    browser.move(0, 0)
    assert browser.run(words) == rest
    browser.run("document.querySelector('svg.map').closest('a').focus()")
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        browser.press(key)
    assert browser.run(words).startswith("image 1, kernel 2: ")
    browser.run("document.querySelector('#effective-learning-rates a').focus()")
    layer = "document.querySelector('#effective-learning-rates .layers').textContent"
    browser.press("ArrowRight")
    assert browser.run(layer) == "a  1"
    browser.press("ArrowDown")
    browser.press("ArrowRight")
    assert browser.run(layer) == "b  0.05"


def test_a_dark_page_prints_on_white_with_whole_pictures_and_tables(browser: Browser, wide: Path) -> None:
    browser.open(wide, width=700, scheme="dark", media="print")
    found = browser.run(
        """({background:getComputedStyle(document.body).backgroundColor,ink:getComputedStyle(document.body).color,
        bar:getComputedStyle(document.querySelector(".bar")).display,
        curve:getComputedStyle(document.querySelector(".plot .line")).stroke,wide:document.documentElement.scrollWidth,
        breaks:[...new Set([...document.querySelectorAll("figure,table,tr")].map(e=>getComputedStyle(e).breakInside))],
        tallest:Math.max(...[...document.images].map(e=>e.getBoundingClientRect().height))})"""
    )
    ink, curve = ("rgb({}, {}, {})".format(*bytes.fromhex(colour[1:])) for colour in (LIGHT.ink, LIGHT.series[0]))
    assert found["background"] == "rgb(255, 255, 255)"
    assert (found["ink"], found["curve"], found["bar"], found["breaks"]) == (ink, curve, "none", ["avoid"])
    assert found["wide"] <= 700
    assert found["tallest"] <= 225 / 25.4 * 96 + 1
