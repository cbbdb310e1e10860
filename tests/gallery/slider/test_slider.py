"""The latent slider in a browser, from a file: what it feeds the generator with, by pointer and keys; the runtime is a stand-in."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gconv_gan.data.reading.transforms import quantise
from gconv_gan.gallery.build import build_gallery
from gconv_gan.gallery.latents import slerp
from gconv_gan.gallery.page.manifest import read_manifest
from gconv_gan.gallery.pictures.registry import PICTURES
from gconv_gan.gallery.slider.runtime import read_runtime
from gconv_gan.gallery.slider.slider import Slider
from gconv_gan.gallery.trained_generator import TrainedGenerator
from tests.browser import Browser
from tests.gallery.conftest import changed_files, small_generator
from tests.gallery.slider.packages import BINARY, stand_in

HERO = {"unconditional": PICTURES["unconditional"]}
SEED, MODEL = 3, b"a model"
FIRST = "Image 0 to 4 at 0.00, ψ 1, cow"  # number 4 is the next of the class of number 0


def page_of(trained: TrainedGenerator, folder: Path, *, truncates: bool) -> Path:
    slider = Slider(read_runtime(stand_in(folder)), MODEL, truncates=truncates)
    return build_gallery(folder / "gallery", trained, seed=SEED, pictures=HERO, slider=slider)


@pytest.fixture(scope="module")
def page(trained: TrainedGenerator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_of(trained, tmp_path_factory.mktemp("slider"), truncates=True)


@pytest.fixture(scope="module")
def unconditional(trained: TrainedGenerator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    bare = dataclasses.replace(trained, generator=small_generator(None), run=dataclasses.replace(trained.run, class_names=()))
    return page_of(bare, tmp_path_factory.mktemp("unconditional"), truncates=False)


def drawn(browser: Browser, words: str) -> dict[str, Any]:
    """Wait for the picture with these words and return its inputs as name -> numbers."""
    browser.until(f"document.querySelector('.slider .drawn').getAttribute('aria-label')==={words!r}")
    found: dict[str, Any] = browser.run("Object.fromEntries(Object.entries(fed).map(([name,one])=>[name,[...one.data].map(Number)]))")
    return found


def opened(browser: Browser, page: Path, words: str, **size: Any) -> dict[str, Any]:
    browser.open(page, **{"width": 1280, **size})
    browser.click(*browser.centre(".slider .open"))
    return drawn(browser, words)


def enter(browser: Browser, selector: str, text: str) -> None:
    browser.run(f"document.querySelector({selector!r}).select()")
    browser.click(*browser.centre(selector))
    browser.run(f"document.querySelector({selector!r}).select()")
    browser.type(text)
    browser.press("Enter", text="\r", code=13)


def test_nothing_is_loaded_before_the_slider_is_opened(browser: Browser, page: Path) -> None:
    browser.open(page, width=1280)
    assert browser.run("typeof ort+typeof latentSlider") == "undefinedundefined"
    assert browser.run("document.querySelector('.slider .controls').getClientRects().length") == 0
    assert "onnxruntime-web 9.8.7" in browser.run("document.querySelector('.slider').textContent")


def test_the_runtime_gets_the_model_and_its_own_files(browser: Browser, page: Path) -> None:
    opened(browser, page, FIRST)
    made = browser.run("made")
    assert bytes(made["model"]) == MODEL
    assert bytes(made["binary"]) == BINARY
    assert made["loader"].endswith("/gallery/index.html")  # a blob's address would be no base of a path
    assert (made["numThreads"], made["options"]) == (1, {"executionProviders": ["wasm"]})


def test_the_ends_are_the_latents_of_the_samples_and_the_way_is_that_of_the_walk(
    browser: Browser, page: Path, trained: TrainedGenerator
) -> None:
    sheet = trained.numbered(SEED, 80)
    assert sheet.y is not None
    words = "Image 0 to 4 at {}, ψ 1, cow"
    found = opened(browser, page, FIRST)
    assert (found["psi"], found["y"]) == ([1.0], [int(sheet.y[0])])
    np.testing.assert_allclose(found["z"], sheet.z[0], rtol=1e-6)
    browser.press("End", code=35)  # the position has the focus
    np.testing.assert_allclose(drawn(browser, words.format("1.00"))["z"], sheet.z[4], rtol=1e-6)
    for _ in range(25):
        browser.press("ArrowLeft", code=37)
    found = drawn(browser, words.format("0.75"))
    expected = slerp(sheet.z[0], sheet.z[4], torch.tensor([0.75]))
    np.testing.assert_allclose(found["z"], expected[0], rtol=1e-6)
    pixels = np.array(browser.run("[...document.querySelector('.drawn').getContext('2d').getImageData(0,0,8,8).data]")).reshape(8, 8, 4)
    image = torch.from_numpy(np.resize(expected.numpy(), (1, 3, 8, 8)))
    assert np.abs(pixels[..., :3] - quantise(image)[0].permute(1, 2, 0).numpy().astype(int)).max() <= 1
    assert (pixels[..., 3] == 255).all()
    assert "ms per picture" in browser.run("document.querySelector('.slider .time').textContent")


def test_start_end_class_and_psi_are_chosen(browser: Browser, page: Path, trained: TrainedGenerator) -> None:
    sheet = trained.numbered(SEED, 80)
    assert sheet.y is not None
    opened(browser, page, FIRST)
    other = next(number for number in range(2, 80) if sheet.y[number] != sheet.y[0])
    enter(browser, ".slider .end:first-child input", str(other))
    found = drawn(browser, f"Image {other} to 4 at 0.00, ψ 1, {trained.class_name(int(sheet.y[other]))}")
    assert found["y"] == [int(sheet.y[other])]  # the class of the start
    np.testing.assert_allclose(found["z"], sheet.z[other], rtol=1e-6)
    enter(browser, ".slider .end:last-child input", "99")
    browser.run("(c=>{c.value=1;c.dispatchEvent(new Event('change'))})(document.querySelector('.slider .class'))")
    assert drawn(browser, f"Image {other} to 79 at 0.00, ψ 1, dog")["y"] == [1]  # the last sample is number 79
    names = browser.run("[...document.querySelectorAll('.slider .end .name')].map(e=>e.textContent)")
    assert names == [trained.class_name(int(sheet.y[number])) for number in (other, 79)]
    browser.run("document.querySelector('.slider .psi').focus()")
    browser.press("ArrowLeft", code=37)
    assert drawn(browser, f"Image {other} to 79 at 0.00, ψ 0.95, dog")["psi"] == [pytest.approx(0.95)]
    browser.centre(".slider .position")
    box = browser.run("(b=>[b.left,b.right,b.y+b.height/2])(document.querySelector('.slider .position').getBoundingClientRect())")
    browser.click((box[0] + box[1]) / 2, box[2])
    drawn(browser, f"Image {other} to 79 at 0.50, ψ 0.95, dog")


def test_without_classes_and_truncation_there_are_no_controls_of_them(browser: Browser, unconditional: Path) -> None:
    found = opened(browser, unconditional, "Image 0 to 1 at 0.00")
    assert set(found) == {"z"}
    assert browser.run("document.querySelector('.slider').querySelectorAll('.psi,.class').length") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_opened_slider_fits_and_does_not_print(browser: Browser, page: Path, width: int, scheme: str) -> None:
    opened(browser, page, FIRST, width=width, scheme=scheme)
    right = browser.run("Math.max(...[...document.querySelectorAll('.slider *')].map(e=>e.getBoundingClientRect().right))")
    assert right <= width
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("document.querySelector('.slider .drawn').clientWidth") >= 250
    browser.open(page, width=width, media="print")
    assert browser.run("document.querySelector('#slider').getClientRects().length") == 0


def test_a_page_without_its_files_says_which_is_missing(browser: Browser, page: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(page.parent, tmp_path / "moved"))
    (moved / "slider-model.js").unlink()
    browser.open(moved / "index.html", width=1280)
    browser.click(*browser.centre(".slider .open"))
    told = "document.querySelector('.slider .told').textContent"
    browser.until(f"{told}==='The slider cannot start: slider-model.js is missing in the folder of this page'")
    shutil.copy(page.parent / "slider-model.js", moved)
    browser.click(*browser.centre(".slider .open"))
    drawn(browser, FIRST)


def test_the_manifest_names_the_files_and_a_page_without_a_slider_removes_them(
    page: Path, trained: TrainedGenerator, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(page.parent, tmp_path / "copy"))
    files = {entry.file for entry in read_manifest(folder).pictures if entry.kind == "slider"}
    assert files == {"slider-ort.js", "slider-runtime.js", "slider-model.js", "slider-onnxruntime-web-LICENSE.txt"}
    assert {path.name for path in folder.iterdir()} == files | {"unconditional.png", "manifest.json", "index.html"}
    assert changed_files(folder) == []
    build_gallery(folder, trained, seed=SEED, pictures=HERO)
    assert {path.name for path in folder.iterdir()} == {"unconditional.png", "manifest.json", "index.html"}
    assert "slider" not in (folder / "index.html").read_text()
