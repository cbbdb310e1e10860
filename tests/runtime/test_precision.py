"""Float32 arithmetic: no autocast, no TF32 on a GPU; both are restored afterwards. Runs set torch's switches as on a GPU."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gconv_gan.commands.train import classifier as classifier_recipe
from gconv_gan.commands.train import gan as gan_recipe
from gconv_gan.layers.lipschitz import spectral_norm
from gconv_gan.layers.resample import ResampledConv2d
from gconv_gan.losses import objective
from gconv_gan.methods.orthogonal import OrthogonalRegularisation
from gconv_gan.runtime import precision
from gconv_gan.runtime.precision import float32_arithmetic, float32_products
from gconv_gan.training import supervised
from gconv_gan.training.guards import FiniteGuard
from gconv_gan.training.task import Task
from tests.training.tiny import tiny
from tests.training.tiny_classifier import tiny_classifier

SHORT: dict[str, Any] = {"total_images": 64, "checkpoint_every": 1000, "log_every": 1000}


def test_autocast_is_off_inside_and_on_again_after() -> None:
    a = torch.ones(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with float32_arithmetic(torch.device("cpu")):
            assert (a @ a).dtype == torch.float32
        assert (a @ a).dtype == torch.bfloat16


def switches() -> list[str]:
    return [switch.fp32_precision for switch in (torch.backends.cudnn.conv, torch.backends.cudnn.rnn, torch.backends.cuda.matmul)]


OWN_CHOICE = ["tf32", "tf32", "none"]  # torch's


def test_tf32_is_off_inside_and_as_before_after() -> None:
    device = torch.device("cuda")
    assert switches() == OWN_CHOICE
    with float32_products("tf32", device):
        assert switches() == ["tf32"] * 3
        with float32_arithmetic(device):
            assert switches() == ["ieee"] * 3
        assert switches() == ["tf32"] * 3
    with pytest.raises(KeyError), float32_products("ieee", device):
        raise KeyError
    with float32_products("ieee", torch.device("cpu")):
        assert switches() == OWN_CHOICE
    assert switches() == OWN_CHOICE


Noted = list[tuple[str, str, str]]
"""(scope, "forward", "bf16" or "backward", switches), one entry a layer."""


class Probe(torch.autograd.Function):
    """The identity; it notes the switches where it is called and differentiated."""

    noted: Noted = []
    scope = ""

    @staticmethod
    def note(when: str) -> None:
        if Probe.scope:
            Probe.noted.append((Probe.scope, when, "/".join(sorted(set(switches())))))

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        Probe.note("bf16" if torch.is_autocast_enabled("cpu") else "forward")
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        Probe.note("backward")
        return gradient.clone()


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Noted]:
    """Set the switches as on a GPU, although they change nothing here, and yield what they are at each layer of an iteration."""
    monkeypatch.setattr(precision, "has_tf32", lambda _: True)
    for kind in (ResampledConv2d, nn.Linear):
        forward = kind.forward
        monkeypatch.setattr(kind, "forward", lambda layer, x, forward=forward: forward(layer, Probe.apply(x)))
    scoped(monkeypatch, Task, "iterate", "iteration")
    Probe.noted = []
    yield Probe.noted
    assert switches() == OWN_CHOICE


def scoped(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, scope: str) -> None:
    function = getattr(owner, name)

    def marked(*arguments: Any, **keywords: Any) -> Any:
        before, Probe.scope = Probe.scope, scope
        try:
            return function(*arguments, **keywords)
        finally:
            Probe.scope = before

    monkeypatch.setattr(owner, name, marked)


@pytest.mark.usefixtures("fresh_accelerate_state")
@pytest.mark.parametrize(
    ("kind", "named", "form"), [("r1", None, "tf32"), ("r1", "fp32", "ieee"), ("r1_r2", "bf16", "tf32"), ("wgan_gp", "tf32", "tf32")]
)
def test_a_penalty_and_its_gradient_are_exact_in_every_precision(
    kind: str, named: str | None, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noted: Noted
) -> None:
    scoped(monkeypatch, objective, "in_full_precision", "penalty")
    gan_recipe.fit(tiny(tmp_path, objective={"penalty": {"kind": kind}}, trainer={**SHORT, "precision": named}))
    iteration, own = ({at[1:] for at in noted if at[0] == scope} for scope in ("iteration", "penalty"))
    autocast = {("bf16", form)} if named == "bf16" else set()  # of all layers but the gates
    assert iteration == {("forward", form), ("backward", form)} | autocast
    # in fp32 nothing is rounded: the penalty shares a pass with the loss
    assert own == (set() if named == "fp32" else {("forward", "ieee"), ("backward", "ieee")})


def test_power_iterations_optimisers_and_methods_are_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noted: Noted) -> None:
    for owner, name in (
        (spectral_norm, "power_step"),
        (FiniteGuard, "watch"),
        (torch.optim.Adam, "step"),
        (OrthogonalRegularisation, "after_backward"),
    ):
        function = getattr(owner, name)

        def told(*arguments: Any, name: str = name, function: Any = function, **keywords: Any) -> Any:
            if Probe.scope:
                exact.append((name, "/".join(sorted(set(switches())))))
            return function(*arguments, **keywords)

        monkeypatch.setattr(owner, name, told)
    exact: list[tuple[str, str]] = []
    orthogonal = {"kind": "orthogonal", "generator": 1e-4}
    gan_recipe.fit(tiny(tmp_path, discriminator={"norm": {"kind": "spectral"}}, methods=[orthogonal], trainer=SHORT))
    assert set(exact) == {(name, "ieee") for name in ("power_step", "watch", "step", "after_backward")}
    assert {switch for *_, switch in noted} == {"tf32"}


@pytest.mark.usefixtures("fresh_accelerate_state")
def test_a_classifier_is_tested_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noted: Noted) -> None:
    scoped(monkeypatch, supervised, "predictions", "test")
    classifier_recipe.fit(tiny_classifier(tmp_path, trainer={**SHORT, "precision": "bf16"}))
    assert {at for at in noted if at[0] == "test"} == {("test", "forward", "ieee")}
    assert ("iteration", "bf16", "tf32") in noted
