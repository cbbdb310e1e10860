r"""Structural pruning of any network: which channels go together, how they are held at zero, scored and cut out.

A *unit* is the smallest set of channels that can be removed together: one channel of a map with every layer that writes, normalises and
reads it, in all blocks of a residual stage; all channels of a group of a grouped convolution; one filter of a dictionary or one kernel of a
bank. The dependencies come from Torch-Pruning's graph (Fang, Ma, Song, Mi, Wang, "DepGraph: Towards Any Structural Pruning", CVPR 2023,
arXiv 2301.12900) of a copy of the network whose layers are replaced by ordinary ones (``Sliceable.stand_in``), and from what the layers
themselves say (``Sliceable.ties``); the cutting is done by ``gconv_gan.layers.slicing``. Spectral norms are cut with their weights.

Interface for methods that remove structure:

- ``units = find_units(network, *inputs)`` numbers the units of a network that was not cut; ``check_units`` compares masked and cut.
- ``units.of(layer, "outputs")`` is the unit of each channel of a layer, None where it stays; ``units.removable(...)`` picks in an order.
- ``masks = Masks(network, units, cut)`` holds what belongs to removed units at zero: ``masks.set(removed)``, then ``masks.apply()`` after
  every optimiser's step, on the device.
- ``cut(network, units, removed, before=...)`` removes units, in place, with new parameters: the optimiser has to be built anew. All
  numbers are those of the network that was not cut, however often it is cut.
- ``units.facts()`` and ``Units.from_facts`` are plain data for a checkpoint. A network that was built anew and cut to the same units takes
  the same state dict: ``rebuild`` of a method is ``cut(network, Units.from_facts(facts), removed)``, without tracing.
- ``Reading(network, units, cut)`` gives the derivative of the loss with respect to a factor on every unit, and applies such factors.
"""

import copy
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gconv_gan.config.errors import UserError
from gconv_gan.layers.lipschitz.spectral_norm import PowerIterations
from gconv_gan.layers.slicing import Axis, Slice, UnsliceableError, floor, keep, kind, sizes, slices, stand_in, ties
from gconv_gan.methods.method import PlayerName
from gconv_gan.models.summary import summarise
from gconv_gan.runtime.modes import evaluating

TOLERANCE = 1e-4
"""Largest difference of a masked and a cut network, divided by the largest output, that rounding in float32 explains."""

ITERATIONS = 15
"""Power iterations of spectral norms in that comparison, as many as a new one has."""

Slot = tuple[str, Axis]
"""An axis of a layer, by the layer's name in the network."""


@dataclass(frozen=True)
class Units:
    """The units of a network that was not cut, numbered from 0.

    Attributes:
        channels: unit of every channel of every axis of a layer; None: the channel cannot be removed.
        floors: least number of channels that must remain, where it is not 1.

    """

    channels: Mapping[str, Mapping[Axis, Sequence[int | None]]]
    floors: Mapping[str, Mapping[Axis, int]] = field(default_factory=dict)

    @cached_property
    def _where(self) -> Mapping[int, Mapping[Slot, int]]:
        """The number of channels of every unit on every axis."""
        where: dict[int, dict[Slot, int]] = {}
        for slot in self.slots():
            for unit in self.of(*slot):
                if unit is not None:
                    found = where.setdefault(unit, {})
                    found[slot] = found.get(slot, 0) + 1
        return where

    def __len__(self) -> int:
        return len(self._where)

    def slots(self) -> Iterator[Slot]:
        """Yield every axis that has a unit."""
        return ((layer, axis) for layer, axes in self.channels.items() for axis in axes)

    def of(self, layer: str, axis: Axis) -> Sequence[int | None]:
        """Return the unit of every channel of an axis; empty where it has none."""
        return self.channels.get(layer, {}).get(axis, ())

    def left(self, slot: Slot, removed: Collection[int]) -> list[int]:
        """Return the channels of an axis that are left without the units ``removed``."""
        gone = set(removed)
        return [channel for channel, unit in enumerate(self.of(*slot)) if unit not in gone]

    def removable(self, order: Iterable[int], count: int, removed: Collection[int] = ()) -> list[int]:
        """Return the first ``count`` units in ``order`` that may go besides ``removed``: every layer keeps its least number of channels."""
        left = {slot: len(self.left(slot, removed)) for slot in self.slots()}
        least = {(layer, axis): self.floors.get(layer, {}).get(axis, 1) for layer, axis in left}
        gone, chosen = set(removed), list[int]()
        for unit in order:
            if len(chosen) == count:
                break
            if unit not in gone and all(left[slot] - channels >= least[slot] for slot, channels in self._where[unit].items()):
                gone.add(unit)
                chosen.append(unit)
                for slot, channels in self._where[unit].items():
                    left[slot] -= channels
        return chosen

    def facts(self) -> dict[str, Any]:
        """Return the units as plain data."""
        return {"channels": self.channels, "floors": self.floors}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> "Units":
        """Return the units of ``facts``."""
        return cls(facts["channels"], facts["floors"])


# ---- finding -------------------------------------------------------------------------------------------------------


def find_units(network: nn.Module, *inputs: Tensor | None, kernels: bool = True) -> Units:
    """Return the units of ``network``, which is not changed and computes nothing.

    Channels of the images, of the output, and of what conditions other layers (a mapping network, class embeddings) are no units.

    Args:
        network: not cut.
        inputs: an example of its inputs.
        kernels: number the filters of dictionaries and the kernels of banks too.

    Raises:
        UnsliceableError: a layer does not describe its channels, or cannot lose one.

    """
    import torch_pruning as tp  # with timm and torchvision it takes two seconds, which every command would wait for otherwise

    twin, replaced = _ordinary(network)
    layers = {name: layer for name, layer in network.named_modules() if name in replaced and sizes(layer)}
    joined = _Joined({(name, axis): count for name, layer in layers.items() for axis, count in sizes(layer).items()})
    for name, layer in layers.items():
        for tie in ties(layer):
            joined.join([((name, axis), channel) for axis, channel in tie])
    owners = {module: name for name in replaced for module in twin.get_submodule(name).modules()}
    example = [None if one is None else one.to("meta") for one in inputs]
    with torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # operations that it does not know are element-wise indeed
        graph = tp.DependencyGraph().build_dependency(twin.to("meta").requires_grad_(), example, verbose=False)
        _follow(graph, owners, joined)
    return joined.units(layers, kernels=kernels)


def _ordinary(network: nn.Module) -> tuple[nn.Module, set[str]]:
    """Return a copy of the network made of ordinary layers, and the names of those that were replaced."""
    twin, replaced = copy.deepcopy(network), set()

    def replace(module: nn.Module, prefix: str) -> None:
        for name, child in module.named_children():
            try:
                ordinary = stand_in(child)
            except UnsliceableError as error:
                raise UnsliceableError(f"{prefix}{name}: {error}") from error
            if ordinary is None:
                replace(child, f"{prefix}{name}.")
            else:
                module._modules[name] = ordinary
                replaced.add(f"{prefix}{name}")

    with torch.device("meta"):
        replace(twin, "")
    return twin.eval(), replaced


def _follow(graph: Any, owners: Mapping[nn.Module, str], joined: "_Joined") -> None:
    """Join the channels that Torch-Pruning's ``graph`` finds to depend on each other.

    It is asked for the whole group of one axis after another, of few channels first: a map that is flattened has several entries per
    channel, and only from the channel to its entries no dependency is lost.
    """
    from torch_pruning import ops

    roots: list[tuple[int, Slot, nn.Module, Any]] = []
    for module in graph.module2node:
        if module in owners:
            pruner = graph.get_pruner_of_module(module)
            axes: dict[Axis, tuple[int, Any]] = {
                "outputs": (graph.get_out_channels(module), pruner.prune_out_channels),
                "inputs": (graph.get_in_channels(module), pruner.prune_in_channels),
            }
            for axis, (count, function) in axes.items():
                if joined.sizes.get((owners[module], axis)) == count:
                    roots.append((count, (owners[module], axis), module, function))
    for count, slot, root, function in sorted(roots, key=lambda root: root[0]):
        if joined.covers(slot):
            continue
        group = graph.get_pruning_group(root, function, list(range(count)))
        for item in group.items:
            module = item.dep.target.module
            if isinstance(module, ops._OutputOp):
                joined.fix([(slot, channel) for channel in item.root_idxs])
            elif module in owners:
                reads = not isinstance(module, ops.TORCH_BATCHNORM) and graph.is_in_channel_pruning_fn(item.dep.handler)
                there: Slot = (owners[module], "inputs" if reads else "outputs")
                if there in joined.sizes:
                    for channel, entry in zip(item.root_idxs, item.idxs, strict=True):
                        joined.join([(slot, channel), (there, entry)])
                    joined.cover(there, item.idxs)


class _Joined:
    """Sets of channels of axes, which are joined one by one."""

    def __init__(self, sizes: Mapping[Slot, int]) -> None:
        self.sizes = sizes
        self._first: dict[Slot, int] = {}
        total = 0
        for slot, count in sizes.items():
            self._first[slot] = total
            total += count
        self._parent = list(range(total))
        self._covered: dict[Slot, set[int]] = {slot: set() for slot in sizes}
        self._fixed: set[int] = set()

    def covers(self, slot: Slot) -> bool:
        """Return whether every channel of an axis was found in a group."""
        return len(self._covered[slot]) == self.sizes[slot]

    def cover(self, slot: Slot, channels: Iterable[int]) -> None:
        """Note that channels were found in a group."""
        self._covered[slot].update(channels)

    def _root(self, index: int) -> int:
        parent = self._parent
        while parent[index] != index:
            parent[index] = index = parent[parent[index]]
        return index

    def join(self, channels: Sequence[tuple[Slot, int]]) -> None:
        """Let channels belong to one set."""
        roots = sorted({self._root(self._first[slot] + channel) for slot, channel in channels})
        for root in roots[1:]:
            self._parent[root] = roots[0]

    def fix(self, channels: Iterable[tuple[Slot, int]]) -> None:
        """Keep the sets of these channels."""
        self._fixed |= {self._first[slot] + channel for slot, channel in channels}

    def units(self, layers: Mapping[str, nn.Module], *, kernels: bool) -> Units:
        """Return the sets that a layer writes and another reads, and of ``kernels`` each one, numbered in the order of the layers."""
        fixed = {self._root(index) for index in self._fixed}
        written, read = set[int](), set[int]()
        for (name, axis), count in self.sizes.items():
            members = {self._root(self._first[name, axis] + channel) for channel in range(count)}
            if axis == "outputs" and "inputs" in sizes(layers[name]):
                written |= members
            if any(part.reads for part in slices(layers[name], axis)):
                read |= members
            if floor(layers[name], axis) == count or axis == "kernels" and not kernels:
                fixed |= members
        numbers: dict[int, int] = {}
        channels: dict[str, dict[Axis, list[int | None]]] = {}
        floors: dict[str, dict[Axis, int]] = {}
        for (name, axis), count in self.sizes.items():
            of: list[int | None] = []
            for channel in range(count):
                root = self._root(self._first[name, axis] + channel)
                free = root in read and root not in fixed and (axis == "kernels" or root in written)
                of.append(numbers.setdefault(root, len(numbers)) if free else None)
            if any(unit is not None for unit in of):
                channels.setdefault(name, {})[axis] = of
                if floor(layers[name], axis) != 1:
                    floors.setdefault(name, {})[axis] = floor(layers[name], axis)
        return Units(channels, floors)


# ---- cutting and holding -------------------------------------------------------------------------------------------


def cut(network: nn.Module, units: Units, removed: Collection[int], *, before: Collection[int] = ()) -> None:
    """Remove the units ``removed`` from a network without the units ``before``, in place; its cut parameters are new ones."""
    gone = {*removed, *before}
    for layer, axis in units.slots():
        there, left = units.left((layer, axis), before), set(units.left((layer, axis), gone))
        if len(left) < len(there):
            keep(network.get_submodule(layer), axis, [place for place, channel in enumerate(there) if channel in left])


def parts_of(network: nn.Module, units: Units, before: Collection[int]) -> Iterator[tuple[Slice, list[int | None]]]:
    """Yield every slice of a network without the units ``before``, with the unit of each of its positions."""
    for layer, axis in units.slots():
        of = units.of(layer, axis)
        there = [of[channel] for channel in units.left((layer, axis), before)]
        for part in slices(network.get_submodule(layer), axis):
            yield part, there if part.owners is None else [there[owner] for owner in part.owners]


class Masks:
    """What holds the tensors of removed units at 0 (the logits of their gates far below) in a network that is trained.

    The network then computes what it computes without them: a layer reads nothing of a removed channel, and its filters are 0, so that
    also spectral norms are those of the cut weights.

    Args:
        network: without the units ``before``.
        units: its units.
        before: units that were cut out.

    """

    def __init__(self, network: nn.Module, units: Units, before: Collection[int] = ()) -> None:
        self._parts = [
            (part, of, torch.ones(_along(part, len(of)), device=part.tensor.device, dtype=part.tensor.dtype))
            for part, of in parts_of(network, units, before)
            if isinstance(part.tensor, nn.Parameter) and part.held is not None
        ]

    def set(self, removed: Collection[int]) -> None:
        """Let ``apply`` hold these units; the tensors that it reads stay the same."""
        gone = set(removed)
        for _, of, mask in self._parts:
            mask.copy_(torch.tensor([float(unit not in gone) for unit in of], dtype=mask.dtype).view(mask.shape))

    @torch.no_grad()
    def apply(self) -> None:
        """Set what is held, on the device."""
        for part, _, mask in self._parts:
            part.tensor.mul_(mask)
            if part.held:
                part.tensor.add_((1 - mask) * part.held)


def _along(part: Slice, count: int) -> tuple[int, ...]:
    """Return the shape of ``count`` numbers that broadcasts along the axis of a slice."""
    return tuple(count if dim == part.dim else 1 for dim in range(part.tensor.ndim))


def hold(network: nn.Module, units: Units, removed: Collection[int]) -> None:
    """Hold the units ``removed`` of a network that was not cut at 0, once."""
    masks = Masks(network, units)
    masks.set(removed)
    masks.apply()


def check_units(network: nn.Module, units: Units, *inputs: Tensor | None) -> None:
    """Remove half of the units from a copy, and compare it with a copy in which they are held at 0, in evaluation mode.

    Noise is added to all parameters of the copies: a factor of 0 or a mixture that is the identity, as before training, would hide how
    channels are used. The vectors of spectral norms are then iterated on both, since σ by those of the whole matrix says nothing of a part.

    Raises:
        UnsliceableError: the two differ: the network uses its channels in a way that was not found.

    """
    order = torch.randperm(len(units), generator=torch.Generator().manual_seed(0)).tolist()
    removed = units.removable(order, len(units) // 2)
    noisy = _with_noise(network)
    held, without = copy.deepcopy(noisy), copy.deepcopy(noisy)
    hold(held, units, removed)
    _iterate(held)
    with evaluating(held), evaluating(without), torch.no_grad():
        expected: Tensor = held(*inputs)
        try:
            cut(without, units, removed)
            _iterate(without)
            found: Tensor = without(*inputs)
        except (RuntimeError, IndexError, ValueError) as error:
            raise UnsliceableError(f"{kind(network)} does not run without some of its channels: {error}") from error
    if not torch.allclose(found, expected, rtol=0, atol=TOLERANCE * max(1.0, float(expected.abs().max()))):
        raise UnsliceableError(f"{kind(network)} without some of its channels is another function than with them held at 0")


@torch.no_grad()
def _with_noise(network: nn.Module) -> nn.Module:
    """Return a copy with normal noise on every parameter, of a third of its root mean square, or 0.1 where all is 0."""
    noisy, draws = copy.deepcopy(network), torch.Generator().manual_seed(0)
    for parameter in noisy.parameters():
        size = float(parameter.square().mean().sqrt()) / 3 or 0.1
        parameter.add_(size * torch.randn(parameter.shape, generator=draws).to(parameter))
    _iterate(noisy)
    return noisy


def _iterate(network: nn.Module) -> None:
    iterations = PowerIterations(network)
    for _ in range(ITERATIONS):
        iterations.advance()


# ---- scoring -------------------------------------------------------------------------------------------------------


class Reading:
    r"""The derivative of a loss with respect to a factor z on every unit, at z = 1.

    .. math:: \frac{\partial L}{\partial z_c} = \sum_{W \text{ reads } c} \sum_i W_{ic}\, \frac{\partial L}{\partial W_{ic}}

    summed over all weights that read the unit, since a factor on a channel is a factor on what multiplies it. Where the functions
    between a norm and its readers are homogeneous (ReLU, leaky ReLU, pooling, addition), it is the derivative with respect to a gate
    after the norm, :math:`\gamma_c \partial L / \partial \gamma_c + \beta_c \partial L / \partial \beta_c` (arXiv 1906.10771), by
    Euler's theorem; it needs no such norm, and counts a channel of a residual stage once, wherever it is read.

    Args:
        network: without the units ``before``; its parameters must stay the same.
        units: its units.
        before: units that were cut out; their derivatives are 0.

    """

    def __init__(self, network: nn.Module, units: Units, before: Collection[int] = ()) -> None:
        reading = [(part, of) for part, of in parts_of(network, units, before) if part.reads]
        self._parts = [part for part, _ in reading]
        device = next(network.parameters()).device
        names = {parameter: name for name, parameter in network.named_parameters()}
        self._names = [names[part.tensor] for part in self._parts]  # type: ignore[index]
        places: list[list[int]] = [[] for _ in range(len(units))]
        position = 0
        for _, of in reading:
            for unit in of:
                if unit is not None:
                    places[unit].append(position)
                position += 1
        most = max(map(len, places), default=0)
        # one gather and one sum: scattered additions have no fixed order on a GPU
        self._places = torch.tensor([found + [position] * (most - len(found)) for found in places], device=device)
        self._of = [torch.tensor([len(units) if unit is None else unit for unit in of], device=device) for _, of in reading]

    def gradient(self) -> Float[Tensor, " units"]:
        """Return the derivatives from the gradients of the parameters, on the device."""
        found = []
        for part in self._parts:
            tensor, dims = part.tensor, [dim for dim in range(part.tensor.ndim) if dim != part.dim]
            products = torch.zeros_like(tensor) if tensor.grad is None else tensor.detach() * tensor.grad
            found.append(products.sum(dims) if dims else products)
        return torch.cat([*found, found[0].new_zeros(1)])[self._places].sum(1)

    def ones(self) -> Float[Tensor, " units"]:
        """Return a factor of 1 for every unit."""
        first = self._parts[0].tensor
        return torch.ones(len(self._places), device=first.device, dtype=first.dtype)

    def scaled(self, factors: Float[Tensor, " units"]) -> dict[str, Tensor]:
        """Return the parameters that read, with their graph, where every unit has its factor: for ``torch.func.functional_call``."""
        result: dict[str, Tensor] = {}
        padded = torch.cat([factors, factors.new_ones(1)])
        for part, name, of in zip(self._parts, self._names, self._of, strict=True):
            tensor = result.get(name, part.tensor.detach())
            result[name] = tensor * padded[of].view(_along(part, len(of)))
        return result


# ---- networks of a run ---------------------------------------------------------------------------------------------


def example_inputs(name: PlayerName, network: Any, *, batch: int = 2) -> list[Tensor | None]:
    """Return an example of the inputs of a player's network, on its device: always the same."""
    draws = torch.Generator().manual_seed(0)
    classes = None if name == "classifier" else network.num_classes
    shape = (network.latent_dim,) if name == "generator" else (3, network.image_size, network.image_size)
    inputs = [torch.randn(batch, *shape, generator=draws)]
    if name != "classifier":
        inputs.append(None if classes is None else torch.arange(batch) % classes)  # type: ignore[arg-type]
    device = next(network.parameters()).device
    return [None if one is None else one.to(device) for one in inputs]


def units_of(method: str, name: PlayerName, network: nn.Module, *, kernels: bool = True) -> Units:
    """Return the units of a player's network, checked.

    Raises:
        UserError: a layer or the network cannot lose a channel; the message names it and ``method``.

    """
    inputs = example_inputs(name, network)
    try:
        units = find_units(network, *inputs, kernels=kernels)
        check_units(network, units, *inputs)
    except UnsliceableError as error:
        raise UserError(f"{method} cannot remove channels of the {name}: {error}") from error
    if not len(units):
        raise UserError(f"{method} found no channel of the {name} that can be removed")
    return units


def macs_of(name: PlayerName, network: nn.Module) -> int:
    """Return the multiply-adds of a player's network per image."""
    return sum(row.macs for row in summarise(network, *example_inputs(name, network, batch=1)))
