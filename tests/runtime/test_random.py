"""Counter-based random numbers: published vectors, exact arithmetic, distributions, addressing."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from gconv_gan.runtime.random import (
    Stream,
    integers,
    normal,
    philox,
    splitmix64,
    stream_seed,
    uniform,
)

INDICES = torch.arange(6)


def word(*values: int) -> tuple[Any, ...]:
    return tuple(torch.tensor([value]) for value in values)


# Random123 1.14, tests/kat_vectors, "philox4x32 10"
@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_has_the_published_vectors(counter: tuple[int, ...], key: tuple[int, int], expected: tuple[int, ...]) -> None:
    assert tuple(int(w) for w in philox(word(*counter), key)) == expected


def test_splitmix64_has_the_published_sequence() -> None:
    # of the authors' program for the seed 1234567, as Rosetta Code's task "Pseudo-random numbers/Splitmix64" prints it
    found = [value % 2**64 for value in splitmix64(torch.tensor(1234567), 5).tolist()]
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]


def test_a_seed_is_the_head_of_a_hash() -> None:
    import hashlib

    expected = int.from_bytes(hashlib.sha256(b"3/eval/17").digest()[:8], "big") // 2
    assert stream_seed(3, "eval", 17) == expected
    assert Stream(3, "eval").key == tuple(int.from_bytes(hashlib.sha256(b"3/eval").digest()[i : i + 4], "big") for i in (0, 4))


def test_the_counter_is_block_index_and_step() -> None:
    stream = Stream(1, "s")
    step = 3 * 2**32 + 5
    block = torch.stack(philox(word(1, 4, 5, 3), stream.key), -1)
    assert torch.equal(stream.words(step, torch.tensor([9, 4]), 8)[1, 4:], block[0])


DRAWS: dict[str, Any] = {
    "uniform": lambda stream, step, indices: stream.uniform(step, indices, 3, 5),
    "normal": lambda stream, step, indices: stream.normal(step, indices, 3, 5),
    "truncated_normal": lambda stream, step, indices: stream.normal(step, indices, 3, 5, threshold=1.2),
    "integers": lambda stream, step, indices: stream.integers(step, indices, 3, 5, below=1000),
    "coins": lambda stream, step, indices: stream.coins(step, indices, 3, 5, probability=0.4),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_a_number_is_a_function_of_seed_stream_step_and_index(draw: Any) -> None:
    before = torch.random.get_rng_state()
    all_of_them = draw(Stream(0, "a"), 7, INDICES)
    assert all_of_them.shape == (6, 3, 5)
    assert torch.equal(draw(Stream(0, "a"), 7, INDICES[[4, 1]]), all_of_them[[4, 1]])
    assert torch.equal(draw(Stream(0, "a"), torch.tensor(7), INDICES), all_of_them)
    steps = torch.tensor([7, 8])[:, None]
    assert torch.equal(draw(Stream(0, "a"), steps, INDICES)[0], all_of_them)
    assert torch.equal(draw(Stream(0, "a"), steps, INDICES)[1], draw(Stream(0, "a"), 8, INDICES))
    others = [draw(Stream(1, "a"), 7, INDICES), draw(Stream(0, "b"), 7, INDICES), draw(Stream(0, "a"), 8, INDICES)]
    others += [draw(Stream(0, "a"), 7 + 2**32, INDICES), draw(Stream(0, "a"), 7, INDICES + 6)]
    assert not any(torch.equal(other, all_of_them) for other in others)
    assert not torch.equal(all_of_them[0], all_of_them[1])
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_a_gpu_has_the_numbers_of_the_cpu(draw: Any) -> None:
    on_gpu = draw(Stream(0, "a"), torch.tensor(7, device="cuda"), torch.arange(1000, device="cuda"))
    assert torch.equal(on_gpu.cpu(), draw(Stream(0, "a"), 7, torch.arange(1000)))


def words(count: int) -> Tensor:
    return Stream(0, "test").words(0, torch.arange(1000), count // 1000)


def test_uniform_numbers_are_exact_and_below_one() -> None:
    extremes = torch.tensor([0, 255, 256, 2**32 - 1])
    assert uniform(extremes).tolist() == [0.0, 0.0, 2.0**-24, 1 - 2.0**-24]
    u = uniform(words(1_000_000)).double()
    assert abs(u.mean() - 0.5) < 4 * math.sqrt(1 / 12e6)
    assert abs((u.flatten()[1:] * u.flatten()[:-1]).mean() - 0.25) < 4 * math.sqrt(7 / 144e6)


def kolmogorov_smirnov(sample: Tensor, distribution: Tensor) -> float:
    """Return √n times the largest distance of the sample's distribution function from ``distribution``, given at the sorted sample."""
    n = sample.numel()
    return float(max((distribution - torch.arange(n) / n).abs().max(), (distribution - torch.arange(1, n + 1) / n).abs().max()) * n**0.5)


def test_normal_numbers_are_normal() -> None:
    z = normal(words(1_000_000)).double().flatten().sort().values
    assert abs(z.mean()) < 4e-3
    assert abs(z.square().mean() - 1) < 4 * math.sqrt(2e-6)
    assert abs(z.pow(4).mean() - 3) < 4 * math.sqrt(96e-6)
    assert kolmogorov_smirnov(z, torch.special.ndtr(z)) < 1.95  # a probability of 0.001
    pairs = normal(words(1_000_000)).double().view(-1, 2)
    assert abs(pairs.prod(1).mean()) < 4 / math.sqrt(500_000)
    assert abs(pairs.square().prod(1).mean() - 1) < 4 * math.sqrt(8 / 500_000)


def test_extreme_words_give_finite_normals() -> None:
    z = normal(torch.tensor([0, 0, 2**32 - 1, 2**31]))
    assert z.isfinite().all()
    assert z.tolist() == pytest.approx(
        [math.sqrt(66 * math.log(2)), 0.0, -math.sqrt(-2 * math.log1p(-(2.0**-33))), 0.0], rel=1e-6, abs=1e-6
    )


@pytest.mark.parametrize("threshold", [0.1, 1.0, 2.0])
def test_truncated_normal_numbers(threshold: float) -> None:
    z = normal(words(200_000), threshold).double().flatten().sort().values
    assert z.abs().max() <= threshold
    share = math.erf(threshold / math.sqrt(2))
    assert kolmogorov_smirnov(z, 0.5 + (torch.special.ndtr(z) - 0.5) / share) < 1.95


def test_truncation_keeps_signs_and_order_and_is_continuous() -> None:
    whole, loose, tight = (normal(words(10_000), threshold).double() for threshold in (None, 6.0, 0.5))
    torch.testing.assert_close(loose, whole, rtol=0, atol=2e-5)
    assert torch.equal(tight.sign(), whole.sign())
    assert torch.equal(tight.flatten()[whole.flatten().argsort()], tight.flatten().sort().values)


def test_a_threshold_must_be_positive() -> None:
    with pytest.raises(ValueError, match="must be positive, not 0"):
        Stream(0, "a").normal(0, INDICES, 1, threshold=0.0)


@pytest.mark.parametrize("below", [1, 3, 10, 50_000, 2**31 - 1])
def test_integers_are_the_scaled_words(below: int) -> None:
    pairs = torch.cat([words(2000).view(-1, 2), torch.tensor([[0, 0], [2**32 - 1, 2**32 - 1]])])
    expected = [((high << 32) | low) * below >> 64 for high, low in pairs.tolist()]
    assert integers(pairs.flatten(), below).tolist() == expected


def test_integers_are_uniform() -> None:
    counts = Stream(0, "labels").integers(0, torch.arange(100_000), below=10).bincount(minlength=10).double()
    assert ((counts - 10_000).square() / 10_000).sum() < 27.9  # chi-squared of 9 degrees: a probability of 0.001


@pytest.mark.parametrize("probability", [0.02, 0.3, 0.5])
def test_coins_have_the_requested_probability(probability: float) -> None:
    coins = Stream(0, "coins").coins(0, torch.arange(1000), 1000, probability=probability).double()
    deviation = math.sqrt(probability * (1 - probability))
    assert abs(coins.mean() - probability) < 4 * deviation / 1000
    # images and places do not share their coins
    assert (coins.mean(0) - probability).abs().max() < 5 * deviation / math.sqrt(1000)
    assert (coins.mean(1) - probability).abs().max() < 5 * deviation / math.sqrt(1000)
    assert abs(((coins[:, 1:] - probability) * (coins[:, :-1] - probability)).mean()) < 4 * deviation**2 / 1000


@pytest.mark.parametrize("probability", [0.0, 1.0, -0.1])
def test_probabilities_0_and_1_are_refused(probability: float) -> None:
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        Stream(0, "coins").coins(0, INDICES, probability=probability)


@pytest.mark.parametrize("length", [1, 2, 97, 5000])
def test_permutations_are_permutations(length: int) -> None:
    order = Stream(0, "order").permutation(3, length)
    assert torch.equal(order.sort().values, torch.arange(length))


def test_permutations_differ_and_are_uniform() -> None:
    stream = Stream(0, "order")
    assert not torch.equal(stream.permutation(0, 100), stream.permutation(1, 100))
    assert not torch.equal(stream.permutation(0, 100), stream.permutation(0, 100, index=1))
    fixed = sum(int((stream.permutation(step, 5000) == torch.arange(5000)).sum()) for step in range(60))
    assert 30 <= fixed <= 95  # the number of fixed points of 60 permutations is Poisson(60)
    orders = torch.stack([stream.permutation(step, 3) for step in range(6000)])
    counts = (orders * torch.tensor([9, 3, 1])).sum(1).unique(return_counts=True)[1].double()
    assert len(counts) == 6
    assert ((counts - 1000).square() / 1000).sum() < 20.5  # chi-squared of 5 degrees: a probability of 0.001
