"""BigGAN: exact sizes, the inputs of each block, and initial weights."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from gconv_gan.layers.blocks.ghost import GhostModule
from gconv_gan.layers.conditioning import Condition
from gconv_gan.layers.dynamic.cond_conv import CondConv2d
from gconv_gan.layers.dynamic.gconv import GConv2d
from gconv_gan.layers.lipschitz.spectral_norm import apply_spectral_norm
from gconv_gan.layers.norms.batch_norm import ClassConditionalNorm2d, LatentNorm2d
from gconv_gan.layers.resample import ResampledConv2d
from gconv_gan.models.gan.biggan import BigGANDiscriminator, BigGANGenerator, block_latent_dim

# BigGAN-PyTorch's tables, in units of ch: widths of G's maps; widths of D's blocks
GENERATOR = {32: [4, 4, 4, 4], 64: [16, 16, 8, 4, 2], 128: [16, 16, 8, 4, 2, 1]}
DISCRIMINATOR = {32: [4, 4, 4, 4], 64: [1, 2, 4, 8, 16], 128: [1, 2, 4, 8, 16, 16]}


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def attention_parameters(c: int) -> int:
    return 2 * c * (c // 8) + 2 * c * (c // 2) + 1


def generator_parameters(size: int, ch: int, *, z: int, classes: int, shared: int = 128, attention: int = 0) -> int:
    widths = [ch * m for m in GENERATOR[size]]
    chunk = z // len(widths)
    total = classes * shared + (chunk + 1) * 16 * widths[0]
    for block, (i, o) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        total += 2 * (shared + chunk) * (i + o)  # gain and bias of two norms
        total += (9 * i + 1) * o + (9 * o + 1) * o + (i + 1) * o
        total += attention_parameters(o) if 8 << block == attention else 0
    return total + 2 * widths[-1] + (9 * widths[-1] + 1) * 3


def discriminator_parameters(size: int, ch: int, *, classes: int, attention: int = 0) -> int:
    widths, downs = [ch * m for m in DISCRIMINATOR[size]], 2 if size == 32 else len(DISCRIMINATOR[size]) - 1
    total, i = 0, 3
    for block, o in enumerate(widths):
        total += (9 * i + 1) * o + (9 * o + 1) * o
        total += (i + 1) * o if i != o or block < downs else 0
        total += attention_parameters(o) if size >> (block + 1) == attention else 0
        i = o
    return total + (i + 1) + classes * i


def test_the_published_sizes() -> None:
    """The counts that BigGAN-PyTorch prints for ImageNet at 128 px, ch = 96, z = 120, attention at 64."""
    assert generator_parameters(128, 96, z=120, classes=1000, attention=64) == 70_433_988
    assert discriminator_parameters(128, 96, classes=1000, attention=64) == 87_982_370


@pytest.mark.parametrize(
    ("size", "ch", "z", "classes", "attention"),
    [(128, 96, 120, 1000, 64), (64, 80, 100, 200, 64), (64, 64, 120, 1000, 32), (32, 96, 80, 10, 16), (32, 64, 80, 100, 0)],
)
def test_parameters(size: int, ch: int, z: int, classes: int, attention: int) -> None:
    g_attention = (attention,) if attention else ()
    d_attention = (attention,) if 0 < attention < size else ()
    with torch.device("meta"):
        g = BigGANGenerator(
            image_size=size, width=ch * max(GENERATOR[size]), latent_dim=z, num_classes=classes, shared_dim=128, attention=g_attention
        )
        d = BigGANDiscriminator(image_size=size, width=ch * max(DISCRIMINATOR[size]), num_classes=classes, attention=d_attention)
    assert parameters(g) == generator_parameters(size, ch, z=z, classes=classes, attention=attention)
    assert parameters(d) == discriminator_parameters(size, ch, classes=classes, attention=d_attention[0] if d_attention else 0)


def test_the_cifar_script_is_the_class_conditional_residual_network() -> None:
    """Without hierarchical z, shared embedding and attention, ch = 64: cGAN-PD's counts at 32 px (its D is as wide as deep)."""
    with torch.device("meta"):
        g = BigGANGenerator(image_size=32, width=256, latent_dim=128, num_classes=10, shared_dim=0, hierarchical=False)
    assert parameters(g) == 4_304_387


def small(**options: object) -> BigGANGenerator:
    torch.manual_seed(0)
    defaults = {"image_size": 16, "width": 8, "latent_dim": 12, "num_classes": 4, "shared_dim": 5}
    return BigGANGenerator(**(defaults | options)).double()  # type: ignore[arg-type]


def test_every_block_receives_the_shared_embedding_and_its_own_chunk() -> None:
    g = small()
    z, y = torch.randn(3, 12, dtype=torch.float64), torch.tensor([2, 0, 2])
    first, (one, two) = g.conditions(z, y)
    assert torch.equal(first, z[:, :4])
    embedded = g.shared.weight[y]
    assert torch.equal(one.z, torch.cat([embedded, z[:, 4:8]], 1))
    assert torch.equal(two.z, torch.cat([embedded, z[:, 8:]], 1))
    assert torch.equal(two.y, y)
    _, (plain, _) = small(hierarchical=False, num_classes=None).conditions(z, None)
    assert torch.equal(plain.z, z)


def test_the_forward_pass_is_the_chain_of_blocks() -> None:
    g = small().eval()
    z, y = torch.randn(3, 12, dtype=torch.float64), torch.tensor([2, 0, 1])
    h = (z[:, :4] @ g.linear.weight.T + g.linear.bias).view(3, 8, 4, 4)
    for block, start in zip(g.blocks, (4, 8), strict=True):
        h = block(h, Condition(torch.cat([g.shared(y), z[:, start : start + 4]], 1), y))
    norm = g.last_norm
    h = (h - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + norm.eps).sqrt()
    expected = torch.tanh(g.to_rgb(torch.relu(h * norm.weight[:, None, None] + norm.bias[:, None, None])))
    torch.testing.assert_close(g(z, y), expected)


@pytest.mark.parametrize("part", [0, 4, 8])
def test_every_chunk_of_z_matters(part: int) -> None:
    g = small().eval()
    z, y = torch.randn(1, 12, dtype=torch.float64), torch.tensor([1])
    moved = z.clone()
    moved[:, part : part + 4] += 1
    assert (g(moved, y) - g(z, y)).abs().max() > 1e-3


def test_generative_convolutions_select_by_the_blocks_own_vector() -> None:
    dim = block_latent_dim(image_size=16, latent_dim=12, shared_dim=5, hierarchical=True)
    assert dim == 9
    g = small(conv=partial(GConv2d, latent_dim=dim, mode="bank", gate_init_std=1.0)).eval()
    gates = g.blocks[1].conv1.gate
    z, y = torch.randn(2, 12, dtype=torch.float64), torch.tensor([1, 1])
    z[1] = z[0]
    z[1, :8] += 1  # the other chunks
    _, conditions = g.conditions(z, y)
    assert torch.equal(*gates(conditions[1]))
    _, others = g.conditions(z, torch.tensor([1, 2]))
    assert not torch.equal(*gates(others[1]))


def assert_orthonormal(weight: Tensor) -> None:
    matrix = weight.detach().flatten(1).double()
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    torch.testing.assert_close(gram, torch.eye(len(gram), dtype=torch.float64), rtol=0, atol=1e-5)


def test_orthogonal_start_of_every_weight_but_the_gates() -> None:
    torch.manual_seed(0)
    g = small(conv=partial(GConv2d, latent_dim=9), width=16, attention=(8,)).float()
    d = BigGANDiscriminator(image_size=16, width=16, num_classes=4, attention=(8,))
    block = g.blocks[0]
    weights = [g.shared.weight, g.linear.weight, block.conv1.dictionary, block.norm1.scale.weight, block.norm2.shift.weight]
    weights += [block.shortcut.weight, g.to_rgb.weight, g.attention["0"].query.weight, g.attention["0"].output.weight]
    weights += [d.blocks[0].conv1.weight, d.blocks[1].shortcut.weight, d.linear.weight, d.embedding.weight, d.attention["0"].key.weight]
    for weight in weights:
        assert_orthonormal(weight)
    biases = [p for network in (g, d) for name, p in network.named_parameters() if name.endswith("bias")]
    assert not any(bias.any() for bias in biases)
    assert block.conv1.gate.logits.weight.std().item() == pytest.approx(0.1, rel=0.2)
    assert g.attention["0"].gain == 0


def test_the_cifar_scripts_start() -> None:
    torch.manual_seed(0)
    options = {"image_size": 32, "width": 64, "num_classes": 10, "init": "normal"}
    g = BigGANGenerator(latent_dim=128, shared_dim=0, hierarchical=False, **options)  # type: ignore[arg-type]
    d = BigGANDiscriminator(**options)  # type: ignore[arg-type]
    for weight in (g.linear.weight, g.blocks[2].conv2.weight, d.blocks[3].conv1.weight, d.embedding.weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert g.blocks[0].norm1.scale.weight.mean().item() == pytest.approx(1.0, abs=0.01)
    assert g.blocks[0].norm1.shift.weight.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("conv", [partial(GConv2d, latent_dim=9, bias="dynamic"), partial(GhostModule, conv=ResampledConv2d), CondConv2d])
def test_biases_start_at_zero_in_every_kind_of_convolution(conv: Callable[..., nn.Module]) -> None:
    biases = {name: p for name, p in small(conv=conv).named_parameters() if name.endswith("bias") and ".gate." not in name}
    assert any("conv1" in name for name in biases)
    assert not any(bias.any() for bias in biases.values())


def test_class_tables_of_an_orthogonal_start_are_orthogonal_about_one_and_zero() -> None:
    norm = small(shared_dim=0, hierarchical=False).blocks[0].norm1
    assert isinstance(norm, ClassConditionalNorm2d)
    assert_orthonormal(norm.scale.weight - 1)
    assert_orthonormal(norm.shift.weight)


def test_spectral_normalisation_leaves_the_shared_embedding_and_gates_alone() -> None:
    g = small(conv=partial(GConv2d, latent_dim=9, mode="bank")).float()
    apply_spectral_norm(g, embeddings=False)
    normalised = {name.split(".parametrizations")[0] for name in g.state_dict() if "parametrizations" in name}
    layers = {"norm1.scale", "norm1.shift", "norm2.scale", "norm2.shift", "conv1", "conv2", "shortcut"}
    assert normalised == {"linear", "to_rgb"} | {f"blocks.{b}.{layer}" for b in (0, 1) for layer in layers}
    assert isinstance(g.blocks[0].norm1, LatentNorm2d)
    images = g(torch.randn(3, 12), torch.tensor([0, 1, 2]))
    images.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in g.parameters())


def test_refusals() -> None:
    with pytest.raises(ValueError, match="latent_dim 128 does not divide into 6 chunks at 128 px: take 126"):
        BigGANGenerator(image_size=128, width=64, latent_dim=128)
    with pytest.raises(ValueError, match="give shared_dim"):
        small(shared_dim=0)
    with pytest.raises(ValueError, match="no block ends at 32 px"):
        small(attention=(32,))
    with pytest.raises(ValueError, match="multiple of 16"):
        BigGANDiscriminator(image_size=128, width=24)
    with pytest.raises(ValueError, match="image_size 256 is not among"):
        BigGANDiscriminator(image_size=256, width=16)
