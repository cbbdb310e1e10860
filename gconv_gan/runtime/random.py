r"""Counter-based random numbers: every number is a function of (seed, stream, step, index of the image), computed where it is needed.

A *stream* names a purpose ("latents_d", "dropout/stage1"). A *step* counts the uses of a stream; it is a Python integer or an int64
tensor, so a recorded sequence of device operations can advance it. An *index* numbers an image in the batch of all processes, so a
process draws the numbers of its own images only, and their values depend neither on the number of processes nor on the device.

The generator is Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011) in int64
arithmetic. Its 64-bit key is the head of SHA-256("seed/stream"); its counter is (block within the image's row, index, step low, step
high), in words of 32 bits. Bernoulli variables come from SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), started at 64 bits
of Philox for each image: a tenth of Philox's operations. Integers, uniform numbers and Bernoulli variables have the same bits on every
device. Normal numbers are computed in float64 and rounded once to float32: an error of a device's logarithm or cosine in the last places
of float64 changes one rounded number in about 10⁸.

``torch._philox_uniform_`` and its relatives are not used: torch 2.9 lacks them, and their counter cannot be set for each image.
"""

import hashlib
import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Words = Int[Tensor, "*shape n"]
"""32-bit words as int64 values in [0, 2³²)."""
Step = int | Int[Tensor, "*#batch"]
Indices = Int[Tensor, "*#batch"]

LOW = 0xFFFFFFFF
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
KEY_INCREMENTS = 0x9E3779B9, 0xBB67AE85
ROUNDS = 10

COIN_SIDES = 2**16


def stream_seed(seed: int, stream: str, step: int) -> int:
    """Return the first 63 bits of SHA-256("seed/stream/step"), as the seed of a torch generator, such as that of the initial weights."""
    return _digest(f"{seed}/{stream}/{step}") >> 1


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the four output words of Philox4x32-10 for each counter of four words; the counters broadcast.

    With the multipliers M₀ and M₁, a round maps (c₀, c₁, c₂, c₃) to (high(M₁c₂) ⊕ c₁ ⊕ k₀, low(M₁c₂), high(M₀c₀) ⊕ c₃ ⊕ k₁, low(M₀c₀));
    the key words grow by ``KEY_INCREMENTS`` from round to round. A product of two words wraps modulo 2⁶⁴ in int64, which leaves its
    bits as they are.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        first, second = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        # c1 and c3 keep the high halves of their products, which the masks remove
        c0, c1, c2, c3 = (((second >> 32) ^ c1) ^ k0) & LOW, second, (((first >> 32) ^ c3) ^ k1) & LOW, first
        k0, k1 = (k0 + KEY_INCREMENTS[0]) & LOW, (k1 + KEY_INCREMENTS[1]) & LOW
    return c0, c1 & LOW, c2, c3 & LOW


def splitmix64(state: Int[Tensor, "*shape"], count: int) -> Int[Tensor, "*shape n"]:
    """Return ``count`` outputs, 64 bits each, of SplitMix64 started at each ``state``."""
    z = state[..., None] + torch.arange(1, count + 1, device=state.device) * _signed(0x9E3779B97F4A7C15)
    # the masks turn int64's arithmetic shift into a logical one
    z = (z ^ ((z >> 30) & (2**34 - 1))) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ ((z >> 27) & (2**37 - 1))) * _signed(0x94D049BB133111EB)
    return z ^ ((z >> 31) & (2**33 - 1))


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def uniform(words: Words) -> Float[Tensor, "*shape n"]:
    """Return float32 numbers uniform in [0, 1), multiples of 2⁻²⁴, one a word."""
    return (words >> 8).float() * 2.0**-24


def normal(words: Words, threshold: float | None = None) -> Float[Tensor, "*shape n"]:
    r"""Return float32 numbers from N(0, 1), as many as words (an even number), by Box and Muller's transform.

    .. math:: \sqrt{-2 \ln u}\,(\cos 2\pi v,\; \sin 2\pi v), \qquad u = (w_0 + \tfrac12)\,2^{-32}, \quad v = w_1\,2^{-32}

    so that no number exceeds 6.8 in absolute value. With a ``threshold`` t, from N(0, 1) conditioned on :math:`|z| \le t`: each number z is
    moved to the same quantile of that distribution, :math:`\sqrt 2\, \operatorname{erf}^{-1}(\operatorname{erf}(z / \sqrt 2)
    \operatorname{erf}(t / \sqrt 2))`, which changes continuously with t.

    Raises:
        ValueError: the threshold is not positive.

    """
    pairs = words.reshape(*words.shape[:-1], words.shape[-1] // 2, 2).double()
    radius = (-2 * ((pairs[..., 0] + 0.5) * 2.0**-32).log()).sqrt()
    angle = pairs[..., 1] * (2 * math.pi * 2.0**-32)
    z = torch.stack([radius * angle.cos(), radius * angle.sin()], -1).flatten(-2)
    if threshold is None:
        return z.float()
    if threshold <= 0:
        raise ValueError(f"a threshold of truncation must be positive, not {threshold}")
    z = math.sqrt(2) * ((z / math.sqrt(2)).erf() * math.erf(threshold / math.sqrt(2))).erfinv()
    return z.float().clamp(-threshold, threshold)


def integers(words: Words, below: int) -> Int[Tensor, "*shape m"]:
    """Return integers uniform in 0 … below - 1, ``below`` < 2³¹, one from two words: ⌊w n / 2⁶⁴⌋, biased by at most n / 2⁶⁴."""
    pairs = words.reshape(*words.shape[:-1], words.shape[-1] // 2, 2)
    return (pairs[..., 0] * below + ((pairs[..., 1] * below) >> 32)) >> 32


def coin_threshold(probability: float) -> int:
    """Return k, from 1 to 2¹⁶ - 1, for which k · 2⁻¹⁶ is nearest to ``probability``.

    Raises:
        ValueError: the probability is not between 0 and 1.

    """
    if not 0 < probability < 1:
        raise ValueError(f"a probability must lie between 0 and 1, but it is {probability}")
    return min(max(round(probability * COIN_SIDES), 1), COIN_SIDES - 1)


class Stream:
    """The stream of random numbers of one purpose in a run.

    Each method takes the step, the indices [*batch] of the images (int64, on the device where the numbers are wanted), and the shape of
    one image's numbers; it returns [*batch, *shape]. ``step`` is an integer, or an int64 tensor on that device that broadcasts with the
    indices: many steps are drawn at once by steps [k, 1] and indices [b]. No method reads a device tensor on the host.

    Args:
        seed: the run's.
        name: the purpose.

    """

    def __init__(self, seed: int, name: str) -> None:
        digest = _digest(f"{seed}/{name}")
        self.key = digest >> 32, digest & LOW

    def words(self, step: Step, indices: Indices, count: int) -> Words:
        """Return the first ``count`` words of each image's row: [*batch, count]. A longer row begins with the shorter one."""
        blocks = torch.arange(-(-count // 4), device=indices.device)
        at = torch.full((), step, dtype=torch.int64, device=indices.device) if isinstance(step, int) else step
        row = philox((blocks, indices[..., None], (at & LOW)[..., None], ((at >> 32) & LOW)[..., None]), self.key)
        return torch.stack(row, -1).flatten(-2)[..., :count]

    def uniform(self, step: Step, indices: Indices, *shape: int) -> Float[Tensor, "..."]:
        """Return float32 numbers uniform in [0, 1)."""
        return _shaped(uniform(self.words(step, indices, math.prod(shape))), shape)

    def normal(self, step: Step, indices: Indices, *shape: int, threshold: float | None = None) -> Float[Tensor, "..."]:
        """Return float32 numbers from N(0, 1), conditioned on being at most ``threshold`` in absolute value where there is one."""
        count = math.prod(shape)
        return _shaped(normal(self.words(step, indices, count + count % 2), threshold)[..., :count], shape)

    def integers(self, step: Step, indices: Indices, *shape: int, below: int) -> Int[Tensor, "..."]:
        """Return integers uniform in 0 … below - 1."""
        return _shaped(integers(self.words(step, indices, 2 * math.prod(shape)), below), shape)

    def coins(self, step: Step, indices: Indices, *shape: int, probability: float = 0.5) -> Bool[Tensor, "..."]:
        """Return booleans that are true with probability ``coin_threshold(probability)`` · 2⁻¹⁶."""
        start = self.words(step, indices, 2)
        count = math.prod(shape)
        sides = splitmix64((start[..., 0] << 32) | start[..., 1], -(-count // 4)).view(torch.int16)[..., :count]
        return _shaped(sides < coin_threshold(probability) - COIN_SIDES // 2, shape)

    def permutation(self, step: int, length: int, *, device: torch.device | str = "cpu", index: int = 0) -> Int[Tensor, " n"]:
        """Return a permutation of 0 … length - 1, drawn by the row of image ``index``: the order of random keys of 63 bits."""
        words = self.words(step, torch.full((1,), index, device=device), 2 * length).view(-1, 2)
        return ((words[:, 0] << 31) | (words[:, 1] >> 1)).argsort(stable=True)


def _shaped(numbers: Tensor, shape: tuple[int, ...]) -> Tensor:
    return numbers.reshape(*numbers.shape[:-1], *shape)
