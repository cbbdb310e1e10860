"""ablate from its command line: arms are trained side by side with the results of separate runs, resumed, ended together, and compared."""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from gconv_gan.commands import ablate, gallery
from gconv_gan.commands.ablation import workers
from gconv_gan.commands.train import gan
from gconv_gan.commands.train.networks import build_networks
from gconv_gan.commands.train.objective import build_objective
from gconv_gan.config.ablations import AblateCommand
from gconv_gan.config.errors import UserError
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.data.batches.loaders import BatchSource
from gconv_gan.experiments.arms import arm_run, load_ablation
from gconv_gan.experiments.claims import ArmResult
from gconv_gan.experiments.report import report, table
from gconv_gan.layers.dynamic.kernel_gates import LatentGate
from gconv_gan.training.adversarial import Adversarial
from gconv_gan.training.checkpoint import checkpoints
from gconv_gan.training.guards import NotFiniteError
from tests.commands.workers import interrupted, recorded, two_processes, weight_scorer
from tests.data.made import in_memory, noise
from tests.processes import run_python
from tests.test_plugins import EXAMPLES

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
    monkeypatch.setattr(gan, "training_scorer", weight_scorer)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Compute with one thread, as an ablation does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("scored_by_weights", "one_thread")
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
    for images in ("160", "320"):
        ablate.main([*arguments, "--images", images, "--runs-dir", str(tmp_path / "together")])
    result = json.loads(out.read_text())
    assert (result["images"], result["primary"], list(result["arms"])) == (320, "fd", ["dictionary", "open", "plain"])
    assert "dictionary − open" in capsys.readouterr().out
    page = (tmp_path / "page" / "index.html").read_text()
    for expected in (*result["arms"], "gconv-gan ablate", result["question"], "Holm p", 'href="curve-fd.svg"', 'src="samples-open.png"'):
        assert expected in page
    files = set(re.findall(r'(?:src|srcset)="([^"]+)"', page))
    assert files
    assert all((tmp_path / "page" / file).is_file() for file in files)
    drawn = {file.name: file.read_bytes() for file in (tmp_path / "page").iterdir()}
    folder = tmp_path / "together" / "digits"
    gallery.main([str(folder), "--index", str(tmp_path / "together")])
    assert {file.name: file.read_bytes() for file in (folder / "page").iterdir()} == drawn
    assert "Ablations" in (tmp_path / "together" / "index.html").read_text()
    with pytest.raises(UserError, match="--checkpoint 160: for a run, but .* is an ablation"):
        gallery.main([str(folder), "--checkpoint", "160"])
    (folder / "result.json").rename(folder / "other.json")
    with pytest.raises(UserError, match=r"holds runs and is not one: .* an ablation without result\.json has no scores yet"):
        gallery.main([str(folder)])
    config = load_ablation(DIGITS)
    for arm in config.arms:
        run = arm_run(config, command(tmp_path / "alone", images=320, cache_dir=str(tmp_path / "cache")), arm, 1)
        gan.fit(run)
        (mine,) = (tmp_path / "together" / "digits").glob(f"{arm}-s1-*")
        alone = Path(run.runs_dir) / run.name
        assert mine.name == run.name
        for name in ("ema", "generator", "discriminator", "generator_optimizer"):
            files = [folder / "checkpoint-320" / f"{name}.safetensors" for folder in (mine, alone)]
            assert files[0].read_bytes() == files[1].read_bytes(), name
        scores = json.loads((alone / "scores" / "during_training" / "320.json").read_text())["scores"]
        assert result["arms"][arm]["scores"]["1"] == scores
    paired = result["paired"][0]
    first, second = (result["arms"][arm]["scores"] for arm in ("dictionary", "open"))
    differences = [first[seed]["fd"] - second[seed]["fd"] for seed in ("0", "1")]
    assert paired["mean"] == pytest.approx(sum(differences) / 2)
    assert paired["seeds"] == [0, 1]


@pytest.mark.usefixtures("scored_by_weights")
def test_a_time_limit_ends_all_runs_at_one_length(tmp_path: Path) -> None:
    limited = command(tmp_path, images=3_200_000)
    result = ablate.ablate(load_ablation(small(tmp_path)), limited, hours=1e-6)
    assert 0 < result.images < 3_200_000
    assert [len(arm.scores) for arm in result.arms.values()] == [2, 2, 2]
    lengths = {checkpoints(folder)[0][0] for folder in (tmp_path / "digits").glob("*-s?-*")}
    assert lengths == {result.images}


def small(folder: Path) -> Path:
    """Write the ablation of the digits with narrow networks and few images in a score; return its file."""
    text = DIGITS.read_text().replace("= 200", "= 50").replace("../gan", str(ROOT / "configs" / "gan"))
    text = text.replace("log_every = 2_560", "log_every = 320")  # a signal is noticed at the next status line
    for network in ("generator", "discriminator"):
        text = text.replace("[run.trainer]", f"[run.{network}]\nwidth = 8\n[run.trainer]")
    (folder / "small.toml").write_text(text)
    return folder / "small.toml"


def bits(runs: Path) -> dict[str, Any]:
    """Return the last weights and scores of every run by their path."""
    weights = {str(file.relative_to(runs)): file.read_bytes() for file in runs.glob("digits/*/checkpoint-*/*.safetensors")}
    cards = {str(file.relative_to(runs)): json.loads(file.read_text())["scores"] for file in runs.glob("digits/*/scores/*/*.json")}
    return weights | cards


@pytest.mark.usefixtures("scored_by_weights")
def test_a_time_limit_ends_two_processes_at_one_length_although_one_is_killed_and_they_have_the_bits_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, cache = load_ablation(small(tmp_path)), str(tmp_path / "cache")
    with monkeypatch.context() as patch:
        two_processes(patch, interrupted, MARKER=str(tmp_path / "marker"), SIGNAL=str(int(signal.SIGKILL)))
        limited = command(tmp_path / "two", images=3_200_000, processes=None, cache_dir=cache)
        result = ablate.ablate(config, limited, hours=1e-6)
    assert "its runs are resumed: " in capsys.readouterr().out
    assert 0 < result.images < 3_200_000
    assert [len(arm.scores) for arm in result.arms.values()] == [2, 2, 2]
    assert {checkpoints(folder)[0][0] for folder in (tmp_path / "two" / "digits").glob("*-s?-*")} == {result.images}

    alone = command(tmp_path / "one", images=result.images, cache_dir=cache)
    assert ablate.ablate(config, alone).paired == result.paired
    one, two = bits(tmp_path / "one"), bits(tmp_path / "two")
    assert len(one) >= 6 * 5
    assert {name: content for name, content in two.items() if name in one} == one


@pytest.mark.usefixtures("scored_by_weights")
def test_a_run_that_diverges_does_not_end_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = gan.prepared

    def explosive(run: GANRunConfig, *parts: Any, **options: Any) -> Any:
        ready = prepared(run, *parts, **options)
        if "/plain-" in str(ready.run.folder.path):
            ready.task.guard.require_finite = failing
        return ready

    def failing() -> None:
        raise NotFiniteError("the generator's gradient is not finite")

    monkeypatch.setattr(gan, "prepared", explosive)
    result = ablate.ablate(load_ablation(small(tmp_path)), command(tmp_path, images=640, seeds="1"))
    assert result.images == 640
    assert {name: (list(arm.scores), arm.diverged) for name, arm in result.arms.items()} == {
        "dictionary": ([0], ()),
        "open": ([0], ()),
        "plain": ([], (0,)),
    }


def test_several_gpus_share_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "command_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(workers, "_work", recorded)
    config = load_ablation(DIGITS)
    for visible, processes, cards in (("4,7", None, ["4", "7"]), ("", 2, ["0", "1"])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
        folder = tmp_path / f"of{visible}"
        runs = {(arm, seed): arm_run(config, command(folder), arm, seed) for seed in (0, 1) for arm in config.arms}
        assert workers.train_all(runs, processes=processes, limit=None, along=lambda *_: None) == 64
        shares = {file.stem: [tuple(name) for name in json.loads(file.read_text())] for file in (folder / "digits").glob("*.json")}
        assert sorted(shares) == cards
        assert sorted(name for share in shares.values() for name in share) == sorted(runs)
        assert {len(share) for share in shares.values()} == {3}


def test_plug_ins_of_the_command_line_of_the_base_and_of_an_arm_are_trained_in_several_processes(tmp_path: Path) -> None:
    conv = (
        "from gconv_gan import parts\nfrom gconv_gan.layers import ResampledConv2d\n\n\n"
        'class Mine(ResampledConv2d):\n    """A convolution of one\'s own."""\n\n\n'
    )
    (tmp_path / "given.py").write_text("\n".join(EXAMPLES))
    (tmp_path / "base.py").write_text(f'{conv}parts.CONVS["of_base"] = Mine\n')
    (tmp_path / "arm.py").write_text(f'{conv}parts.CONVS["of_arm"] = Mine\n')
    base = (ROOT / "configs" / "gan" / "digits_gconv.toml").read_text().replace("conditional = true", 'plugins = ["base.py"]')
    (tmp_path / "base.toml").write_text(base.replace("width = 32", "width = 8"))
    (tmp_path / "mine.toml").write_text("""
question = "Do the plug-ins work?"
name = "mine"
base = "base.toml"
run = { evaluation = { every = 64, protocol = "spread10k", num_fake = 50 } }
[arms.one.generator]
conv = { kind = "of_base" }
[arms.two]
plugins = ["arm.py"]
generator = { conv = { kind = "of_arm" } }
[[compare]]
arm = "one"
against = "two"
""")
    words = [str(ROOT / "eval" / "ablate.py"), "mine.toml", "--plugins", "given.py", "--seeds", "2", "--images", "64"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true"}
    done = run_python([*words, "--json", "out.json"], tmp_path, env)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out.json").read_text())["paired"][0]["mean"] == 0  # both are the same convolution
    for arm, expected in (("one", ["given.py", "base.py"]), ("two", ["given.py", "base.py", "arm.py"])):
        for folder in (tmp_path / "runs" / "ablate" / "mine").glob(f"{arm}-s*"):
            assert sorted(json.loads((folder / "config.json").read_text())["plugins"]) == sorted(expected)
    lost = run_python([*words[:2], "--seeds", "1"], tmp_path, env)
    assert lost.returncode == 2
    assert "spread10k" in lost.stderr
    assert "Traceback" not in lost.stderr


def test_arms_of_a_seed_share_latents_order_and_flips(tmp_path: Path) -> None:
    path = ROOT / "configs" / "ablate" / "gconv_cifar10.toml"
    config = load_ablation(path)
    seen: dict[str, list[Any]] = {}
    dataset = in_memory(noise(0, 80, 3, 32, 32), None, ())
    for arm in config.arms:
        run = arm_run(config, command(tmp_path, images=None), arm, 3)
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
    config = load_ablation(path)
    assert config.name == path.stem
    sizes = {}
    for arm in config.arms:
        run = arm_run(config, command(tmp_path, images=None), arm, 0)
        assert run.evaluation.every
        generator, _ = build_networks(run, 10 if run.conditional else None)
        sizes[arm] = sum(parameter.numel() for parameter in generator.parameters())
    if "plain_wide" in sizes:
        assert sizes["plain_wide"] == pytest.approx(sizes["dictionary"], rel=0.005)
        assert sizes["other_latent"] == sizes["dictionary"]


@pytest.mark.parametrize(("size", "images"), [("cifar10", "352,000"), ("small", "64,000")])
def test_every_arm_of_the_compressed_generators_passes_its_dry_run(
    size: str, images: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_ablation(ROOT / "configs" / "ablate" / f"compressed_generators_{size}.toml")
    for arm in config.arms:
        run = arm_run(config, command(tmp_path, images=None), arm, 0).model_dump(mode="json")
        run["trainer"]["batch_size"] = 8
        (tmp_path / "run.json").write_text(
            json.dumps({**run, "data": {"kind": "cifar10", "download": True, "cache_dir": str(tmp_path / "absent")}})
        )
        gan.main([str(tmp_path / "run.json"), "--dry-run"])
        said = capsys.readouterr().out
        assert f"images: {images} shown to the discriminator" in said
        assert all(f'"kind": "{method}"' in said for method in ("taylor", "low_rank") if method == arm)


@pytest.mark.usefixtures("scored_by_weights")
def test_arms_with_methods_that_change_structure_are_trained_and_compared(tmp_path: Path) -> None:
    config = load_ablation(DIGITS)
    taylor = {"kind": "taylor", "players": ["generator"], "first": 128, "every": 64, "units_per_step": 4, "removed": 0.05}
    arms = {"dictionary": {"methods": [taylor]}, "open": config.arms["open"]}
    changed = config.model_copy(update={"arms": arms, "compare": config.compare[:1]})
    asked = command(tmp_path, images=320, seeds="1", cache_dir=str(tmp_path / "cache"))
    result = ablate.ablate(changed, asked)
    assert result.arms["dictionary"].scores.keys() == {0}
    (run,) = (tmp_path / "digits").glob("dictionary-s0-*")
    assert json.loads((run / "checkpoint-320" / "state.json").read_text())["methods"][0]["facts"]["generator"]["removed"]


@pytest.mark.parametrize(("arm", "follow"), [("dictionary", True), ("other_latent", False)])
def test_gates_of_a_second_latent_know_nothing_of_what_is_drawn(arm: str, follow: bool, tmp_path: Path) -> None:
    path = ROOT / "configs" / "ablate" / "gconv_cifar10.toml"
    run = arm_run(load_ablation(path), command(tmp_path, images=None), arm, 0)
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
    config = load_ablation(DIGITS)
    with pytest.raises(UserError, match=r"--seeds 3\.\.1: give a number of seeds"):
        ablate.ablate(config, command(tmp_path, seeds="3..1"))
    unscored = config.model_copy(update={"run": {**config.run, "evaluation": {"every": 0}}})
    with pytest.raises(UserError, match=r"computes no scores: set run\.evaluation\.every"):
        ablate.ablate(unscored, command(tmp_path))
    apart = config.model_copy(update={"arms": {**config.arms, "open": {"data": {"size": 16}}}})
    with pytest.raises(UserError, match="share their data"):
        ablate.ablate(apart, command(tmp_path))
    assert ablate.numbers("0..2") == (0, 1, 2)
    assert ablate.numbers("1,5") == (1, 5)


FACTS = {"images": 64, "asked_images": 64, "protocol": "fd2k_lite0", "data": "digits", "seconds": 1.0, "versions": {}}


def arm(scores: dict[int, dict[str, float] | None]) -> ArmResult:
    known = {seed: found for seed, found in scores.items() if found is not None}
    return ArmResult(
        parameters=10, macs=20, step_seconds=0.1, memory=30, scores=known, diverged=tuple(seed for seed in scores if seed not in known)
    )


def test_a_run_that_diverged_is_named_and_left_out() -> None:
    config = load_ablation(DIGITS)
    arms = {
        "dictionary": arm({0: {"fd": 4.0}, 1: {"fd": 5.0}, 2: {"fd": 6.0}}),
        "open": arm({0: {"fd": 5.0}, 1: None, 2: {"fd": 8.0}}),
        "plain": arm({0: None, 1: None, 2: None}),
    }
    result = report(config, arms, FACTS)
    (paired,) = result.paired  # none with plain, which has no seed
    assert (paired["mean"], paired["seeds"], paired["wins"]) == (-1.5, [0, 2], 2)
    assert result.arms["open"].diverged == (1,)
    assert "diverged: open, seeds [1]; plain, seeds [0, 1, 2]" in table(result)


@pytest.mark.parametrize(("seeds", "by_signs"), [(3, "undecided"), (7, "better")])
def test_few_seeds_are_undecided_by_signs_but_not_by_t(seeds: int, by_signs: str) -> None:
    config = load_ablation(DIGITS)
    values = {"dictionary": 4.0, "open": 5.0, "plain": 6.0}
    arms = {name: arm({seed: {"fd": value + 0.01 * seed * value} for seed in range(seeds)}) for name, value in values.items()}
    signs, t = (report(config.model_copy(update={"test": test}), arms, FACTS) for test in ("signs", "t"))
    assert {pair["verdict"] for pair in signs.paired} == {by_signs}
    assert {pair["verdict"] for pair in t.paired} == {"better"}
    assert {pair["p_permutation_holm"] for pair in signs.paired} == {2 * 2 / 2**seeds}
    told = "too few seeds to decide by signs, at 0.05 after Holm's correction: dictionary − open (3 seeds: p ≥ 0.500)"
    assert (told in table(signs), "7 seeds can" in table(signs)) == ((True, True) if seeds == 3 else (False, False))
    assert "too few seeds" not in table(t)
    assert ("signs 0.250" in table(t)) == (seeds == 3)
