"""The whole evaluation pass on a stub extractor: torch-fidelity's numbers, cards, keys, refusals; real pictures if available."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset
from torch_fidelity import FeatureExtractorBase, calculate_metrics, register_feature_extractor

from gconv_gan.config.errors import UserError
from gconv_gan.metrics.evaluate import formula_card, score
from gconv_gan.metrics.frechet import frechet_distance
from gconv_gan.metrics.generative import mmd2_unbiased
from gconv_gan.metrics.images.extraction import Wanted, extract
from gconv_gan.metrics.images.sources import ArrayImages, ChosenImages, FakeSource, ImageFiles
from gconv_gan.metrics.metric import Evaluation
from gconv_gan.metrics.neighbours import Neighbourhoods, neighbourhoods
from gconv_gan.metrics.protocols import Protocol, adjusted, protocol
from gconv_gan.metrics.references.reference_statistics import ReferenceStatistics, reference_statistics
from gconv_gan.metrics.score_card import FakesCard, Score, unlike_fields
from gconv_gan.metrics.scores.clipped import clipped_scores
from gconv_gan.metrics.scores.cmmd import gaussian_mmd2
from gconv_gan.metrics.scores.f_score import f_score
from gconv_gan.metrics.scores.mind import mind
from gconv_gan.metrics.statistics import Moments, moments_of
from tests.reference.stub_extractor import StubExtractor
from tests.reference.tiny_generator import TinyGenerator

ROOT = Path(__file__).parents[2]
STUB = StubExtractor()
_draw = torch.Generator().manual_seed(0)
FAKES = torch.randint(0, 256, (300, 3, 8, 8), dtype=torch.uint8, generator=_draw)
REALS = torch.randint(0, 256, (400, 3, 8, 8), dtype=torch.uint8, generator=_draw) // 2 + 64
SMALL = adjusted(protocol("torch_fidelity"), kid_subset_size=100, kid_subsets=10)


def reference(images: Tensor = REALS, *, with_features: bool = True, network: StubExtractor = STUB) -> ReferenceStatistics:
    stored = ArrayImages(images.numpy(), fingerprint="reals")
    return reference_statistics(stored, network, source="reals", split=None, recipe="r", with_features=with_features, cache_dir=None)


def scored(images: Tensor = FAKES, how: Protocol = SMALL, network: StubExtractor = STUB, batch_size: int = 64) -> Score:
    return score(
        ArrayImages(images.numpy(), fingerprint="fakes"), reference(), network, how, fakes=FakesCard(source="fakes"), batch_size=batch_size
    )


class StubForTorchFidelity(FeatureExtractorBase):  # type: ignore[misc]
    def __init__(self, name: str, features_list: list[str], **_: object) -> None:
        super().__init__(name, features_list)

    @staticmethod
    def get_provided_features_list() -> tuple[str, str]:
        return "features", "logits"

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "logits" if metric == "isc" else "features"

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        both = dict(zip(("features", "logits"), STUB(x), strict=True))
        return tuple(both[name] for name in self.features_list)


class Pictures(Dataset[Tensor]):
    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def test_scores_equal_torch_fidelity() -> None:
    register_feature_extractor("stub", StubForTorchFidelity)
    theirs = calculate_metrics(
        input1=Pictures(FAKES),
        input2=Pictures(REALS),
        feature_extractor="stub",
        isc=True,
        fid=True,
        kid=True,
        prc=True,
        kid_subsets=10,
        kid_subset_size=100,
        cuda=False,
        save_cpu_ram=True,
        cache=False,
        verbose=False,
    )
    ours = scored().scores
    assert ours["fd"] == pytest.approx(theirs["frechet_inception_distance"], rel=1e-5)
    assert ours["is_mean"] == pytest.approx(theirs["inception_score_mean"], rel=1e-12)
    assert ours["is_std"] == pytest.approx(theirs["inception_score_std"], rel=1e-10)
    assert ours["kid_mean"] == pytest.approx(theirs["kernel_inception_distance_mean"], abs=1e-6)
    assert ours["kid_std"] == pytest.approx(theirs["kernel_inception_distance_std"], abs=1e-6)
    assert (ours["precision"], ours["recall"]) == pytest.approx((theirs["precision"], theirs["recall"]), rel=1e-6)


def test_keys_and_card() -> None:
    found = scored()
    assert list(found.scores) == ["fd", "is_mean", "is_std", "kid_mean", "kid_std", "precision", "recall", "density", "coverage"]
    card = found.card
    assert (card.formula.num_fake, card.formula.num_real, card.formula.kid_subset_size, card.formula.neighbours) == (300, 400, 100, 3)
    assert (card.extractor.name, card.reference.source, card.run.processes) == ("stub", "reals", 1)
    assert len(card.fakes.images_sha256) == 64
    assert card.run.seconds > 0
    inception = StubExtractor()
    inception.is_inception = True
    assert "fid" in scored(network=inception).scores


def test_a_protocol_computes_only_what_it_names() -> None:
    assert list(scored(how=adjusted(SMALL, metrics=("is",))).scores) == ["is_mean", "is_std"]
    only_moments = reference(with_features=False)
    fakes = ArrayImages(FAKES.numpy(), fingerprint="f")
    found = score(fakes, only_moments, STUB, adjusted(SMALL, metrics=("fid",)), fakes=FakesCard(source="f"))
    assert found.scores == {"fd": scored().scores["fd"]}
    assert found.card.formula.kid_subsets is None
    with pytest.raises(UserError, match="needs the features of every real image"):
        score(fakes, only_moments, STUB, SMALL, fakes=FakesCard(source="f"))


NEW = ("mind", "cmmd", "clipped", "f_score")


def test_newer_metrics_have_their_numbers_and_lines_on_the_card() -> None:
    found = scored(how=adjusted(SMALL, metrics=("prdc", *NEW)))
    fake, real = STUB(FAKES)[0], STUB(REALS)[0]
    assert (found.scores["monge_distance"], found.scores["monge_distance_debiased"]) == mind(fake, real)
    unbiased, biased = gaussian_mmd2(F.normalize(fake.double(), dim=1), F.normalize(real.double(), dim=1))
    assert (found.scores["mmd"], found.scores["mmd_biased"]) == pytest.approx((1000 * unbiased, 1000 * biased), rel=1e-9)
    clipped = clipped_scores(fake, real)
    assert [found.scores[f"clipped_{key}"] for key in ("density", "density_raw", "coverage")] == [
        clipped.density,
        clipped.density_raw,
        clipped.coverage,
    ]
    assert found.scores["f_score"] == f_score(found.scores["precision"], found.scores["recall"])
    more = found.card.formula.more
    assert list(more) == list(NEW)
    assert (more["mind"]["projections"], more["mind"]["images"], more["clipped"]["neighbours"]) == (1000, 300, 5)
    assert Score.model_validate_json(found.to_json()) == found


def test_names_of_published_scores_are_kept_for_the_features_of_their_papers() -> None:
    how = adjusted(SMALL, metrics=("mind", "cmmd"))
    assert list(scored(how=how).scores) == ["monge_distance", "monge_distance_debiased", "mmd", "mmd_biased"]
    inception, clip = StubExtractor(), StubExtractor()
    inception.is_inception, clip.layer = True, "clip"
    assert list(scored(how=how, network=inception).scores) == ["mind", "mind_debiased", "mmd", "mmd_biased"]
    fakes, seen = ArrayImages(FAKES.numpy(), fingerprint="f"), reference(network=clip)
    assert list(score(fakes, seen, clip, how, fakes=FakesCard(source="f")).scores) == [
        "monge_distance",
        "monge_distance_debiased",
        "cmmd",
        "cmmd_biased",
    ]


def test_newer_metrics_do_not_depend_on_the_batch_size_beyond_round_off() -> None:
    found = [scored(how=adjusted(SMALL, metrics=NEW), batch_size=size).scores for size in (7, 64)]
    assert found[0] == pytest.approx(found[1], rel=1e-4, abs=1e-6)


def test_neighbourhoods_are_computed_once_for_all_that_use_them(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def counted(*args: object, **kwargs: object) -> Neighbourhoods:
        calls.append(1)
        return neighbourhoods(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr("gconv_gan.metrics.metric.neighbourhoods", counted)
    scored(how=adjusted(SMALL, metrics=("prdc", "f_score")))
    assert len(calls) == 1


def test_the_card_has_the_geometry_of_the_reference_and_the_floor_of_the_distance() -> None:
    found, one = scored(), reference()
    assert found.card.geometry == one.geometry
    assert found.card.geometry is not None
    assert found.card.geometry.sampled == 400
    floor = found.card.geometry.frechet_floor(300, 400)
    assert any(f"the fd of a perfect generator would be about {floor:.4g}" in line for line in found.lines())
    assert any("intrinsic dimension" in line for line in found.lines())
    without = score(
        ArrayImages(FAKES.numpy(), fingerprint="f"),
        reference(with_features=False),
        STUB,
        adjusted(SMALL, metrics=("is",)),
        fakes=FakesCard(source="f"),
    )
    assert without.card.geometry is not None
    assert without.card.geometry.density is None
    assert not any("perfect generator" in line for line in without.lines())


def test_a_score_without_geometry_is_comparable_with_one_that_has_it() -> None:
    """Cards of earlier versions have none."""
    found = scored()
    older = json.loads(found.to_json())
    del older["card"]["geometry"]
    read = Score.model_validate_json(json.dumps(older))
    assert read.card.geometry is None
    assert "geometry" not in json.loads(read.to_json())["card"]
    assert unlike_fields(read.card, found.card) == unlike_fields(found.card, read.card) == []


def test_the_formula_of_a_stored_score_is_that_of_its_protocol_today() -> None:
    stored = Score.model_validate_json((ROOT / "eval/results/cifar10_small_plain-s0.json").read_text())
    of_protocol = protocol("fd5k_lite0")
    rows = torch.zeros(5000, 16)
    known = dataclasses.replace(reference(), moments=Moments(5000, torch.zeros(16).double(), torch.eye(16).double()), features=rows)
    source = ArrayImages(np.zeros((5000, 3, 1, 1), dtype=np.uint8), fingerprint="f")
    assert formula_card(source, Evaluation(of_protocol, 5000, STUB, known)) == stored.card.formula


def test_fewer_fakes_than_features_use_the_small_form() -> None:
    found = scored(FAKES[:12], adjusted(SMALL, metrics=("fid",)))
    assert found.card.formula.frechet == "eigenvalues of A1 S2 A1'"
    assert found.scores["fd"] == pytest.approx(frechet_distance(moments_of(STUB(FAKES[:12])[0]), reference().moments), rel=1e-9)


def test_biased_logits_change_the_inception_score() -> None:
    biased = scored(how=adjusted(SMALL, metrics=("is",), is_logit_bias=True))
    assert biased.scores["is_mean"] != scored().scores["is_mean"]


def test_kid_subsets_shrink_with_small_sets_and_the_card_says_so() -> None:
    found = scored(how=protocol("torch_fidelity"))
    assert found.card.formula.kid_subset_size == 300
    assert found.scores["kid_std"] > 1e-6  # subsets of the reals still differ


def test_a_kernel_distance_of_whole_sets_has_no_spread() -> None:
    how = adjusted(protocol("torch_fidelity"), metrics=("kid",))
    whole = reference(REALS[:300])
    found = score(ArrayImages(FAKES.numpy(), fingerprint="fakes"), whole, STUB, how, fakes=FakesCard(source="fakes"))
    assert found.card.formula.kid_subset_size == 300
    assert found.scores == {"kid_mean": pytest.approx(mmd2_unbiased(STUB(FAKES)[0], STUB(REALS[:300])[0]), rel=1e-9)}


def test_the_batch_size_changes_nothing_but_round_off() -> None:
    found = [scored(batch_size=size).scores for size in (1, 7, 64)]
    assert found[0] == pytest.approx(found[2], rel=1e-5)
    assert found[1] == pytest.approx(found[2], rel=1e-5)
    assert found[0]["fd"] == pytest.approx(found[2]["fd"], rel=1e-6)


def test_the_hash_is_of_the_pixels_in_order() -> None:
    assert scored().card.fakes.images_sha256 == scored(batch_size=50).card.fakes.images_sha256
    assert scored(FAKES.flip(0)).card.fakes.images_sha256 != scored().card.fakes.images_sha256


def test_saving_as_png_and_reading_back_leaves_the_scores_bit_equal(tmp_path: Path) -> None:
    from PIL import Image

    fakes = FakeSource(TinyGenerator(), count=60, seed=0)
    for i, image in enumerate(fakes.block(0)):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{i:03}.png")
    how = adjusted(SMALL, metrics=("fid", "kid"), kid_subset_size=20)
    files = ImageFiles(tmp_path, memory=tmp_path / "memory")
    direct, read = (score(source, reference(), STUB, how, fakes=FakesCard(source="s")) for source in (fakes, files))
    assert direct.scores == read.scores
    assert direct.card.fakes.images_sha256 == read.card.fakes.images_sha256


def test_wrong_numbers_of_images_and_other_extractors_are_refused() -> None:
    with pytest.raises(UserError, match="takes 50,000 fakes, but there are 300"):
        scored(how=protocol("fid50k_full"))
    with pytest.raises(UserError, match="takes 7 reals, but there are 400"):
        scored(how=adjusted(SMALL, num_real=7))
    other = StubExtractor()
    other.name, other.resizer = "other", "pil_bicubic 299"
    with pytest.raises(UserError, match="statistics are by stub .none., not other"):
        scored(network=other)


def test_features_that_are_not_finite_name_their_image() -> None:
    class Broken(StubExtractor):
        def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
            features, logits = super().__call__(images)
            return features.where(~(images == FAKES[277]).flatten(1).all(1, keepdim=True), torch.nan), logits

    with pytest.raises(ValueError, match="features of image 277 by stub are not finite"):
        scored(network=Broken())


def test_a_wrong_keyword_is_an_error() -> None:
    with pytest.raises(TypeError, match="unexpected keyword"):
        score(ArrayImages(FAKES.numpy(), fingerprint="f"), reference(), STUB, SMALL, fakes=FakesCard(source="f"), batchsize=3)  # type: ignore[call-arg]


def test_bias_of_the_distance_between_halves_of_real_pictures_falls_as_one_over_n(cifar10_zip: Path, tmp_path: Path) -> None:
    files = ChosenImages(ImageFiles(cifar10_zip, split="test", memory=tmp_path), 4000, seed=0)
    features = extract(files, [Wanted(STUB, 4000, features=True)], batch_size=256)[0].features
    assert features is not None
    draw = torch.Generator().manual_seed(0)
    means = {}
    for n in (500, 1000, 2000):
        halves = [torch.randperm(4000, generator=draw) for _ in range(20)]
        distances = [frechet_distance(moments_of(features[h[:n]]), moments_of(features[h[n : 2 * n]])) for h in halves]
        assert min(distances) > 0
        means[n] = sum(distances) / len(distances)
    assert means[500] / means[1000] == pytest.approx(2, rel=0.3)
    assert means[1000] / means[2000] == pytest.approx(2, rel=0.3)
