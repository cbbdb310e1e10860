"""Cards: fields that forbid a comparison and fields that do not; protocols are frozen, and renamed when changed."""

import pydantic
import pytest

from gconv_gan.config.errors import UserError
from gconv_gan.metrics.extractors.factory import known_extractors
from gconv_gan.metrics.protocols import PROTOCOLS, Protocol, adjusted, other_variant, protocol
from gconv_gan.metrics.score_card import (
    ExtractorCard,
    FakesCard,
    FormulaCard,
    ReferenceCard,
    RunCard,
    Score,
    ScoreCard,
    library_versions,
    other_differences,
    unlike_fields,
)


def card(**changes: object) -> ScoreCard:
    """A card with some fields ("extractor.resizer") changed."""
    parts: dict[str, dict[str, object]] = {
        "formula": FormulaCard(
            protocol="images",
            num_fake=100,
            num_real=200,
            frechet="eigenvalues of R2 S1 R2",
            frechet_threshold="order * eps * largest eigenvalue",
            is_splits=None,
            is_permutation_seed=None,
            is_logit_bias=None,
            kid_kernel=None,
            kid_subsets=None,
            kid_subset_size=None,
            kid_seed=None,
            neighbours=None,
            comparison=None,
        ).model_dump(),
        "fakes": FakesCard(source="runs/a", batch_norm="eval", seed=0).model_dump(),
        "reference": ReferenceCard(source="digits", fingerprint="f", split="train", recipe="r", images_sha256="i").model_dump(),
        "extractor": ExtractorCard(
            name="n", sha256="s", layer="l", resizer="tf1_bilinear 299", normalisation="x", quantisation="q", folded=True
        ).model_dump(),
        "run": RunCard(batch_size=64, device="cpu", versions=library_versions(), seconds=1.0).model_dump(),
    }
    for key, value in changes.items():
        group, field = key.split("__")
        parts[group][field] = value
    return ScoreCard.model_validate(parts)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("extractor__resizer", "pil_bicubic 299"),
        ("extractor__sha256", "other"),
        ("formula__num_fake", 99),
        ("formula__protocol", "fid2k"),
        ("reference__fingerprint", "g"),
        ("reference__split", "test"),
        ("fakes__batch_norm", "standing 16"),
        ("fakes__truncation", 0.7),
    ],
)
def test_unlike_scores_are_refused_by_the_field_that_differs(field: str, value: object) -> None:
    dotted = field.replace("__", ".")
    assert [line.split(":")[0] for line in unlike_fields(card(), card(**{field: value}))] == [dotted]


def test_other_fields_may_differ_and_are_reported() -> None:
    other = card(run__seconds=9.0, run__device="cuda", fakes__source="runs/b", fakes__weights_sha256="w")
    assert unlike_fields(card(), other) == []
    assert [line.split(":")[0] for line in other_differences(card(), other)] == [
        "fakes.source",
        "fakes.weights_sha256",
        "run.device",
        "run.seconds",
    ]


def test_cards_and_scores_survive_json_and_refuse_unknown_fields_and_nan() -> None:
    score = Score(scores={"fd": 1.5, "kid_mean": -1e-5}, card=card())
    assert Score.model_validate_json(score.to_json()) == score
    assert ScoreCard.model_validate_json(card().to_json()) == card()
    assert score.lines()[0] == "images: features of n, 100 against 200 images"
    assert score.lines()[1].split() == ["fd", "1.5"]
    with pytest.raises(pydantic.ValidationError, match="finite"):
        Score(scores={"fd": float("nan")}, card=card())
    with pytest.raises(pydantic.ValidationError, match="resize"):
        card(extractor__resize="x")


def test_protocols_name_extractors_that_exist() -> None:
    assert {p.extractor for p in PROTOCOLS.values()} - {None} <= set(known_extractors())
    studiogan = protocol("fid10k_test")
    assert (studiogan.is_splits, studiogan.is_logit_bias, studiogan.neighbours, studiogan.comparison) == (1, True, 5, "<")
    with pytest.raises(UserError, match="no protocol 'fid3k'; known are fid50k_train"):
        protocol("fid3k")


def test_a_name_of_a_protocol_is_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Protocol(metrics=("fid",), extractor=None)
    monkeypatch.setitem(PROTOCOLS, "mine", mine)
    assert protocol("mine") == mine.model_copy(update={"name": "mine"})
    with pytest.raises(UserError, match=r"PROTOCOLS\['fid2k'\] exists: give the protocol another name"):
        PROTOCOLS["fid2k"] = mine
    with pytest.raises(UserError, match=r"PROTOCOLS\['yours'\] is a protocol that is called 'mine': leave its name out"):
        PROTOCOLS["yours"] = protocol("mine")


def test_one_name_means_one_feature_space() -> None:
    spaces: dict[str, set[str | None]] = {}
    for one in PROTOCOLS.values():
        suffix = one.name.partition("_")[2]
        if "lite0" in suffix:
            spaces.setdefault(suffix, set()).add(one.extractor)
    assert spaces == {"lite0": {"efficientnet_lite0:bilinear96"}, "lite0_224": {"efficientnet_lite0"}}
    large, small = protocol("fd50k_lite0_224"), "efficientnet_lite0:bilinear96"
    assert adjusted(large, **other_variant(large, small)).name == "fd50k_lite0_224 (extractor=efficientnet_lite0:bilinear96)"
    for same in (None, "efficientnet_lite0", "checkpoint:runs/dc"):
        assert other_variant(large, same) == {}
    assert other_variant(protocol("fd50k_dinov2"), "dinov2-vit-s-14") == {"extractor": "dinov2-vit-s-14"}
    assert other_variant(protocol("images"), small) == {}


@pytest.mark.parametrize(
    ("ours", "theirs", "alike"),
    [
        ({"size": 8}, {"size": 32}, False),
        ({"size": None}, {"size": 32}, True),
        ({"formats": ("PNG",)}, {"formats": ("JPEG",)}, False),
        ({"formats": ("PNG",)}, {"formats": ("JPEG", "PNG")}, False),
        ({"formats": ("PNG",)}, {"formats": ("BMP", "PNG")}, True),
        ({"formats": None}, {"formats": ("JPEG",)}, True),
        ({"order": None}, {"order": "SHA-256 of pixels"}, False),
    ],
)
def test_size_and_format_of_images_forbid_a_comparison_if_both_cards_have_them(
    ours: dict[str, object], theirs: dict[str, object], alike: bool
) -> None:
    one, other = (card(**{f"fakes__{key}": value for key, value in fields.items()}) for fields in (ours, theirs))
    assert (unlike_fields(one, other) == []) == alike
    assert len(other_differences(one, other)) == int(alike)


def test_a_reference_is_known_by_its_content() -> None:
    assert unlike_fields(card(reference__source="t/flat"), card(reference__source="t/byclass")) == []


def test_card_lines_of_a_plugins_metric_are_compared_and_printed() -> None:
    ours, theirs = (card(formula__more={"spread": {"power": power}}) for power in (2, 3))
    assert unlike_fields(ours, theirs) == ["formula.more: {'spread': {'power': 2}} != {'spread': {'power': 3}}"]
    assert ScoreCard.model_validate_json(ours.to_json()) == ours
    assert Score(scores={"spread": 1.5}, card=ours).lines()[-1] == "    spread: power 2"
    assert "more" not in card().to_json()


def test_a_changed_protocol_has_another_name_and_is_validated() -> None:
    base = protocol("fid2k")
    assert adjusted(base) == adjusted(base, num_fake=2000) == base
    assert adjusted(base, num_fake=500, kid_seed=1).name == "fid2k (kid_seed=1, num_fake=500)"
    for changes in ({"num_fake": 0}, {"num_fakes": 5}, {"metrics": ()}, {"metrics": ("fid", "fid")}):
        with pytest.raises(UserError):
            adjusted(base, **changes)
