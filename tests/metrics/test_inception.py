"""Scores by Inception with seeded random weights in torch-fidelity's format, against torch-fidelity; missing weights."""

import socket
from pathlib import Path

import pytest
import torch
from cleanfid.inception_torchscript import InceptionV3W
from cleanfid.resize import build_resizer
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torch_fidelity import calculate_metrics
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from gconv_gan.commands.score.scores import main
from gconv_gan.config.errors import UserError
from gconv_gan.metrics.evaluate import score
from gconv_gan.metrics.extractors.factory import extractor
from gconv_gan.metrics.extractors.inception import InceptionExtractor
from gconv_gan.metrics.extractors.weights import DIRECTORY_VARIABLE, INCEPTION, find_weights
from gconv_gan.metrics.images.sources import ArrayImages
from gconv_gan.metrics.protocols import adjusted, protocol
from gconv_gan.metrics.references.reference_statistics import reference_statistics
from gconv_gan.metrics.score_card import FakesCard, Score

FAKES, REALS = torch.randint(0, 256, (2, 6, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)) // torch.tensor(
    [1, 2], dtype=torch.uint8
).view(2, 1, 1, 1, 1)


class Pictures(Dataset[Tensor]):
    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def test_scores_equal_torch_fidelity_on_the_same_weights(random_inception: Path) -> None:
    theirs = calculate_metrics(
        input1=Pictures(FAKES),
        input2=Pictures(REALS),
        cuda=False,
        isc=True,
        fid=True,
        kid=True,
        prc=True,
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=str(random_inception),
        isc_splits=3,
        kid_subsets=4,
        kid_subset_size=4,
        batch_size=6,
        save_cpu_ram=True,
        cache=False,
        verbose=False,
    )
    network = extractor("inception", weights=random_inception)
    like_theirs = adjusted(protocol("torch_fidelity"), is_splits=3, kid_subsets=4, kid_subset_size=4)
    reference = reference_statistics(
        ArrayImages(REALS.numpy(), fingerprint="reals"),
        network,
        source="reals",
        split=None,
        recipe="random",
        with_features=True,
        cache_dir=None,
    )
    ours = score(ArrayImages(FAKES.numpy(), fingerprint="fakes"), reference, network, like_theirs, fakes=FakesCard(source="fakes")).scores
    assert ours["fid"] == pytest.approx(theirs["frechet_inception_distance"], rel=1e-5)
    assert ours["is_mean"] == pytest.approx(theirs["inception_score_mean"], rel=1e-3)
    assert ours["is_std"] == pytest.approx(theirs["inception_score_std"], rel=1e-3)
    assert ours["kid_mean"] == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-5)
    assert ours["kid_std"] == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-4)
    assert (ours["precision"], ours["recall"]) == pytest.approx((theirs["precision"], theirs["recall"]))


def test_mimicrys_protocol_runs_with_a_file_of_weights(random_inception: Path, tmp_path: Path) -> None:
    for folder, images in (("fakes", FAKES), ("reals", REALS)):
        (tmp_path / folder).mkdir()
        for i, image in enumerate(torch.cat([images, images.flip(3)])):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / folder / f"{i:02}.png")
    flags = ["--reference", str(tmp_path / "reals"), "--weights", str(random_inception), "--cache-dir", str(tmp_path / "cache")]
    flags += ["--protocol", "fid50k_train", "--num-fake", "12", "--num-real", "12", "--json", str(tmp_path / "out.json")]
    main([str(tmp_path / "fakes"), *flags])
    found = Score.model_validate_json((tmp_path / "out.json").read_text())
    assert list(found.scores) == ["fid", "is_mean", "is_std", "kid_mean"]
    assert found.card.formula.protocol == "fid50k_train (num_fake=12, num_real=12)"


def test_features_equal_torch_fidelity_plain_and_folded(random_inception: Path) -> None:
    theirs = FeatureExtractorInceptionV3("t", ["2048", "logits_unbiased", "logits"], feature_extractor_weights_path=str(random_inception))
    features, unbiased, biased = theirs(FAKES[:1])
    plain = InceptionExtractor(random_inception, expected_sha256=None, fold=False)
    assert all(torch.equal(a, b) for a, b in zip(plain(FAKES[:1]), (features, unbiased), strict=True))
    assert plain.logit_bias is not None
    torch.testing.assert_close(unbiased + plain.logit_bias, biased, rtol=1e-5, atol=1e-5)
    folded = InceptionExtractor(random_inception, expected_sha256=None)
    for ours, expected in zip(folded(FAKES[:1]), (features, unbiased), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert folded.folded
    assert not plain.folded


def test_clean_fids_variant_sees_what_clean_fid_sees_and_the_fast_one_the_same_up_to_rounding(
    random_inception: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, fast = (extractor(name, weights=random_inception) for name in ("inception:clean_fid", "inception:clean"))
    assert isinstance(slow, InceptionExtractor)

    class Layers(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return slow.forward(x)[0]

    # clean-fid's file holds a network called layers: here the same one with the weights at hand
    monkeypatch.setattr(torch.jit, "load", lambda _: torch.nn.ModuleDict({"layers": Layers()}))
    network = InceptionV3W("", download=False)
    resize = build_resizer("clean")
    resized = torch.stack([torch.from_numpy(resize(image.permute(1, 2, 0).numpy())).permute(2, 0, 1) for image in FAKES[:2]])
    theirs = network(resized)
    torch.testing.assert_close(slow(FAKES[:2])[0], theirs, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(fast(FAKES[:2])[0], theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))
    assert (slow.name, slow.resizer, fast.resizer) == (fast.name, "clean_fid 299", "pil_bicubic 299")


def test_another_file_than_the_published_one_is_refused_or_named_unofficial(random_inception: Path) -> None:
    with pytest.raises(UserError, match=f"is not the published file.*expected {INCEPTION.sha256}"):
        InceptionExtractor(random_inception)
    named = extractor("inception:clean", weights=random_inception)
    assert named.name == f"inception (unofficial weights {named.sha256[:8]})"
    assert named.resizer == "pil_bicubic 299"


def test_building_it_leaves_the_global_generator_alone(random_inception: Path) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    InceptionExtractor(random_inception, expected_sha256=None, fold=False)
    assert torch.equal(before, torch.get_rng_state())


def test_a_file_of_other_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="does not hold Inception's tensors"):
        InceptionExtractor(tmp_path / "other.pth", expected_sha256=None)
    (tmp_path / "page.pth").write_text("<html>not found</html>")
    with pytest.raises(UserError, match="is not a file of tensors"):
        InceptionExtractor(tmp_path / "page.pth", expected_sha256=None)


def test_missing_weights_are_named_with_their_place_and_no_socket_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_socket(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", no_socket)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv(DIRECTORY_VARIABLE, raising=False)
    with pytest.raises(UserError) as caught:
        extractor("inception")
    message = str(caught.value)
    for part in (
        INCEPTION.name,
        INCEPTION.sha256,
        str(tmp_path / "hub" / "checkpoints"),
        DIRECTORY_VARIABLE,
        "--weights",
        "checkpoint:PATH",
    ):
        assert part in message
    with pytest.raises(UserError, match=f"no file of weights at {tmp_path}/none.pth"):
        find_weights(INCEPTION, tmp_path / "none.pth")


def test_weights_are_found_in_the_named_directory_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    hub = tmp_path / "torch" / "hub" / "checkpoints"
    for place in (hub, tmp_path / "mine"):
        place.mkdir(parents=True)
        (place / INCEPTION.name).write_bytes(b"")
    assert find_weights(INCEPTION) == hub / INCEPTION.name
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path / "mine"))
    assert find_weights(INCEPTION) == tmp_path / "mine" / INCEPTION.name
