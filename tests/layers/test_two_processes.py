"""Two gloo processes with unequal shares of a batch compute the values, derivatives and averages of one process with the whole batch.

Batch normalisation does so also by the kernels of torch's ``SyncBatchNorm``, for which formulas stand in here; ``test_gpu.py`` compares
them with the kernels.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from gconv_gan.layers import BatchNorm2d, ConvNorm2d, GroupNormPlus, InvariantConv2d, IterNorm, conv_norm
from gconv_gan.layers.conditioning import Condition
from gconv_gan.layers.norms import global_batch
from gconv_gan.layers.norms.batch_norm import ConditionalBatchNorm2d
from tests.layers.made import correlated
from tests.processes import run_two
from tests.reference.sync_batch_norm import KERNELS


class ByFirstPixel(ConditionalBatchNorm2d):
    """With a rectifier, and the sign of an image's first pixel as its class."""

    def forward(self, x: Tensor, *_: Any) -> Tensor:
        return super().forward(x, Condition(y=(x[:, 0, 0, 0] > 0).long()), slope=0.2)

    __call__ = nn.Module.__call__


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "conditional batch_norm and a rectifier": lambda: ByFirstPixel(4, 2),
    "batch_norm": lambda: BatchNorm2d(4, eps=0.1),
    "batch_norm without scale": lambda: BatchNorm2d(4, affine=False),
    "conv_norm": lambda: ConvNorm2d(4, 3, 3, padding=1, bn=True),
    "conv_norm affine": lambda: ConvNorm2d(4, 3, 3, padding=1, affine=True, bn=True),
    "conv_norm of a convolution": lambda: conv_norm(nn.Conv2d(4, 3, 3, padding=1), bn=True),
    "group_norm_plus": lambda: GroupNormPlus(4, num_groups=2),
    "invariant_conv": lambda: InvariantConv2d(4, 3, 3, padding=1, block_size=2, sampling_stride=2),
    "iter_norm": lambda: IterNorm(4, group_size=2),
    "iter_norm covariance": lambda: IterNorm(4, running="covariance"),
}
SHARES = (slice(0, 2), slice(2, 6))


def batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return correlated(6, 4, 4, 3), torch.randn(6, 4, 4, 3, dtype=torch.float64)


def results(share: slice, *, over_processes: bool = True) -> dict[str, dict[str, Tensor]]:
    """Return output, buffers, gradients of the input and, summed over processes, of the parameters, and those of the gradient's square."""
    found = {}
    for name, make in LAYERS.items():
        torch.manual_seed(1)
        layer = make().double()
        for module in layer.modules():
            module.over_processes = over_processes
        x, direction = (part[share] for part in batch())
        leaves = {"input": x.requires_grad_(), **dict(layer.named_parameters())}
        y = layer(x)
        product = (y * direction[:, : y.shape[1], : y.shape[2], : y.shape[3]]).sum()
        first = torch.autograd.grad(product, leaves.values(), retain_graph=True)
        [kept] = torch.autograd.grad(product, x, create_graph=True)
        torch.testing.assert_close(kept, first[0], rtol=1e-9, atol=1e-11)
        second = torch.autograd.grad(kept.square().sum(), leaves.values(), allow_unused=True, materialize_grads=True)
        gradients = {"gradient": dict(zip(leaves, first, strict=True)), "second": dict(zip(leaves, second, strict=True))}
        if dist.is_initialized():
            for one in gradients.values():
                for key in list(leaves)[1:]:
                    dist.all_reduce(one[key])
        named = {f"{order} of {key}": value for order, one in gradients.items() for key, value in one.items()}
        found[name] = {"output": y.detach(), **named, **dict(layer.named_buffers())}
    return found


def stored_by_batch_norm() -> list[int]:
    """Return the sizes of what batch normalisation stores for the backward pass, the layer's own parameters apart."""
    layer, x = BatchNorm2d(4), torch.randn(2, 4, 8, 8, requires_grad=True)
    stored: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: stored.append(t) or t, lambda t: t):
        layer(x)
    return sorted(t.numel() for t in stored if t is not layer.weight)


def one_of_two(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.set_num_threads(1)
    found = [results(SHARES[rank]), results(SHARES[rank], over_processes=False)]
    with ExitStack() as stand_ins:
        stand_ins.enter_context(patch.object(global_batch, "has_kernels", lambda x: True))
        for name, formula in KERNELS.items():
            stand_ins.enter_context(patch.object(torch, name, formula))
        by_kernels = results(SHARES[rank])
    torch.save([*found, by_kernels, stored_by_batch_norm()], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    folder = tmp_path_factory.mktemp("processes")
    run_two(one_of_two, str(folder))
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", LAYERS)
def test_two_processes_equal_one(name: str, found: list[list[Any]]) -> None:
    expected = results(slice(0, 6))[name]
    for rank, share in enumerate(SHARES):
        together, apart, by_kernels = (result[name] for result in found[rank][:3])
        for key, value in expected.items():
            part = value[share] if key in ("output", "gradient of input", "second of input") else value
            for ours in (together, by_kernels):
                torch.testing.assert_close(ours[key], part, rtol=1e-9, atol=1e-9, msg=lambda text, key=key: f"{key}: {text}")
        assert not torch.allclose(apart["output"], expected["output"][share], atol=1e-3)


def test_batch_norm_over_processes_stores_its_input_alone(found: list[list[Any]]) -> None:
    assert found[0][3] == [2, 4, 4, 2 * 4 * 8 * 8]  # counts, mean, inverse deviation, x
