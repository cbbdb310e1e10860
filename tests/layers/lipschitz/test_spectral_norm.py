"""Spectral normalisation: the divided weight, the steps of its power iteration, and the normalised layers."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils._python_dispatch import TorchDispatchMode

from gconv_gan.layers.conditioning import Condition
from gconv_gan.layers.dynamic.gconv import GConv2d
from gconv_gan.layers.lipschitz.conv_norm import ConvNorm2d, has_spectral_norm
from gconv_gan.layers.lipschitz.spectral_norm import PowerIterations, apply_spectral_norm, is_power_vector, spectral_norm
from gconv_gan.layers.norms.batch_norm import ConditionalBatchNorm2d
from gconv_gan.layers.resample import ResampledConv2d

LAYERS = {
    "conv": lambda: nn.Conv2d(3, 5, 3),
    "resampled": lambda: ResampledConv2d(3, 5, 3, padding=1, resample="down"),
    "linear": lambda: nn.Linear(7, 4),
    "embedding": lambda: nn.Embedding(6, 4),
}


class Critic(nn.Module):
    """A tiny projection discriminator."""

    def __init__(self) -> None:
        super().__init__()
        self.first = ResampledConv2d(3, 8, 3, padding=1, resample="down")
        self.second = ConvNorm2d(8, 8, 3, padding=1, affine=True)
        self.score = nn.Linear(8, 1)
        self.embedding = nn.Embedding(10, 8)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        features = self.second(self.first(x).relu()).relu().sum((2, 3))
        return self.score(features)[:, 0] + (self.embedding(y) * features).sum(1)


@pytest.mark.parametrize("kind", LAYERS)
def test_weight_is_divided_by_the_norm_of_its_matrix(kind: str) -> None:
    torch.manual_seed(0)
    layer = LAYERS[kind]()
    original = layer.weight.detach().clone()
    sigma = torch.linalg.matrix_norm(original.flatten(1), 2)
    assert spectral_norm(layer, n_power_iterations=20) is layer
    torch.testing.assert_close(layer.weight, original / sigma, rtol=1e-3, atol=1e-4)
    keys = {"parametrizations.weight.original", "parametrizations.weight.0._u", "parametrizations.weight.0._v"}
    assert set(layer.state_dict()) - {"bias"} == keys
    assert layer.parametrizations.weight[0]._u.shape == original.shape[:1]


def test_an_embedding_is_normalised_as_classes_by_channels() -> None:
    layer = spectral_norm(nn.Embedding(6, 4), n_power_iterations=50)
    layer.weight  # noqa: B018 - the access runs the power iteration
    assert torch.linalg.matrix_norm(layer(torch.arange(6)), 2).item() == pytest.approx(1, abs=1e-4)


def test_power_iteration_moves_once_per_access_in_training_and_not_in_evaluation() -> None:
    torch.manual_seed(0)
    layer = spectral_norm(nn.Linear(9, 9))
    with torch.no_grad():
        layer.parametrizations.weight.original.normal_()
    a, b = layer.weight, layer.weight
    assert not torch.equal(a, b)
    with parametrize.cached():
        assert layer.weight is layer.weight
    layer.eval()
    assert torch.equal(layer.weight, layer.weight)


def test_two_forwards_share_one_backward() -> None:
    torch.manual_seed(0)
    critic = apply_spectral_norm(Critic())
    real, fake, y = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8), torch.tensor([1, 4])
    (critic(fake, y).relu().mean() - critic(real, y).mean()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in critic.parameters())


def test_a_whole_network_is_normalised_but_for_conv_norm() -> None:
    critic = apply_spectral_norm(Critic(), eps=1e-6)
    normalised = {name for name, module in critic.named_modules() if has_spectral_norm(module)}
    assert normalised == {"first", "score", "embedding"}
    assert critic.first.parametrizations.weight[0].eps == 1e-6
    assert set(critic.second.state_dict()) == {"weight", "bias", "affine.weight", "affine.bias"}


def test_copies_and_state_dicts_carry_the_power_iteration() -> None:
    torch.manual_seed(0)
    critic, other = apply_spectral_norm(Critic()), apply_spectral_norm(Critic())
    x, y = torch.randn(2, 3, 8, 8), torch.tensor([0, 9])
    critic(x, y)
    other.load_state_dict(critic.state_dict())
    expected = critic.eval()(x, y)
    assert torch.equal(other.eval()(x, y), expected)
    assert torch.equal(copy.deepcopy(critic)(x, y), expected)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="does nothing"):
        spectral_norm(ConvNorm2d(2, 3, 3))
    with pytest.raises(ValueError, match="not BatchNorm2d"):
        spectral_norm(nn.BatchNorm2d(3))
    with pytest.raises(ValueError, match="already"):
        apply_spectral_norm(apply_spectral_norm(Critic()))


def test_each_kernel_of_a_bank_is_normalised_by_its_own_norm() -> None:
    torch.manual_seed(0)
    conv = GConv2d(4, 6, 3, latent_dim=5, mode="bank", gate_init_std=1.0, padding=1)
    original = conv.bank.detach().clone()
    gate = conv.gate.logits.weight
    apply_spectral_norm(conv, n_power_iterations=30)
    norms = torch.linalg.matrix_norm(original.flatten(2), 2)
    assert norms.std() > 1e-3
    torch.testing.assert_close(conv.bank, original / norms[:, None, None, None, None], rtol=1e-3, atol=1e-4)
    assert conv.gate.logits.weight is gate
    assert conv.parametrizations.bank[0]._u.shape == (4, 6)
    condition = Condition(z=torch.randn(3, 5))
    mixtures = torch.einsum("bk,koipq->boipq", conv.gate(condition), conv.eval().bank)
    assert (torch.linalg.matrix_norm(mixtures.flatten(2), 2) <= conv.gate(condition).sum(1) * 1.01).all()


def test_the_gradient_of_a_normalised_bank_knows_the_norm() -> None:
    torch.manual_seed(0)
    conv = GConv2d(2, 3, 3, latent_dim=4, mode="bank", padding=1).double()
    apply_spectral_norm(conv, n_power_iterations=1)
    conv.bank.sum()  # a step of the power iteration, frozen below
    conv.eval()
    weight, direction = conv.parametrizations.bank.original, torch.randn(4, 3, 2, 3, 3, dtype=torch.float64)
    (ours,) = torch.autograd.grad(conv.bank, weight, direction)
    u, v = conv.parametrizations.bank[0]._u, conv.parametrizations.bank[0]._v
    leaf = weight.detach().clone().requires_grad_()
    sigma = torch.stack([u[k] @ leaf[k].flatten(1) @ v[k] for k in range(4)])
    (expected,) = torch.autograd.grad(leaf / sigma.view(4, 1, 1, 1, 1), leaf, direction)
    torch.testing.assert_close(ours, expected)


def test_a_dictionary_and_its_mixing_matrix_are_normalised_and_a_generators_embeddings_are_not() -> None:
    torch.manual_seed(0)
    network = nn.ModuleDict(
        {"conv": GConv2d(4, 6, 3, latent_dim=5, padding=1), "norm": ConditionalBatchNorm2d(6, 3), "rgb": nn.Conv2d(6, 3, 3)}
    )
    apply_spectral_norm(network, n_power_iterations=30, embeddings=False)
    for tensor in (network["conv"].dictionary, network["conv"].mix, network["rgb"].weight):
        assert torch.linalg.matrix_norm(tensor.flatten(1), 2).item() == pytest.approx(1, abs=1e-3)
    assert not any("norm." in name for name in network.state_dict() if "parametrizations" in name)
    assert not any("gate" in name for name in network.state_dict() if "parametrizations" in name)


def test_power_iterations_may_be_advanced_in_evaluation() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(9, 9), nn.ReLU(), nn.Linear(9, 9))
    apply_spectral_norm(network)
    with torch.no_grad():
        network[0].parametrizations.weight.original.normal_()
    network.eval()
    iterations = PowerIterations(network)
    for _ in range(200):
        iterations.advance()
    assert torch.linalg.matrix_norm(network[0].weight, 2).item() == pytest.approx(1, abs=1e-3)
    assert not any(module.training for module in network.modules())
    assert {name for name in network.state_dict() if is_power_vector(name)} == {
        f"{layer}.parametrizations.weight.0._{vector}" for layer in (0, 2) for vector in "uv"
    }


def test_within_one_power_iteration_all_passes_see_the_weight_that_a_single_pass_would() -> None:
    torch.manual_seed(0)
    layer = spectral_norm(nn.Linear(9, 9))
    with torch.no_grad():
        layer.parametrizations.weight.original.normal_()
    alone = copy.deepcopy(layer)
    expected = alone.weight
    with PowerIterations(nn.Sequential(layer)).once():
        assert torch.equal(layer.weight, expected)
        assert torch.equal(layer.weight, expected)
        layer.weight.sum().backward()
    assert torch.equal(layer.parametrizations.weight[0]._u, alone.parametrizations.weight[0]._u)
    assert not torch.equal(layer.weight, expected)  # it moves again
    expected.sum().backward()
    assert torch.equal(layer.parametrizations.weight.original.grad, alone.parametrizations.weight.original.grad)


def test_one_power_iteration_leaves_an_evaluated_network_alone() -> None:
    layer = spectral_norm(nn.Linear(9, 9)).eval()
    before = copy.deepcopy(layer.state_dict())
    with PowerIterations(layer).once():
        pass
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
    assert not layer.parametrizations.weight[0].training


# ---- against torch's own parametrisation ---------------------------------------------------------------------------


def twins() -> tuple[nn.Module, nn.Module, nn.Module]:
    """Return a network normalised by us, in channels_last order where kernels have four axes, one by torch, and their bare layers' sum."""
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.Softplus(), nn.Conv2d(6, 4, 1), nn.Flatten(), nn.Linear(4 * 16, 5)).double()
    theirs = copy.deepcopy(ours)
    apply_spectral_norm(ours)
    for layer in theirs:
        if hasattr(layer, "weight"):
            nn.utils.parametrizations.spectral_norm(layer)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def with_channels_last(network: nn.Module) -> nn.Module:
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = torch.empty_like(parameter, memory_format=torch.channels_last).copy_(parameter)
    return network


@pytest.mark.parametrize("channels_last", [False, True])
def test_values_gradients_and_power_iterations_are_those_of_torch(channels_last: bool) -> None:
    ours, theirs = twins()
    if channels_last:
        with_channels_last(ours)
    iterations = PowerIterations(ours)
    for step in range(3):
        x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
        found = []
        for network, scope in ((ours, iterations.once()), (theirs, PowerIterations(theirs).once())):
            leaf = x.clone().requires_grad_()
            network.zero_grad()
            with scope:
                (slope,) = torch.autograd.grad(network(leaf).square().sum(), leaf, create_graph=True)
                slope.square().sum().backward()  # R1: the penalty's second derivative
                network(x).tanh().sum().backward()
            found.append([slope.detach(), *(p.grad.clone() for p in network.parameters()), *(b.clone() for b in network.buffers())])
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.sub_(parameter.grad, alpha=0.01)
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12, msg=lambda text, step=step: f"step {step}: {text}")


def test_torchs_own_normalisation_moves_with_ours() -> None:
    ours, theirs = twins()
    joint = nn.ModuleList([ours, theirs])
    PowerIterations(joint).advance()
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    with PowerIterations(joint).once():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-12, atol=1e-12)
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[name], rtol=1e-12, atol=1e-12)


def test_the_division_may_be_differentiated_twice() -> None:
    torch.manual_seed(0)
    for layer in (nn.Conv2d(2, 3, 2).double(), GConv2d(2, 3, 2, latent_dim=4, mode="bank").double()):
        name = "bank" if isinstance(layer, GConv2d) else "weight"
        step = apply_spectral_norm(layer).eval().parametrizations[name][0]
        weight = layer.parametrizations[name].original.detach().requires_grad_()
        # σ is a function of the weight for the numerical derivative, whereas u and v stay
        assert torch.autograd.gradcheck(step, (weight,))
        assert torch.autograd.gradgradcheck(step, (weight,))


def test_a_bank_advances_each_kernel_as_a_matrix_of_its_own() -> None:
    torch.manual_seed(0)
    conv = GConv2d(4, 6, 3, latent_dim=5, mode="bank", padding=1).double()
    apply_spectral_norm(conv)
    step, bank = conv.parametrizations.bank[0], conv.parametrizations.bank.original
    with torch.no_grad():
        bank.normal_()
    u, weight = step._u.clone(), bank.detach().flatten(2)
    v = torch.nn.functional.normalize(torch.einsum("kom,ko->km", weight, u), dim=1)
    image = torch.einsum("kom,km->ko", weight, v)
    with PowerIterations(conv).once():
        torch.testing.assert_close(conv.bank, bank / image.norm(dim=1).view(4, 1, 1, 1, 1))
    torch.testing.assert_close(step._v, v)
    torch.testing.assert_close(step._u, torch.nn.functional.normalize(image, dim=1))


def test_the_operations_of_an_iteration_do_not_grow_with_the_layers_but_for_the_products() -> None:
    class Count(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.names: list[str] = []

        def __torch_dispatch__(self, func: object, types: object, args: tuple = (), kwargs: dict | None = None) -> object:  # type: ignore[type-arg]
            self.names.append(str(func))
            return func(*args, **(kwargs or {}))  # type: ignore[operator]

    found = []
    for layers in (2, 6):
        network = apply_spectral_norm(nn.Sequential(*(nn.Linear(5, 5) for _ in range(layers))))
        with Count() as count:
            PowerIterations(network).advance()
        assert sum("mv" in name for name in count.names) == 2 * layers
        found.append(sum("foreach" in name for name in count.names))
    assert found[0] == found[1]
