r"""Penalties on the gradient of the discriminator (the critic D) with respect to its images.

With :math:`g(x) = \nabla_x D(x, y)`, norms over channels, rows and columns, and means over the batch:

======== ============================================== ==========================================================================
r1       :math:`\tfrac\gamma2 E \lVert g(x_r) \rVert^2`        Mescheder, Geiger, Nowozin, arXiv 1801.04406, equation 9
r2       :math:`\tfrac\gamma2 E \lVert g(x_f) \rVert^2`        the same, equation 10
r1_r2    the sum of both                                Huang et al. (R3GAN), arXiv 2501.05441
wgan_gp  :math:`\lambda E (\lVert g(\hat x) \rVert - 1)^2`     Gulrajani et al., arXiv 1704.00028, equation 3; :math:`\hat x` on
         at a random point between x_r and x_f          the line from x_f to x_r
dragan   the same, near x_r                             Kodali et al., arXiv 1705.07215; checked against StudioGAN's ``losses.py``
======== ============================================== ==========================================================================

They are differentiated a second time, exactly, and are computed in fp32 whatever the precision of the run (squares of small gradients
underflow in half precision): see ``in_full_precision``. Random numbers are arguments, uniform in [0, 1).
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from pydantic import PositiveFloat
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from gconv_gan.losses.double_backward import DoubleBackward
from gconv_gan.runtime.modes import full_precision
from gconv_gan.runtime.precision import float32_arithmetic

Scalar = Float[Tensor, ""]


class Examples(NamedTuple):
    """Images [B, 3, S, S] with the other inputs of the critic: labels [B], and the numbers [B, n] of their augmentation."""

    images: Float[Tensor, "b 3 s s"]
    labels: Int[Tensor, " b"] | None = None
    draws: Float[Tensor, "b n"] | None = None


Critic = Callable[[Examples], Float[Tensor, " b"]]
"""A function from examples to logits, each a function of its own image alone."""


class PenaltyInputs(NamedTuple):
    """The inputs of a penalty's points.

    ``noise`` holds the requested uniform numbers, [B, n]; ``real_std`` is the standard deviation of all values of
    the whole batch of real images.
    """

    reals: Examples
    fakes: Examples
    noise: Float[Tensor, "b n"] | None = None
    real_std: Scalar | None = None


class Penalty:
    """A penalty as a function of the gradients at some points.

    Attributes:
        where: the points: real images, generated ones, both, or other points. A pass of the critic over real or generated images
            is shared with the loss.
        noise: uniform numbers per image: none, one, or one plus one for every value of the image.
        needs_std: whether ``points`` reads ``real_std``.

    """

    where: ClassVar[Literal["reals", "fakes", "both", "points"]]
    noise: ClassVar[Literal["none", "one", "one_and_values"]] = "none"
    needs_std: ClassVar[bool] = False

    def points(self, inputs: PenaltyInputs) -> Examples:
        """Return the points at which the gradient is taken."""
        match self.where:
            case "reals":
                return inputs.reals
            case "fakes":
                return inputs.fakes
            case "both":
                return joined(inputs.reals, inputs.fakes)
        raise NotImplementedError

    def value(self, gradients: Float[Tensor, "b n"]) -> Scalar:
        """Return the penalty, with its weight, of the gradient at every point, flattened."""
        raise NotImplementedError

    def __call__(self, critic: Critic, inputs: PenaltyInputs) -> Scalar:
        """Return the penalty, from a separate pass through ``critic``."""
        points = with_gradient(self.points(inputs))
        with DoubleBackward():
            logits = critic(points)
        return self.value(input_gradients(logits, points.images))

    def numbers_per_image(self, values: int) -> int:
        """Return the number of uniform numbers of an image with that many values."""
        return {"none": 0, "one": 1, "one_and_values": 1 + values}[self.noise]


def with_gradient(examples: Examples) -> Examples:
    """Return ``examples`` with images that require a gradient."""
    return examples._replace(images=examples.images.detach().requires_grad_())


def input_gradients(logits: Float[Tensor, " b"], images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n"]:
    """Return the gradient of each logit with respect to its image, flattened, as a function that can be differentiated again."""
    # logits of different images are independent: the gradient of the sum contains the gradient of each
    (gradients,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradients.flatten(1)


def in_full_precision(penalty: Penalty, network: nn.Module, critic: Critic, inputs: PenaltyInputs) -> Scalar:
    """Return the penalty of a critic that calls ``network``, from a pass of its own, computed without autocast and TF32 as is its gradient.

    The gradient with respect to the parameters of ``network`` is computed at once, because the backward pass of the whole loss would
    round its products. That pass only multiplies it.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    with full_precision(network), float32_arithmetic(inputs.reals.images.device):
        value = penalty(critic, inputs)
        # other passes of the step share parts of the graph, such as spectra that are computed once
        gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
    result: Tensor = _Differentiated.apply(value.detach(), gradients, *parameters)
    return result


class _Differentiated(torch.autograd.Function):
    """A value whose gradients are known."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: Sequence[Tensor | None], *_: Tensor) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, factor: Tensor) -> Any:
        return None, None, *(None if gradient is None else gradient * factor for gradient in ctx.gradients)


class ZeroCentred(Penalty):
    """A penalty on the squared norm of the gradient.

    Args:
        gamma: Weight; half of it multiplies the mean squared gradient norm (CIFAR-10: StyleGAN2-ADA 0.01, R3GAN 0.05 falling to 0.005).

    """

    def __init__(self, *, gamma: PositiveFloat = 0.01) -> None:
        self.gamma = gamma

    def value(self, gradients: Float[Tensor, "b n"]) -> Scalar:
        """Return γ/2 · E‖∇D‖²."""
        return 0.5 * self.gamma * gradients.square().sum(1).mean()


class R1(ZeroCentred):
    """γ/2 · E‖∇D‖² at real images."""

    where = "reals"


class R2(ZeroCentred):
    """γ/2 · E‖∇D‖² at generated images."""

    where = "fakes"


class R1R2(ZeroCentred):
    """R1 and R2 together, as in R3GAN."""

    where = "both"

    def value(self, gradients: Float[Tensor, "b n"]) -> Scalar:
        """Return the sum of both: the mean over both halves is half the sum of their means."""
        return self.gamma * gradients.square().sum(1).mean()


class OneCentred(Penalty):
    """A penalty on the deviation of the gradient's norm from 1.

    Args:
        weight: λ of λ · E(‖∇D‖ − 1)².

    """

    where = "points"

    def __init__(self, *, weight: PositiveFloat = 10.0) -> None:
        self.weight = weight

    def value(self, gradients: Float[Tensor, "b n"]) -> Scalar:
        """Return λ · E(‖∇D‖ − 1)²."""
        # vector_norm has gradient 0, not nan, for a zero vector
        norms = torch.linalg.vector_norm(gradients, dim=1)
        penalty: Tensor = self.weight * (norms - 1).square().mean()
        return penalty


class WGANGP(OneCentred):
    """λ · E(‖∇D‖ − 1)² between each real image and a generated one: at x̂ = ε x_r + (1 − ε) x_f, one ε an image, the label x_r's."""

    noise: ClassVar[Literal["none", "one", "one_and_values"]] = "one"

    def points(self, inputs: PenaltyInputs) -> Examples:
        """Return x̂."""
        assert inputs.noise is not None
        images = torch.lerp(inputs.fakes.images, inputs.reals.images, inputs.noise[:, 0, None, None, None])
        return inputs.reals._replace(images=images)


class DRAGAN(OneCentred):
    """λ · E(‖∇D‖ − 1)² near each real image.

    At x̂ = x_r + ε · ½ std(x_r) · U, one ε an image, one U a value, std over the whole batch.
    """

    noise: ClassVar[Literal["none", "one", "one_and_values"]] = "one_and_values"
    needs_std: ClassVar[bool] = True

    def points(self, inputs: PenaltyInputs) -> Examples:
        """Return x̂."""
        assert inputs.noise is not None
        assert inputs.real_std is not None
        images = inputs.reals.images
        values = inputs.noise[:, 1:].view(images.shape)
        return inputs.reals._replace(images=images + inputs.noise[:, 0, None, None, None] * (0.5 * inputs.real_std) * values)


def joined(first: Examples, second: Examples) -> Examples:
    """Return two sets of examples as one; both have labels (and numbers), or neither."""
    images = torch.cat([first.images, second.images])
    labels = None if first.labels is None or second.labels is None else torch.cat([first.labels, second.labels])
    draws = None if first.draws is None or second.draws is None else torch.cat([first.draws, second.draws])
    return Examples(images, labels, draws)
