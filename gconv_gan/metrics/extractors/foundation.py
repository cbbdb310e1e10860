"""DINOv2 and CLIP as extractors, with torch-fidelity's input convention; their weights are local files and never downloaded.

Stein et al., "Exposing flaws of generative model evaluation metrics and their unfair treatment of diffusion models", arXiv
2306.04675 (2023) measures in DINOv2's features (Oquab et al., arXiv 2304.07193); Kynkäänniemi et al., "The Role of ImageNet
Classes in Fréchet Inception Distance", arXiv 2203.06026 (2022), in CLIP's (Radford et al., arXiv 2103.00020). Neither
network has classes, so there is no Inception Score of it, and Fréchet distances in its features are not called FID.
"""

import pickle
import warnings
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from gconv_gan.config.errors import UserError
from gconv_gan.metrics.extractors.inception import InputConvention, NetworkExtractor
from gconv_gan.metrics.extractors.weights import CLIP, DINOV2, USUAL, WeightsFile, check_sha256, find_weights, has_timm, sha256_of


def _per_channel(*values: float) -> tuple[float, float, float]:
    red, green, blue = (255 * value for value in values)
    return red, green, blue


def _checked_file(file: WeightsFile, weights: Path | None, name: str) -> tuple[Path, str, str]:
    """Return path, SHA-256 and name of the weights: the published file, or a given one, which is then named unofficial."""
    path = find_weights(file, weights)
    if weights is None:
        check_sha256(path, file.sha256)
    sha256 = file.sha256 if weights is None else sha256_of(path)
    return path, sha256, name if sha256 == file.sha256 else f"{name} (unofficial weights {sha256[:8]})"


class DinoV2Extractor(NetworkExtractor):
    """DINOv2 ViT/14 at 224 pixels: features [b, 384 | 768 | 1024], the class token after the last norm; no logits.

    torch-fidelity loads code and weights from torch hub; this class uses timm's network with the published tensors.

    Args:
        model: a key of ``weights.DINOV2``.
        weights: a file of the published format; None: the published one, from its default path.
        device: device of the network.

    Raises:
        UserError: the file or timm is missing, or the file has another hash or other tensors.

    """

    layer = "dinov2"
    num_logits = 0

    def __init__(self, model: str, weights: Path | None = None, *, device: torch.device | str = "cpu") -> None:
        path, self.sha256, self.name = _checked_file(DINOV2[model], weights, model)
        network = _dinov2_network(model, path)
        self.feature_dim = network.num_features
        imagenet = _per_channel(0.485, 0.456, 0.406), _per_channel(0.229, 0.224, 0.225)
        super().__init__(network, InputConvention("tf1_bilinear", 224, *imagenet), device)

    def forward(self, x: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"]]:
        """Return the features [b, d] and logits [b, 0]."""
        features = self.network.forward_features(x)[:, 0]
        return features, features[:, :0]


def _dinov2_network(model: str, path: Path) -> Any:
    if not has_timm():
        raise UserError('the extractors dinov2 need timm: pip install "gconv_gan[offline]"')
    import timm

    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise UserError(f"{path} is not a file of tensors: {str(error).splitlines()[0]}") from error
    size = {"s": "small", "b": "base", "l": "large"}[model.split("-")[2]]
    with torch.device("meta"):  # the tensors come from the file: none are allocated or initialised here
        network = timm.create_model(f"vit_{size}_patch14_dinov2", img_size=224, num_classes=0)
    try:
        state["pos_embed"] = positions_at(state["pos_embed"], network.patch_embed.grid_size[0])
        published = {name: tensor for name, tensor in state.items() if name != "mask_token"}  # used in training only
        network.load_state_dict(published, assign=True)
    except (KeyError, RuntimeError) as error:
        raise UserError(f"{path} does not hold the tensors of {model}: {str(error).splitlines()[0]}") from error
    return network


def positions_at(embedding: Float[Tensor, "1 n d"], side: int) -> Float[Tensor, "1 m d"]:
    """Return DINOv2's position embedding for side² patches, from that of its own 37² and the class token.

    Bicubic, with the tenth of a patch that the official code adds to the target size before it divides: the sampling points
    are spaced by 37 / 16.1 rather than 37 / 16. (Checked against ``interpolate_pos_encoding`` of the official repository.)
    """
    token, patches = embedding[:, :1], embedding[:, 1:]
    trained = round(patches.shape[1] ** 0.5)
    if trained == side:
        return embedding
    grid = rearrange(patches, "1 (h w) d -> 1 d h w", h=trained)
    resized = F.interpolate(grid, scale_factor=(side + 0.1) / trained, mode="bicubic")
    return torch.cat([token, rearrange(resized, "1 d h w -> 1 (h w) d")], 1)


class ClipExtractor(NetworkExtractor):
    """CLIP's image tower by torch-fidelity: features [b, 512 | 768 | 1024], the joint embedding, not normalised; no logits.

    Args:
        model: a key of ``weights.CLIP``.
        weights: a file of the published format; None: the published one, from its default path.
        device: device of the network.

    Raises:
        UserError: the file is missing, has another hash, or is no CLIP network.

    """

    layer = "clip"
    num_logits = 0

    def __init__(self, model: str, weights: Path | None = None, *, device: torch.device | str = "cpu") -> None:
        path, self.sha256, self.name = _checked_file(CLIP[model], weights, model)
        network = _clip_network(model, path)
        self.feature_dim = network.output_dim
        statistics = _per_channel(0.48145466, 0.4578275, 0.40821073), _per_channel(0.26862954, 0.26130258, 0.27577711)
        super().__init__(network, InputConvention("tf1_bilinear", network.input_resolution, *statistics), device)

    def forward(self, x: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"]]:
        """Return the features [b, d] and logits [b, 0]."""
        features = self.network(x)
        return features, features[:, :0]


def _clip_network(model: str, path: Path) -> Any:
    from torch_fidelity.feature_extractor_clip import FeatureExtractorCLIP

    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="`torch.jit.load` is deprecated", category=FutureWarning)  # the files are TorchScript
            whole = FeatureExtractorCLIP(model, ["clip"], feature_extractor_weights_path=str(path))
    except (RuntimeError, KeyError, ValueError) as error:
        raise UserError(f"{path} is not a file of {model}: {str(error).splitlines()[0]}") from error
    visual: nn.Module = whole.model.visual
    return visual


def dinov2(
    *,
    name: Literal["dinov2", "dinov2-vit-s-14", "dinov2-vit-b-14", "dinov2-vit-l-14"] = "dinov2",
    weights: Path | None = None,
    device: torch.device | str = "cpu",
) -> DinoV2Extractor:
    """DINOv2 ViT-L/14, or a smaller one.

    Returns the extractor on ``device``.
    """
    return DinoV2Extractor(USUAL.get(name, name), weights, device=device)


def clip(
    *,
    name: Literal["clip", "clip-vit-b-32", "clip-vit-b-16", "clip-vit-l-14", "clip-vit-l-14-336px", "clip-rn50"] = "clip",
    weights: Path | None = None,
    device: torch.device | str = "cpu",
) -> ClipExtractor:
    """CLIP ViT-B/32, or another one.

    Returns the extractor on ``device``.
    """
    return ClipExtractor(USUAL.get(name, name), weights, device=device)
