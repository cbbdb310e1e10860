"""Named, frozen protocols: everything that defines a score besides the images, the reference and the weights.

Two numbers may be compared when their protocols are equal. A protocol that is changed on the command line changes its name.
"""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from gconv_gan.config.base import Config
from gconv_gan.config.errors import UserError
from gconv_gan.config.hints import did_you_mean
from gconv_gan.metrics.neighbours import Comparison


class Protocol(Config):
    """What is computed, from how many images, by which formula."""

    name: str
    metrics: tuple[str, ...]
    """fid: Fréchet distance; is: Inception Score; kid: Kernel Inception Distance; prdc: precision, recall, density, coverage;
    intra_fid: mean of the classes' Fréchet distances; fid_infinity: Fréchet distance extrapolated to infinitely many fakes;
    or any other name of ``METRICS``."""
    extractor: str | None
    """A name of ``EXTRACTORS``; None: the caller's choice."""
    num_fake: PositiveInt | None = 50_000
    """Fakes; None: as many as there are."""
    num_real: PositiveInt | None = None
    """Reals, chosen at random where there are more; None: all."""
    split: Literal["train", "test", "any"] = "train"
    """Which split the reals are."""
    is_splits: PositiveInt = 10
    is_permutation_seed: int | None = None
    """Shuffle the fakes before they are cut into splits; None: keep their order."""
    is_logit_bias: bool = False
    """Add the bias of Inception's last layer to the logits."""
    kid_subsets: PositiveInt = 100
    kid_subset_size: Annotated[int, Field(ge=2)] = 1000
    """At most: smaller sets give smaller subsets, and the card says so."""
    kid_seed: int = 2020
    neighbours: PositiveInt = 3
    """k of precision, recall, density and coverage."""
    comparison: Comparison = "<="
    """Whether a point on a ball's surface is inside."""
    infinity_points: Annotated[int, Field(ge=2)] = 15
    """Subset sizes to which the line of fid_infinity is fitted."""
    infinity_seed: int = 0
    """Of the choice of those subsets."""

    @model_validator(mode="after")
    def _some_metric_once(self) -> "Protocol":
        if not self.metrics or len(set(self.metrics)) != len(self.metrics):
            raise ValueError(f"protocol {self.name}: metrics must name at least one, each once")
        return self


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        # mimicry's tables: 50k against 50k of the training set; KID of 10 subsets of 5000.
        Protocol(
            name="fid50k_train", metrics=("fid", "is", "kid"), extractor="inception", num_real=50_000, kid_subsets=10, kid_subset_size=5000
        ),
        # StudioGAN's tables: as many fakes as test images, its "legacy" resizer (the default of its --post_resizer), biased
        # logits, one split, prdc's k and comparison. Its generators ran with --batch-norm batch.
        Protocol(
            name="fid10k_test",
            metrics=("fid", "is", "prdc"),
            extractor="inception:pytorch_fid",
            num_fake=10_000,
            num_real=10_000,
            split="test",
            is_splits=1,
            is_logit_bias=True,
            neighbours=5,
            comparison="<",
        ),
        # How well each class is drawn, and how much of the distance is due to the number of fakes.
        Protocol(name="intra_fid50k_train", metrics=("fid", "intra_fid"), extractor="inception"),
        Protocol(name="fid_infinity50k_train", metrics=("fid", "fid_infinity"), extractor="inception"),
        # StyleGAN2 and later: all reals.
        Protocol(name="fid50k_full", metrics=("fid", "is", "kid", "prdc"), extractor="inception"),
        # torch-fidelity's defaults on two sets of images.
        Protocol(
            name="torch_fidelity",
            metrics=("fid", "is", "kid", "prdc"),
            extractor="inception",
            num_fake=None,
            split="any",
            is_permutation_seed=2020,
        ),
        Protocol(name="clean_fid", metrics=("fid",), extractor="inception:clean_fid", split="any"),
        Protocol(name="pytorch_fid", metrics=("fid",), extractor="inception:pytorch_fid", num_fake=None, split="any"),
        # Tracked during training: biased upward by the few images, comparable with itself alone.
        Protocol(name="fid2k", metrics=("fid",), extractor="inception", num_fake=2_000, num_real=2_000, split="any"),
        # lite0: EfficientNet-Lite0 at 96 pixels (bilinear); lite0_224: at 224 (bicubic). Their features are different spaces.
        Protocol(
            name="fd2k_lite0", metrics=("fid",), extractor="efficientnet_lite0:bilinear96", num_fake=2_000, num_real=2_000, split="any"
        ),
        # Offline scores in EfficientNet-Lite0's features.
        Protocol(name="fd50k_lite0_224", metrics=("fid", "is", "kid", "prdc"), extractor="efficientnet_lite0"),
        Protocol(
            name="fd5k_lite0",
            metrics=("fid", "kid", "prdc"),
            extractor="efficientnet_lite0:bilinear96",
            num_fake=5_000,
            num_real=5_000,
            neighbours=5,
            comparison="<",
        ),
        # DINOv2's and CLIP's features.
        Protocol(name="fd50k_dinov2", metrics=("fid", "kid", "prdc"), extractor="dinov2", neighbours=5, comparison="<"),
        Protocol(name="fd50k_clip", metrics=("fid", "kid", "prdc"), extractor="clip", neighbours=5, comparison="<"),
        # Small sets and small classifiers: the quickstart's digits.
        Protocol(
            name="fd1k_classifier", metrics=("fid", "is", "kid", "prdc"), extractor=None, num_fake=1_000, kid_subset_size=500, split="any"
        ),
        # Two sets of images, as they are.
        Protocol(name="images", metrics=("fid", "is", "kid", "prdc"), extractor=None, num_fake=None, split="any"),
        Protocol(name="images_without_classes", metrics=("fid", "kid", "prdc"), extractor=None, num_fake=None, split="any"),
    )
}


def protocol(name: str) -> Protocol:
    """Return the protocol called ``name``; raise ``UserError`` listing the known ones where there is none."""
    if name not in PROTOCOLS:
        raise UserError(f"there is no protocol {name!r}; known are {', '.join(PROTOCOLS)}{did_you_mean(name, PROTOCOLS)}")
    return PROTOCOLS[name]


def family(network: str) -> str:
    """Return what the variants of an extractor share: "inception" of "inception:clean", "dinov2" of "dinov2-vit-s-14"."""
    return network.split(":")[0].split("-")[0]


def other_variant(base: Protocol, network: str | None) -> dict[str, object]:
    """Return the change that ``network`` makes to ``base``, for ``adjusted``: another variant of its own extractor is another space.

    Of another network altogether no protocol's name says anything, but the name of every score does.
    """
    own = base.extractor
    return {"extractor": network} if network is not None and own not in (None, network) and family(own) == family(network) else {}


def adjusted(base: Protocol, **changes: object) -> Protocol:
    """Return ``base`` with some fields changed, validated again, and a name that lists what was changed.

    Raises:
        pydantic.ValidationError: for an unknown field or a wrong value.

    """
    differing = {key: value for key, value in changes.items() if getattr(base, key, None) != value}
    if not differing:
        return Protocol.model_validate({**base.model_dump(), **changes})
    listed = ", ".join(f"{key}={value}" for key, value in sorted(differing.items()))
    return Protocol.model_validate({**base.model_dump(), **differing, "name": f"{base.name} ({listed})"})
