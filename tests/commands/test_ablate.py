"""ablate from its command line: arms are trained side by side with the results of separate runs, resumed, ended together, and compared."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from gconv_gan.commands import ablate
from gconv_gan.commands.ablation.report import ArmRuns, report, table
from gconv_gan.commands.train import gan
from gconv_gan.commands.train.networks import build_networks
from gconv_gan.commands.train.objective import build_objective
from gconv_gan.config.ablations import AblateCommand, AblationConfig
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import load_config
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.data.batches.loaders import BatchSource
from gconv_gan.layers.dynamic.kernel_gates import LatentGate
from gconv_gan.training.adversarial import Adversarial
from gconv_gan.training.checkpoint import checkpoints
from tests.data.made import in_memory, noise

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "configs" / "ablate" / "digits.toml"
CONFIGS = sorted((ROOT / "configs" / "ablate").glob("*.toml"))


def command(folder: Path, **changes: Any) -> AblateCommand:
    options: dict[str, Any] = {
        "seeds": "2",
        "images": 64,
        "processes": 1,
        "cache_dir": str(folder / "cache"),
        "runs_dir": str(folder),
        **changes,
    }
    return AblateCommand(config=str(DIGITS), **options)


@pytest.fixture
def scored_by_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Score a generator by its first weight, since an extractor takes seconds."""

    def scorer(_plan: Any, _config: Any, _dataset: Any, _accelerator: Any, scores: Path) -> Any:
        def score(generator: torch.nn.Module, images: int) -> dict[str, float]:
            value = float(next(iter(generator.parameters())).double().square().sum())
            (scores / "during_training").mkdir(exist_ok=True)
            (scores / "during_training" / f"{images}.json").write_text(json.dumps({"scores": {"fd": value}}))
            return {"fd2k_lite0/fd": value}

        return score

    monkeypatch.setattr(gan, "training_scorer", scorer)


@pytest.mark.usefixtures("scored_by_weights")
def test_runs_side_by_side_equal_separate_runs_and_are_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.json"
    arguments = [
        str(DIGITS),
        "--seeds",
        "2",
        "--cache-dir",
        str(tmp_path / "cache"),
        "--json",
        str(out),
        "--processes",
        "1",
        "--page",
        str(tmp_path / "page"),
    ]
    for images in ("320", "640"):
        ablate.main([*arguments, "--images", images, "--runs-dir", str(tmp_path / "together")])
    result = json.loads(out.read_text())
    assert (result["images"], result["primary"], list(result["arms"])) == (640, "fd", ["dictionary", "open", "plain"])
    assert "dictionary − open" in capsys.readouterr().out
    page = (tmp_path / "page" / "index.html").read_text()
    for expected in (*result["arms"], "eval/ablate.py", result["question"], "Holm p", 'src="curve-fd.png"', 'src="samples-open.png"'):
        assert expected in page
    files = set(re.findall(r'(?:src|srcset)="([^"]+)"', page))
    assert files
    assert all((tmp_path / "page" / file).is_file() for file in files)
    config = load_config(AblationConfig, DIGITS)
    torch.set_num_threads(1)  # as an ablation does
    for arm in config.arms:
        run = ablate.arm_run(
            config, command(tmp_path / "alone", images=640, cache_dir=str(tmp_path / "cache")), arm, 1, folder=DIGITS.parent
        )
        gan.fit(run)
        (mine,) = (tmp_path / "together" / "digits").glob(f"{arm}-s1-*")
        alone = Path(run.runs_dir) / run.name
        assert mine.name == run.name
        for name in ("ema", "generator", "discriminator", "generator_optimizer"):
            files = [folder / "checkpoint-640" / f"{name}.safetensors" for folder in (mine, alone)]
            assert files[0].read_bytes() == files[1].read_bytes(), name
        scores = json.loads((alone / "scores" / "during_training" / "640.json").read_text())["scores"]
        assert result["arms"][arm]["scores"]["1"] == scores
    paired = result["paired"][0]
    first, second = (result["arms"][arm]["scores"] for arm in ("dictionary", "open"))
    differences = [first[seed]["fd"] - second[seed]["fd"] for seed in ("0", "1")]
    assert paired["mean"] == pytest.approx(sum(differences) / 2)
    assert paired["seeds"] == [0, 1]


@pytest.mark.usefixtures("scored_by_weights")
def test_a_time_limit_ends_all_runs_at_one_length(tmp_path: Path) -> None:
    config = load_config(AblationConfig, DIGITS)
    limited = command(tmp_path, images=3_200_000, hours=1e-6)
    result = ablate.ablate(config, limited, folder=DIGITS.parent)
    assert 0 < result["images"] < 3_200_000
    assert [len(arm["scores"]) for arm in result["arms"].values()] == [2, 2, 2]
    lengths = {checkpoints(folder)[0][0] for folder in (tmp_path / "digits").iterdir()}
    assert lengths == {result["images"]}


def run_command(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run the script on the digits in another process, with the folders of ``command``."""
    words = [
        sys.executable,
        "eval/ablate.py",
        str(DIGITS),
        "--cache-dir",
        str(folder / "cache"),
        "--runs-dir",
        str(folder / "runs"),
        *flags,
    ]
    return subprocess.run(words, cwd=ROOT, env={**os.environ, "ACCELERATE_USE_CPU": "true"}, capture_output=True, text=True, check=False)


SHORT = ("--images", "640", "--seeds", "2")


def bits(runs: Path) -> dict[str, bytes]:
    """Return the last weights and scores of every run by their path."""
    files = [*runs.glob("digits/*/checkpoint-*/*.safetensors"), *runs.glob("digits/*/scores/during_training/*.json")]
    return {str(file.relative_to(runs)): file.read_bytes() for file in files}


def test_two_processes_give_the_bits_of_one_and_a_killed_ablation_resumes(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    out = tmp_path / "two" / "out.json"
    one = run_command(tmp_path / "one", *SHORT, "--processes", "1")
    assert one.returncode == 0, one.stderr
    words = [sys.executable, "eval/ablate.py", str(DIGITS), *SHORT, "--processes", "2", "--json", str(out)]
    words += [
        "--cache-dir",
        str(tmp_path / "one" / "cache"),
        "--runs-dir",
        str(tmp_path / "two" / "runs"),
        "--page",
        str(tmp_path / "two" / "page" / "digits"),
    ]
    env = {**os.environ, "ACCELERATE_USE_CPU": "true"}
    first = subprocess.Popen(words, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while first.poll() is None and len(list((tmp_path / "two").glob("runs/digits/*/log.txt"))) < 4:
        time.sleep(0.05)
    first.send_signal(signal.SIGTERM)
    assert first.wait() in (0, 128 + signal.SIGTERM)
    again = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    alone, together = bits(tmp_path / "one" / "runs"), bits(tmp_path / "two" / "runs")
    assert len(alone) >= 4 * 5
    assert {name: content for name, content in together.items() if name in alone} == alone
    assert json.loads(out.read_text())["images"] == 640


def test_two_processes_end_at_one_length_when_the_time_is_over(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    done = run_command(tmp_path, "--images", "3200000", "--seeds", "3", "--processes", "2", "--hours", "1e-6", "--json", str(out))
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert 0 < result["images"] < 3_200_000
    assert [len(arm["scores"]) for arm in result["arms"].values()] == [3, 3, 3]
    assert {checkpoints(folder)[0][0] for folder in (tmp_path / "runs" / "digits").iterdir()} == {result["images"]}


def test_arms_of_a_seed_share_latents_order_and_flips(tmp_path: Path) -> None:
    path = ROOT / "configs" / "ablate" / "gconv_cifar10.toml"
    config = load_config(AblationConfig, path)
    seen: dict[str, list[Any]] = {}
    dataset = in_memory(noise(0, 80, 3, 32, 32), None, ())
    for arm in config.arms:
        run = ablate.arm_run(config, command(tmp_path, images=None), arm, 3, folder=path.parent)
        inputs = first_inputs(run, dataset)
        seen[arm] = [inputs.discriminator[0].reals, inputs.discriminator[0].z[:, :128], inputs.generator.z[:, :128]]
    for arm, tensors in seen.items():
        for mine, reference in zip(tensors, seen["plain"], strict=True):
            assert mine.equal(reference), arm


def first_inputs(run: GANRunConfig, dataset: Any) -> Any:
    networks = build_networks(run, None)
    data = BatchSource(dataset, seed=run.seed, flip=True, batch_size=64)
    objective = build_objective(run, networks[1], None)
    cpu = torch.device("cpu")
    task = Adversarial(run, *networks, objective, data=data, generator_data=None, num_classes=None, device=cpu)
    task.begin(Accelerator(cpu=True))
    return task.prepare()[1]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_ablations_are_valid_and_their_controls_are_of_equal_size(path: Path, tmp_path: Path) -> None:
    config = load_config(AblationConfig, path)
    assert config.name == path.stem
    sizes = {}
    for arm in config.arms:
        run = ablate.arm_run(config, command(tmp_path, images=None), arm, 0, folder=path.parent)
        assert run.evaluation.every
        generator, _ = build_networks(run, 10 if run.conditional else None)
        sizes[arm] = sum(parameter.numel() for parameter in generator.parameters())
    if "plain_wide" in sizes:
        assert sizes["plain_wide"] == pytest.approx(sizes["dictionary"], rel=0.005)
        assert sizes["other_latent"] == sizes["dictionary"]


def test_every_arm_of_the_compressed_generators_passes_its_dry_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = ROOT / "configs" / "ablate" / "compressed_generators_cifar10.toml"
    config = load_config(AblationConfig, path)
    for arm in config.arms:
        run = ablate.arm_run(config, command(tmp_path, images=None), arm, 0, folder=path.parent).model_dump(mode="json")
        (tmp_path / "run.json").write_text(
            json.dumps({**run, "data": {"kind": "cifar10", "download": True, "cache_dir": str(tmp_path / "absent")}})
        )
        gan.main([str(tmp_path / "run.json"), "--dry-run"])
        said = capsys.readouterr().out
        assert "images: 352,000 shown to the discriminator" in said
        assert all(f'"kind": "{method}"' in said for method in ("taylor", "low_rank") if method == arm)


@pytest.mark.usefixtures("scored_by_weights")
def test_arms_with_methods_that_change_structure_are_trained_and_compared(tmp_path: Path) -> None:
    config = load_config(AblationConfig, DIGITS)
    taylor = {"kind": "taylor", "players": ["generator"], "first": 320, "every": 64, "units_per_step": 4, "removed": 0.05}
    changed = config.model_copy(update={"arms": {"dictionary": {"methods": [taylor]}, "open": config.arms["open"]}})
    asked = command(tmp_path, images=640, seeds="1", cache_dir=str(tmp_path / "cache"))
    result = ablate.ablate(changed, asked, folder=DIGITS.parent)
    assert result["arms"]["dictionary"]["scores"].keys() == {"0"}
    (run,) = (tmp_path / "digits").glob("dictionary-s0-*")
    assert json.loads((run / "checkpoint-640" / "state.json").read_text())["methods"][0]["facts"]["generator"]["removed"]


@pytest.mark.parametrize(("arm", "follow"), [("dictionary", True), ("other_latent", False)])
def test_gates_of_a_second_latent_know_nothing_of_what_is_drawn(arm: str, follow: bool, tmp_path: Path) -> None:
    path = ROOT / "configs" / "ablate" / "gconv_cifar10.toml"
    run = ablate.arm_run(load_config(AblationConfig, path), command(tmp_path, images=None), arm, 0, folder=path.parent)
    generator = build_networks(run, None)[0].eval()
    gates: list[torch.Tensor] = []
    for module in generator.modules():
        if isinstance(module, LatentGate):
            module.register_forward_hook(lambda _module, _inputs, gate: gates.append(gate.detach()))
    z = torch.randn(4, run.generator.latent_dim)
    generator(z, None)
    first = gates.copy()
    gates.clear()
    z[:, :128] = torch.randn(4, 128)
    generator(z, None)
    assert first
    assert all(gate.std(0).mean() > 0 for gate in first)
    assert all((before != after).any() == follow for before, after in zip(first, gates, strict=True))


def test_wrong_seeds_no_scores_and_arms_of_other_data_are_refused(tmp_path: Path) -> None:
    config = load_config(AblationConfig, DIGITS)
    with pytest.raises(UserError, match=r"--seeds 3\.\.1: give a number of seeds"):
        ablate.ablate(config, command(tmp_path, seeds="3..1"), folder=DIGITS.parent)
    unscored = config.model_copy(update={"run": {**config.run, "evaluation": {"every": 0}}})
    with pytest.raises(UserError, match=r"computes no scores: set run\.evaluation\.every"):
        ablate.ablate(unscored, command(tmp_path), folder=DIGITS.parent)
    apart = config.model_copy(update={"arms": {**config.arms, "open": {"data": {"size": 16}}}})
    with pytest.raises(UserError, match="share their data"):
        ablate.ablate(apart, command(tmp_path), folder=DIGITS.parent)
    assert ablate.numbers("0..2") == (0, 1, 2)
    assert ablate.numbers("1,5") == (1, 5)


def test_a_run_that_diverged_is_named_and_left_out() -> None:
    config = load_config(AblationConfig, DIGITS)
    arms = {
        "dictionary": ArmRuns(10, 20, 0.1, 30, {0: {"fd": 4.0}, 1: {"fd": 5.0}, 2: {"fd": 6.0}}, {}),
        "open": ArmRuns(10, 20, 0.1, 30, {0: {"fd": 5.0}, 1: None, 2: {"fd": 8.0}}, {}),
        "plain": ArmRuns(10, 20, 0.1, 30, {0: None, 1: None, 2: None}, {}),
    }
    facts = {"images": 64, "protocol": "fd2k_lite0", "data": "digits", "seconds": 1.0}
    result = report(config, arms, facts)
    (paired,) = result["paired"]  # none with plain, which has no seed
    assert (paired["mean"], paired["seeds"], paired["wins"]) == (-1.5, [0, 2], 2)
    assert result["arms"]["open"]["diverged"] == [1]
    assert "diverged, and in no comparison: open, seeds [1]; plain" in table(result)
