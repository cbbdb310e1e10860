"""A file in the format of torch-fidelity's Inception weights, with seeded random values."""

from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor
from torch_fidelity import feature_extractor_inceptionv3 as theirs


def _filled(name: str, shape: torch.Size, draw: torch.Generator) -> Tensor:
    noise = torch.randn(shape, generator=draw)
    if len(shape) == 4:
        return noise.mul_((2 / noise[0].numel()) ** 0.5)
    if len(shape) == 2:
        return noise.mul_(4 / shape[1] ** 0.5)
    if name.endswith(("bn.weight", "running_var")):
        return noise.abs_().mul_(0.1).add_(1)
    return noise.mul_(0.1)


def write_random_inception(path: Path, *, seed: int = 0) -> Path:
    """Write the file (95 MB) and return its path. Scores of these weights have no meaning, but two implementations must agree on them."""
    with (
        torch.random.fork_rng(devices=[]),
        patch.object(theirs, "load_state_dict_from_url", lambda *_, **__: {}),
        patch.object(theirs.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None),
    ):
        empty = theirs.FeatureExtractorInceptionV3("inception", ["2048"], verbose=False).state_dict()
    draw = torch.Generator().manual_seed(seed)
    torch.save({name: _filled(name, t.shape, draw) if t.is_floating_point() else t for name, t in empty.items()}, path)
    return path
