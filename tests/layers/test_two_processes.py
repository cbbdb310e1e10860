"""Two gloo processes with unequal shares of a batch compute the values, gradients and averages of one process with the whole batch."""

from collections.abc import Callable

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from gconv_gan.layers import BatchNorm2d, ConvNorm2d, GroupNormPlus, InvariantConv2d, IterNorm, conv_norm
from tests.layers.made import correlated
from tests.processes import run_two

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "batch_norm": lambda: BatchNorm2d(4),
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
    """Return output, gradients of the input and, summed over processes, of the parameters, and buffers, for a share of the batch."""
    found = {}
    for name, make in LAYERS.items():
        torch.manual_seed(1)
        layer = make().double()
        for module in layer.modules():
            module.over_processes = over_processes
        x, direction = (part[share] for part in batch())
        x.requires_grad_()
        y = layer(x)
        (y * direction[:, : y.shape[1], : y.shape[2], : y.shape[3]]).sum().backward()
        gradients = {key: parameter.grad for key, parameter in layer.named_parameters()}
        if dist.is_initialized():
            for gradient in gradients.values():
                dist.all_reduce(gradient)
        found[name] = {"output": y.detach(), "input gradient": x.grad, **gradients, **dict(layer.named_buffers())}
    return found


def one_of_two(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.set_num_threads(1)
    torch.save([results(SHARES[rank]), results(SHARES[rank], over_processes=False)], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, dict[str, Tensor]]]]:
    folder = tmp_path_factory.mktemp("processes")
    run_two(one_of_two, str(folder))
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", LAYERS)
def test_two_processes_equal_one(name: str, found: list[list[dict[str, dict[str, Tensor]]]]) -> None:
    expected = results(slice(0, 6))[name]
    for rank, share in enumerate(SHARES):
        together, apart = (result[name] for result in found[rank])
        for key, value in expected.items():
            part = value[share] if key in ("output", "input gradient") else value
            torch.testing.assert_close(together[key], part, rtol=1e-10, atol=1e-10, msg=lambda text, key=key: f"{key}: {text}")
        assert not torch.allclose(apart["output"], expected["output"][share], atol=1e-3)
