"""Images in fixed order and blocks: files, choices, generators; quantisation."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gconv_gan.config.errors import UserError
from gconv_gan.data.reading.transforms import quantise
from gconv_gan.layers.norms.batch_norm import BatchNorm2d
from gconv_gan.metrics.images.sources import ArrayImages, ChosenImages, FakeSource, ImageFiles
from gconv_gan.sampling.latents import draw_labels, draw_latents
from tests.reference.tiny_generator import TinyGenerator

PICTURES = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def save(images: Tensor, folder: Path, *, suffix: str = "png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{i:03}.{suffix}")


def all_of(source: FakeSource | ImageFiles | ArrayImages | ChosenImages) -> Tensor:
    return torch.cat([source.block(i) for i in range(-(-len(source) // 256))])


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    def fingerprint(**options: str) -> str:
        return ImageFiles(tmp_path / "images", memory=tmp_path / "memory", **options).fingerprint

    save(PICTURES, tmp_path / "images" / "a")
    before = fingerprint()
    assert fingerprint() == before
    assert fingerprint(split="a") != before
    save(PICTURES.flip(0), tmp_path / "images" / "a")
    assert fingerprint() != before


def test_mixed_sizes_oblong_and_absent_pictures_are_named(tmp_path: Path) -> None:
    def read(folder: Path) -> Tensor:
        return ImageFiles(folder, memory=tmp_path / "memory").block(0)

    save(PICTURES, tmp_path / "mixed")
    Image.new("RGB", (9, 9)).save(tmp_path / "mixed" / "100.png")
    with pytest.raises(UserError, match="100.png has 9x9 pixels but 000.png has 8x8"):
        read(tmp_path / "mixed")
    save(PICTURES[:, :, :4], tmp_path / "oblong")
    with pytest.raises(UserError, match="000.png has 8x4 pixels: only square images are scored; bring them to one square size with --size"):
        read(tmp_path / "oblong")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no pictures"):
        read(tmp_path / "empty")
    with pytest.raises(UserError, match="none does not exist"):
        read(tmp_path / "none")


def test_a_choice_is_a_function_of_its_seed_and_keeps_the_order() -> None:
    numbers = torch.arange(255, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    source = ArrayImages(numbers.numpy(), fingerprint="f")
    chosen = [ChosenImages(source, 100, seed=seed) for seed in (0, 0, 1)]
    values = [all_of(images)[:, 0, 0, 0].tolist() for images in chosen]
    assert values[0] == values[1] == sorted(set(values[0]))
    assert values[0] != values[2]
    assert chosen[0].fingerprint == chosen[1].fingerprint != chosen[2].fingerprint
    assert ChosenImages(source, 255, seed=3).fingerprint == "f"
    with pytest.raises(UserError, match="256 images are asked for, but there are only 255"):
        ChosenImages(source, 256, seed=0)


def test_fake_i_is_a_function_of_seed_and_i() -> None:
    generator = TinyGenerator().train()
    images = all_of(FakeSource(generator, count=300, seed=5))
    assert images.shape == (300, 3, 16, 16)
    assert torch.equal(all_of(FakeSource(generator, count=1000, seed=5))[:300], images)
    assert torch.equal(all_of(FakeSource(generator, count=300, seed=5, batch_size=256)), images)
    small = all_of(FakeSource(generator, count=300, seed=5, batch_size=7))
    assert (small.int() - images.int()).abs().max() <= 1
    assert not torch.equal(all_of(FakeSource(generator, count=300, seed=6)), images)
    assert generator.training
    z = draw_latents(5, "eval", torch.arange(256, 300), latent_dim=6)
    with torch.no_grad():
        assert torch.equal(images[256:], quantise(generator.eval()(z, None)))


def test_labels_are_uniform_or_follow_the_counts() -> None:
    conditional = TinyGenerator(num_classes=4)
    uniform, empirical = (FakeSource(conditional, count=256, seed=1, class_counts=counts) for counts in (None, [0, 0, 5, 0]))
    assert (uniform.labels, empirical.labels, FakeSource(TinyGenerator(), count=1, seed=0).labels) == ("uniform", "empirical", "none")
    z = draw_latents(1, "eval", torch.arange(256), latent_dim=6)
    with torch.no_grad():
        y = draw_labels(1, "eval_labels", torch.arange(256), num_classes=4)
        assert torch.equal(uniform.block(0), quantise(conditional.eval()(z, y)))
        assert torch.equal(empirical.block(0), quantise(conditional(z, torch.full((256,), 2))))
    drawn = [FakeSource(conditional, count=4096, seed=1, class_counts=[1, 0, 2, 5]).block_labels(block) for block in range(16)]
    counts = torch.cat([labels for labels in drawn if labels is not None]).bincount(minlength=4)
    assert counts.tolist() == pytest.approx([512, 0, 1024, 2560], abs=120)  # four standard deviations
    with pytest.raises(ValueError, match="2 class frequencies for a generator of 4"):
        FakeSource(conditional, count=1, seed=0, class_counts=[1, 1])


def test_images_that_are_not_finite_are_named() -> None:
    bad = draw_latents(0, "eval", torch.tensor([259]), latent_dim=6)

    class Broken(TinyGenerator):
        def forward(self, z: Tensor, y: Tensor | None) -> Tensor:
            return super().forward(z, y).where((z != bad).any(1)[:, None, None, None], torch.nan)

    with pytest.raises(ValueError, match="generated image 259 holds"):
        all_of(FakeSource(Broken(), count=300, seed=0, batch_size=256))
    all_of(FakeSource(Broken(), count=259, seed=0, batch_size=256))  # it is none of these


class Normalised(nn.Module):
    """A generator with both kinds of BatchNorm, whose images depend on which statistics are used."""

    latent_dim, num_classes = 12, None

    def __init__(self) -> None:
        super().__init__()
        self.dense, self.norm = nn.BatchNorm1d(12), BatchNorm2d(3)

    def forward(self, z: Tensor, y: Tensor | None) -> Tensor:
        return torch.tanh(self.norm(self.dense(z).view(-1, 3, 2, 2)))


def test_batch_statistics_are_those_of_whole_batches_and_buffers_are_restored() -> None:
    generator = Normalised()
    before = {key: tensor.clone() for key, tensor in generator.state_dict().items()}
    images = all_of(FakeSource(generator, count=300, seed=2, statistics_batch=64))
    assert {key: torch.equal(tensor, before[key]) for key, tensor in generator.state_dict().items()} == dict.fromkeys(before, True)
    assert (generator.training, generator.norm.track_running_stats, generator.norm.over_processes) == (True, True, True)
    z = draw_latents(2, "eval", torch.arange(512), latent_dim=12)
    with torch.no_grad():
        by_batch = torch.cat([quantise(generator.train()(batch, None)) for batch in z.split(64)])
    assert torch.equal(images, by_batch[:300])  # the last batch is whole, though only 44 of it are scored
    assert torch.equal(all_of(FakeSource(generator, count=1, seed=2, statistics_batch=64)), images[:1])
    with pytest.raises(ValueError, match="batches of 60 do not fill blocks of 256"):
        FakeSource(generator, count=300, seed=2, statistics_batch=60)


def test_a_diverged_generator_is_named() -> None:
    generator = TinyGenerator()
    with torch.no_grad():
        generator.weight[0] = torch.nan
    with pytest.raises(UserError, match="generated image 0 holds values that are not finite: the generator has diverged"):
        FakeSource(generator, count=3, seed=0).block(0)


def test_formats_and_stored_sizes_are_known_and_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(PICTURES[:2], tmp_path / "images")
    save(PICTURES[:1], tmp_path / "images", suffix="webp")
    Image.new("RGB", (30, 20)).save(tmp_path / "images/oblong.jfif", "JPEG")
    first = ImageFiles(tmp_path / "images", size=8, memory=tmp_path / "memory")
    assert first.formats == {"JPEG": 1, "PNG": 2, "WEBP": 1}
    assert first.headers[-1] == ("JPEG", 30, 20)
    assert (first.side, first.names[-1]) == (8, "oblong.jfif")
    monkeypatch.setattr("gconv_gan.metrics.images.sources.read_header", lambda _: pytest.fail("read again"))
    assert ImageFiles(tmp_path / "images", size=8, memory=tmp_path / "memory").headers == first.headers
