"""A TorchScript file in the format of CLIP's published weights, with a tiny image tower of seeded random weights."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch_fidelity.feature_extractor_clip import CLIPVisual


class _Whole(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.visual = CLIPVisual(embed_dim=24, image_resolution=32, vision_layers=2, vision_width=64, vision_patch_size=8).visual
        self.text_projection = nn.Parameter(torch.randn(10, 24))
        self.logit_scale = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.visual(x)


def write_random_clip(path: Path, *, seed: int = 0) -> Path:
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        torch.jit.save(torch.jit.trace(_Whole().eval(), torch.zeros(1, 3, 32, 32)), path)
    return path
