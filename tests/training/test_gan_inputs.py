"""Inputs of a step are functions of the counters, and only numbers that the objective needs are drawn."""

from typing import Any

import pytest
import torch
from accelerate import Accelerator

from gconv_gan.augment.diff_augment import DiffAugment
from gconv_gan.data.batches.loaders import BatchSource
from gconv_gan.losses.adversarial import Hinge, RelativisticPairing
from gconv_gan.losses.consistency import Consistency
from gconv_gan.losses.objective import Objective
from gconv_gan.losses.penalties import DRAGAN
from gconv_gan.training.draws import Draws
from gconv_gan.training.gan_inputs import discriminator_inputs, generator_inputs, standard_deviation
from tests.data.made import in_memory, noise

B = 8
PENALTY = DRAGAN()
EVERYTHING = Objective(Hinge(), DiffAugment(), PENALTY, Consistency(1.0, 1.0))


def given(objective: Objective, *, images_seen: int = 16, penalised: bool = True, rank: int = 0, processes: int = 1) -> Any:
    who: dict[str, Any] = {"batch_size": B, "process_index": rank, "num_processes": processes}
    data = BatchSource(in_memory(noise(0, 30, 3, 8, 8), [i % 3 for i in range(30)], ("a", "b", "c")), seed=0, flip=False, **who)
    draws = Draws(seed=0, latent_dim=5, num_classes=3, device=torch.device("cpu"), **who)
    step, accelerator = images_seen // B, Accelerator(cpu=True)
    d_inputs = discriminator_inputs(data, draws, objective, accelerator, step=step, images_seen=images_seen, penalised=penalised)
    relativistic = objective.loss.relativistic
    return d_inputs, generator_inputs(data if relativistic else None, draws, objective, step=step, batch_size=B)


def test_nothing_is_drawn_that_nothing_needs() -> None:
    d_inputs, g_inputs = given(Objective(Hinge()))
    assert [value is not None for value in d_inputs] == [True] * 4 + [False] * 7
    assert [value is not None for value in g_inputs] == [True] * 2 + [False] * 4
    d_inputs, _ = given(EVERYTHING, penalised=False)
    assert d_inputs.penalty_noise is None
    assert d_inputs.real_std is None


def test_every_stream_has_numbers_of_its_own_and_new_ones_at_every_step() -> None:
    (first, g_first), (again, _), (later, g_later) = given(EVERYTHING), given(EVERYTHING), given(EVERYTHING, images_seen=24)
    assert first._fields[-1] == "fakes"
    assert all(torch.equal(a, b) for a, b in zip(first[:-1], again[:-1], strict=True))
    drawn = [first.real_draws, first.fake_draws, g_first.fake_draws, later.real_draws, later.fake_draws, g_later.fake_draws]
    assert all(not torch.equal(a, b) for i, a in enumerate(drawn) for b in drawn[:i])
    assert not torch.equal(first.real_twin_draws, first.fake_twin_draws)
    assert first.penalty_noise.shape == (B, 1 + 3 * 64)


def test_many_steps_are_drawn_at_once() -> None:
    draws = Draws(0, B, 5, 3, 1, 2, torch.device("cpu"))
    z, labels, (numbers, none) = draws("d", torch.tensor([[7], [2**33]]), [4, 0])
    assert labels is not None
    assert numbers is not None
    assert none is None
    for i, step in enumerate((7, 2**33)):
        alone = draws("d", torch.tensor(step), [4])
        assert all(torch.equal(a, b[i]) for a, b in zip((alone.z, alone.labels, alone.uniform[0]), (z, labels, numbers), strict=True))
        assert torch.equal(draws("d", step).z, z[i])


def test_two_processes_share_what_one_has() -> None:
    whole, g_whole = given(EVERYTHING)
    shares = [given(EVERYTHING, rank=rank, processes=2) for rank in range(2)]
    for name in set(whole._fields) - {"real_std", "fakes"}:
        assert torch.cat([getattr(d, name) for d, _ in shares]).equal(getattr(whole, name)), name
    assert torch.cat([g.fake_draws for _, g in shares]).equal(g_whole.fake_draws)


def test_the_deviation_is_that_of_all_values() -> None:
    reals = torch.randn(B, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.3 + 5
    torch.testing.assert_close(standard_deviation(reals, Accelerator(cpu=True)), reals.std())


@pytest.mark.parametrize("player", ["d", "g"])
def test_a_relativistic_pair_shares_its_label(player: str) -> None:
    inputs = given(Objective(RelativisticPairing()))[player == "g"]
    assert inputs.reals is not None
    assert inputs.fake_labels.equal(inputs.real_labels)
    plain = given(Objective(Hinge()))[0]
    assert not plain.fake_labels.equal(plain.real_labels)


@pytest.mark.parametrize("classes", [None, 5])
def test_steps_drawn_together_are_those_drawn_alone(classes: int | None) -> None:
    alone, together = (Draws(3, B, 6, classes, 1, 2, torch.device("cpu"), block=block) for block in (1, 4))
    for step in (0, 1, 5, 4, 3, 11):
        for sizes in ((), (0, 2, 3)):
            one, other = alone("d", step, sizes), together("d", step, sizes)
            assert one.z.equal(other.z)
            assert (one.labels is None) == (classes is None)
            assert one.labels is None or (other.labels is not None and one.labels.equal(other.labels))
            for numbers, same in zip(one.uniform, other.uniform, strict=True):
                assert (numbers is None) == (same is None)
                assert numbers is None or (same is not None and numbers.equal(same))
