"""Orthogonal regularisation, added to the complete gradient: without a graph, and once per weight for any number of micro-batches."""

from collections.abc import Mapping

import torch
from pydantic import NonNegativeFloat
from torch import nn

from gconv_gan.config.errors import UserError
from gconv_gan.layers.weights import as_matrices, stored, weights_of
from gconv_gan.losses.orthogonal import orthogonal_gradient
from gconv_gan.methods.method import Method, Player, PlayerName
from gconv_gan.models.gan.mapping import MappedGenerator


class OrthogonalRegularisation(Method):
    r"""Orthogonal regularisation of weights, as in BigGAN.

    Adds the gradient of :math:`\beta \sum_W \lVert W W^\top \odot (1 - I) \rVert_F^2` to that of the loss.

    The sum is over the convolutions and linear maps of a network, kernel by kernel of a bank, as they are stored (before spectral
    normalisation); embeddings and a mapping network, whose weights are stored scaled, are left out. BigGAN-PyTorch adds half this
    gradient: its ``ortho`` strength of 1e-4 is β = 5e-5.

    Args:
        generator: β of the generator; 0: it is not regularised.
        discriminator: β of the discriminator; 0: it is not regularised.
        classifier: β of a classifier; 0: it is not regularised.

    """

    def __init__(
        self, *, generator: NonNegativeFloat = 0.0, discriminator: NonNegativeFloat = 0.0, classifier: NonNegativeFloat = 0.0
    ) -> None:
        strengths: dict[PlayerName, float] = {"generator": generator, "discriminator": discriminator, "classifier": classifier}
        self.strengths = {name: strength for name, strength in strengths.items() if strength}

    def check(self, networks: Mapping[PlayerName, nn.Module]) -> None:
        """Raise ``UserError`` for the weight of a network that the run lacks, or if all weights are 0."""
        absent = [name for name in self.strengths if name not in networks]
        if absent or not self.strengths:
            known = " and ".join(networks)
            raise UserError(f"orthogonal regularisation needs a weight above 0 of a network of the run, which has {known}")

    @torch.no_grad()
    def after_backward(self, player: Player) -> None:
        """Add the gradient of the penalty in place."""
        strength = self.strengths.get(player.name)
        if not strength:
            return
        network = player.network
        regularised = network.synthesis if isinstance(network, MappedGenerator) else network
        for layer, name in weights_of(regularised, embeddings=False):
            weight = stored(layer, name)
            if weight.grad is not None:
                matrices = as_matrices(weight)
                weight.grad.add_(orthogonal_gradient(matrices).view_as(weight), alpha=strength)
