"""DINOv2 in the published format, against a slow reference and torch-fidelity; CLIP's loader on a tiny tower; missing files."""

import json
import socket
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch_fidelity.feature_extractor_clip import MODEL_METADATA, FeatureExtractorCLIP
from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2

pytest.importorskip("timm", reason='needs pip install "gconv_gan[offline]"')

from gconv_gan.commands.score.scores import main
from gconv_gan.config.errors import UserError
from gconv_gan.metrics.extractors.factory import extractor
from gconv_gan.metrics.extractors.foundation import ClipExtractor, DinoV2Extractor, positions_at
from gconv_gan.metrics.extractors.inception import InputConvention
from gconv_gan.metrics.extractors.weights import CLIP, DINOV2, DIRECTORY_VARIABLE, INCEPTION, WeightsFile, available_extractors
from gconv_gan.metrics.references.interchange import torch_fidelity_name
from tests.reference.dinov2 import class_token, positions, write_random_dinov2
from tests.reference.random_clip import write_random_clip

PICTURES = torch.randint(0, 256, (2, 3, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_dinov2(tmp_path_factory.mktemp("dinov2") / "random.pth")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_clip(tmp_path_factory.mktemp("clip") / "tiny.pt")


class FromHub(nn.Module):
    """Stand-in of torch hub's network: the slow reference."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.state = torch.load(file, weights_only=True)

    def forward(self, x: Tensor) -> Tensor:
        return class_token(self.state, x).float()


def test_dinov2_equals_torch_fidelity_with_the_reference_network(dinov2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "load", lambda *_, **__: FromHub(dinov2))
    [theirs] = FeatureExtractorDinoV2("dinov2-vit-s-14", ["dinov2"])(PICTURES[:1])
    ours = DinoV2Extractor("dinov2-vit-s-14", dinov2)
    features, logits = ours(PICTURES)
    assert features.shape == (2, 384)
    assert logits.shape == (2, 0)
    torch.testing.assert_close(features[:1], theirs, rtol=1e-4, atol=1e-4)
    assert (features[0] - features[1]).abs().max() > 1e-2  # the network does see its input
    assert (ours.resizer, ours.normalisation) == ("tf1_bilinear 224", "(x - (123.675, 116.28, 103.53)) / (58.395, 57.12, 57.375)")


def test_the_position_embedding_is_interpolated_as_the_official_code_does(dinov2: Path) -> None:
    embedding = torch.load(dinov2, weights_only=True)["pos_embed"]
    torch.testing.assert_close(positions_at(embedding, 16).double(), positions(embedding), rtol=1e-5, atol=1e-6)
    assert torch.equal(positions_at(embedding, 37), embedding)


@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated:FutureWarning")
def test_clip_equals_torch_fidelity_on_a_tiny_tower(clip: Path) -> None:
    ours = ClipExtractor("clip-vit-b-32", clip)
    [theirs] = FeatureExtractorCLIP("clip-vit-b-32", ["clip"], feature_extractor_weights_path=str(clip))(PICTURES)
    features, logits = ours(PICTURES)
    assert (features.shape, logits.shape, ours.feature_dim) == ((2, 24), (2, 0), 24)
    torch.testing.assert_close(features, theirs, rtol=1e-4, atol=1e-5)
    assert ours.resizer == "tf1_bilinear 32"


def test_a_number_and_three_equal_numbers_are_one_convention() -> None:
    one, three = (InputConvention("tf1_bilinear", 50, a, b) for a, b in ((100.0, 50.0), ((100.0,) * 3, (50.0,) * 3)))
    assert torch.equal(one(PICTURES), three(PICTURES))
    split = InputConvention("tf1_bilinear", 50, (100.0, 0.0, 100.0), (50.0, 50.0, 1.0))(PICTURES)
    assert torch.equal(split[:, 0], one(PICTURES)[:, 0])
    torch.testing.assert_close(split[:, 1], one(PICTURES)[:, 1] + 2)
    torch.testing.assert_close(split[:, 2], one(PICTURES)[:, 2] * 50)


def test_published_hashes_are_torch_fidelitys() -> None:
    assert {name: MODEL_METADATA[name]["hash"] for name in CLIP} == {name: file.sha256 for name, file in CLIP.items()}
    assert all(len(file.sha256) == 64 for file in DINOV2.values())


@pytest.mark.parametrize(("name", "file"), [("dinov2", DINOV2["dinov2-vit-l-14"]), ("clip-vit-b-16", CLIP["clip-vit-b-16"])])
def test_missing_weights_are_named_and_nothing_is_fetched(name: str, file: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_socket(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", no_socket)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv(DIRECTORY_VARIABLE, raising=False)
    with pytest.raises(UserError) as caught:
        extractor(name)
    for part in (file.name, file.sha256, file.url, str(tmp_path / "hub" / "checkpoints"), "--weights"):  # type: ignore[attr-defined]
        assert part in str(caught.value)


def test_another_file_in_the_usual_place_is_refused(dinov2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path))
    (tmp_path / DINOV2["dinov2-vit-s-14"].name).symlink_to(dinov2)
    assert "dinov2-vit-s-14" in available_extractors()
    with pytest.raises(UserError, match="is not the published file"):
        extractor("dinov2-vit-s-14")
    assert extractor("dinov2-vit-s-14", weights=dinov2).name.startswith("dinov2-vit-s-14 (unofficial weights ")


def test_files_of_other_tensors_are_refused(dinov2: Path, tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    (tmp_path / "page.pth").write_text("<html>not found</html>")
    for name, model, message in (
        ("other.pth", "dinov2", "does not hold the tensors of dinov2-vit-l-14"),
        ("page.pth", "dinov2", "is not a file of tensors"),
        ("other.pth", "clip", "is not a file of clip-vit-b-32"),
        ("page.pth", "clip", "is not a file of clip-vit-b-32"),
    ):
        with pytest.raises(UserError, match=message):
            extractor(model, weights=tmp_path / name)
    with pytest.raises(UserError, match="does not hold the tensors of dinov2-vit-b-14"):
        extractor("dinov2-vit-b-14", weights=dinov2)


def write_pictures(folder: Path, shift: int) -> str:
    folder.mkdir()
    for i in range(12):
        Image.fromarray(PICTURES[i % 2].roll(3 * i + shift, -1).permute(1, 2, 0).numpy()).save(folder / f"{i:02}.png")
    return str(folder)


def test_pictures_are_scored_without_an_inception_score(clip: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "fakes", 0)
    flags = ["--reference", write_pictures(tmp_path / "reals", 7), "--extractor", "clip"]
    flags += ["--weights", str(clip), "--cache-dir", str(tmp_path / "cache")]
    main([str(tmp_path / "fakes"), *flags, "--json", str(tmp_path / "out.json")])
    found = json.loads((tmp_path / "out.json").read_text())
    assert list(found["scores"]) == ["fd", "kid_mean", "precision", "recall", "density", "coverage"]
    assert found["card"]["extractor"]["name"].startswith("clip-vit-b-32 (unofficial weights ")
    with pytest.raises(UserError, match="has no classes, so there is no Inception Score in its features"):
        main([str(tmp_path / "fakes"), *flags, "--metrics", "is"])


def test_the_protocol_of_dinov2_runs_with_a_file_of_weights(dinov2: Path, tmp_path: Path) -> None:
    flags = ["--reference", write_pictures(tmp_path / "reals", 7), "--protocol", "fd10k_dinov2", "--num-fake", "12", "--num-real", "12"]
    flags += ["--extractor", "dinov2-vit-s-14", "--weights", str(dinov2), "--cache-dir", str(tmp_path / "cache")]
    main([write_pictures(tmp_path / "fakes", 0), *flags, "--json", str(tmp_path / "out.json")])
    found = json.loads((tmp_path / "out.json").read_text())
    assert list(found["scores"]) == [
        *("fd", "kid_mean", "precision", "recall", "density", "coverage", "monge_distance", "monge_distance_debiased"),
        *("clipped_density", "clipped_density_raw", "clipped_coverage", "f_score"),
    ]
    assert found["card"]["formula"]["protocol"].startswith("fd10k_dinov2 (extractor=dinov2-vit-s-14, num_fake=12, num_real=12")


def test_cmmd_is_a_name_in_clips_features_alone(clip: Path, tmp_path: Path) -> None:
    flags = ["--reference", write_pictures(tmp_path / "reals", 7), "--metrics", "cmmd", "--cache-dir", str(tmp_path / "cache")]
    fakes = write_pictures(tmp_path / "fakes", 0)
    main([fakes, *flags, "--extractor", "clip", "--weights", str(clip), "--json", str(tmp_path / "clip.json")])
    assert list(json.loads((tmp_path / "clip.json").read_text())["scores"]) == ["cmmd", "cmmd_biased"]
    assert isinstance(extractor("clip-vit-l-14-336px", weights=clip), ClipExtractor)  # the network of CMMD's paper


@pytest.mark.parametrize(("name", "file"), [("fd10k_dinov2", DINOV2["dinov2-vit-l-14"]), ("fid50k_train", INCEPTION)])
def test_a_protocol_without_its_weights_names_the_file(
    name: str, file: WeightsFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv(DIRECTORY_VARIABLE, raising=False)
    fakes = write_pictures(tmp_path / "fakes", 0)
    with pytest.raises(UserError) as caught:
        main([fakes, "--reference", fakes, "--protocol", name, "--num-fake", "12", "--num-real", "12", "--cache-dir", str(tmp_path / "c")])
    for part in (file.name, file.sha256, file.url, "--weights"):
        assert part in str(caught.value)


def test_torch_fidelity_knows_them_by_the_same_names(clip: Path, dinov2: Path) -> None:
    assert torch_fidelity_name(ClipExtractor("clip-vit-b-32", clip)) == "clip-vit-b-32"
    assert torch_fidelity_name(DinoV2Extractor("dinov2-vit-s-14", dinov2)) == "dinov2-vit-s-14"
