"""LRPET: convolutions are projected onto a low rank while a network trains, and are two thin layers in the end.

Guo, Lin, Chen, Xing, Liu, Xu, "Compact Model Training by Low-Rank Projection with Energy Transfer", IEEE TNNLS 2024, arXiv 2204.05566. Only
the abstract of the paper was available; the procedure and its constants are facts of BZQLin/LRPET. Where this differs: the norm behind a
convolution is the one that reads its output, and not the one with the same number; the weights are projected once more immediately before
the two layers replace them, with the same factors of the norms; no layer is removed; layers that would not become cheaper stay as they are.
"""

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from gconv_gan.config.errors import UserError
from gconv_gan.config.hints import did_you_mean
from gconv_gan.config.ranges import Fraction, Share
from gconv_gan.layers.low_rank import Filters, Spectrum, all_filters, factorise, filters, project, thin
from gconv_gan.layers.norms.batch_norm import ModulatedNorm2d, folded_scale
from gconv_gan.layers.norms.running_statistics import estimating_statistics, with_running_statistics
from gconv_gan.methods.method import Losses, Method, Player, PlayerName, Progress, chosen_players
from gconv_gan.methods.surgery import example_inputs, macs_of
from gconv_gan.runtime.modes import evaluating


class Energies(nn.Module):
    """The share of every layer's energy that its last projection kept, before the transfer; 1 before the first."""

    kept: Float[Tensor, " layers"]

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.register_buffer("kept", torch.ones(layers))


@dataclass
class Projected:
    """A network that is projected: its layers, and for each the norm that reads its output, if there is one."""

    norms: Mapping[str, str | None]
    energies: Energies
    ranks: dict[str, int]
    """Ranks of the last projection."""


class LowRankProjection(Method):
    r"""Project every convolution onto a low rank from time to time, hand the energy of what is lost to what is kept, and let it train on.

    .. math::
        \mathrm{diag}(a)\,\bar W = U\,\mathrm{diag}(s)\,V^\top, \quad
        a = \frac{\gamma}{\sqrt{\text{running variance} + \varepsilon}}, \qquad
        \bar W \leftarrow \mathrm{diag}\Big(\frac{a}{a^2 + 10^{-5}}\Big)\, U\,\mathrm{diag}(g s_1, \dots, g s_r, 0, \dots)\,V^\top, \qquad
        g^2 = \frac{\sum_j s_j^2}{\sum_{j \le r} s_j^2}

    on the filters W̄ [C, I k²] (arXiv 2204.05566), with γ, variance and ε of the batch norm that alone reads the layer's output: the mean
    over classes of a class-conditional one; a is 1 without such a norm and where the scale is a function of the latent vector. Between
    projections the weights may leave the set of low rank. A batch norm in training cancels g, so that the transfer changes the function of
    layers without one alone; elsewhere it keeps the effective learning rate, which depends on ‖W‖. Momenta and running statistics are left
    as they are: after a projection the statistics belong to the weights before.

    Convolutions, transposed ones and GConv2d are handled, linear layers left alone; of a spectrally normalised layer the stored weight is
    projected, of a grouped one each group. Of a dictionary the filters D are, with the norms of the columns of diag(a) Mix in the place of
    a, so that every W(z) = Mix diag(g(z)) D has rank r; the kernels of a bank share one basis of their outputs. A network's average is
    projected as the network is, with the same ranks.

    At ``factorise_at`` the weights are projected once more and every layer is replaced by a convolution to r channels and a 1×1 convolution
    (``layers.low_rank.factorise``), which compute the same; training goes on with them, by a new optimiser.

    Args:
        players: Networks to project; none given: all of the run.
        every: Images between projections (the official code: an epoch of CIFAR-10, 64,000 images of ImageNet).
        removed: Share p of the singular values to remove: r = int(S − S p) for S = min(C, I k²).
        energy: Keep the fewest singular values with this share of the energy Σ s², anew at every projection, instead of a share of them.
        min_rank: Least rank of a layer (official for VGG-16: 43). At 3 or more a generator's layer to colours, whose rank is 3, stays as it
            is: at rank 1 its pictures have one hue.
        ranks: Ranks by the name of a layer, as pairs ["pattern with *", r]; the first match counts, and 0 leaves the layer as it is.
        transfer: Keep the norm of the projected matrix; off: g = 1.
        tail: ρ, the factor on the other singular values, whose energy is then taken from the kept ones; 0: they are removed.
        rectify: Multiply rows by a; off: a = 1.
        factorise_at: Images after which two layers replace each; 0: before training, ``trainer.total_images``: at its end, None: never.
        recalibrate: Training batches whose statistics become the running ones when the layers are replaced; 0: they stay.

    """

    def __init__(
        self,
        *,
        players: Sequence[PlayerName] = (),
        every: PositiveInt = 50_000,
        removed: Fraction = 0.8,
        energy: Fraction | None = None,
        min_rank: PositiveInt = 3,
        ranks: Sequence[tuple[str, NonNegativeInt]] = (),
        transfer: bool = True,
        tail: Share = 0.0,
        rectify: bool = True,
        factorise_at: NonNegativeInt | None = None,
        recalibrate: NonNegativeInt = 0,
    ) -> None:
        self.players, self.every, self.removed, self.energy, self.min_rank = tuple(players), every, removed, energy, min_rank
        self.ranks, self.transfer, self.tail, self.rectify = tuple(ranks), transfer, tail, rectify
        self.factorise_at, self.recalibrate = factorise_at, recalibrate
        self._projected: dict[PlayerName, Projected] = {}
        self._factorised: dict[PlayerName, dict[str, int]] = {}
        self._images = 0
        self._tables: dict[PlayerName, str] = {}
        self._numbers: dict[str, float] = {}

    # ---- structure -----------------------------------------------------------------------------------------------------

    def check(self, networks: Mapping[PlayerName, nn.Module]) -> None:
        """Find the layers and their norms.

        Raises:
            UserError: the run lacks a network, a layer cannot be factorised, a pattern matches none, or no layer would become cheaper.

        """
        chosen = chosen_players("low_rank", self.players, networks)
        self.depends_on_structure_of = chosen
        self.changes_structure_of = () if self.factorise_at is None else chosen
        known = [name for player in chosen for name, _ in all_filters(networks[player])]
        for pattern, _ in self.ranks if not self._factorised else ():
            if not any(fnmatchcase(name, pattern) for name in known):
                raise UserError(f"low_rank.ranks: no convolution is called {pattern!r}" + did_you_mean(pattern, known))
        for player in chosen:
            if player not in self._factorised:
                self._projected[player] = self._found(player, networks[player])

    def check_length(self, total_images: int) -> None:
        """Raise ``UserError`` if the layers would not be replaced within the run, or nothing be projected."""
        if self.factorise_at is None and self.every > total_images:
            raise UserError(
                f"low_rank.every = {self.every:,} is beyond trainer.total_images = {total_images:,}: nothing would be projected"
            )
        if self.factorise_at is not None and self.factorise_at > total_images:
            raise UserError(
                f"low_rank.factorise_at = {self.factorise_at:,} is beyond trainer.total_images = {total_images:,}: set it to"
                " that number, and two layers replace each at the end of the run, or leave it out"
            )

    def _found(self, player: PlayerName, network: nn.Module) -> Projected:
        layers: dict[str, nn.Module] = {}
        for name, found in all_filters(network):
            if self._asked(name) == 0:
                continue
            if not isinstance(found, Filters):
                raise UserError(
                    f'low_rank cannot factorise {name} of the {player}: {found}; ranks = [["{name}", 0]] leaves it as it is'
                ) from found
            # where energies decide, any rank may come
            if self.energy is not None and self._asked(name) is None or found.saves(self._rank(name, found, None)):
                layers[name] = found.layer
        if not layers:
            raise UserError(f"low_rank makes no convolution of the {player} cheaper: remove more of the singular values")
        following = norms_behind(network, layers, *example_inputs(player, network)) if self.rectify else {}
        return Projected({name: following.get(name) for name in layers}, Energies(len(layers)), {})

    def _asked(self, name: str) -> int | None:
        return next((rank for pattern, rank in self.ranks if fnmatchcase(name, pattern)), None)

    def _rank(self, name: str, found: Filters, spectrum: Spectrum | None) -> int:
        """Return r of a layer; without its spectrum only where its energies do not decide."""
        limit, asked = found.rank_limit(), self._asked(name)
        if asked is not None:
            return min(asked, limit)
        if self.energy is None:
            rank = int(limit - limit * self.removed)
        else:
            assert spectrum is not None
            rank = int((spectrum.shares() < self.energy).sum()) + 1
        return min(max(rank, self.min_rank), limit)

    def facts(self) -> dict[str, Any]:
        """Return the ranks of the layers of every network that is factorised."""
        return {player: dict(ranks) for player, ranks in self._factorised.items()}

    def rebuild(self, name: PlayerName, network: nn.Module, facts: Mapping[str, Any]) -> None:
        """Replace the layers of a newly built network."""
        if name in facts:
            self._factorised[name] = {layer: int(rank) for layer, rank in facts[name].items()}
            for layer, rank in self._factorised[name].items():
                thin(network, layer, rank)

    def summary(self, name: PlayerName, facts: Mapping[str, Any]) -> str:
        """Return how many convolutions of a network are two layers, and their ranks."""
        ranks = [int(rank) for rank in facts.get(name, {}).values()]
        return f"{len(ranks)} convolutions are two layers of rank {min(ranks)} to {max(ranks)}" if ranks else ""

    def state(self) -> Mapping[str, nn.Module]:
        """Return the shares of energy that the last projection of every network kept."""
        return {f"low_rank_{player}": one.energies for player, one in self._projected.items()}

    # ---- training ------------------------------------------------------------------------------------------------------

    def start(self, players: Mapping[PlayerName, Player], losses: Losses) -> None:
        """Replace the layers, where that is to be done before training."""
        if self.factorise_at == 0:
            self._replace(players, losses)

    def begin(self, players: Mapping[PlayerName, Player], progress: Progress) -> None:
        """Note the images seen before the next iteration."""
        self._images = progress.images_seen

    def between(self, players: Mapping[PlayerName, Player], progress: Progress, losses: Losses) -> bool:
        """Project, or replace the layers, where it is due; return whether they were replaced."""
        before, after = self._images, progress.images_seen
        if not self._projected:
            return False
        if self.factorise_at is not None and before < self.factorise_at <= after:
            self._replace(players, losses)
            return True
        if after // self.every > before // self.every:
            for player, one in self._projected.items():
                self._project(one, players[player], self.tail)
        return False

    def _project(self, one: Projected, player: Player, tail: float) -> None:
        """Project a network and its average; the ranks are those of the network."""
        one.ranks = {}
        for index, (name, norm) in enumerate(one.norms.items()):
            found, spectrum = self._spectrum(player.network, name, norm)
            rank = self._rank(name, found, spectrum)
            if not found.saves(rank):
                continue
            one.ranks[name] = rank
            one.energies.kept[index] = spectrum.shares()[rank - 1]
            project(found, spectrum, rank, transfer=self.transfer, tail=tail)
            if player.average is not None:
                project(*self._spectrum(player.average.network, name, norm), rank, transfer=self.transfer, tail=tail)
        self._describe(player, one)

    def _spectrum(self, network: nn.Module, name: str, norm: str | None) -> tuple[Filters, Spectrum]:
        found = filters(network.get_submodule(name))
        assert found is not None
        outputs = None if norm is None else folded_scale(network.get_submodule(norm))
        return found, Spectrum.of(found, found.row_factors(outputs) if self.rectify else None)

    def _replace(self, players: Mapping[PlayerName, Player], losses: Losses) -> None:
        """Project once more, without a tail, and let two layers be in the place of each."""
        for name, one in list(self._projected.items()):
            player = players[name]
            self._project(one, player, 0.0)
            average = None if player.average is None else player.average.network
            for layer, rank in one.ranks.items():
                factorise(player.network, layer, rank)
                if average is not None:
                    factorise(average, layer, rank)
            player.rebuild()
            if average is not None and player.average is not None:
                player.average.network.load_state_dict(average.state_dict())
            self._factorised[name] = one.ranks
            del self._projected[name]
            if self.recalibrate:
                for network in (player.network,) if player.average is None else (player.network, player.average.network):
                    estimate_statistics(network, partial(losses, name), self.recalibrate)

    # ---- report --------------------------------------------------------------------------------------------------------

    def status(self) -> Mapping[str, float]:
        """Return the least share of energy that the last projection kept, over the layers of each network."""
        return {f"energy_kept_{player[0]}": float(one.energies.kept.min()) for player, one in self._projected.items()}

    def files(self) -> Mapping[str, bytes]:
        """Return the ranks and energies of the last projection and the multiply-adds as a table, and their summary as numbers."""
        if not self._tables:
            return {}
        report = {"numbers": self._numbers, "pictures": {}}
        return {"ranks.txt": "\n".join(self._tables.values()).encode(), "report.json": (json.dumps(report, indent=2) + "\n").encode()}

    def _describe(self, player: Player, one: Projected) -> None:
        """Write the table of a projection; multiply-adds are those of two layers in the place of each."""
        twin = copy.deepcopy(player.network)
        lines = [f"{'layer of the ' + player.name:42} {'norm behind it':42} {'full':>5} {'rank':>5} {'energy':>8}"]
        for index, (name, norm) in enumerate(one.norms.items()):
            found = filters(player.network.get_submodule(name))
            assert found is not None
            rank = one.ranks.get(name)
            said = f"{rank:5} {float(one.energies.kept[index]):8.4f}" if rank is not None else "    –        –"
            lines.append(f"{name:42} {norm or '–':42} {found.rank_limit():5} {said}")
            if rank is not None:
                thin(twin, name, rank)
        before, after = macs_of(player.name, player.network), macs_of(player.name, twin)
        lines.append(f"{before:,} multiply-adds, {after:,} as two layers ({after / before - 1:+.1%})\n")
        self._tables[player.name] = "\n".join(lines)
        kept = [float(one.energies.kept[index]) for index, name in enumerate(one.norms) if name in one.ranks]
        numbers = {"macs_share": after / before, "least_energy_kept": min(kept, default=1.0)}
        self._numbers |= {f"{player.name}_{name}": value for name, value in numbers.items()}


# ---- norms ---------------------------------------------------------------------------------------------------------


def norms_behind(network: nn.Module, layers: Mapping[str, nn.Module], *inputs: Tensor | None) -> dict[str, str]:
    """Return, for layers by name, the name of the norm that alone reads their output, found by running the network once.

    A norm reads an output if it is called with that very tensor. It is the only reader if nothing depends on the output any more when the
    gradient is stopped there. Norms are those that ``folded_scale`` knows.
    """
    written: dict[str, Tensor] = {}
    behind: dict[str, str] = {}

    def write(name: str, module: nn.Module, arguments: Any, output: Tensor) -> None:
        written[name] = output if output.requires_grad else output.requires_grad_()

    def read(name: str, module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
        readers = {layer: name for layer, output in written.items() if output is arguments[0]}
        behind.update(readers)
        return (arguments[0].detach(), *arguments[1:]) if readers else None

    handles = [layer.register_forward_hook(partial(write, name)) for name, layer in layers.items()]
    handles += [norm.register_forward_pre_hook(partial(read, name)) for name, norm in outer_norms(network)]
    try:
        with evaluating(network), torch.enable_grad():
            result: Tensor = network(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    outputs = [written[layer] for layer in behind]
    if not outputs or not result.requires_grad:
        return behind
    gradients = torch.autograd.grad(result.sum(), outputs, allow_unused=True)
    return {layer: norm for (layer, norm), gradient in zip(behind.items(), gradients, strict=True) if gradient is None}


def outer_norms(network: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the batch norms with their names, without those within a norm whose scale is a function of something else."""
    for name, child in network.named_children():
        if folded_scale(child) is not None:
            yield f"{prefix}{name}", child
        elif not isinstance(child, ModulatedNorm2d):
            yield from outer_norms(child, f"{prefix}{name}.")


def estimate_statistics(network: nn.Module, loss: Callable[..., Tensor], batches: int) -> None:
    """Let the running statistics of a network, or of its average, be those of training batches: ``loss(halves, network)``."""
    twin = copy.deepcopy(network)  # what the network itself computes within ``Losses`` leaves no trace
    with estimating_statistics(twin):
        for number in range(batches):
            loss((2 * number, 2 * number + 1), twin)
    for norm, estimated in zip(with_running_statistics(network), with_running_statistics(twin), strict=True):
        norm.load_state_dict(estimated.state_dict())
