import hashlib
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from gconv_gan.gallery.build import build_gallery
from gconv_gan.gallery.page.manifest import read_manifest
from gconv_gan.gallery.pictures.drawing import Drawing
from gconv_gan.gallery.pictures.grid import save_grid
from gconv_gan.gallery.score import read_score
from gconv_gan.gallery.trained_generator import FeatureExtractor, RunFacts, TrainedGenerator, TrainingImages
from gconv_gan.layers.dynamic.gconv import GConv2d
from gconv_gan.layers.norms.batch_norm import BatchNorm2d
from gconv_gan.models.gan.resnet import ResNetDiscriminator, ResNetGenerator
from tests.browser import Browser, chromium

RECORDS = tuple(
    {"images": 100 * step, "loss_d": 2.0 - 0.1 * step, "loss_g": 0.1 * step, "weight_norm/generator/linear": 1.0 + step}
    | ({"tiny2k/fd": 90.0 - step} if step % 4 == 0 else {})
    for step in range(1, 13)
)
CARD = {
    "formula": {"protocol": "tiny2k", "num_fake": 2000, "num_real": 1797, "kid_seed": None},
    "extractor": {"name": "digits classifier", "sha256": "9f2c", "folded": False},
    "fakes": {"weights": "ema", "batch_norm": "eval"},
}
LOW = frozenset({"fd", "fid", "kid_mean", "intra_fd", "fd_infinity", "mind", "mmd"})
"""Keys of scores for which lower is better."""
SCORE = read_score({"scores": {"fd": 12.3456, "kid_mean": 0.0123, "kid_std": 0.002}, "card": CARD}, lower_is_better=LOW)


def small_generator(num_classes: int | None = 3) -> ResNetGenerator:
    torch.manual_seed(0)
    conv = partial(GConv2d, latent_dim=6, gate_init_std=1.0)
    norm = lambda channels: BatchNorm2d(channels)  # noqa: E731 - a norm that knows no class
    return ResNetGenerator(image_size=8, width=4, latent_dim=6, num_classes=num_classes, conv=conv, norm=norm).eval()


def class_generator() -> ResNetGenerator:
    """A generator whose images depend on the class, through conditional BatchNorm."""
    torch.manual_seed(0)
    generator = ResNetGenerator(image_size=8, width=4, latent_dim=6, num_classes=3)
    for module in generator.modules():
        if isinstance(module, torch.nn.Embedding):
            torch.nn.init.normal_(module.weight)
    return generator.eval()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for the tests of all pages."""
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="session")
def generator() -> ResNetGenerator:
    return small_generator()


@pytest.fixture(scope="session")
def trained(generator: ResNetGenerator, tmp_path_factory: pytest.TempPathFactory) -> TrainedGenerator:
    """A run as training leaves it: 8 px, three classes, three sample grids, real images, records, one score."""
    samples = tmp_path_factory.mktemp("run") / "samples"
    moments = (0, 640, 1200)
    for index, images_seen in enumerate(moments):
        images = torch.rand(30, 3, 8, 8, generator=torch.Generator().manual_seed(index)) * 2 - 1
        save_grid(images, samples / f"{images_seen}.png", columns=10)
    save_grid(images, samples / "reals.png", columns=10)
    return TrainedGenerator(
        generator,
        RunFacts(
            name="tiny_gconv",
            dataset="noise",
            images_seen=1200,
            checkpoint="checkpoint-1200",
            checkpoint_sha256="ab" * 32,
            sample_command="gconv-gan sample runs/tiny_gconv --checkpoint 1200",
            class_names=("cat", "dog", "cow"),
            details={"Training seed": "0"},
        ),
        lower_is_better=LOW,
        records=RECORDS,
        scores=(SCORE,),
        timeline=tuple((images_seen, samples / f"{images_seen}.png") for images_seen in moments),
        reals=samples / "reals.png",
        discriminator=ResNetDiscriminator(image_size=8, width=4, num_classes=3).eval(),
        training=TrainingImages(
            np.random.default_rng(0).integers(0, 256, (30, 3, 8, 8), dtype=np.uint8), "noise", "ef" * 32, mirrored=True
        ),
        extractor=FeatureExtractor("mean colour", lambda images: images.float().mean((2, 3))),
    )


@pytest.fixture(scope="session")
def gallery(trained: TrainedGenerator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished gallery of ``trained``; tests must not write into it."""
    return build_gallery(tmp_path_factory.mktemp("gallery"), trained, seed=3).parent


def file_among(drawings: Iterable[Drawing], name: str) -> bytes:
    """The bytes of the file ``name`` among those of drawings."""
    [content] = [content for drawing in drawings for file, content in drawing.files().items() if file == name]
    return content


def changed_files(folder: Path) -> list[str]:
    """The files of a gallery that differ from what its manifest says."""
    pictures = read_manifest(folder).pictures
    return [entry.file for entry in pictures if hashlib.sha256((folder / entry.file).read_bytes()).hexdigest() != entry.sha256]
