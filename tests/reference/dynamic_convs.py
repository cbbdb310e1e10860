"""The kernel and bias that each dynamic convolution applies to each sample, built explicitly from the layer's parameters."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gconv_gan.layers import AdaptiveConv2d, CConv2d, CondConv2d, Condition, DyConv2d, ModulatedConv2d, ODConv2d, apply
from gconv_gan.layers.dynamic.kernel_banks import KernelBank2d
from tests.reference.per_sample_conv import plain_conv

LATENT_DIM, CLASSES, INPUTS, OUTPUTS = 5, 3, 4, 6
PRESETS: dict[str, tuple[type[KernelBank2d], dict[str, object]]] = {
    "condconv": (CondConv2d, {}),
    "dyconv": (DyConv2d, {"reduction": 0.5, "temperature": 2.0}),
    "odconv": (ODConv2d, {"temperature": 2.0}),
    "cconv": (CConv2d, {"num_classes": CLASSES}),
    "stylegan2": (ModulatedConv2d, {"latent_dim": LATENT_DIM}),
    "gigagan": (AdaptiveConv2d, {"latent_dim": LATENT_DIM, "num_kernels": 3, "gate_init_std": 1.0}),
    "gigagan, equalized": (AdaptiveConv2d, {"latent_dim": LATENT_DIM, "equalized_lr": True}),
    "modulated, no demodulation": (ModulatedConv2d, {"latent_dim": LATENT_DIM, "demodulate": False}),
}


def build(preset: str, *, seed: int = 0, inputs: int = INPUTS, outputs: int = OUTPUTS, kernel: int = 3, **conv: object) -> KernelBank2d:
    """A layer in float64 whose every parameter matters (scales of classes and biases of gates are random)."""
    torch.manual_seed(seed)
    kind, options = PRESETS[preset]
    layer = kind(inputs, outputs, kernel, **({"padding": kernel // 2} | options | conv)).double()  # type: ignore[arg-type]
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name != "bank":
                parameter.add_(torch.randn_like(parameter), alpha=0.5)
    return layer


def inputs(batch: int = CLASSES, height: int = 5, width: int = 7) -> tuple[Tensor, Condition]:
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(batch, INPUTS, height, width, dtype=torch.float64, generator=draw)
    return x, Condition(torch.randn(batch, LATENT_DIM, dtype=torch.float64, generator=draw), torch.arange(batch) % CLASSES)


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    return x @ layer.weight.T + (0 if layer.bias is None else layer.bias)


def explicit(layer: KernelBank2d, x: Tensor, condition: Condition) -> tuple[list[Tensor], list[Tensor | None]]:
    """Return W_b [O, I/groups, k, k] and the bias of every sample b, from the published formulas."""
    kernels: list[Tensor] = []
    biases: list[Tensor | None] = [layer.bias] * len(x)
    bank, groups, mean = layer.bank, layer.geometry.groups, x.mean((2, 3))
    per_group = layer.in_channels // groups

    def by_group(values: Tensor) -> Tensor:
        """Values of the input channels [I] as those that each filter sees, [O, I/groups, 1, 1]."""
        seen = [values[o // (layer.out_channels // groups) * per_group :][:per_group] for o in range(layer.out_channels)]
        return torch.stack(seen)[:, :, None, None]

    for b in range(len(x)):
        match layer:
            case CondConv2d() | DyConv2d():
                if isinstance(layer, CondConv2d):
                    a = torch.sigmoid(linear(layer.gate.logits, mean[b]))
                else:
                    a = torch.softmax(linear(layer.gate.logits[2], F.relu(linear(layer.gate.logits[0], mean[b]))) / 2.0, 0)
                kernels.append(sum(a[k] * bank[k] for k in range(len(a))))  # type: ignore[arg-type]
                if layer.bias_kind == "dynamic":
                    biases[b] = sum(a[k] * layer.bias[k] for k in range(len(a)))  # type: ignore[index,assignment]
            case ODConv2d():
                assert not layer.training
                norm = layer.norm
                h = (linear(layer.squeeze, mean[b]) - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
                h = F.relu(h)
                a = torch.softmax(linear(layer.gate.logits, h) / 2.0, 0)
                v = torch.sigmoid(linear(layer.channel, h) / 2.0)
                u = torch.ones(layer.out_channels) if layer.filter is None else torch.sigmoid(linear(layer.filter, h) / 2.0)
                tau = torch.ones(1) if layer.tap is None else torch.sigmoid(linear(layer.tap, h) / 2.0)
                mixed = sum(a[k] * bank[k] * tau.view(1, 1, *layer.kernel_size) for k in range(len(a)))
                kernels.append(u[:, None, None, None] * mixed * by_group(v))
            case CConv2d():
                assert condition.y is not None
                s, t = layer.scale.weight[condition.y[b]], layer.shift.weight[condition.y[b]]
                kernels.append(s[:, None, None, None] * bank[0] + by_group(t) / (layer.kernel_size[0] * layer.kernel_size[1]))
            case ModulatedConv2d():
                assert condition.z is not None
                equal = layer.weight_scale != 1
                style = layer.style.weight @ condition.z[b] / (LATENT_DIM**0.5 if equal else 1) + layer.style.bias
                mixed = (
                    bank[0]
                    if layer.gate is None
                    else torch.einsum("k,koipq->oipq", torch.softmax(linear(layer.gate.logits, condition.z[b]), 0), bank)
                )
                kernel = mixed / (bank[0, 0].numel() ** 0.5 if equal else 1) * by_group(style)
                norm = (kernel.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
                kernels.append(kernel / norm if layer.demodulate else kernel)
    return kernels, biases


def reference(layer: KernelBank2d, x: Tensor, condition: Condition) -> Tensor:
    """Return the layer's output by a loop over samples and plain resampling."""
    kernels, biases = explicit(layer, x, condition)
    results = [plain_conv(x[b : b + 1], kernels[b], biases[b], **vars(layer.geometry)) for b in range(len(x))]
    return torch.cat(results)


def run(layer: nn.Module, x: Tensor, condition: Condition) -> Tensor:
    return apply(layer, x, condition)
