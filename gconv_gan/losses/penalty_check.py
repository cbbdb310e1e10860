"""Check, on two images before training, that a penalty of the discriminator's gradient can be computed."""

import copy

import torch
from torch import Tensor, nn

from gconv_gan.config.errors import UserError
from gconv_gan.losses.penalties import Examples, Penalty, PenaltyInputs


def check_penalty(penalty: Penalty, discriminator: nn.Module, *, kind: str, image_size: int, num_classes: int | None) -> None:
    """Try the penalty named ``kind`` on a copy of ``discriminator``, in training mode and fp32.

    The gradient of an image's logit must not depend on the other images of the batch (the batch's gradient would not be each
    image's own), and must be differentiable.

    Raises:
        UserError: the discriminator couples the images of a batch, or has an operation without a second derivative.

    """
    network = copy.deepcopy(discriminator).train()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():  # a layer with zero weights would hide the layers before it
            if not parameter.any():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    reals, fakes = torch.rand(2, 2, 3, image_size, image_size, generator=generator).mul(2).sub(1)
    labels = None if num_classes is None else torch.arange(2) % num_classes
    mixing = _mixing_module(network, reals, labels)
    if mixing is not None:
        raise UserError(
            f'objective.penalty.kind = "{kind}" needs logits that depend on one image each, but {mixing} couples the images '
            'of a batch: choose another discriminator.norm, or objective.penalty.kind = "none"'
        )
    noise = torch.rand(2, penalty.numbers_per_image(reals[0].numel()), generator=generator)
    points = PenaltyInputs(Examples(reals, labels), Examples(fakes, labels), noise, reals.std())
    try:
        torch.autograd.backward(penalty(lambda examples: network(examples.images, examples.labels), points))
    except RuntimeError as error:
        raise UserError(
            f'objective.penalty.kind = "{kind}" differentiates the discriminator twice, which it does not support '
            f'({" ".join(str(error).split())[:200]}): choose another discriminator, or objective.penalty.kind = "none"'
        ) from error


def _mixing_module(network: nn.Module, images: Tensor, labels: Tensor | None) -> str | None:
    """Return the first module, by name and class, whose result for the first image depends on the second; None if there is none."""
    outputs: list[tuple[str, nn.Module, Tensor]] = []

    def keep(name: str, module: nn.Module, result: object) -> None:
        if isinstance(result, Tensor) and result.requires_grad and len(result) == len(images):
            outputs.append((name, module, result))

    hooks = [
        module.register_forward_hook(lambda m, _, result, name=name: keep(name, m, result)) for name, module in network.named_modules()
    ]
    images = images.clone().requires_grad_()
    network(images, labels)
    for hook in hooks:
        hook.remove()
    for name, module, result in outputs:
        (gradient,) = torch.autograd.grad(result[0].sum(), images, retain_graph=True, allow_unused=True)
        if gradient is not None and gradient[1].any():
            return f"{name} ({type(module).__name__})" if name else type(module).__name__
    return None
