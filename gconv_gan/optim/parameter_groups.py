"""Parameter groups by role, determined by module type: scales of norms, their other parameters, biases, weights.

Davis and Frank, arXiv 2110.13989, reduce the learning rate of norms' scales and decay neither norms nor biases. Their code finds scales by
name and shape, which also matches ``Linear(C, 1).weight``, 1x1 kernels of one output and PReLU's slope.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from gconv_gan.layers.roles import NORM_ROLES, Role

Decay = Literal["all", "weights"]

TORCHS_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
"""Norms of torch: their ``weight`` is a scale, their other parameters are ``norm_other``."""


def parameters_by_role(network: nn.Module) -> dict[Role, list[nn.Parameter]]:
    """Return every trainable parameter of ``network`` once, under its role.

    The attribute ``roles`` of a layer names its parameters and sub-modules that belong to a norm, see ``layers/roles.py``. bias: everything
    else with fewer than two axes or of the name "bias" (biases, gains, slopes of activations). weight: the rest (kernels, matrices,
    embeddings).
    """
    roles: dict[Role, list[nn.Parameter]] = {"norm_scale": [], "norm_other": [], "bias": [], "weight": []}
    seen: set[int] = set()
    within = dict(_within_norms(network))
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) not in seen and parameter.requires_grad:
                seen.add(id(parameter))
                roles[_role(module, name, parameter, within)].append(parameter)
    return roles


def _within_norms(network: nn.Module) -> Iterator[tuple[nn.Module, Role]]:
    for layer in network.modules():
        for name, role in _roles(layer).items():
            part = getattr(layer, name, None)
            if isinstance(part, nn.Module):
                for inner in part.modules():  # itself, and the parametrisation that may hold its weight
                    yield inner, role


def _roles(layer: nn.Module) -> Mapping[str, Role]:
    own: Mapping[str, Role] = NORM_ROLES if isinstance(layer, TORCHS_NORMS) else getattr(layer, "roles", {})
    return own


def _role(module: nn.Module, name: str, parameter: nn.Parameter, within: dict[nn.Module, Role]) -> Role:
    if module in within:
        return within[module]
    if name in _roles(module):
        return _roles(module)[name]
    return "bias" if name == "bias" or parameter.ndim < 2 else "weight"


def parameter_groups(network: nn.Module, *, norm_scale_divisor: float = 1.0, decay: Decay = "all") -> Iterable[Any]:
    r"""Return the trainable parameters of ``network`` as groups for ``build_optimizer``, or ungrouped if all are treated alike.

    A schedule keeps the learning rate of norms' scales at :math:`\alpha / c`.

    Args:
        network: the network.
        norm_scale_divisor: c; 100 in the paper.
        decay: what the optimiser's weight decay applies to, "all" parameters or "weights" alone.

    """
    if norm_scale_divisor == 1 and decay == "all":
        return network.parameters()
    undecayed = {"weight_decay": 0.0} if decay == "weights" else {}
    options: dict[Role, dict[str, float]] = {
        "norm_scale": {"lr_scale": 1 / norm_scale_divisor, **undecayed},
        "norm_other": undecayed,
        "bias": undecayed,
        "weight": {},
    }
    return [{"params": parameters, **options[role]} for role, parameters in parameters_by_role(network).items() if parameters]
