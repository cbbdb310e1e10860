"""Statistics files of torch-fidelity and clean-fid, read and written, against the libraries; and refusals."""

import pickle
from pathlib import Path

import cleanfid
import cleanfid.fid
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torch_fidelity.metric_fid import fid_featuresdict_to_statistics_cached
from torch_fidelity.utils import extract_featuresdict_from_input_id_cached

from gconv_gan.config.errors import UserError
from gconv_gan.metrics.evaluate import score
from gconv_gan.metrics.extractors.inception import Extractor, InceptionExtractor
from gconv_gan.metrics.frechet import frechet_distance_of_features
from gconv_gan.metrics.images.sources import ArrayImages
from gconv_gan.metrics.protocols import adjusted, protocol
from gconv_gan.metrics.references.interchange import export_statistics, import_statistics
from gconv_gan.metrics.references.reference_statistics import ReferenceStatistics, reference_statistics
from gconv_gan.metrics.score_card import FakesCard
from gconv_gan.metrics.statistics import moments_of
from tests.reference.stub_extractor import StubExtractor

FAKES, REALS = torch.randint(0, 256, (2, 4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)) // torch.tensor(
    [1, 2], dtype=torch.uint8
).view(2, 1, 1, 1, 1)
FID = adjusted(protocol("images"), metrics=("fid",))


class Pictures(Dataset[Tensor]):
    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def of_reals(network: Extractor) -> ReferenceStatistics:
    reals = ArrayImages(REALS.numpy(), fingerprint="reals")
    return reference_statistics(reals, network, source="reals", split=None, recipe="r", with_features=True, cache_dir=None)


def fid(fakes: Tensor, reference: ReferenceStatistics) -> float:
    return frechet_distance_of_features(fakes, reference.moments)


@pytest.fixture(scope="module")
def tf(random_inception: Path) -> InceptionExtractor:
    return InceptionExtractor(random_inception, expected_sha256=None)


def test_torch_fidelity_reads_ours_and_we_read_its(tf: InceptionExtractor, tmp_path: Path) -> None:
    """Its own functions of the cache; the distance itself is compared in test_inception, where its eigenvalues take seconds."""

    class Named:
        def get_name(self) -> str:
            return "inception-v3-compat"

        def get_requested_features_list(self) -> list[str]:
            return ["2048"]

    def theirs(name: str, features: dict[str, Tensor]) -> dict[str, np.ndarray]:
        options = {"cache": True, "cache_root": str(tmp_path), "verbose": False}
        found: dict[str, np.ndarray] = fid_featuresdict_to_statistics_cached(features, name, Named(), "2048", **options)
        return found

    ours = of_reals(tf)
    assert ours.features is not None
    written = export_statistics("torch_fidelity", tmp_path, "ours", ours, tf)
    assert [file.name for file in written] == ["ours-inception-v3-compat-stat-fid-2048.pt", "ours-inception-v3-compat-features-2048.pt"]
    fresh, from_ours = theirs("theirs", {"2048": ours.features}), theirs("ours", {})  # no features: what comes back is our file
    assert {key: value.dtype for key, value in from_ours.items()} == {key: value.dtype for key, value in fresh.items()}
    np.testing.assert_allclose(from_ours["mu"], fresh["mu"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(from_ours["sigma"], fresh["sigma"], rtol=1e-5, atol=1e-6)
    cached = {"input2": Pictures(FAKES), "input2_cache_name": "ours", "cache_root": str(tmp_path), "cuda": False, "verbose": False}
    assert torch.equal(extract_featuresdict_from_input_id_cached(2, Named(), **cached)["2048"], ours.features)

    fakes = tf(FAKES)[0]
    direct = fid(fakes, ours)
    moments = import_statistics(tmp_path / "theirs-inception-v3-compat-stat-fid-2048.pt", tf, count=None)
    assert fid(fakes, moments) == pytest.approx(direct, rel=1e-5)
    assert (moments.moments.count, moments.features) == (None, None)
    whole = import_statistics(tmp_path / "ours-inception-v3-compat-features-2048.pt", tf, count=None)
    assert whole.moments.count == 4
    assert fid(fakes, whole) == pytest.approx(direct, rel=1e-9)


def test_clean_fid_reads_ours_and_we_read_its(random_inception: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clean = InceptionExtractor(random_inception, resizer="clean_fid", expected_sha256=None)
    monkeypatch.setattr(cleanfid, "__file__", str(tmp_path / "__init__.py"))  # it keeps its statistics beside its code
    for name, images in (("fakes", FAKES), ("reals", REALS)):
        (tmp_path / name).mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / name / f"{i}.png")

    def network(batch: Tensor) -> Tensor:
        return clean.forward((batch - 128) / 128)[0]

    def distance(mu1: np.ndarray, sigma1: np.ndarray, mu2: np.ndarray, sigma2: np.ndarray) -> float:
        roots = np.sqrt(np.linalg.eigvals(sigma1 @ sigma2).astype(complex)).real
        return float(((mu1 - mu2) ** 2).sum() + np.trace(sigma1 + sigma2) - 2 * roots.sum())

    # files, resizer and network, all of the way; not its formula, whose call of sqrtm(disp=...) SciPy 1.18 refuses; few features, so
    # that no covariance is singular
    monkeypatch.setattr(cleanfid.fid, "frechet_distance", distance)
    ours, fakes = of_reals(clean), clean(FAKES)[0]
    assert ours.features is not None
    alive = ours.features.std(0).topk(3).indices
    folders, same = [str(tmp_path / name) for name in ("fakes", "reals")], {"num_workers": 0, "device": torch.device("cpu")}
    few = cleanfid.fid.compute_fid(*folders, mode="clean", custom_feat_extractor=lambda x: network(x)[:, alive], verbose=False, **same)
    assert frechet_distance_of_features(fakes[:, alive], moments_of(ours.features[:, alive])) == pytest.approx(few, rel=1e-4)

    written = export_statistics("clean_fid", tmp_path / "stats", "Ours", ours, clean)
    assert [file.name for file in written] == ["ours_clean_custom_na.npz", "ours_clean_custom_na_kid.npz"]
    mean, covariance = cleanfid.fid.get_reference_statistics("Ours", "na", mode="clean", split="custom")
    assert np.array_equal(mean, ours.moments.mean.numpy())
    assert np.array_equal(covariance, ours.moments.covariance.numpy())
    assert np.array_equal(
        cleanfid.fid.get_reference_statistics("Ours", "na", mode="clean", split="custom", metric="KID"), ours.features.numpy()
    )

    monkeypatch.setattr(cleanfid.fid, "build_feature_extractor", lambda *_: network)
    cleanfid.fid.make_custom_stats("theirs", folders[1], verbose=False, **same)
    for name in ("theirs_clean_custom_na.npz", "theirs_clean_custom_na_kid.npz"):
        assert fid(fakes, import_statistics(tmp_path / "stats" / name, clean, count=4)) == pytest.approx(fid(fakes, ours), rel=1e-4)


def test_the_card_marks_unknown_fields(tmp_path: Path) -> None:
    network = StubExtractor()
    moments = moments_of(torch.randn(40, 16, generator=torch.Generator().manual_seed(0)))
    np.savez(tmp_path / "moments.npz", mu=moments.mean.numpy(), sigma=moments.covariance.numpy())
    read = import_statistics(tmp_path / "moments.npz", network, count=None)
    assert read.reference.fingerprint.startswith("file ")
    assert (read.reference.source, read.reference.recipe) == ("moments.npz", "read from another tool's statistics")
    images = ArrayImages(FAKES.numpy(), fingerprint="f")
    card = score(images, read, network, FID, fakes=FakesCard(source="f")).card
    assert card.formula.num_real is None
    assert "4 against unknown images" in score(images, read, network, FID, fakes=FakesCard(source="f")).lines()[0]
    with pytest.raises(UserError, match="takes 40 reals, but moments.npz does not tell of how many it is: say so with --num-real"):
        score(images, read, network, adjusted(FID, num_real=40), fakes=FakesCard(source="f"))
    said = import_statistics(tmp_path / "moments.npz", network, count=40)
    assert score(images, said, network, adjusted(FID, num_real=40), fakes=FakesCard(source="f")).card.formula.num_real == 40
    with pytest.raises(UserError, match="needs the features of every real image"):
        score(images, read, network, adjusted(FID, metrics=("kid",)), fakes=FakesCard(source="f"))


class Attack:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code was run",)


def test_files_without_statistics_are_refused(tmp_path: Path, tf: InceptionExtractor, capsys: pytest.CaptureFixture[str]) -> None:
    network = StubExtractor()
    eye = np.eye(16)
    torch.save({"mu": Attack()}, tmp_path / "attack.pt")
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps({"mu": Attack()}))
    np.savez(tmp_path / "other.npz", mean=eye[0])
    np.savez(tmp_path / "narrow.npz", mu=eye[0, :3], sigma=eye[:3, :3])
    np.savez(tmp_path / "shapes.npz", mu=eye, sigma=eye)
    np.savez(tmp_path / "nan.npz", mu=eye[0] * np.nan, sigma=eye)
    for name, message in {
        "attack.pt": "is not a file of statistics",
        "pickle.npz": "is not a file of arrays",
        "other.npz": r"holds \['mean'\], but statistics are mu and sigma",
        "narrow.npz": "has 3 features, but stub has 16",
        "shapes.npz": "are not a mean",
        "nan.npz": "not finite",
    }.items():
        with pytest.raises(UserError, match=message):
            import_statistics(tmp_path / name, network, count=None)
    assert "code was run" not in capsys.readouterr().out
    for name, message in {
        "cifar10_clean_train_32.npz": "clean-fid's mode clean, not by inception",
        "ffhq_clean_clip_vit_b_32_trainfull_1024.npz": "clean-fid's mode clean_clip_vit_b_32",
        "x-vgg16-stat-fid-fc2_relu.pt": "torch-fidelity's vgg16",
    }.items():
        with pytest.raises(UserError, match=message):
            import_statistics(tmp_path / name, tf, count=None)


def test_exports_that_would_mislead_are_refused(tmp_path: Path, tf: InceptionExtractor) -> None:
    network = StubExtractor()
    with pytest.raises(UserError, match="clean_fid has no extractor like stub .none., so it cannot use its statistics"):
        export_statistics("clean_fid", tmp_path, "x", of_reals(network), network)
    (tmp_path / "x-inception-v3-compat-stat-fid-2048.pt").touch()
    with pytest.raises(UserError, match="exists: give another --name"):
        export_statistics("torch_fidelity", tmp_path, "x", of_reals(tf), tf)
