"""Interface of training methods: the objects that they act on, and the calls during training."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from gconv_gan.config.errors import UserError
from gconv_gan.config.schema import PartConfig
from gconv_gan.layers.norms.batch_norm import fuse_batch_norms
from gconv_gan.layers.weights import channels_last
from gconv_gan.models.changes import NetworkName
from gconv_gan.optim.ema import Ema

PlayerName = NetworkName

Layout = Literal["channels_last", "contiguous", "channels_last_fused", "contiguous_fused"]
"""Memory layout of a network's kernels and feature maps; "fused": batch normalisation by this package's kernels."""


def contiguous_input(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a network's inputs with contiguous images, as a forward hook: one in channels last would give its layout to all others."""
    return inputs[0].contiguous(), *inputs[1:]


@dataclass
class Player:
    """A network that is trained, with its optimiser and, if it has one, its average.

    A method that replaces parameters (pruning, factorisation) changes ``network`` in place, calls ``rebuild``, and returns True from
    ``between``.
    """

    name: PlayerName
    network: nn.Module
    """The network in float32, on the device."""
    build_optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    learning_rate: float
    """Base learning rate, before schedule and methods."""
    build_average: Callable[[nn.Module], Ema] | None = None
    layout: Layout = "channels_last"
    parameters: list[tuple[str, nn.Parameter]] = field(init=False)
    """Name -> trained parameter."""
    optimizer: torch.optim.Optimizer = field(init=False)
    average: Ema | None = field(init=False)

    def __post_init__(self) -> None:
        if self.layout.startswith("contiguous"):  # as networks are built, and as their parts stay when they change
            self.network.register_forward_pre_hook(contiguous_input)
        self.rebuild()

    def rebuild(self) -> None:
        """Create optimiser and average again for the current parameters of the network.

        The optimiser starts without moments, and the average is a copy of the network. Kernels get the memory
        layout of a network that is loaded from a checkpoint, so that a resumed run computes the same bits.
        """
        if self.layout.startswith("channels_last"):
            channels_last(self.network)
        fuse_batch_norms(self.network, self.layout.endswith("fused"))
        self.parameters = [(name, parameter) for name, parameter in self.network.named_parameters() if parameter.requires_grad]
        self.optimizer = self.build_optimizer(self.network)
        self.average = None if self.build_average is None else self.build_average(self.network)

    @property
    def tested(self) -> nn.Module:
        """Return the network that is sampled from, scored and tested: the average if there is one."""
        return self.network if self.average is None else self.average.network


@dataclass
class Progress:
    """Counters. Draws, learning rates and cadences are functions of these alone."""

    images_seen: int = 0
    best_score: float | None = None
    best_name: str | None = None
    """Name of the score, "protocol/fd"; another name resets the best value."""
    best_images: int | None = None
    d_steps: int = 0
    """Discriminator steps of a GAN."""
    g_steps: int = 0
    """Generator steps of a GAN."""

    def improved_by(self, name: str, value: float, *, lower_is_better: bool = True) -> bool:
        """Return whether ``value`` is the best of the score ``name`` so far, and if so store it with the images seen."""
        if self.best_score is not None and self.best_name == name:
            better = value < self.best_score if lower_is_better else value > self.best_score
            if not better:
                return False
        self.best_score, self.best_name, self.best_images = value, name, self.images_seen
        return True


@runtime_checkable
class Losses(Protocol):
    """The training loss of each player as a function of numbers of half batches, for methods that measure before or between steps.

    It changes no state: networks run in float32 on copies of their buffers (running statistics, power iterations), and no gradient is
    accumulated. Differentiate it with ``torch.autograd.grad``: ``backward`` would write to ``.grad``.
    """

    def __call__(self, player: PlayerName, halves: Sequence[int], network: Callable[..., Any] | None = None) -> Tensor:
        """Return the loss [] of ``player``, with its graph, on the concatenation of half batches; without a penalty.

        Half h is the (h mod 2)-th half of the global training batch ⌊h / 2⌋: (2i, 2i + 1) is the batch of the player's step i. Equal
        numbers give equal pictures, labels, latents, masks of dropout and numbers of the augmentation. Scheduled and adaptive values
        (the strength of an augmentation, top-k's k, LeCam's averages) are the present ones. Every process passes the *whole*
        batch, so results are equal on one process and several. The other player is frozen.

        Args:
            player: name of the player.
            halves: numbers of half batches.
            network: used in place of the player's network and called like it, ``(z, labels)``, ``(images, labels)`` or, of a classifier,
                ``(images)``; for example with other weights (``torch.func.functional_call``). None: the bare network.

        """
        ...


class Method:
    """Base of training methods: all calls do nothing; a method overrides those that it needs.

    ``after_backward`` and ``after_step`` run inside the iteration: they read no value of a tensor, and a number that changes from one
    iteration to the next is a tensor that ``begin`` fills. All other calls run on the host outside of it, on bare networks in float32, and
    in the same way on every process.

    Attributes:
        section: its section of the config; None for a method that is not listed there.
        changes_structure_of: networks whose structure it changes in training; known after ``check``.
        depends_on_structure_of: networks of which it keeps layers, channels or parameters by name or number from ``check`` on; a run in
            which another method changes the structure of one is refused.

    """

    section: PartConfig | None = None
    changes_structure_of: Collection[PlayerName] = ()
    depends_on_structure_of: Collection[PlayerName] = ()

    def check(self, networks: Mapping[PlayerName, nn.Module]) -> None:
        """Check the bare networks before training, and in a dry run; of a run that is resumed, with the changes of ``rebuild``.

        Raises:
            UserError: the networks have no part for the method, or it cannot act on them.

        """

    def check_optimizers(self, optimizers: Mapping[PlayerName, torch.optim.Optimizer]) -> None:
        """Check the optimisers of the run, new ones without state, after ``check``.

        Raises:
            UserError: the method cannot work with one of them.

        """

    def check_length(self, total_images: int) -> None:
        """Check the length of the run, ``trainer.total_images``, after ``check``.

        Raises:
            UserError: the method, or what one of its keys asks for, would not be reached.

        """

    def start(self, players: Mapping[PlayerName, Player], losses: Losses) -> None:
        """Act on the players before the first iteration of a new run (not of a resumed one), before Accelerate wraps them.

        Optimisers and averages are created again afterwards.
        """

    def begin(self, players: Mapping[PlayerName, Player], progress: Progress) -> None:
        """Set the values that depend on the counters; called on the host before every iteration and once after a resume."""

    def between(self, players: Mapping[PlayerName, Player], progress: Progress, losses: Losses) -> bool:
        """Act on the players after every iteration: measure, or change the structure of a network in place (then ``player.rebuild()``).

        Called after the counters have advanced, before ``begin`` and before a status line or checkpoint. Return True if an object that the
        iteration uses (parameter, module, optimiser) was replaced: the loop then wraps the networks and captures the iteration again.
        """
        return False

    def after_backward(self, player: Player) -> None:
        """Act on a player with complete gradients, before clipping and the optimiser's step."""

    def after_step(self, player: Player) -> None:
        """Act on a player after its optimiser's step."""

    def learning_rate_factor(self, player: Player, progress: Progress) -> float:
        """Return the factor on the player's learning rate in the next iteration; the factors of all methods are multiplied."""
        return 1.0

    def state(self) -> Mapping[str, nn.Module]:
        """Return the state for checkpoints, as modules with buffers, by the name of their file.

        Called whenever the state is needed, first after ``check`` and, in a resumed run, ``rebuild``: the buffers must then have the shapes
        of the saved ones.
        """
        return {}

    def facts(self) -> dict[str, Any]:
        """Return JSON data about changes of the networks' structure, saved in every checkpoint; the argument of ``rebuild``."""
        return {}

    def rebuild(self, name: PlayerName, network: nn.Module, facts: Mapping[str, Any]) -> None:
        """Repeat on a newly built ``network``, in place, its changes of structure in ``facts``; called before weights are loaded.

        Every reader of a run calls it on a new method object; the average of a generator has the name "generator" too. On resume it is
        called on the run's own method, before ``check``, for each network; ``facts()`` must then return these facts.
        """

    def summary(self, name: PlayerName, facts: Mapping[str, Any]) -> str:
        """Return in a few words what the changes in ``facts`` did to a network, "12 of 40 units removed"; empty: nothing."""
        return ""

    def status(self) -> Mapping[str, float]:
        """Return the numbers for the status line and the trackers."""
        return {}

    def files(self) -> Mapping[str, bytes]:
        """Return what the method found, as files for people and programs, by name.

        The main process writes them into ``methods/KIND`` of the run folder: after ``start``, after a change of structure and at the end. A
        method that found nothing in this process, as after a resume, returns none, and files that are there stay.

        ``report.json`` is an object with ``numbers``, which comparisons of runs read as measures ``KIND.NAME``, and ``pictures``:
        ``{"x.png": {"title": …, "caption": …, "alt": …}}`` of those that a gallery shows; "x-dark.png" is the same for dark pages.
        """
        return {}


def chosen_players(kind: str, players: Sequence[PlayerName], networks: Mapping[PlayerName, object]) -> tuple[PlayerName, ...]:
    """Return the networks that a method of ``kind`` acts on: ``players`` or, where none are named, all of the run.

    Raises:
        UserError: the run has no such network.

    """
    absent = [name for name in players if name not in networks]
    if absent:
        raise UserError(f"{kind} acts on the {absent[0]}, but the run has {' and '.join(networks)}")
    return tuple(players or networks)
