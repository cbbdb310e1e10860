r"""Communication of a training step on several GPUs, and how far it scales, from formulas.

Gradients are averaged by an all-reduce after each step. With B bytes, n processes, a bandwidth W of the slowest link and a latency L per
message, a ring (Patarasu, Yuan, "Bandwidth Optimal All-reduce Algorithms for Clusters of Workstations", 2009) and a pipelined binary tree
(Sanders, Speck, Träff, "Two-tree Algorithms for Full Bandwidth Broadcast, Reduction and Scan", 2009) take

.. math:: t_\text{ring} = \frac{2(n-1)}{n}\,\frac{B}{W} + 2(n-1)\,L, \qquad t_\text{tree} = \frac{2B}{W} + 2\lceil\log_2 n\rceil\,L,

of which the shorter counts, as a library chooses by size. BatchNorm over the global batch reduces, per layer and pass, a table of two
values per channel and one count of every process forward, and two values per channel backward. Nothing overlaps with computation.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

COUNTS = (1, 2, 4, 8, 16, 32, 64)
"""Numbers of GPUs on the page."""


@dataclass(frozen=True)
class Links:
    """How GPUs are connected: an assumption, not a measurement."""

    gpus_per_node: int = 8
    node_gb_per_second: float = 300.0
    """Bandwidth in one direction between GPUs of a node."""
    network_gb_per_second: float = 25.0
    """Bandwidth in one direction between nodes, per ring."""
    node_microseconds: float = 5.0
    """Latency of a message within a node."""
    network_microseconds: float = 15.0
    """Latency of a message between nodes."""

    def all_reduce_ms(self, size: int, gpus: int) -> float:
        """Return the milliseconds of an all-reduce of ``size`` bytes over ``gpus``."""
        within = gpus <= self.gpus_per_node
        bandwidth = 1e9 * (self.node_gb_per_second if within else self.network_gb_per_second)
        latency = 1e-6 * (self.node_microseconds if within else self.network_microseconds)
        ring = 2 * (gpus - 1) / gpus * size / bandwidth + 2 * (gpus - 1) * latency
        tree = 2 * size / bandwidth + 2 * math.ceil(math.log2(gpus)) * latency
        return 1000 * min(ring, tree)


@dataclass(frozen=True)
class StepTraffic:
    """What an iteration sends."""

    generator_bytes: int
    """Gradients of the generator."""
    discriminator_bytes: int
    """Gradients of the discriminator."""
    n_dis: int
    norm_channels: Sequence[int] = ()
    """Channels of every BatchNorm of the generator."""

    @property
    def gradient_bytes(self) -> int:
        """Return the bytes of gradients that an iteration reduces."""
        return self.generator_bytes + self.n_dis * self.discriminator_bytes

    def milliseconds(self, links: Links, gpus: int) -> float:
        """Return the milliseconds of an iteration's communication."""
        if gpus == 1:
            return 0.0
        gradients = links.all_reduce_ms(self.generator_bytes, gpus) + self.n_dis * links.all_reduce_ms(self.discriminator_bytes, gpus)
        # one forward pass of the generator per discriminator step; forward and backward in its own step
        forward = sum(links.all_reduce_ms(4 * gpus * (2 * channels + 1), gpus) for channels in self.norm_channels)
        backward = sum(links.all_reduce_ms(4 * 2 * channels, gpus) for channels in self.norm_channels)
        return gradients + (self.n_dis + 1) * forward + backward


@dataclass(frozen=True)
class Scaling:
    """Expected scaling on a number of GPUs."""

    gpus: int
    communication_ms: float
    weak_efficiency: float
    """Images per second and GPU over those of one GPU, with the batch of one GPU on each."""
    strong_speedup: float
    """Speed over that of one GPU for the same global batch, if computation is divided evenly."""


def scaling(iteration_ms: float, traffic: StepTraffic, links: Links) -> list[Scaling]:
    """Return the expected scaling of an iteration that takes ``iteration_ms`` on one GPU."""
    rows = []
    for gpus in COUNTS:
        sent = traffic.milliseconds(links, gpus)
        rows.append(Scaling(gpus, sent, iteration_ms / (iteration_ms + sent), iteration_ms / (iteration_ms / gpus + sent)))
    return rows
