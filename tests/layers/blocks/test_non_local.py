"""NonLocal2d: both orders, both norms and SAGAN's form against loops over pixels; initial state, cost and refusals."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gconv_gan.layers.blocks.non_local import NonLocal2d, sinusoid
from gconv_gan.layers.lipschitz.spectral_norm import apply_spectral_norm


def layer(channels: int = 8, *, std: float = 0.5, **options: object) -> NonLocal2d:
    """A layer in float64 with weights large enough to matter and an open output."""
    torch.manual_seed(0)
    block = NonLocal2d(channels, **options).double()  # type: ignore[arg-type]
    opened(block, std)
    return block


def opened(block: NonLocal2d, std: float) -> None:
    for conv in (block.query, block.key, block.value, block.output):
        torch.nn.init.normal_(conv.weight, std=std)
    if block.output_norm is not None:
        torch.nn.init.normal_(block.output_norm.weight)
        torch.nn.init.normal_(block.output_norm.bias)
    if block.gain is not None:
        torch.nn.init.constant_(block.gain, 0.7)


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def reference(block: NonLocal2d, x: Tensor) -> Tensor:
    """Pixel by pixel, head by head."""
    batch, channels, height, width = x.shape
    maps = {n: torch.einsum("oi,bihw->bohw", getattr(block, n).weight[:, :, 0, 0], x) for n in ("query", "key", "value")}
    if block.pool:
        for name in ("key", "value"):
            blocks = maps[name].unflatten(2, (height // 2, 2)).unflatten(4, (width // 2, 2))
            maps[name] = blocks.amax((3, 5))
    result = torch.empty_like(x)
    for b in range(batch):
        heads = []
        for head in range(block.heads):
            q, k, v = (maps[n][b].flatten(1).chunk(block.heads)[head] for n in ("query", "key", "value"))
            columns = []
            for pixel in range(height * width):
                scores = torch.stack([q[:, pixel] @ k[:, j] for j in range(k.shape[1])])
                if block.norm == "softmax":
                    weights = scores.exp() / scores.exp().sum()
                else:
                    weights = scores / math.sqrt(k.shape[1]) / math.sqrt(block.embed_channels)
                columns.append((v * weights).sum(1))
            heads.append(torch.stack(columns, 1))
        result[b] = torch.einsum("oi,in->on", block.output.weight[:, :, 0, 0], torch.cat(heads)).view(channels, height, width)
    if block.output_norm is None:
        return x + block.gain * result
    norm = block.output_norm
    return x + F.batch_norm(result, None, None, norm.weight, norm.bias, True, 0.0, norm.eps)


@pytest.mark.parametrize(
    "options",
    [
        {"norm": "softmax"},
        {"norm": "softmax", "heads": 2, "output_norm": "gain"},
        {"norm": "softmax", "embed_channels": 1, "value_channels": 4, "pool": True, "output_norm": "gain"},
        {"norm": "scale", "order": "attention"},
        {"norm": "scale", "order": "associative", "heads": 4},
        {"norm": "scale", "embed_channels": 3, "value_channels": 5, "heads": 2, "pool": True},
    ],
    ids=str,
)
def test_equals_the_definition_in_value_and_gradients(options: dict[str, object]) -> None:
    block = layer(**options)
    x = images(2, 8, 4, 6).requires_grad_()
    ours, plain = block(x), reference(block, x)
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-11)
    direction = images(*ours.shape) + 1
    tensors = [x, *block.parameters()]
    for a, b in zip(torch.autograd.grad(ours, tensors, direction), torch.autograd.grad(plain, tensors, direction), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)
        assert a.abs().max() > 0


@pytest.mark.parametrize("heads", [1, 4])
def test_the_two_orders_are_the_base_form_over_the_root_of_the_width(heads: int) -> None:
    attention, associative = (layer(order=order, heads=heads, embed_channels=4) for order in ("attention", "associative"))
    q, k, v = (images(2, heads, 4, 30) * scale for scale in (1.0, 1.3, 0.7))
    base = v @ (q.mT @ k / math.sqrt(30)).mT  # the published form without softmax, head by head
    torch.testing.assert_close(attention._gather(q, k, v), base / math.sqrt(4), rtol=0, atol=1e-12)
    torch.testing.assert_close(associative._gather(q, k, v), base / math.sqrt(4), rtol=0, atol=1e-12)


def test_the_scale_keeps_the_variance_of_unit_normal_embeddings() -> None:
    block = layer(embed_channels=8, order="associative")
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(4, 1, 8, 256, generator=generator) for _ in range(3))
    spread = block._gather(q, k, v).std()
    assert 0.8 < spread < 1.2
    base = v @ (q.mT @ k / 16).mT
    assert 0.8 < base.std() / math.sqrt(8) < 1.2


@pytest.mark.parametrize("output_norm", ["batch_norm", "gain"])
@pytest.mark.parametrize("norm", ["softmax", "scale"])
def test_it_starts_as_the_identity_and_every_weight_learns_after_one_step(norm: str, output_norm: str) -> None:
    torch.manual_seed(0)
    block = NonLocal2d(16, norm=norm, output_norm=output_norm)  # type: ignore[arg-type]
    x, target = torch.randn(4, 16, 6, 6), torch.randn(4, 16, 6, 6)
    assert torch.equal(block(x), x)
    optimizer = torch.optim.SGD(block.parameters(), lr=0.1)
    (block(x) - target).square().sum().backward()
    branch = block.gain if block.gain is not None else block.output_norm.weight
    assert all((p.grad.abs().max() > 0) == (p is branch or p is getattr(block.output_norm, "bias", None)) for p in block.parameters())
    before = branch.detach().clone()
    optimizer.step()
    optimizer.zero_grad()
    assert (branch != before).any()
    (block(x) - target).square().sum().backward()
    assert all(p.grad.abs().max() > 0 for p in block.parameters())


def test_default_widths_and_multi_head_cost() -> None:
    one, four = NonLocal2d(64), NonLocal2d(64, heads=4)
    assert (one.embed_channels, one.query.out_channels) == (32, 32)
    assert (four.embed_channels, four.query.out_channels) == (16, 64)
    wide = NonLocal2d(64, embed_channels=64)
    assert sum(p.numel() for p in four.parameters()) == sum(p.numel() for p in wide.parameters())
    assert 4 * four.product_macs(32, 32) == wide.product_macs(32, 32) == 2 * 1024 * 64 * 64


class LargestTensor(TorchDispatchMode):
    """Remember the largest tensor that any operation returns."""

    numel = 0

    def __torch_dispatch__(self, func: object, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        result = func(*args, **(kwargs or {}))  # type: ignore[operator]
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor):
                self.numel = max(self.numel, tensor.numel())
        return result


def largest(block: NonLocal2d, side: int) -> int:
    with LargestTensor() as mode:
        block(torch.zeros(1, 8, side, side, requires_grad=True)).sum().backward()
    return mode.numel


def test_without_softmax_no_matrix_of_pixels_by_pixels_is_built() -> None:
    torch.manual_seed(0)
    block = NonLocal2d(8)
    assert [largest(block, side) for side in (16, 32)] == [8 * 256, 8 * 1024]
    assert largest(NonLocal2d(8, order="attention"), 16) == 256**2


def test_auto_takes_the_cheaper_order_at_each_shape() -> None:
    block = NonLocal2d(64)
    assert block.evaluation_order(1024, 1024) == "associative"
    assert block.evaluation_order(16, 16) == "attention"
    assert block.evaluation_order(33, 33) == "associative"  # c = 32 < n
    assert block.evaluation_order(31, 31) == "attention"
    assert NonLocal2d(64, order="attention").evaluation_order(1024, 1024) == "attention"
    assert NonLocal2d(64, norm="softmax").evaluation_order(1024, 1024) == "attention"
    assert NonLocal2d.sagan(64).product_macs(16, 16) == 256 * 64 * (8 + 32)


def test_sagan_form() -> None:
    block = NonLocal2d.sagan(64)
    shapes = {name: tuple(p.shape) for name, p in block.named_parameters()}
    assert shapes == {
        "gain": (),
        "query.weight": (8, 64, 1, 1),
        "key.weight": (8, 64, 1, 1),
        "value.weight": (32, 64, 1, 1),
        "output.weight": (64, 32, 1, 1),
    }
    assert block.pool
    assert block.norm == "softmax"
    x = torch.randn(2, 64, 8, 8)
    assert torch.equal(block(x), x)
    apply_spectral_norm(block)
    for name in ("query", "key", "value", "output"):
        norm = torch.linalg.matrix_norm(getattr(block.eval(), name).weight.flatten(1), 2)
        assert norm.item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("norm", ["softmax", "scale"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_large_inputs_stay_finite_in_half_precision(norm: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    block = NonLocal2d(32, norm=norm)  # type: ignore[arg-type]
    opened(block, 32**-0.5)
    x = 10 * torch.randn(2, 32, 16, 16)
    with torch.autocast("cpu", dtype):
        result = block(x)
    assert result.isfinite().all()
    assert (result - x).abs().max() > 0.1


def test_positions_stay_in_the_trunk() -> None:
    torch.manual_seed(0)
    block = NonLocal2d(8, positions=True)
    x = torch.randn(2, 8, 5, 3)
    encoded = block(x) - x
    for (row, column), channel in zip([(0, 0), (1, 0), (4, 2), (2, 1)], [1, 2, 3, 5], strict=True):
        place = row if channel < 4 else column
        angle = place / 10000 ** (2 * (channel % 4 // 2) / 4)
        expected = math.sin(angle) if channel % 2 == 0 else math.cos(angle)
        torch.testing.assert_close(encoded[0, channel, row, column], torch.tensor(expected, dtype=torch.float32), rtol=0, atol=1e-6)
    assert sinusoid(8, 5, 3).shape == (8, 5, 3)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="order='associative' needs norm='scale'"):
        NonLocal2d(8, norm="softmax", order="associative")
    with pytest.raises(ValueError, match="heads must be positive"):
        NonLocal2d(8, heads=0)
    with pytest.raises(ValueError, match="leave 0 for queries"):
        NonLocal2d(4, heads=8)
    with pytest.raises(ValueError, match="only 4"):
        NonLocal2d.sagan(4)
    with pytest.raises(ValueError, match="multiple of 4 channels"):
        NonLocal2d(6, positions=True)
    with pytest.raises(ValueError, match="too small"):
        NonLocal2d.sagan(8)(torch.zeros(1, 8, 1, 4))
