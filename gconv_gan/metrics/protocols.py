"""Named, frozen protocols: everything that defines a score besides the images, the reference and the weights.

Scores under equal protocols are comparable. A protocol that is changed on the command line gets another name.
"""

from collections import UserDict
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, ValidationError, model_validator

from gconv_gan.config.base import Config
from gconv_gan.config.errors import UserError
from gconv_gan.config.hints import did_you_mean
from gconv_gan.metrics.neighbours import Comparison


class Protocol(Config):
    """Metrics, numbers of images and formulas of a score."""

    name: str = ""
    """Its name in ``PROTOCOLS``; the name of a changed protocol lists the changes."""
    metrics: tuple[str, ...]
    """fid: Fréchet distance; is: Inception Score; kid: Kernel Inception Distance; prdc: precision, recall, density, coverage;
    intra_fid: mean of the classes' Fréchet distances; fid_infinity: Fréchet distance extrapolated to infinitely many fakes;
    mind: Monge Inception Distance; cmmd: MMD of a Gaussian kernel; clipped: Clipped Density and Coverage; f_score: of precision and
    recall; or any other name of ``METRICS``."""
    extractor: str | None
    """A name of ``EXTRACTORS``; None: the caller's choice."""
    num_fake: PositiveInt | None = 50_000
    """Number of fakes; None: all."""
    num_real: PositiveInt | None = None
    """Number of reals, chosen at random if there are more; None: all."""
    split: Literal["train", "test", "any"] = "train"
    """Split of the reals."""
    is_splits: PositiveInt = 10
    is_permutation_seed: int | None = None
    """Shuffle the fakes before they are cut into splits; None: keep their order."""
    is_logit_bias: bool = False
    """Add the bias of Inception's last layer to the logits."""
    kid_subsets: PositiveInt = 100
    kid_subset_size: Annotated[int, Field(ge=2)] = 1000
    """Largest size of a subset: smaller sets give smaller subsets, which the card records."""
    kid_seed: int = 2020
    neighbours: PositiveInt = 3
    """k of precision, recall, density and coverage."""
    comparison: Comparison = "<="
    """Whether a point on a ball's surface is inside."""
    infinity_points: Annotated[int, Field(ge=2)] = 15
    """Subset sizes to which the line of fid_infinity is fitted."""
    infinity_seed: int = 0
    """Seed of the choice of those subsets."""

    @model_validator(mode="after")
    def _some_metric_once(self) -> "Protocol":
        if not self.metrics or len(set(self.metrics)) != len(self.metrics):
            raise ValueError(f"protocol {self.name}: metrics must name at least one, each once")
        return self


class Protocols(UserDict[str, Protocol]):
    """Name -> protocol, open to plug-ins. Adding a protocol sets its name; a name cannot be reassigned."""

    def __setitem__(self, name: str, protocol: Protocol) -> None:
        """Add a protocol.

        Raises:
            UserError: the name is taken, or the protocol has another one.

        """
        if name in self.data:
            raise UserError(f"PROTOCOLS[{name!r}] exists: give the protocol another name")
        if protocol.name not in ("", name):
            raise UserError(f"PROTOCOLS[{name!r}] is a protocol that is called {protocol.name!r}: leave its name out")
        self.data[name] = protocol.model_copy(update={"name": name})


PROTOCOLS = Protocols(
    {
        # mimicry's tables: 50k against 50k of the training set; KID of 10 subsets of 5000.
        "fid50k_train": Protocol(
            metrics=("fid", "is", "kid"), extractor="inception", num_real=50_000, kid_subsets=10, kid_subset_size=5000
        ),
        # StudioGAN's tables: as many fakes as test images, its "legacy" resizer (the default of its --post_resizer), biased
        # logits, one split, prdc's k and comparison. Its generators ran with --batch-norm batch.
        "fid10k_test": Protocol(
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
        # Distances per class, and the distance without the bias of the number of fakes.
        "intra_fid50k_train": Protocol(metrics=("fid", "intra_fid"), extractor="inception"),
        "fid_infinity50k_train": Protocol(metrics=("fid", "fid_infinity"), extractor="inception"),
        # StyleGAN2 and later: all reals.
        "fid50k_full": Protocol(metrics=("fid", "is", "kid", "prdc"), extractor="inception"),
        # torch-fidelity's defaults on two sets of images.
        "torch_fidelity": Protocol(
            metrics=("fid", "is", "kid", "prdc"),
            extractor="inception",
            num_fake=None,
            split="any",
            is_permutation_seed=2020,
        ),
        "clean_fid": Protocol(metrics=("fid",), extractor="inception:clean_fid", split="any"),
        "pytorch_fid": Protocol(metrics=("fid",), extractor="inception:pytorch_fid", num_fake=None, split="any"),
        # Scores during training: biased upward by the few images, comparable only under the same protocol.
        "fid2k": Protocol(metrics=("fid",), extractor="inception", num_fake=2_000, num_real=2_000, split="any"),
        # lite0: EfficientNet-Lite0 at 96 pixels (bilinear); lite0_224: at 224 (bicubic). Their features are not comparable.
        "fd2k_lite0": Protocol(metrics=("fid",), extractor="efficientnet_lite0:bilinear96", num_fake=2_000, num_real=2_000, split="any"),
        # Offline scores in EfficientNet-Lite0's features.
        "fd50k_lite0_224": Protocol(metrics=("fid", "is", "kid", "prdc"), extractor="efficientnet_lite0"),
        "fd5k_lite0": Protocol(
            metrics=("fid", "kid", "prdc"),
            extractor="efficientnet_lite0:bilinear96",
            num_fake=5_000,
            num_real=5_000,
            neighbours=5,
            comparison="<",
        ),
        # DINOv2's and CLIP's features.
        "fd50k_dinov2": Protocol(metrics=("fid", "kid", "prdc"), extractor="dinov2", neighbours=5, comparison="<"),
        # All scores for comparisons by few images: FD of 10,000 is biased, MIND and Clipped Density and Coverage hardly.
        "fd10k_dinov2": Protocol(
            metrics=("fid", "kid", "prdc", "mind", "clipped", "f_score"),
            extractor="dinov2",
            num_fake=10_000,
            num_real=10_000,
            neighbours=5,
            comparison="<",
        ),
        "fd50k_clip": Protocol(metrics=("fid", "kid", "prdc"), extractor="clip", neighbours=5, comparison="<"),
        # Small sets and small classifiers: the quickstart's digits.
        "fd1k_classifier": Protocol(metrics=("fid", "is", "kid", "prdc"), extractor=None, num_fake=1_000, kid_subset_size=500, split="any"),
        # Two sets of images, as they are.
        "images": Protocol(metrics=("fid", "is", "kid", "prdc"), extractor=None, num_fake=None, split="any"),
        "images_without_classes": Protocol(metrics=("fid", "kid", "prdc"), extractor=None, num_fake=None, split="any"),
    }
)
"""The protocols, by the names that ``--protocol`` and ``evaluation.protocol`` take. A plug-in adds its own."""


def protocol(name: str) -> Protocol:
    """Return the protocol called ``name``; raise ``UserError`` listing the known ones if there is none."""
    if name not in PROTOCOLS:
        raise UserError(f"there is no protocol {name!r}; known are {', '.join(PROTOCOLS)}{did_you_mean(name, PROTOCOLS)}")
    return PROTOCOLS[name]


def family(network: str) -> str:
    """Return the common name of an extractor's variants: "inception" of "inception:clean", "dinov2" of "dinov2-vit-s-14"."""
    return network.split(":")[0].split("-")[0]


def other_variant(base: Protocol, network: str | None) -> dict[str, object]:
    """Return the change that ``network`` makes to ``base``, for ``adjusted``: another variant of its own extractor gives other features.

    Another network is not a change of the protocol, since the name of every score states the extractor.
    """
    own = base.extractor
    return {"extractor": network} if network is not None and own not in (None, network) and family(own) == family(network) else {}


def adjusted(base: Protocol, **changes: object) -> Protocol:
    """Return ``base`` with some fields changed, validated again, and a name that lists what was changed.

    Raises:
        UserError: for an unknown field or a wrong value.

    """
    differing = {key: value for key, value in changes.items() if getattr(base, key, None) != value}
    listed = ", ".join(f"{key}={value}" for key, value in sorted(differing.items()))
    name = f"{base.name} ({listed})" if differing else base.name
    try:
        return Protocol.model_validate({**base.model_dump(), **changes, "name": name})
    except ValidationError as error:
        [first, *_] = error.errors()
        raise UserError(f"{'.'.join(map(str, first['loc']))} {first['msg'].removeprefix('Value error, ')}".strip()) from error
