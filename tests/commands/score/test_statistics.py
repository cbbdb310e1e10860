"""reference_statistics from its command line, and another tool's file as the reference of gan_metrics."""

import json
from pathlib import Path

import numpy as np
import pytest

from gconv_gan.commands.score import scores
from gconv_gan.commands.score.references import STATISTICS
from gconv_gan.commands.score.statistics import main
from gconv_gan.config.errors import UserError
from gconv_gan.metrics.references.reference_statistics import load_statistics


def test_statistics_are_computed_kept_and_used(judge: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = ["--cache-dir", str(tmp_path / "cache")]
    judged = ["--extractor", f"checkpoint:{judge}"]
    main(["digits", "--split", "test", "--num-real", "90", *judged, *cache])
    assert "digits: 90 images, features of checkpoint:digits_classifier" in capsys.readouterr().out
    [folder] = (tmp_path / "cache" / STATISTICS).iterdir()
    held = load_statistics(folder)
    assert held.features is not None
    assert (len(held.features), held.reference.split, held.classes[:2]) == (90, "test", ("0", "1"))
    with pytest.raises(UserError, match="torch_fidelity has no extractor like checkpoint:digits_classifier"):
        main([str(folder), *judged, *cache, "--export", "torch_fidelity"])

    foreign = tmp_path / "mine.npz"
    np.savez(foreign, mu=held.moments.mean.numpy(), sigma=held.moments.covariance.numpy())
    numbers = []
    for reference in (str(folder), str(foreign)):
        flags = ["--metrics", "fid", "--num-fake", "100", "--reference", reference, *judged, *cache, "--json", str(tmp_path / "out.json")]
        scores.main([str(run), *flags])
        found = json.loads((tmp_path / "out.json").read_text())
        numbers.append(found["scores"]["fd"])
    assert numbers[1] == pytest.approx(numbers[0], rel=1e-9)
    assert found["card"]["reference"]["source"] == "mine.npz"
    assert found["card"]["formula"]["num_real"] is None
