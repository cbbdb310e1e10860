"""Draws are functions of (seed, stream, step): the same on every machine, different in every argument."""

import torch

from gconv_gan.runtime.seeding import draw_labels, draw_latents, draw_signs, stream_seed


def test_a_seed_is_the_head_of_a_hash() -> None:
    # SHA-256("3/eval/17") begins with these eight bytes; shifted by one to fit a signed integer
    import hashlib

    expected = int.from_bytes(hashlib.sha256(b"3/eval/17").digest()[:8], "big") // 2
    assert stream_seed(3, "eval", 17) == expected
    others = {stream_seed(4, "eval", 17), stream_seed(3, "evil", 17), stream_seed(3, "eval", 18), stream_seed(31, "eval", 7)}
    assert len(others | {expected}) == 5


def test_draws_ignore_and_leave_the_global_generator() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = draw_latents(0, "g", 5, count=4, latent_dim=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(draw_latents(0, "g", 5, count=4, latent_dim=3), first)
    assert not torch.equal(draw_latents(0, "g", 6, count=4, latent_dim=3), first)


def test_distributions() -> None:
    z = draw_latents(0, "g", 0, count=4000, latent_dim=16)
    assert abs(float(z.mean())) < 0.02
    assert abs(float(z.std()) - 1) < 0.02
    labels = draw_labels(0, "g", 0, count=10_000, num_classes=7)
    assert labels.bincount(minlength=7).min() > 1300
    assert abs(float(draw_signs(0, "flip", 0, count=10_000).float().mean()) - 0.5) < 0.02
