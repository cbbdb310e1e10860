"""The benchmark of convolutions: equal functions, ratios round by round, and its printed tables."""

import re
from itertools import pairwise

import pytest
import torch

from gconv_gan.commands.cost.conv_cost import CONVOLUTIONS, Bench, ConvCostCommand, main, ratio
from gconv_gan.config.errors import UserError


def bench(**options: object) -> Bench:
    torch.manual_seed(0)
    return Bench(ConvCostCommand(channels=8, batch_size=3, sides=(4,), seconds=0.01, **options))  # type: ignore[arg-type]


def test_a_rewrite_equals_its_direct_form() -> None:
    pairs = bench().pairs(8)
    assert len(pairs) == 10
    for label, (direct, rewritten, x) in pairs.items():
        assert sum(p.numel() for p in direct.parameters()) == sum(p.numel() for p in rewritten.parameters())
        ours, theirs = rewritten(x), direct(x)
        assert ours.shape == theirs.shape == (3, 8, 8, 8), label
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_ratio_is_taken_round_by_round() -> None:
    # all times of a round are ten times longer: the ratio is the same
    over, under = [2.0, 2.2, 20.0, 21.0, 2.1], [1.0, 1.0, 10.0, 10.0, 1.0]
    found = ratio(over, under)
    assert (found.low, found.median, found.high) == pytest.approx((2.0, 2.1, 2.1))


def test_the_tables_have_a_line_for_every_convolution_and_rewrite(capsys: pytest.CaptureFixture[str]) -> None:
    main(
        [
            "--channels",
            "8",
            "--batch-size",
            "2",
            "--sides",
            "4",
            "8",
            "16",
            "--seconds",
            "0.01",
            "--passes",
            "inference",
            "--precision",
            "bfloat16",
        ]
    )
    printed = capsys.readouterr().out
    for name in CONVOLUTIONS:
        assert len(re.findall(rf"^{re.escape(name)} +[\d,]+ +[\d,]+ +[\d.]+ +[\d.]+  \[[\d.]+, [\d.]+\]$", printed, re.M)) == 3
    macs = [int(found.replace(",", "")) for found in re.findall(r"^plain +[\d,]+ +([\d,]+)", printed, re.M)]
    assert macs[0] == 8 * 8 * 9 * 16
    assert all(4 * small == large for small, large in pairwise(macs))
    assert printed.count("fused") == 6
    assert "exact rewrites at 8×8" in printed


def test_a_wrong_option_is_one_sentence() -> None:
    with pytest.raises(UserError, match="--chanels"):
        main(["--chanels", "8"])
