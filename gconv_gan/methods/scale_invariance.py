"""Which weights of a network are scale-invariant, found by the definition: the network is run with scaled weights.

A weight that a normalisation follows, or that is normalised itself (spectral norm, ConvNorm), may be multiplied by any positive number.
That is a property of the network's function, so neither names nor classes of layers are asked, and plug-ins need to declare nothing.
"""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from gconv_gan.methods.method import PlayerName
from gconv_gan.optim.parameter_groups import parameters_by_role

Group = tuple[str, ...]
"""Names of the parameters that have to be scaled together: one weight, or those that write to one residual stream."""

BATCH = 8
TOLERANCE = 1e-4  # of the output; a factor that is a power of two changes no rounding, so that invariant outputs differ by far less
SMALL_EPS = 1e-30
EXPONENT = 16  # factors are 2 ... 2^16: within float32 even squared; small ones would drown a map in a bias that a norm removes
DRAWS = 4  # of factors for a set of weights; where the scales of some have to be equal, one draw passes by chance in 1 of 16
RANK = 1e-4  # singular values below this share of the largest are rounding


class ScaleProbe:
    r"""Scale weights of a copy of a network and compare its output in training mode.

    A group G of weights is scale-invariant if :math:`f(c\,\theta_G, \theta_{\setminus G}) = f(\theta_G, \theta_{\setminus G})` for all
    c > 0 (Li and Arora, arXiv 1910.07454). The probe takes ε = 1e-30 in all norms, whose ε breaks the equality by a share of
    :math:`\varepsilon / \sigma^2`, and small random values for parameters that are zero before training, which would hide that a weight
    matters (a bias, the scale of a residual branch). It draws from a generator of its own.

    Args:
        player: what the network is, on which its inputs depend.
        network: bare, in float32; a classifier, a generator or a discriminator with the attributes of its table. It is not changed.

    """

    def __init__(self, player: PlayerName, network: nn.Module) -> None:
        self._player, self._generator = player, torch.Generator().manual_seed(0)
        self._network = copy.deepcopy(network).float().train()
        for module in self._network.modules():
            if isinstance(getattr(module, "eps", None), float):
                module.eps = SMALL_EPS  # type: ignore[assignment]  # a number, as the line above says
        self._device = next(self._network.parameters()).device
        with torch.no_grad():
            for parameter in self._network.parameters():
                if not parameter.any():
                    parameter.copy_(0.1 * torch.randn(parameter.shape, generator=self._generator))
        self._buffers = {name: buffer.clone() for name, buffer in self._network.named_buffers()}
        candidates = {id(parameter) for parameter in parameters_by_role(self._network)["weight"]}
        self._weights = {name: parameter for name, parameter in self._network.named_parameters() if id(parameter) in candidates}
        self._inputs = self._batch(BATCH)

    def groups(self) -> list[Group]:
        """Return the groups of scale-invariant weights, in the order of the network.

        A weight that is invariant by itself is a group. Among the others, the derivatives of the output with respect to the logarithms of
        the scales, D [outputs, weights], tell which have to be scaled together: the null space of D is spanned by the indicators of
        disjoint groups, so the entry (i, j) of the projection :math:`I - D^+ D` is above 0 exactly for two weights of one group. Every
        group is then confirmed by scaling it. (Of two matrices that multiply each other before a residual sum, the first is in the group.)
        """
        used = self._used()
        alone = set(self._invariant_among(used))
        rest = [name for name in used if name not in alone]
        joint = self._joint(rest) if len(rest) > 1 else []
        order = {name: place for place, name in enumerate(used)}
        return sorted([*((name,) for name in alone), *joint], key=lambda group: order[group[0]])

    def unchanged(self, factors: Mapping[str, Tensor | float]) -> bool:
        """Return whether the output stays as it is when the named weights are multiplied by ``factors``, which broadcast against them."""
        with torch.no_grad():
            before = self._output()
            kept = {name: self._weights[name].clone() for name in factors}
            for name, factor in factors.items():
                self._weights[name].mul_(factor)
            after = self._output()
            for name, weight in kept.items():
                self._weights[name].copy_(weight)
        scale = before.abs().max()
        return bool(scale.isfinite() and (after - before).abs().max() <= TOLERANCE * scale)

    def filters_unchanged(self, names: Sequence[str]) -> bool:
        """Return whether every filter (entry of the first axis) of the named weights may be scaled by itself."""
        filters = {name: len(self._weights[name]) for name in names}
        axes = {name: [1] * (self._weights[name].ndim - 1) for name in names}
        return self.unchanged({name: self._factors(count).view(count, *axes[name]) for name, count in filters.items()})

    def _factors(self, count: int) -> Tensor:
        return torch.exp2(torch.randint(1, EXPONENT + 1, (count,), generator=self._generator).float()).to(self._device)

    def _used(self) -> list[str]:
        """Return the names of the weights that the output depends on."""
        output = self._output()
        cotangent = torch.randn(output.shape, generator=self._generator).to(self._device)
        gradients = torch.autograd.grad(output, list(self._weights.values()), cotangent, allow_unused=True)
        return [name for name, gradient in zip(self._weights, gradients, strict=True) if gradient is not None and gradient.any()]

    def _invariant_among(self, names: Sequence[str]) -> list[str]:
        """Return the names of the weights that are invariant by themselves, by halving sets that are not invariant as a whole.

        Each weight of a set has a factor of its own, so that weights that are invariant only together, or against each other, do not pass.
        """
        if not names:
            return []
        if all(self.unchanged(dict(zip(names, self._factors(len(names)), strict=True))) for _ in range(DRAWS)):
            return list(names)
        half = len(names) // 2
        return [] if len(names) == 1 else [*self._invariant_among(names[:half]), *self._invariant_among(names[half:])]

    def _joint(self, names: Sequence[str]) -> list[Group]:
        """Return the groups of ``names`` that are invariant together."""
        weights = [self._weights[name] for name in names]
        probes = len(names) + 4
        output = self._output()
        if output.numel() < probes:  # as many images as give the derivatives full rank
            output = self._output(self._batch(BATCH * -(-probes // output.numel())))
        rows = []
        for probe in range(probes):
            cotangent = torch.randn(output.shape, generator=self._generator).to(self._device)
            gradients = torch.autograd.grad(output, weights, cotangent, retain_graph=probe + 1 < probes)
            rows.append(torch.stack([(weight * gradient).sum().double() for weight, gradient in zip(weights, gradients, strict=True)]))
        derivatives = torch.stack(rows).detach().cpu()
        if not derivatives.isfinite().all():
            return []
        together = torch.eye(len(names), dtype=torch.float64) - torch.linalg.pinv(derivatives, rtol=RANK) @ derivatives
        linked = together > 0.5 / len(names)
        found: list[Group] = []
        left = list(range(len(names)))
        while left:
            group = [place for place in left if place == left[0] or linked[left[0], place]]
            left = [place for place in left if place not in group]
            members = tuple(names[place] for place in group)
            if len(members) > 1 and self.unchanged(dict.fromkeys(members, 4.0)):
                found.append(members)
        return found

    def _output(self, inputs: tuple[Tensor | None, ...] | None = None) -> Tensor:
        """Run the network from its first buffers (running statistics, vectors of power iterations)."""
        for name, buffer in self._network.named_buffers():
            buffer.copy_(self._buffers[name])
        with torch.random.fork_rng(devices=[]):
            output: Tensor = self._network(*(self._inputs if inputs is None else inputs))
        return output

    def _batch(self, size: int) -> tuple[Tensor | None, ...]:
        """Return random inputs: images, images and classes, or latents and classes."""

        def normal(*shape: int) -> Tensor:
            return torch.randn(size, *shape, generator=self._generator).to(self._device)

        network = self._network
        side = int(network.image_size)  # type: ignore[arg-type]
        if self._player == "classifier":
            return (normal(3, side, side),)
        classes = None if network.num_classes is None else torch.arange(size, device=self._device) % int(network.num_classes)  # type: ignore[arg-type]
        inputs = normal(int(network.latent_dim)) if self._player == "generator" else normal(3, side, side)  # type: ignore[arg-type]
        return inputs, classes
