"""Taylor pruning: the channels whose removal should change the loss least are removed a few at a time while the network trains.

Molchanov, Mallya, Tyree, Frosio, Kautz, "Importance Estimation for Neural Network Pruning", CVPR 2019, arXiv 1906.10771. Only the abstract
of the paper was available; the procedure and its constants are facts of NVlabs/Taylor_pruning. Where this differs: a channel of a residual
stage has one score and not one per block, ties are broken by the order of the network so that a step removes as many units as it should,
every layer keeps a channel, and channels are cut out and not only masked.
"""

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.func import functional_call

from gconv_gan.config.errors import UserError
from gconv_gan.config.ranges import Beta, Fraction
from gconv_gan.methods.method import Losses, Method, Player, PlayerName, Progress, chosen_players
from gconv_gan.methods.surgery import Masks, Reading, Units, cut, macs_of, units_of
from gconv_gan.runtime.processes import of_first_process

Order = Literal["first", "second"]
Cut = Literal["end", "step"]


class Scores(nn.Module):
    """What a checkpoint holds of the pruning of one network, by unit."""

    accumulated: Float[Tensor, " units"]
    """Sum of the squared derivatives since the last step."""
    count: Int[Tensor, ""]
    """How many there are."""
    average: Float[Tensor, " units"]
    """Scores, averaged over steps."""
    removed: Bool[Tensor, " units"]
    steps: Int[Tensor, ""]
    done: Bool[Tensor, ""]

    def __init__(self, units: int) -> None:
        super().__init__()
        self.register_buffer("accumulated", torch.zeros(units))
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("average", torch.zeros(units))
        self.register_buffer("removed", torch.zeros(units, dtype=torch.bool))
        self.register_buffer("steps", torch.tensor(0))
        self.register_buffer("done", torch.tensor(False))


@dataclass
class Pruned:
    """One network that is pruned: what the host knows of it. Units have the numbers of the network that was not cut."""

    units: Units
    scores: Scores
    cut: set[int]
    """Units that are no longer part of the network."""
    removed: set[int]
    """These, and the units that are held at 0."""
    steps: int = 0
    done: bool = False
    macs: int = 0
    """Multiply-adds of the network that was not cut; 0 where they do not matter."""
    reading: Reading | None = None
    masks: Masks | None = None


class TaylorPruning(Method):
    r"""Remove the units of the least estimated effect on the loss, a few at a time, while training goes on.

    .. math::
        I_c = \frac{1}{n} \sum_b \Big( \frac{\partial L_b}{\partial z_c} \Big)^2 \;\text{(first order)}, \qquad
        I_c = \frac{1}{n} \sum_b \Big( \frac{\partial L_b}{\partial z_c} - \tfrac12 \frac{\partial^2 L_b}{\partial z_c^2} \Big)^2
        \;\text{(second order)}

    of a factor z = 1 on unit c, over the n steps since the last removal (arXiv 1906.10771). A unit is a channel with all layers that write,
    normalise and read it, a filter of a dictionary, or a kernel of a bank, see ``methods.surgery``; the factor acts where the unit is read
    (``surgery.Reading``). Scores are averaged over removals and ranked over all layers together, without normalisation. Removed units are
    held at 0 and, at the end or at every removal, cut out of the network, its average and, by starting it anew, its optimiser.

    Args:
        players: Networks to prune; none given: all of the run.
        removed: Share of all units to remove. (ResNet-50 "72 %" of the paper: 0.28; ResNet-101 "40 %": 0.6.)
        macs: Remove until the network has this share of its multiply-adds, instead of a share of its units.
        every: Images between removals (the official code: 30 batches of 256).
        units_per_step: Units of a removal (the official code on ImageNet: 100; on CIFAR-10 about 2 % of all, every 10 batches).
        first: Images before scores are collected (0: the network was trained before).
        order: Order of the estimate; second costs a backward pass per unit and batch at every removal: for small networks.
        batches: Batches of a second-order estimate.
        momentum: Weight of the earlier scores in the average.
        cut: When removed units are cut out: after the last removal or after each; the optimiser starts anew then.
        kernels: Rank the filters of dictionaries and the kernels of banks too.

    """

    def __init__(
        self,
        *,
        players: Sequence[PlayerName] = (),
        removed: Fraction = 0.25,
        macs: Fraction | None = None,
        every: PositiveInt = 7680,
        units_per_step: PositiveInt = 100,
        first: NonNegativeInt = 0,
        order: Order = "first",
        batches: PositiveInt = 4,
        momentum: Beta = 0.9,
        cut: Cut = "end",
        kernels: bool = True,
    ) -> None:
        self.players, self.removed, self.macs, self.every, self.units_per_step = tuple(players), removed, macs, every, units_per_step
        self.first, self.order, self.batches, self.momentum, self.cut_at, self.kernels = first, order, batches, momentum, cut, kernels
        self._pruned: dict[PlayerName, Pruned] = {}

    # ---- structure -----------------------------------------------------------------------------------------------------

    def check(self, networks: Mapping[PlayerName, nn.Module]) -> None:
        """Find the units of the networks; raise ``UserError`` for a network that the run lacks, or that cannot be cut."""
        self.changes_structure_of = self.depends_on_structure_of = chosen_players("taylor", self.players, networks)
        for name in self.changes_structure_of:
            if name not in self._pruned:
                self._take(name, networks[name], units_of("taylor", name, networks[name], kernels=self.kernels))

    def check_length(self, total_images: int) -> None:
        """Raise ``UserError`` if nothing would be cut within the run."""
        removals = max(0, total_images - self.first) // self.every
        for name, one in self._pruned.items():
            asked = self.units_per_step if self.macs is not None or self.cut_at == "step" else round(self.removed * len(one.units))
            needed = max(1, -(-asked // self.units_per_step))
            if removals < needed and not one.cut:
                raise UserError(
                    f"taylor would cut nothing out of the {name} within trainer.total_images = {total_images:,}: removal number"
                    f" {needed} is due at {self.first + needed * self.every:,} images: lower first or every, or raise units_per_step"
                )

    def _take(self, name: PlayerName, network: nn.Module, units: Units) -> None:
        self._pruned[name] = Pruned(units, Scores(len(units)), set(), set(), macs=0 if self.macs is None else macs_of(name, network))

    def facts(self) -> dict[str, Any]:
        """Return the units of every network that was cut, and those that it lost."""
        return {name: {**one.units.facts(), "removed": sorted(one.cut)} for name, one in self._pruned.items() if one.cut}

    def rebuild(self, name: PlayerName, network: nn.Module, facts: Mapping[str, Any]) -> None:
        """Cut a newly built network as it was cut in training."""
        if name in facts:
            self._take(name, network, Units.from_facts(facts[name]))
            one = self._pruned[name]
            one.cut, one.removed = set(facts[name]["removed"]), set(facts[name]["removed"])
            cut(network, one.units, one.cut)

    def summary(self, name: PlayerName, facts: Mapping[str, Any]) -> str:
        """Return how many units a network lost."""
        return f"{len(facts[name]['removed'])} of {len(Units.from_facts(facts[name]))} units removed" if name in facts else ""

    def state(self) -> Mapping[str, nn.Module]:
        """Return the scores of every network."""
        return {f"taylor_{name}": one.scores for name, one in self._pruned.items()}

    # ---- inside an iteration -------------------------------------------------------------------------------------------

    @torch.no_grad()
    def after_backward(self, player: Player) -> None:
        """Accumulate the squared derivatives."""
        one = self._pruned.get(player.name)
        if one is not None and one.reading is not None:
            one.scores.accumulated.add_(one.reading.gradient().float().square())
            one.scores.count.add_(1)

    def after_step(self, player: Player) -> None:
        """Hold the removed units at 0."""
        one = self._pruned.get(player.name)
        if one is not None and one.masks is not None and one.removed:
            one.masks.apply()

    # ---- between iterations --------------------------------------------------------------------------------------------

    def begin(self, players: Mapping[PlayerName, Player], progress: Progress) -> None:
        """Take the state as it was loaded, before the first iteration."""
        for name, one in self._pruned.items():
            if one.reading is None and not one.done:
                scores = one.scores
                one.removed = set(scores.removed.nonzero()[:, 0].tolist())
                one.steps, one.done = int(scores.steps), bool(scores.done)
                if not one.done:
                    self._watch(one, players[name])

    def _watch(self, one: Pruned, player: Player) -> None:
        one.reading = Reading(player.network, one.units, one.cut)
        one.masks = Masks(player.network, one.units, one.cut)
        one.masks.set(one.removed)

    def between(self, players: Mapping[PlayerName, Player], progress: Progress, losses: Losses) -> bool:
        """Remove units from the networks whose removal is due; return whether a network has changed."""
        changed = [self._between(one, players[name], progress, losses) for name, one in self._pruned.items() if not one.done]
        return any(changed)

    def _between(self, one: Pruned, player: Player, progress: Progress, losses: Losses) -> bool:
        assert one.masks is not None
        images = progress.images_seen - self.first
        if images <= 0:
            one.scores.accumulated.zero_()
            one.scores.count.zero_()
        if images // self.every <= one.steps:
            return False
        scores = self._scored(one, player, losses)
        one.steps, held = images // self.every, bool(one.removed)
        self._remove(one, player, scores)
        one.masks.set(one.removed)
        one.masks.apply()
        if player.average is not None:
            masks = Masks(player.average.network, one.units, one.cut)
            masks.set(one.removed)
            masks.apply()
        for buffer, value in ((one.scores.steps, one.steps), (one.scores.done, one.done)):
            buffer.fill_(value)
        one.scores.removed.copy_(torch.tensor([unit in one.removed for unit in range(len(one.units))]))
        if not one.done and self.cut_at == "end":
            return not held  # from now on a step holds units
        self._cut(one, player)
        return True

    def _scored(self, one: Pruned, player: Player, losses: Losses) -> Tensor:
        """Return the averaged scores on the host, equal on all processes, and start to accumulate anew."""
        scores = one.scores
        new = scores.accumulated / scores.count.clamp(min=1)
        if self.order == "second":
            alive = [unit for unit in range(len(one.units)) if unit not in one.removed]
            assert one.reading is not None
            numbers = range(one.steps * self.batches, (one.steps + 1) * self.batches)
            loss = partial(losses, player.name)
            batches = [partial(loss, (2 * number, 2 * number + 1)) for number in numbers]
            new = torch.stack([second_order(player.network, one.reading, batch, alive) for batch in batches]).mean(0).float()
        average = of_first_process(averaged(scores.average, new, self.momentum, first=one.steps == 0).cpu())
        scores.average.copy_(average)
        scores.accumulated.zero_()
        scores.count.zero_()
        return average

    def _remove(self, one: Pruned, player: Player, scores: Tensor) -> None:
        """Choose the units to remove, and whether they are the last."""
        count, total = len(one.removed), len(one.units)
        wanted = self.units_per_step if self.macs is not None else min(self.units_per_step, round(self.removed * total) - count)
        chosen = one.units.removable(ranking(scores), wanted, one.removed)
        one.done = len(chosen) < wanted or (self.macs is None and count + len(chosen) >= round(self.removed * total))
        if self.macs is not None:
            enough = self._enough(one, player, chosen)
            if enough is not None:
                chosen, one.done = chosen[:enough], True
        one.removed = one.removed | set(chosen)

    def _enough(self, one: Pruned, player: Player, chosen: Sequence[int]) -> int | None:
        """Return how many of the units suffice for the multiply-adds that are wanted; None if all do not."""
        assert self.macs is not None
        few, many = 0, len(chosen)
        if self._share(one, player, chosen) > self.macs:
            return None
        while few < many:
            middle = (few + many) // 2
            if self._share(one, player, chosen[:middle]) <= self.macs:
                many = middle
            else:
                few = middle + 1
        return many

    def _share(self, one: Pruned, player: Player, chosen: Collection[int]) -> float:
        """Return the share of the multiply-adds that is left without ``chosen`` too."""
        twin = copy.deepcopy(player.network)
        cut(twin, one.units, one.removed | set(chosen), before=one.cut)
        return macs_of(player.name, twin) / one.macs

    def _cut(self, one: Pruned, player: Player) -> None:
        """Cut the network and its average, with a new optimiser."""
        cut(player.network, one.units, one.removed, before=one.cut)
        average = None if player.average is None else player.average.network
        if average is not None:
            cut(average, one.units, one.removed, before=one.cut)
        one.cut = set(one.removed)
        player.rebuild()
        if average is not None and player.average is not None:
            player.average.network.load_state_dict(average.state_dict())
        one.reading = one.masks = None
        if not one.done:
            self._watch(one, player)

    def status(self) -> Mapping[str, float]:
        """Return the share of units that each network has left."""
        return {f"units_left_{name[0]}": 1 - len(one.removed) / len(one.units) for name, one in self._pruned.items()}


def averaged(average: Float[Tensor, " u"], new: Float[Tensor, " u"], momentum: float, *, first: bool) -> Float[Tensor, " u"]:
    """Return the scores averaged over removals: at the first one the new scores."""
    return new if first else momentum * average + (1 - momentum) * new


def ranking(scores: Float[Tensor, " u"]) -> list[int]:
    """Return the units from the least score to the largest, equal ones in their order."""
    order: list[int] = scores.sort(stable=True).indices.tolist()
    return order


def second_order(
    network: nn.Module, reading: Reading, loss: Callable[[Callable[..., Any]], Tensor], units: Sequence[int]
) -> Float[Tensor, " u"]:
    r"""Return :math:`(\partial L / \partial z - \frac12 \partial^2 L / \partial z^2)^2` of some units on one batch, and 0 of the others.

    Args:
        network: the network that ``reading`` is of.
        reading: its factors.
        loss: ``loss(network)``, the loss with a network in its place.
        units: one backward pass each.

    """
    factors = reading.ones().requires_grad_()
    replaced = reading.scaled(factors)
    value = loss(lambda *inputs: functional_call(network, replaced, inputs))
    (gradient,) = torch.autograd.grad(value, factors, create_graph=True)
    scores = torch.zeros_like(gradient)
    for unit in units:
        (row,) = torch.autograd.grad(gradient[unit], factors, retain_graph=True)
        scores[unit] = (gradient[unit].detach() - row[unit] / 2).square()
    return scores.detach()
