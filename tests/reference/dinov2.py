"""DINOv2's vision transformer after its paper and state dict; and a file in its format with seeded random weights."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SIZES = {"s": (384, 12, 6)}  # width, depth, heads


def write_random_dinov2(path: Path, *, letter: str = "s", seed: int = 0) -> Path:
    """Write a file in the published format: all names and shapes, random numbers of about the published sizes."""
    width, depth, _ = SIZES[letter]
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + 37 * 37, width),
        "mask_token": (1, width),
        "patch_embed.proj.weight": (width, 3, 14, 14),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    for i in range(depth):
        for name, out, into in (
            ("attn.qkv", 3 * width, width),
            ("attn.proj", width, width),
            ("mlp.fc1", 4 * width, width),
            ("mlp.fc2", width, 4 * width),
        ):
            shapes |= {f"blocks.{i}.{name}.weight": (out, into), f"blocks.{i}.{name}.bias": (out,)}
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "ls1.gamma", "ls2.gamma"):
            shapes[f"blocks.{i}.{name}"] = (width,)
    draw = torch.Generator().manual_seed(seed)

    def filled(name: str, shape: tuple[int, ...]) -> Tensor:
        noise = torch.randn(shape, generator=draw)
        if name.endswith(("norm1.weight", "norm2.weight", "norm.weight", "gamma")):
            return 1 + 0.1 * noise
        return noise * (noise[0].numel() ** -0.5 if noise.ndim > 1 and "token" not in name and "pos" not in name else 0.1)

    torch.save({name: filled(name, shape) for name, shape in shapes.items()}, path)
    return path


def cubic_weights(old: int, new: int, scale: float) -> Tensor:
    """The weight of each old sample in each new one: centres at (i + 1/2) / scale - 1/2, Keys' cubic with a = -3/4, edges repeated."""
    weights = np.zeros((new, old))
    for i in range(new):
        centre = (i + 0.5) / scale - 0.5
        for tap in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            t, a = abs(centre - tap), -0.75
            value = (a + 2) * t**3 - (a + 3) * t**2 + 1 if t <= 1 else a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
            weights[i, min(max(tap, 0), old - 1)] += value
    return torch.from_numpy(weights)


def positions(embedding: Tensor) -> Tensor:
    """The position embedding of 37 x 37 patches at 16 x 16, the scale being 16.1 / 37; [1, 257, d]."""
    weights = cubic_weights(37, 16, 16.1 / 37)
    grid = torch.einsum("ij,kl,jlc->ikc", weights, weights, embedding[0, 1:].double().view(37, 37, -1))
    return torch.cat([embedding[:, :1].double(), grid.reshape(1, 256, -1)], 1)


def class_token(state: dict[str, Tensor], images: Tensor, *, heads: int = 6) -> Tensor:
    """The class token after the last norm, for normalised images [b, 3, 224, 224]; in float64."""
    state = {name: tensor.double() for name, tensor in state.items()}
    width = state["cls_token"].shape[-1]

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (width,), state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-6)

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    x = F.conv2d(images.double(), state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=14).flatten(2).mT
    x = torch.cat([state["cls_token"].expand(len(x), 1, width), x], 1) + positions(state["pos_embed"])
    for i in range(12):
        q, k, v = linear(norm(x, f"blocks.{i}.norm1"), f"blocks.{i}.attn.qkv").view(len(x), -1, 3, heads, width // heads).unbind(2)
        scores = torch.einsum("bqhc,bkhc->bhqk", q, k) / (width // heads) ** 0.5
        mixed = torch.einsum("bhqk,bkhc->bqhc", scores.softmax(-1), v).flatten(2)
        x = x + state[f"blocks.{i}.ls1.gamma"] * linear(mixed, f"blocks.{i}.attn.proj")
        hidden = F.gelu(linear(norm(x, f"blocks.{i}.norm2"), f"blocks.{i}.mlp.fc1"))
        x = x + state[f"blocks.{i}.ls2.gamma"] * linear(hidden, f"blocks.{i}.mlp.fc2")
    return norm(x, "norm")[:, 0]
