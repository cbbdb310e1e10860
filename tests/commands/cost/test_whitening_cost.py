"""The benchmark of whitening times equal functions and prints a line for each."""

import re

import pytest
import torch

from gconv_gan.commands.cost.whitening_cost import main, pairs


def test_the_direct_forms_are_the_layers() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 8, 5, 4)
    for label, (direct, layer) in pairs(8).items():
        ours, theirs = layer(x), direct(x)
        assert ours.shape == theirs.shape, label
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_a_line_for_every_pair(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--channels", "8", "--side", "4", "--batch-size", "4", "--seconds", "0.01"])
    assert len(re.findall(r"^.+  [\d.]+  \[[\d.]+, [\d.]+\]$", capsys.readouterr().out, re.M)) == 2
