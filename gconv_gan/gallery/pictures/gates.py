r"""Kernel gates of a generator: recording and statistics.

The gates of a layer for latent b are numbers :math:`g_{b,1} \dots g_{b,n} \ge 0`, one per kernel; the layer
is ``gconv_gan.layers.dynamic.kernel_gates.KernelGate``. Known failures (collapse to one kernel, no dependence on the latent) are
described in CondConv (arXiv 1904.04971) and dynamic convolution (arXiv 1912.03458).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gconv_gan.gallery.trained_generator import run_in_batches
from gconv_gan.layers.dynamic.kernel_gates import KernelGate


@dataclass(frozen=True)
class GateStatistics:
    """Numbers that describe the gates of one layer over a batch of latents."""

    kernels: int
    """n, the number of kernels."""
    entropy: float
    """Mean over latents of the normalised entropy: 1 uses all kernels equally for each latent, 0 a single one."""
    balance: float
    """Normalised entropy of the mean distribution: 1 if the mean gates of all kernels are equal, however selective each latent is."""
    variance: float
    """Mean over kernels of the variance of a gate over the latents: 0 if the layer ignores the latent."""


def record_gates(generator: nn.Module, z: Float[Tensor, "b d"], y: Int[Tensor, " b"] | None) -> dict[str, Float[Tensor, "b n"]]:
    """Return the gates of every ``KernelGate`` during ``generator(z, y)`` in evaluation mode, float32 on the CPU, by the layer's name.

    Gates per kernel *and* channel are averaged over the channels; a gate without parameters, which gives one row for all
    latents, is repeated for each. The name comes without the gate's own last part: "blocks.0.conv1" for "blocks.0.conv1.gate".
    Empty for a generator without gated layers.
    """
    batches: dict[str, list[Tensor]] = {}

    def keep(name: str, output: Tensor) -> None:
        per_kernel = output.flatten(2).mean(2) if output.ndim > 2 else output
        batches.setdefault(name.rpartition(".")[0] or name, []).append(per_kernel.float().cpu())

    handles = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: keep(name, output))
        for name, module in generator.named_modules()
        if isinstance(module, KernelGate)
    ]
    try:
        run_in_batches(generator, z, y)
    finally:
        for handle in handles:
            handle.remove()
    joined = {name: torch.cat(parts) for name, parts in batches.items()}
    return {name: gates if len(gates) == len(z) else gates[:1].expand(len(z), -1) for name, gates in joined.items()}


def gate_of(generator: nn.Module, layer: str) -> KernelGate:
    """Return the gate of a layer that ``record_gates`` names."""
    module = generator.get_submodule(layer)
    return next(gate for gate in (module, *module.children()) if isinstance(gate, KernelGate))


def meaning(gate: KernelGate) -> str:
    """Return a sentence on the range of a gate's values, naming the value of a fully open gate."""
    if gate.largest is None:
        return f"A gate ({gate.selection}) has no largest value: the colour scale ends at the largest one shown."
    match gate.selection:
        case "open":
            return "All gates are constant and fully open."
        case "softmax":
            return f"The gates of a row sum to {gate.scale:g}: equal ones are {gate.scale / gate.num_gates:.3g} each."
        case _:
            others = f", all but the {gate.top_m} largest are closed" if gate.selection == "top_m" else ""
            start = f"; {gate.scale:g}·sigmoid is 1 at a logit of 0, half open, where training starts on average" if gate.scale != 1 else ""
            return f"A gate of 0 is closed, of {gate.scale:g} fully open{others}{start}."


def kernel_similarity(layer: nn.Module) -> float:
    r"""Return the mean absolute cosine between two kernels of a layer: 0 if they are orthogonal, 1 if copies of one another.

    .. math:: \frac{1}{n(n-1)} \sum_{j \ne k} \frac{|\langle w_j, w_k\rangle|}{\lVert w_j\rVert\,\lVert w_k\rVert}

    with :math:`w_k` the filters of the dictionary or the kernels of the bank. With one kernel there is no pair, and the result is 0.
    """
    kernels = layer.dictionary if hasattr(layer, "dictionary") else layer.bank
    assert isinstance(kernels, Tensor)
    flat = nn.functional.normalize(kernels.detach().double().flatten(1), dim=1)
    count = len(flat)
    return float(((flat @ flat.T).abs().sum() - flat.square().sum()) / max(1, count * (count - 1)))


def normalised_entropy(gates: Float[Tensor, "b n"]) -> Float[Tensor, " b"]:
    r"""Return the entropy of each row as a share of the largest possible one.

    .. math::
        p_{b,k} = \frac{g_{b,k}}{\sum_j g_{b,j}}, \qquad H_b = -\frac{1}{\log n}\sum_k p_{b,k}\log p_{b,k} \in [0, 1].

    Equal gates give 1, a single open gate 0. A row whose gates are all closed has entropy 0. With one kernel
    the only distribution is the uniform one, of entropy 1.

    Raises:
        ValueError: if a gate is negative.

    """
    if (gates < 0).any():
        raise ValueError(f"gates of shape {tuple(gates.shape)} have negative values, so they are not a selection and have no entropy")
    if gates.shape[1] == 1:
        return torch.ones_like(gates[:, 0])
    share = gates / gates.sum(1, keepdim=True).clamp_min(torch.finfo(gates.dtype).tiny)
    entropy: Tensor = torch.special.entr(share).sum(1)
    return entropy / math.log(gates.shape[1])


def gate_entropy(gates: Float[Tensor, "b n"]) -> Float[Tensor, ""]:
    """Return the mean of ``normalised_entropy`` over the batch: the number that training logs."""
    return normalised_entropy(gates).mean()


def gate_statistics(gates: Float[Tensor, "b n"]) -> GateStatistics:
    """Return the statistics of one layer's gates over a batch of latents."""
    share = gates / gates.sum(1, keepdim=True).clamp_min(torch.finfo(gates.dtype).tiny)
    return GateStatistics(
        kernels=gates.shape[1],
        entropy=float(gate_entropy(gates)),
        balance=float(gate_entropy(share.mean(0, keepdim=True))),
        variance=float(gates.var(0, correction=0).mean()),
    )


def mean_by_class(gates: Float[Tensor, "b n"], y: Int[Tensor, " b"], *, num_classes: int) -> Float[Tensor, "c n"]:
    """Return the mean gate of each class, [num_classes, n].

    Raises:
        ValueError: if a class has no row.

    """
    members = torch.nn.functional.one_hot(y, num_classes).to(gates.dtype)
    counts = members.sum(0)
    if (counts == 0).any():
        raise ValueError(f"no latent was given to classes {(counts == 0).nonzero().flatten().tolist()}, so they have no mean gate")
    means: Tensor = members.T @ gates / counts[:, None]
    return means


def strongest_first(gates: Float[Tensor, "b n"]) -> Int[Tensor, " n"]:
    """Return the kernels' indices by decreasing mean gate; ties keep their order."""
    return gates.mean(0).argsort(descending=True, stable=True)
