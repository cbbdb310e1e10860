r"""Gradient-matrix pruning, a *reconstruction*: layers lose the channels that the rank of their gradients does not need.

Zhou, Lian, Yin, Wang, "Neural Network Compression via Effective Filter Analysis and Hierarchical Pruning", 2022, arXiv 2206.03596. Only the
abstract was available: a gradient matrix estimates the largest redundancy of a network, which then guides a hierarchical pruning that
does not over-prune single layers. Thresholds, choice of survivors and repair are ours, and no result of the paper is one of this code.

Of a layer with C channels, over T batches with losses L_t,

.. math::
    G^{in} = \Big[\frac{\partial L_t}{\partial W_{c,:,:,:}}\Big]_{c,\,t} \in R^{C \times T I k^2}, \qquad
    G^{out} = \Big[\frac{\partial L_t}{\partial W^{next}_{:,c,:,:}}\Big]_{c,\,t} \in R^{C \times T C' k'^2}, \qquad
    r = \min\big(\mathrm{rank}_\tau\, G^{in},\ \mathrm{rank}_\tau\, G^{out}\big), \qquad \rho = 1 - r / C

with rank_τ the number of singular values above τ times the largest. A channel without outgoing weights has no row in G^in; channels whose
maps depend linearly on each other have dependent rows of G^out. The matrices are kept as Gram matrices, of which σ² are the
eigenvalues, in float64: in float32 they would lose every σ below 3e-4 of the largest.

*Channel* stands for a unit of ``methods.surgery``, and *layer* for the units with the same writers and readers: the channels of a residual
stage are one layer, whose matrices have the columns of all its members side by side. The filters of a dictionary are a layer; the
kernels of a bank, which are not read, are not.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Bool, Float64, Int
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from gconv_gan.config.errors import UserError
from gconv_gan.config.ranges import Fraction
from gconv_gan.layers.slicing import Slice
from gconv_gan.layers.weights import stored, weights_of
from gconv_gan.methods.method import Losses, Method, Player, PlayerName, Progress, chosen_players
from gconv_gan.methods.surgery import Units, cut, example_inputs, macs_of, parts_of, units_of
from gconv_gan.models.summary import summarise
from gconv_gan.runtime.modes import evaluating
from gconv_gan.runtime.processes import of_first_process

Rule = Literal["threshold", "energy"]
Survivors = Literal["pivots", "taylor"]
Side = Literal["incoming", "outgoing"]
ENERGY = 0.999
"""Share of Σ σ² that the energy rule keeps."""
THRESHOLDS = (1e-2, 1e-3, 1e-4)
"""The τ that a report shows."""
COLUMNS = 4
"""Least columns of a gradient matrix for each of its rows: with fewer the sample bounds the rank."""
NEGLIGIBLE = 1e-6
"""Relative singular value below which the least squares of a repair ignore a direction: rounding of gradients in float32."""


# ---- layers --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """Units of a network with the same writers and readers."""

    name: str
    """Of the first part of the network that writes them; with ``.kernels`` for the filters of a dictionary."""
    units: Sequence[int]
    incoming: Sequence[tuple[Slice, Int[Tensor, "units _"]]]
    """Weights that write the units, with the places of each."""
    outgoing: Sequence[tuple[Slice, Int[Tensor, "units _"]]]
    """What reads them."""
    writers: Mapping[str, float]
    """Share of these units in the outputs of every layer of the network that writes them."""

    def columns(self, side: Side) -> int:
        """Return the columns that one batch adds to a matrix."""
        return sum(part.tensor.numel() // part.tensor.shape[part.dim] * places.shape[1] for part, places in getattr(self, side))

    def batches_needed(self) -> int:
        """Return the least number of batches for ``COLUMNS`` columns per row on both sides."""
        return -(-COLUMNS * len(self.units) // min(self.columns("incoming"), self.columns("outgoing")))


def layers_of(network: nn.Module, units: Units, before: Collection[int] = ()) -> list[Layer]:
    """Return the layers of ``network``, without the units ``before``, in its order.

    Units that no weight writes or nothing reads are in none, nor is a unit whose writers and readers are those of no other.
    """
    weights = {stored(module, name) for module, name in weights_of(network, embeddings=False)}
    names = {module: name for name, module in network.named_modules()}
    titles: dict[int, str] = {}
    for slot in units.slots():
        for unit in units.of(*slot):
            if unit is not None and slot[1] != "inputs":
                titles.setdefault(unit, slot[0] if slot[1] == "outputs" else ".".join(slot))
    found: list[tuple[Slice, Side, dict[int, list[int]]]] = []
    for part, of in parts_of(network, units, before):
        if part.reads or part.tensor in weights:
            places: dict[int, list[int]] = {}
            for place, unit in enumerate(of):
                if unit is not None:
                    places.setdefault(unit, []).append(place)
            found.append((part, "outgoing" if part.reads else "incoming", places))
    signatures: dict[int, list[tuple[int, int]]] = {}
    for index, (_, _, places) in enumerate(found):
        for unit, there in places.items():
            signatures.setdefault(unit, []).append((index, len(there)))
    members: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for unit, signature in signatures.items():
        members.setdefault(tuple(signature), []).append(unit)
    layers = []
    for places_of, alike in members.items():
        sides: dict[Side, list[tuple[Slice, Tensor]]] = {"incoming": [], "outgoing": []}
        writers: dict[str, float] = {}
        for index, count in places_of:
            part, side, places = found[index]
            sides[side].append((part, torch.tensor([places[unit] for unit in alike], device=part.tensor.device)))
            if side == "incoming":
                writers[names[part.module]] = len(alike) * count / part.tensor.shape[part.dim]
        if sides["incoming"] and sides["outgoing"] and len(alike) > 1:
            layers.append(Layer(titles[alike[0]], alike, sides["incoming"], sides["outgoing"], writers))
    return layers


# ---- estimates -----------------------------------------------------------------------------------------------------


class Matrix:
    """A gradient matrix G [C, columns], kept as its Gram matrix.

    Args:
        gram: G Gᵀ.

    """

    def __init__(self, gram: Float64[np.ndarray, "c c"]) -> None:
        self.gram = gram
        values, vectors = np.linalg.eigh(gram)
        values = np.sqrt(values.clip(min=0))[::-1]
        self.singular_values: Float64[np.ndarray, " c"] = values
        """Descending."""
        self.root: Float64[np.ndarray, "c c"] = values[:, None] * vectors.T[::-1]
        """A matrix whose columns have the products of the rows of G."""

    def rank(self, threshold: float) -> int:
        """Return the number of singular values above ``threshold`` times the largest; of a matrix of zeros 0."""
        return int((self.singular_values > threshold * self.singular_values[0]).sum())

    def energy_rank(self) -> int:
        """Return the least number of singular values whose squares have the share ``ENERGY`` of all; of a matrix of zeros 0."""
        energy = np.cumsum(self.singular_values**2)
        return int(np.searchsorted(energy, ENERGY * energy[-1]) + 1) if energy[-1] else 0

    def pivots(self) -> list[int]:
        """Return the rows in the order of a column-pivoted QR factorisation of Gᵀ: the most independent first."""
        order: list[int] = scipy.linalg.qr(self.root, mode="r", pivoting=True)[1].tolist()
        return order

    def combination(self, kept: Sequence[int], removed: Sequence[int]) -> Float64[np.ndarray, "kept removed"]:
        """Return Aᵀ of the least squares G[removed] ≈ A G[kept]."""
        solution: np.ndarray = np.linalg.lstsq(self.root[:, kept], self.root[:, removed], rcond=NEGLIGIBLE)[0]
        return solution


@dataclass(frozen=True)
class Estimate:
    """The measured redundancy of one layer: an estimate from T batches, at one threshold."""

    layer: Layer
    incoming: Matrix
    outgoing: Matrix
    scores: Float64[np.ndarray, " units"]
    """First-order Taylor scores (arXiv 1906.10771)."""

    @property
    def size(self) -> int:
        """Return C."""
        return len(self.layer.units)

    @property
    def silent(self) -> bool:
        """Return whether a matrix is zero: the loss is flat there, which says nothing of what the channels would do elsewhere."""
        return not (self.incoming.singular_values[0] and self.outgoing.singular_values[0])

    def ranks(self, rule: Rule, threshold: float) -> tuple[int, int]:
        """Return the ranks of the incoming and the outgoing matrix."""
        if rule == "energy":
            return self.incoming.energy_rank(), self.outgoing.energy_rank()
        return self.incoming.rank(threshold), self.outgoing.rank(threshold)

    def rank(self, rule: Rule = "threshold", threshold: float = 1e-3) -> int:
        """Return r."""
        return min(self.ranks(rule, threshold))

    def redundancy(self, rule: Rule = "threshold", threshold: float = 1e-3) -> float:
        """Return ρ = 1 - r / C."""
        return 1 - self.rank(rule, threshold) / self.size

    def order(self, survivors: Survivors, rule: Rule, threshold: float) -> list[int]:
        """Return the rows, those that should survive first: pivots of the side with the smaller rank, or the largest scores."""
        if survivors == "taylor":
            return [int(row) for row in np.argsort(-self.scores, kind="stable")]
        incoming, outgoing = self.ranks(rule, threshold)
        return (self.incoming if incoming <= outgoing else self.outgoing).pivots()


def measure(layers: Sequence[Layer], losses: Iterable[Callable[[], Tensor]]) -> list[Estimate]:
    """Return the estimate of every layer from losses [] with their graphs, one per batch; gradients are not accumulated.

    Raises:
        ArithmeticError: a gradient is not finite.

    """
    tensors = list(dict.fromkeys(part.tensor for layer in layers for part, _ in (*layer.incoming, *layer.outgoing)))
    grams = [[torch.zeros(()) for _ in range(2)] for _ in layers]
    scores = [torch.zeros(()) for _ in layers]
    for loss in losses:
        gradients = dict(zip(tensors, torch.autograd.grad(loss(), tensors, allow_unused=True, materialize_grads=True), strict=True))
        for index, layer in enumerate(layers):
            for side, members in enumerate((layer.incoming, layer.outgoing)):
                rows = torch.cat([_rows(gradients[part.tensor], part, places) for part, places in members], 1)
                grams[index][side] = grams[index][side].to(rows) + rows @ rows.T
            weights = torch.cat([_rows(part.tensor.detach(), part, places) for part, places in layer.outgoing], 1)
            scores[index] = scores[index].to(rows) + (rows * weights).sum(1).square()
    if not all(bool(gram.isfinite().all()) for pair in grams for gram in pair):
        raise ArithmeticError("a gradient is not finite")
    return [
        Estimate(layer, Matrix(incoming.cpu().numpy()), Matrix(outgoing.cpu().numpy()), score.cpu().numpy())
        for layer, (incoming, outgoing), score in zip(layers, grams, scores, strict=True)
    ]


def _rows(tensor: Tensor, part: Slice, places: Int[Tensor, "units _"]) -> Float64[Tensor, "units columns"]:
    """Return the entries of a tensor that belong to each unit."""
    return tensor.movedim(part.dim, 0)[places].flatten(1).double()


def report(estimates: Sequence[Estimate]) -> str:
    """Return the table of estimates: r at every threshold of ``THRESHOLDS`` and by the energy rule, and the ranks of both sides at 1e-3."""
    head = "".join(f"{f'τ = {threshold:g}':>11}" for threshold in THRESHOLDS)
    lines = [f"{'estimate of r (reconstruction)':44} {'C':>5}{head}{'99.9 %':>8}{'in':>6}{'out':>6}"]
    for one in estimates:
        found = "".join(f"{one.rank('threshold', threshold):>11}" for threshold in THRESHOLDS)
        incoming, outgoing = one.ranks("threshold", 1e-3)
        lines.append(f"{one.layer.name:44} {one.size:>5}{found}{one.rank('energy'):>8}{incoming:>6}{outgoing:>6}")
    return "\n".join(lines)


# ---- removal -------------------------------------------------------------------------------------------------------


class Removal(NamedTuple):
    """What one layer loses, as every process does it."""

    layer: int
    removed: list[int]
    """Rows of the layer."""
    kept: list[int]
    combination: Float64[np.ndarray, "kept removed"]


def removal(estimates: Sequence[Estimate], index: int, removed: Sequence[int]) -> Removal:
    """Return the removal of some rows of a layer, with its repair."""
    gone = set(removed)
    kept = [row for row in range(estimates[index].size) if row not in gone]
    return Removal(index, list(removed), kept, estimates[index].outgoing.combination(kept, list(removed)))


@torch.no_grad()
def repair(layer: Layer, change: Removal) -> None:
    r"""Give what reads the removed units to those that are kept: :math:`W^{next}_{:,j} \mathrel{+}= \sum_i A_{ij} W^{next}_{:,i}`."""
    for part, places in layer.outgoing:
        along = part.tensor.movedim(part.dim, 0)
        rows = along[places]
        combination = torch.as_tensor(change.combination, device=rows.device).to(rows.dtype)
        along[places[change.kept]] = rows[change.kept] + torch.einsum("ji,i...->j...", combination, rows[change.removed])


# ---- the method ----------------------------------------------------------------------------------------------------


class Finished(nn.Module):
    """What a checkpoint holds of the pruning of one network."""

    done: Bool[Tensor, ""]

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("done", torch.tensor(False))


@dataclass
class Pruned:
    """One network that is pruned: what the host knows of it. Units have the numbers of the network that was not cut."""

    units: Units
    removed: list[int]
    """In the order of removal."""
    macs: int
    """Multiply-adds of the network that was not cut."""
    history: list[dict[str, Any]]
    state: Finished
    done: bool | None = None
    """None: not read from the state yet."""
    unmeasured: list[str] = field(default_factory=list)
    """Layers that the last estimate said nothing of, each with the reason."""


class GradientMatrixPruning(Method):
    r"""Remove, layer by layer, the channels that the gradient matrices find redundant; a reconstruction of arXiv 2206.03596.

    Every ``every`` images, after the ``first``, the ranks r of all layers are estimated (``methods.gradient_matrix``), and the layer with
    the largest product of redundancy ρ = 1 - r / C and multiply-adds loses the channels beyond r, never more. Survivors are the first
    pivots of a column-pivoted QR factorisation of the matrix with the smaller rank, or the channels of the largest Taylor scores. Before
    the removal, what reads a removed channel is given to the others by least squares, G^out[removed] ≈ A G^out[kept] and W_next[:, j] +=
    Σ_i A_ij W_next[:, i]: a duplicate carries a part of the outgoing weight. Then training goes on, with a new optimiser. It ends when no
    layer is redundant, or the network has the multiply-adds that are wanted. A layer whose gradients are all zero is left alone, and
    measured again at the next estimate; one whose matrices have become too narrow, since its neighbours lost channels, keeps its channels.
    The report names both.

    Losses and gradients are those of the network in evaluation mode: batch statistics would couple the pictures of a batch. The
    report is printed at every estimate. A spectrally normalised reader computes W / σ(W): the repair changes σ, so that its output is
    scaled; with other readers a repair of exactly redundant channels changes nothing.

    Args:
        players: Networks to prune; none given: all of the run.
        every: Images between estimates.
        first: Images before which nothing is estimated (0: the network was trained before); the first estimate is ``every`` later.
        batches: Batches of an estimate, T. Each matrix needs four times as many columns as rows; a run with fewer is refused.
        rule: How many singular values count: those above the threshold, or the least number with 99.9 % of Σ σ².
        threshold: τ, relative to the largest singular value of the layer.
        survivors: Who stays in a layer.
        macs: End when the network has at most this share of its multiply-adds; None: when no layer is redundant.

    """

    def __init__(
        self,
        *,
        players: Sequence[PlayerName] = (),
        every: PositiveInt = 50_000,
        first: NonNegativeInt = 0,
        batches: PositiveInt = 32,
        rule: Rule = "threshold",
        threshold: Fraction = 1e-3,
        survivors: Survivors = "pivots",
        macs: Fraction | None = None,
    ) -> None:
        self.players, self.every, self.first, self.batches = tuple(players), every, first, batches
        self.rule: Rule = rule
        self.threshold, self.macs = threshold, macs
        self.survivors: Survivors = survivors
        self._pruned: dict[PlayerName, Pruned] = {}
        self._begun_at = 0

    def check(self, networks: Mapping[PlayerName, nn.Module]) -> None:
        """Find the units of the networks.

        Raises:
            UserError: the run lacks a network, it cannot be cut, or the batches have too few columns for a layer.

        """
        self.changes_structure_of = self.depends_on_structure_of = chosen_players("gradient_matrix", self.players, networks)
        for name in self.changes_structure_of:
            if name not in self._pruned:
                units = units_of("gradient_matrix", name, networks[name])
                self._pruned[name] = Pruned(units, [], macs_of(name, networks[name]), [], Finished())
                layers = layers_of(networks[name], units)
                if not layers:
                    raise UserError(f"gradient_matrix found no layer of the {name} whose channels are both written and read by weights")
                for layer in layers:
                    self._require_columns(name, layer)

    def check_length(self, total_images: int) -> None:
        """Raise ``UserError`` if the run would end before the first estimate."""
        if self.first + self.every > total_images:
            first = f"first + every = {self.first + self.every:,}" if self.first else f"every = {self.every:,}"
            raise UserError(f"gradient_matrix.{first} is beyond trainer.total_images = {total_images:,}: nothing would be estimated")

    def _require_columns(self, name: PlayerName, layer: Layer) -> None:
        needed = layer.batches_needed()
        if self.batches < needed:
            columns = self.batches * min(layer.columns("incoming"), layer.columns("outgoing"))
            raise UserError(
                f"gradient_matrix: {self.batches} batches give {columns} columns for the {len(layer.units)} channels of {layer.name} in the"
                f" {name}, and {COLUMNS * len(layer.units)} are needed to tell its rank: set batches to {needed} or more"
            )

    def facts(self) -> dict[str, Any]:
        """Return the units of every network that was cut, those that it lost, and the removals."""
        return {
            name: {**one.units.facts(), "removed": one.removed, "macs": one.macs, "removals": one.history}
            for name, one in self._pruned.items()
            if one.removed
        }

    def rebuild(self, name: PlayerName, network: nn.Module, facts: Mapping[str, Any]) -> None:
        """Cut a newly built network as it was cut in training."""
        if name in facts:
            found = facts[name]
            units = Units.from_facts(found)
            self._pruned[name] = one = Pruned(units, list(found["removed"]), found["macs"], list(found["removals"]), Finished())
            one.unmeasured = one.history[-1].get("unmeasured", [])
            cut(network, units, found["removed"])

    def state(self) -> Mapping[str, nn.Module]:
        """Return whether each network is done."""
        return {f"gradient_matrix_{name}": one.state for name, one in self._pruned.items()}

    def begin(self, players: Mapping[PlayerName, Player], progress: Progress) -> None:
        """Note where the iteration begins, and take the state as it was loaded."""
        self._begun_at = progress.images_seen
        for one in self._pruned.values():
            if one.done is None:
                one.done = bool(one.state.done)

    def between(self, players: Mapping[PlayerName, Player], progress: Progress, losses: Losses) -> bool:
        """Prune one layer of every network when it is due; return whether a network has changed."""
        step = self._estimates(progress.images_seen)
        if step == self._estimates(self._begun_at):
            return False
        changed = [self._prune(one, players[name], progress, losses, step - 1) for name, one in self._pruned.items() if not one.done]
        return any(changed)

    def _estimates(self, images: int) -> int:
        """Return the number of estimates that are due up to ``images``."""
        return max(0, images - self.first) // self.every

    def _prune(self, one: Pruned, player: Player, progress: Progress, losses: Losses, step: int) -> bool:
        """Estimate, remove from one layer, and return whether it did."""
        layers, narrow = list[Layer](), list[Layer]()
        for layer in layers_of(player.network, one.units, one.removed):
            (layers if layer.batches_needed() <= self.batches else narrow).append(layer)
        numbers = range(step * self.batches, (step + 1) * self.batches)
        batches = [partial(_evaluated, player, losses, number) for number in numbers]
        try:
            estimates = measure(layers, batches) if layers else []
        except ArithmeticError:
            return False  # the guard stops a run that is not finite
        silent = [each.layer.name for each in estimates if each.silent]
        change, silent = of_first_process((self._chosen(one, player, estimates), silent))
        one.unmeasured = [f"{layer.name} keeps its channels: its rank needs {layer.batches_needed()} batches" for layer in narrow]
        one.unmeasured += [f"{name} is not estimated: its gradients are zero" for name in silent]
        if _prints():
            head = f"gradient-matrix reconstruction, {player.name}, {progress.images_seen:,} images"
            print("\n".join([head, report(estimates), *one.unmeasured]), flush=True)
        if change is not None:
            before = _mean(batches)
            self._remove(one, player, layers[change.layer], change)
            taken = {"images": progress.images_seen, "layer": layers[change.layer].name, "channels": len(change.kept) + len(change.removed)}
            losses_of = {"loss_before": before, "loss_after": _mean(batches)}
            one.history.append({**taken, "removed": len(change.removed), **losses_of, "unmeasured": one.unmeasured})
        enough = self.macs is not None and macs_of(player.name, player.network) <= self.macs * one.macs
        one.done = enough or (change is None and not silent)
        one.state.done.fill_(one.done)
        return change is not None

    def _chosen(self, one: Pruned, player: Player, estimates: Sequence[Estimate]) -> Removal | None:
        """Return the removal from the layer with the largest ρ · MACs that can lose channels; None: there is none, or enough are gone."""
        if self.macs is not None and macs_of(player.name, player.network) <= self.macs * one.macs:
            return None
        costs = {row.name: row.macs for row in summarise(player.network, *example_inputs(player.name, player.network, batch=1))}

        def gain(index: int) -> float:
            macs = sum(share * costs.get(name, 0) for name, share in estimates[index].layer.writers.items())
            return estimates[index].redundancy(self.rule, self.threshold) * macs

        for index in sorted(range(len(estimates)), key=lambda index: (-gain(index), index)):
            if estimates[index].silent:
                continue
            removed = removable(one.units, estimates[index], one.removed, self.survivors, self.rule, self.threshold)
            if removed:
                return removal(estimates, index, removed)
        return None

    def _remove(self, one: Pruned, player: Player, layer: Layer, change: Removal) -> None:
        """Repair and cut the network and its average, with a new optimiser."""
        average = None if player.average is None else player.average.network
        gone = [layer.units[row] for row in change.removed]
        for network in (player.network, average):
            if network is not None:
                repair(next(one for one in layers_of(network, one.units, one.removed) if one.units == layer.units), change)
                cut(network, one.units, gone, before=one.removed)
        one.removed = [*one.removed, *gone]
        player.rebuild()
        if average is not None and player.average is not None:
            player.average.network.load_state_dict(average.state_dict())

    def summary(self, name: PlayerName, facts: Mapping[str, Any]) -> str:
        """Return how many units of a network were removed."""
        if name not in facts:
            return ""
        count = len(Units.from_facts(facts[name]))
        return f"{len(facts[name]['removed'])} of {count} units removed by a reconstruction of gradient-matrix pruning"

    def status(self) -> Mapping[str, float]:
        """Return the share of units that each network has left, and the number of layers that the last estimate said nothing of."""
        left = {f"channels_left_{name[0]}": 1 - len(one.removed) / len(one.units) for name, one in self._pruned.items()}
        return left | {f"unmeasured_layers_{name[0]}": len(one.unmeasured) for name, one in self._pruned.items() if one.unmeasured}


def removable(
    units: Units,
    estimate: Estimate,
    before: Collection[int],
    survivors: Survivors = "pivots",
    rule: Rule = "threshold",
    threshold: float = 1e-3,
) -> list[int]:
    """Return the rows that a layer loses: at most C - r, the guard against over-pruning, and fewer where others must stay."""
    members = estimate.layer.units
    order = [members[row] for row in reversed(estimate.order(survivors, rule, threshold))]
    chosen = units.removable(order, estimate.size - estimate.rank(rule, threshold), before)
    return [members.index(unit) for unit in chosen]


def _evaluated(player: Player, losses: Losses, number: int) -> Tensor:
    """Return the loss of a player on a whole batch, with its network in evaluation mode."""

    def network(*inputs: Any) -> Any:
        with evaluating(player.network):
            return player.network(*inputs)

    return losses(player.name, (2 * number, 2 * number + 1), network)


@torch.no_grad()
def _mean(batches: Sequence[Callable[[], Tensor]]) -> float:
    return float(torch.stack([batch() for batch in batches]).mean())


def _prints() -> bool:
    return not torch.distributed.is_available() or not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0
