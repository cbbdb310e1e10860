"""Which module of a network has a gradient that cannot be differentiated again."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gconv_gan.runtime.modes import copied_buffers

Call = tuple[str, nn.Module, tuple[Any, ...], dict[str, Any]]


def module_without_second_derivative(networks: Mapping[str, nn.Module], run: Callable[[], object]) -> str | None:
    """Return the first module that cannot be differentiated twice, by name and class; None if each can.

    Every module is tried by itself on the inputs that it is given in ``run``, inner ones before those that contain them. Buffers of the
    networks are not changed.

    Args:
        networks: whose modules are tried, by a name that precedes the module's.
        run: passes inputs through the networks.

    """
    calls: list[Call] = []

    def keep(name: str, module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any], _: object) -> None:
        calls.append((name, module, inputs, keywords))

    with ExitStack() as stack:
        for name, network in networks.items():
            stack.enter_context(copied_buffers(network))
            for inner, module in network.named_modules():
                hook = module.register_forward_hook(partial(keep, f"{name}.{inner}".rstrip(".")), with_kwargs=True)
                stack.callback(hook.remove)
        run()
    with ExitStack() as stack:
        for network in networks.values():
            stack.enter_context(copied_buffers(network))
        for name, module, inputs, keywords in calls:
            if not _twice(module, inputs, keywords):
                return f"{name} ({type(module).__name__})"
    return None


def _twice(module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> bool:
    leaves = [_leaf(value) for value in inputs]
    named = {name: _leaf(value) for name, value in keywords.items()}
    tensors = [value for value in (*leaves, *named.values()) if isinstance(value, Tensor) and value.requires_grad]
    tensors += [parameter for parameter in module.parameters() if parameter.requires_grad]
    result = module(*leaves, **named)
    if not tensors or not isinstance(result, Tensor) or not result.requires_grad:
        return True
    try:
        twice_differentiated(result.square().sum(), tensors)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        return False
    return True


def _leaf(value: Any) -> Any:
    return value.detach().requires_grad_() if isinstance(value, Tensor) and value.is_floating_point() else value


def twice_differentiated(loss: Tensor, tensors: Sequence[Tensor]) -> None:
    """Differentiate the squared gradient of ``loss`` with respect to ``tensors``, whose ``grad`` stays as it is.

    Raises:
        RuntimeError: torch's, where an operation has no second derivative.

    """
    kept = [tensor.grad for tensor in tensors]
    try:
        gradients = torch.autograd.grad(loss, tensors, create_graph=True, allow_unused=True, materialize_grads=True)
        total = torch.stack([gradient.square().sum() for gradient in gradients]).sum()
        if total.requires_grad:
            # not autograd.grad: it goes around a function that is once_differentiable, and returns the gradient without that part
            torch.autograd.backward(total)
    finally:
        for tensor, gradient in zip(tensors, kept, strict=True):
            tensor.grad = gradient
