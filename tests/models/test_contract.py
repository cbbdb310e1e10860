"""One contract for every generator and discriminator: rows that are added to the tables are tested too."""

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from gconv_gan.config.load import validated
from gconv_gan.models.factory import build_discriminator, build_generator
from gconv_gan.models.tables import DISCRIMINATORS, GENERATORS

SIZES = (8, 16, 32, 64, 128)
CLASSES = 3
WIDTH = 16  # the least that every network's halvings divide at 128 px
GCONV = {"kind": "gconv", "gate_init_std": 0.5}
BANK = {"kind": "gconv", "mode": "bank", "gate_init_std": 0.5}
MAPPING = {"kind": "mlp", "width": 12, "depth": 2}


def generator(kind: str, *, size: int = 8, classes: int | None = CLASSES, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    config = validated(GENERATORS.models()[kind], {"width": WIDTH, "latent_dim": 60, **options}, kind)
    return build_generator(config, image_size=size, num_classes=classes)


def discriminator(kind: str, *, size: int = 8, classes: int | None = CLASSES, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    config = validated(DISCRIMINATORS.models()[kind], {"width": WIDTH, **options}, kind)
    return build_discriminator(config, image_size=size, num_classes=classes)


def inputs(network: nn.Module, count: int = 4) -> tuple[Tensor, Tensor | None]:
    draw = torch.Generator().manual_seed(1)
    size = network.image_size
    x = (
        torch.randn(count, network.latent_dim, generator=draw)
        if hasattr(network, "latent_dim")
        else torch.rand(count, 3, size, size, generator=draw) * 2 - 1
    )
    return x, None if network.num_classes is None else torch.arange(count) % CLASSES


def tried(network: nn.Module) -> nn.Module:
    """Return the network with tracked statistics and with parameters moved off their start, so that no branch is zero."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
        network.train()(*inputs(network))
    return network.eval()


def variants() -> Iterator[Any]:
    """Yield a name and a small network of every kind, unconditional and not, with each option that a kind has."""
    for kind in GENERATORS:
        yield f"G {kind} unconditional", partial(generator, kind, classes=None)
        yield f"G {kind} conditional", partial(generator, kind)
        yield f"G {kind} gconv unconditional", partial(generator, kind, classes=None, conv=GCONV)
        yield f"G {kind} gconv bank", partial(generator, kind, conv=BANK, spectral_norm=True, attention=[8], size=16)
        yield f"G {kind} mapped", partial(generator, kind, conv=GCONV, conv_to_rgb=True, norm={"kind": "none"}, mapping=MAPPING)
    for kind in DISCRIMINATORS:
        yield f"D {kind} unconditional", partial(discriminator, kind, classes=None)
        yield f"D {kind} bare", partial(discriminator, kind, norm={"kind": "none"})
        yield f"D {kind} spectral", partial(discriminator, kind, attention=[4])
        yield f"D {kind} conv_norm", partial(discriminator, kind, norm={"kind": "conv_norm"}, attention=[4])


VARIANTS = dict(variants())
every_network = pytest.mark.parametrize("make", VARIANTS.values(), ids=VARIANTS.keys())


def test_every_kind_of_network_is_tested() -> None:
    assert {"resnet", "dcgan", "biggan", "skip"} <= GENERATORS.keys() & DISCRIMINATORS.keys()


@every_network
def test_it_tells_the_channels_of_its_maps(make: Callable[[], nn.Module]) -> None:
    network = make()
    convolutions = [module for module in network.modules() if getattr(module, "kernel_size", (1, 1))[0] > 1]
    found = {channels for conv in convolutions for channels in (conv.in_channels, conv.out_channels)} - {3}  # the images
    assert min(network.channels) == min(found)
    assert max(network.channels) == max(found)


@every_network
def test_shapes_gradients_modes_copies_and_labels(make: Callable[[], nn.Module]) -> None:
    network = make()
    x, y = inputs(network)

    # training: values, and a gradient for the input and every parameter
    before = x.clone()
    images = hasattr(network, "latent_dim")
    shape = (4, 3, network.image_size, network.image_size) if images else (4,)
    out = network.train()(x.requires_grad_(), y)
    assert out.shape == shape
    assert out.dtype == torch.float32
    assert out.isfinite().all()
    assert not images or out.abs().max() <= 1
    out.backward(torch.randn_like(out))
    assert torch.equal(x, before)
    assert x.grad is not None
    assert x.grad.isfinite().all()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name

    # evaluation: deterministic, no changed buffer, images independent of each other
    x = x.detach()
    tried(network)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    out = network(x, y).detach()
    assert torch.equal(network(x, y), out)
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    alone = torch.cat([network(x[i : i + 1], None if y is None else y[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(alone, out, rtol=1e-4, atol=1e-5)
    assert out.flatten(1).std(0).max() > 1e-4 if images else out.std() > 1e-6

    # copies: a state dict in a file, and an independent deep copy
    restored = make()
    restored.load_state_dict(load(save({name: tensor.contiguous() for name, tensor in network.state_dict().items()})))
    assert torch.equal(restored.eval()(x, y), out)
    twin = copy.deepcopy(network)
    assert torch.equal(twin(x, y), out)
    tried(twin)
    assert torch.equal(network(x, y), out)

    # labels
    if y is None:
        with pytest.raises(ValueError, match="takes no y"):
            network(x, torch.zeros(4, dtype=torch.long))
    else:
        with pytest.raises(ValueError, match="needs y"):
            network(x)
        assert not torch.equal(network(x, (y + 1) % CLASSES), out)


@every_network
def test_two_steps_are_the_same_twice_and_draw_nothing(make: Callable[[], nn.Module]) -> None:
    states = []
    for seed in (1, 2):
        network = make().train()
        x, y = inputs(network)
        torch.manual_seed(seed)
        before = torch.random.get_rng_state()
        optimizer = torch.optim.SGD(network.parameters(), 0.01)
        for _ in range(2):
            network(x, y).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        assert torch.equal(torch.random.get_rng_state(), before)
        states.append(network.state_dict())
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


MAKERS = [*(partial(generator, kind) for kind in GENERATORS), *(partial(discriminator, kind) for kind in DISCRIMINATORS)]
every_kind = pytest.mark.parametrize("make", MAKERS, ids=[*(f"G {kind}" for kind in GENERATORS), *(f"D {kind}" for kind in DISCRIMINATORS)])


@every_kind
@pytest.mark.parametrize("size", SIZES)
def test_every_resolution(make: Callable[..., nn.Module], size: int) -> None:
    network = make(size=size).eval()
    with torch.no_grad():
        assert network(*inputs(network, 2)).shape == ((2, 3, size, size) if hasattr(network, "latent_dim") else (2,))
    assert (network.image_size, network.num_classes, getattr(network, "latent_dim", 60)) == (size, CLASSES, 60)


@every_kind
def test_another_size_or_width_is_refused_in_one_sentence(make: Callable[..., nn.Module]) -> None:
    with pytest.raises(ValueError, match="image_size 48 is not among 8, 16, 32, 64, 128"):
        make(size=48)
    with pytest.raises(ValueError, match="width 6 must be a multiple of"):
        make(size=128, width=6)
