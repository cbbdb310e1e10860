"""The latent slider of a run's gallery: the exported generator gives the page's samples, in the browser where the runtime is installed."""

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from gconv_gan.commands import gallery
from gconv_gan.commands.onnx_file import write_onnx
from gconv_gan.commands.train import gan
from gconv_gan.commands.train.networks import load_run
from gconv_gan.config.errors import UserError
from gconv_gan.gallery.build import build_gallery
from gconv_gan.gallery.latents import slerp
from gconv_gan.gallery.pictures.grid import as_bytes
from gconv_gan.gallery.pictures.registry import PICTURES
from gconv_gan.gallery.trained_generator import TrainedGenerator
from gconv_gan.models.gan.mapping import MappedGenerator
from tests.browser import Browser, chromium
from tests.gallery.slider.packages import installed, stand_in
from tests.training.tiny import tiny

RUNS: dict[str, dict[str, Any]] = {
    "dictionary": {},
    "mapped BigGAN with banks": {
        "generator": {
            "kind": "biggan",
            "width": 8,
            "shared_dim": 4,
            "conv": {"kind": "gconv", "mode": "bank"},
            "mapping": {"kind": "mlp", "width": 8, "depth": 2},
        },
    },
    "pruned bank without classes": {
        "conditional": False,
        "generator": {"width": 24, "conv": {"mode": "bank"}},
        "methods": [{"kind": "taylor", "players": ["generator"], "every": 32, "units_per_step": 40, "removed": 0.2}],
    },
}
SEED = 5
ONNX_WARNINGS = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


def page_of(run_folder: Path, package: Path, out: Path) -> tuple[TrainedGenerator, Path]:
    run = load_run(run_folder)
    trained = gallery.trained_generator(run, run_folder)
    slider = gallery.latent_slider(run, package)
    return trained, build_gallery(out, trained, seed=SEED, pictures={"unconditional": PICTURES["unconditional"]}, slider=slider)


def unpacked(text: str) -> bytes:
    return gzip.decompress(base64.b64decode(text))


@ONNX_WARNINGS
def test_the_files_hold_the_generator_and_the_latents_of_the_samples(tiny_run: Path, tmp_path: Path) -> None:
    trained, page = page_of(tiny_run, stand_in(tmp_path), tmp_path / "page")
    script = (page.parent / "slider-model.js").read_text()
    model = json.loads(script.removeprefix("Object.assign(window.latentSlider??={},").removesuffix(");\n"))
    assert model["names"] == list(trained.run.class_names)
    latents = np.frombuffer(unpacked(model["latents"]), "<f4").reshape(80, model["latentDim"])
    session = onnxruntime.InferenceSession(unpacked(model["onnx"]), providers=["CPUExecutionProvider"])
    (images,) = session.run(None, {"z": latents, "y": np.array(model["labels"])})
    torch.testing.assert_close(torch.from_numpy(images), trained.numbered_images(SEED, 80), rtol=0, atol=1e-5)


def test_the_command_refuses_before_it_draws(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^--slider .* is not the package onnxruntime-web: npm install"):
        gallery.main([str(run), "--slider", str(tmp_path), "--out", str(tmp_path / "page")])
    assert not (tmp_path / "page").exists()
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(UserError, match=r"^--slider anything: for a run, but .* is an ablation"):
        gallery.main([str(tmp_path), "--slider", "anything"])


class Branching(nn.Module):
    """A generator whose forward pass depends on the values of a tensor."""

    latent_dim, num_classes, image_size = 6, None, 8

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 3 * 8 * 8)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        images = self.linear(z)
        if images.sum() > 0:
            images = -images
        result: Tensor = images.view(-1, 3, 8, 8)
        return result


@ONNX_WARNINGS
def test_a_generator_that_cannot_be_exported_is_refused_in_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"^this generator cannot be exported to ONNX \(.*data-dependent.*\): leave --slider out$"):
        write_onnx(Branching().eval(), tmp_path / "generator.onnx", advice="leave --slider out")
    assert capfd.readouterr() == ("", "")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


def picture(browser: Browser, side: int) -> Tensor:
    """Return the drawn picture as whole numbers [3, side, side]."""
    pixels = browser.run(f"[...document.querySelector('.slider .drawn').getContext('2d').getImageData(0,0,{side},{side}).data]")
    return torch.tensor(pixels).view(side, side, 4)[..., :3].permute(2, 0, 1)


def worst(found: Tensor, expected: Tensor) -> int:
    """Return the largest difference from an image [3, side, side] in [-1, 1], in grey levels."""
    return int((found - as_bytes(expected[None])[0].int()).abs().max())


@ONNX_WARNINGS
@pytest.mark.usefixtures("fresh_accelerate_state")
@pytest.mark.parametrize("name", RUNS)
def test_the_browser_draws_the_samples_and_the_way_between_them(name: str, browser: Browser, tmp_path: Path) -> None:
    package = installed()
    gan.fit(tiny(tmp_path, trainer={"total_images": 32, "log_every": 32}, **RUNS[name]))
    trained, page = page_of(tmp_path / "tiny", package, tmp_path / "page")
    sheet, samples, side = trained.numbered(SEED, 80), trained.numbered_images(SEED, 80), trained.image_size
    mapped = isinstance(trained.generator, MappedGenerator)
    browser.open(page, width=1280)
    browser.click(*browser.centre(".slider .open"))
    position = "document.querySelector('.slider .drawn').getAttribute('aria-label')?.includes(' at {}')"
    browser.until(position.format("0.00") + "??false")
    stop = browser.run("Number(document.querySelectorAll('.slider .end input')[1].value)")
    assert sheet.y is None or sheet.y[stop] == sheet.y[0]
    assert worst(picture(browser, side), samples[0]) <= 1
    browser.press("End", code=35)
    browser.until(position.format("1.00"))
    assert worst(picture(browser, side), samples[stop]) <= 1
    assert worst(picture(browser, side), samples[0]) > 3
    for _ in range(50):
        browser.press("ArrowLeft", code=37)
    browser.until(position.format("0.50"))
    middle = slerp(sheet.z[0], sheet.z[stop], torch.tensor([0.5]))
    y = None if sheet.y is None else sheet.y[:1]
    with torch.no_grad():
        assert worst(picture(browser, side), trained.generator(middle, y)[0]) <= 1
    assert (browser.run("document.querySelectorAll('.slider .psi').length"), mapped) in ((0, False), (1, True))
    if isinstance(trained.generator, MappedGenerator):
        browser.run("document.querySelector('.slider .psi').focus()")
        browser.press("Home", code=36)
        browser.until("document.querySelector('.slider .drawn').getAttribute('aria-label').includes('ψ 0,')")
        with torch.no_grad():
            assert worst(picture(browser, side), trained.generator.truncated(0.0)(middle, y)[0]) <= 1
