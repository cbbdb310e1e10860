"""Plug-ins through the commands: the examples of docs/plugins.md train, resume, score and sample."""

import hashlib
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from safetensors.torch import load_file

from gconv_gan.config.errors import UserError
from gconv_gan.config.plugins import copy_of, load_plugins, require_loaded, take_plugins
from gconv_gan.runtime.run_folder import keep_plugins
from gconv_gan.runtime.tracking import read_metrics
from tests.processes import run_python

ROOT = Path(__file__).parents[1]
EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "plugins.md").read_text(), re.DOTALL)

RUN = """
trackers = ["tensorboard", "loss_file"]
[data]
kind = "stripes"
count = 48
[generator]
kind = "one_layer"
latent_dim = 6
conv = { kind = "scaled", factor = 0.7 }
[discriminator]
width = 8
[objective]
loss = "absolute"
penalty = { kind = "largest_slope", every = 2 }
[[methods]]
kind = "weight_clipping"
limit = 0.02
[evaluation]
every = 32
protocol = "spread10k"
num_fake = 40
[trainer]
total_images = 64
batch_size = 16
"""


ENVIRONMENT = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = [str(ROOT / arguments[0])] if arguments[0].endswith(".py") else ["-m", arguments[0]]
    return run_python([*script, *arguments[1:]], folder, ENVIRONMENT)


def test_an_example_is_short() -> None:
    assert len(EXAMPLES) == 11
    for example in EXAMPLES:
        body = [line for line in example.splitlines() if line.strip() and not line.startswith(("import ", "from "))]
        assert len(body) <= 25, example


def test_the_examples_train_resume_and_are_sampled(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("\n".join(EXAMPLES))
    (tmp_path / "run.toml").write_text(RUN)
    shown = command(tmp_path, "train_gan.py", "run.toml", "--plugins", "mine.py", "--help", "generator.conv.scaled")
    assert "--generator.conv.factor  number above 0  [0.5]\n      What the result is multiplied by." in shown.stdout, shown.stderr
    train = ("train_gan.py", "run.toml", "--plugins", "mine.py")
    dry = command(tmp_path, *train, "--dry-run")
    assert "ScaledConv2d" in dry.stdout, dry.stderr
    assert command(tmp_path, *train).returncode == 0
    again = command(tmp_path, *train, "--trainer.total-images", "96")
    assert again.returncode == 0, again.stderr
    checkpoint = tmp_path / "runs" / "run" / "checkpoint-96"
    assert [line.split("\t")[0] for line in (tmp_path / "runs" / "run" / "loss.tsv").read_text().splitlines()][-1] == "96"
    logged = [line for line in read_metrics(tmp_path / "runs" / "run" / "metrics.jsonl") if "spread10k (num_fake=40)/spread" in line]
    assert [line["images"] for line in logged] == [32, 64, 96]
    saved = load_file(checkpoint / "discriminator.safetensors")
    assert max(float(saved[name].abs().max()) for name in saved if name.endswith(("bias", "original"))) == pytest.approx(0.02)

    score = ("eval/gan_metrics.py", "runs/run", "--metrics", "spread", "fid", "--num-fake", "40", "--json", "scores.json")
    scored = command(tmp_path, *score, "--extractor", "colours", "--plugins", "mine.py")
    assert scored.returncode == 0, scored.stderr
    assert "    spread: variance trace of the covariance" in scored.stdout
    written = json.loads((tmp_path / "scores.json").read_text())
    assert list(written["scores"]) == ["fd", "spread"]
    assert written["card"]["formula"]["more"] == {"spread": {"variance": "trace of the covariance"}}
    assert (written["card"]["extractor"]["name"], written["card"]["reference"]["source"]) == ("colours", "stripes")
    by_protocol = command(
        tmp_path, *score[:2], "--protocol", "spread10k", "--num-fake", "40", "--json", "same.json", "--plugins", "mine.py"
    )
    assert by_protocol.returncode == 0, by_protocol.stderr
    again = json.loads((tmp_path / "same.json").read_text())
    assert again["scores"] == written["scores"]
    assert again["card"]["formula"]["protocol"] == "spread10k (num_fake=40)"
    during = json.loads((tmp_path / "runs" / "run" / "scores" / "during_training" / "96.json").read_text())
    assert during["scores"].keys() == {"fd", "spread"}
    for wrong, said in (
        (("--protocol", "spread1k"), "there is no protocol 'spread1k'; known are .*did you mean 'spread10k'"),
        (("--extractor", "colors"), "there is no extractor 'colors'; known are .*, colours; did you mean 'colours'"),
        (("--extractor", "colours:large"), "there is no extractor 'colours:large'"),
        (("--extractor", "colours", "--weights", "mine.py"), "the extractor colours takes none"),
        (("--extractor", "colours", "--metrics", "is"), "colours has no classes, so there is no Inception Score"),
        (("--extractor", "colours", "--metrics", "spreat"), "'spreat' is not among .*did you mean 'spread'"),
    ):
        refused = command(tmp_path, *score, *wrong, "--plugins", "mine.py")
        assert refused.returncode == 2, refused.stderr
        assert re.search(said, refused.stderr), refused.stderr

    page = command(tmp_path, "eval/make_gallery.py", "runs/run", "--plugins", "mine.py")
    assert page.returncode == 0, page.stderr
    shown = (tmp_path / "runs" / "run" / "gallery" / "index.html").read_text()
    assert '<th scope="row">spread <span role="img" aria-label="higher is better"' in shown

    # reading a run executes nothing that the user does not name
    without = command(tmp_path, "gconv_gan.export", "runs/run", "--no-onnx")
    assert without.returncode == 2
    assert re.search(r"runs/run/config\.json was made with mine\.py \(SHA-256 [0-9a-f]{12}…\): give --plugins mine\.py\n$", without.stderr)
    exported = command(tmp_path, "gconv_gan.export", "runs/run", "--no-onnx", "--out", "exported", "--plugins", "mine.py")
    assert exported.returncode == 0, exported.stderr
    (tmp_path / "moved.py").write_bytes((tmp_path / "mine.py").read_bytes())  # the contents count
    sampled = command(tmp_path, "gconv_gan.sample", "exported", "--num", "2", "--out", "images.zip", "--plugins", "moved.py")
    assert sampled.returncode == 0, sampled.stderr

    (tmp_path / "mine.py").write_text("\n".join(EXAMPLES) + "\n# changed\n")
    copy = "runs/run/plugins/mine.py"
    changed = command(tmp_path, *train)
    assert changed.returncode == 2
    assert f"with other plug-ins: mine.py changed since. Restore the file, from {copy}, or give a new --name" in changed.stderr
    unread = command(tmp_path, "gconv_gan.export", "runs/run", "--no-onnx", "--plugins", "mine.py")
    assert unread.stderr.endswith(f", which has changed since: read its copy, and give --plugins {copy}\n")
    (tmp_path / "mine.py").unlink()
    again = command(tmp_path, "gconv_gan.export", "runs/run", "--no-onnx", "--out", "again", "--plugins", copy)
    assert again.returncode == 0, again.stderr
    assert list(json.loads((tmp_path / "again" / "plugins.json").read_text())) == ["mine.py"]
    assert str(tmp_path) not in (tmp_path / "again" / "config.json").read_text()
    sampled = command(tmp_path, "gconv_gan.sample", "again", "--num", "2", "--out", "same.zip", "--plugins", "again/plugins/mine.py")
    assert sampled.returncode == 0, sampled.stderr
    assert (tmp_path / "same.zip").read_bytes() == (tmp_path / "images.zip").read_bytes()
    resumed = command(tmp_path, "train_gan.py", "runs/run/config.json", "--trainer.total-images", "112", "--plugins", copy)
    assert resumed.returncode == 0, resumed.stderr


PRUNED = """
[data]
kind = "stripes"
count = 48
[generator]
width = 16
latent_dim = 6
conv = { kind = "gained" }
[discriminator]
width = 8
[[methods]]
kind = "taylor"
players = ["generator"]
every = 16
units_per_step = 8
removed = 0.2
[trainer]
total_images = 64
batch_size = 16
"""


def test_the_layer_that_can_be_pruned_is_pruned_and_one_with_a_forgotten_tensor_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(PRUNED)
    (tmp_path / "mine.py").write_text("\n".join(EXAMPLES))
    trained = command(tmp_path, "train_gan.py", "run.toml", "--plugins", "mine.py")
    assert trained.returncode == 0, trained.stderr
    exported = command(tmp_path, "gconv_gan.export", "runs/run", "--no-onnx", "--out", "exported", "--plugins", "mine.py")
    assert exported.returncode == 0, exported.stderr
    tensors = load_file(tmp_path / "exported" / "generator.safetensors")
    gains = {name: len(tensor) for name, tensor in tensors.items() if name.endswith(".gain")}
    assert gains
    assert gains == {name: len(tensors[name.replace(".gain", ".weight")]) for name in gains}
    assert min(gains.values()) < 16
    (tmp_path / "forgotten.py").write_text("\n".join(EXAMPLES).replace('("weight", "bias", "gain")', '("weight", "bias")'))
    refused = command(tmp_path, "train_gan.py", "run.toml", "--plugins", "forgotten.py", "--name", "other", "--dry-run")
    assert refused.returncode == 2
    assert "taylor cannot remove channels of the generator" in refused.stderr


def test_python_names_the_plugins_too(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("\n".join(EXAMPLES))
    (tmp_path / "run.toml").write_text(RUN.replace("every = 32", "every = 0"))
    lines = """
    import gconv_gan, sys
    from gconv_gan.config.errors import UserError
    if sys.argv[1] == "train":
        gconv_gan.train("run.toml", plugins=["mine.py"])
    else:
        try:
            gconv_gan.load("runs/run")
        except UserError as error:
            print(error)
        print(gconv_gan.load("runs/run", plugins=["runs/run/plugins/mine.py"]).sample(2, seed=0).shape)
    """
    (tmp_path / "run.py").write_text(textwrap.dedent(lines))
    for step in ("train", "load"):
        ended = run_python(["run.py", step], tmp_path, ENVIRONMENT)
        assert ended.returncode == 0, ended.stderr
    assert re.search(r"config\.json was made with mine\.py .*: give --plugins mine\.py\ntorch\.Size\(\[2, 3, 8, 8\]\)\n$", ended.stdout)


def test_a_process_with_another_file_is_named(tmp_path: Path) -> None:
    for rank in range(2):
        (tmp_path / str(rank)).mkdir()
        (tmp_path / str(rank) / "mine.py").write_text("\n".join(EXAMPLES) + f"\n# {rank}\n")
        (tmp_path / str(rank) / "run.toml").write_text(RUN)
    lines = """
    import os, sys
    os.chdir(os.environ["RANK"])  # as on another node
    from gconv_gan.runtime.script import run_command
    run_command("gconv_gan.commands.train.gan")
    """
    (tmp_path / "node.py").write_text(textwrap.dedent(lines))
    ended = run_python(["node.py", "run.toml", "--plugins", "mine.py"], tmp_path, ENVIRONMENT, launched=2)
    assert ended.returncode != 0
    said = [line for line in ended.stderr.splitlines() if "plugins: " in line]
    assert len(said) == 1, ended.stderr
    assert re.search(r"plugins: mine\.py of process 1 on .* is another file than that of process 0 .*: give every node the same", said[0])
    assert not list(tmp_path.glob("*/runs"))


def test_a_run_names_the_file_that_it_was_made_with_or_its_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made, run = Path("made_with.py"), Path("run")
    made.write_text("HERE = 1\n")
    hashes = {"made_with.py": hashlib.sha256(made.read_bytes()).hexdigest()}
    (run / "plugins").mkdir(parents=True)
    copy = run / "plugins" / "made_with.py"

    def said() -> str:
        with pytest.raises(UserError) as refusal:
            require_loaded(["made_with.py"], hashes, run / "config.json")
        return re.sub(r" \(SHA-256 \w{12}…\)", "", str(refusal.value)).removeprefix("run/config.json was made with made_with.py")

    assert said() == ": give --plugins made_with.py"
    copy.write_bytes(made.read_bytes())
    assert said() == ": give --plugins made_with.py"
    made.unlink()
    assert said() == f", which is not there: read its copy, and give --plugins {copy}"
    made.write_text("HERE = 2\n")
    assert said() == f", which has changed since: read its copy, and give --plugins {copy}"
    load_plugins(["made_with.py"])
    assert said() == f", which has changed since: read its copy, and give --plugins {copy}"
    copy.write_text("HERE = 3\n")  # whatever lies there, it is not what the run was made with
    assert said() == ", which has changed since: restore that file"


def test_two_files_of_one_name_are_both_kept(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.py").write_text(f"WHICH = {folder!r}\n")
    names = [str(tmp_path / folder / "same.py") for folder in ("one", "two")]
    load_plugins(names)
    keep_plugins(tmp_path, names)
    kept = json.loads((tmp_path / "plugins.json").read_text())
    assert [copy_of(tmp_path, kept[name]).read_text() for name in names] == ["WHICH = 'one'\n", "WHICH = 'two'\n"]
    assert len(list((tmp_path / "plugins").iterdir())) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        (
            "from gconv_gan import parts\nparts.CONVS['plain'] = int",
            r"CONVS\['plain'\] exists: it is gconv_gan\.layers\.resample\.ResampledConv2d",
        ),
        ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(UserError, match=f"plugins: .*mine.py.*{message}"):
        load_plugins([str(tmp_path / "mine.py")])


def test_a_plugin_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="plugins: nowhere.py does not exist"):
        load_plugins(["nowhere.py"])
    with pytest.raises(UserError, match="plugins: no_such_package.parts cannot be imported: ModuleNotFoundError"):
        load_plugins(["no_such_package.parts"])


def test_a_file_is_loaded_once_and_hides_no_module_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import random

    path = tmp_path / "random.py"
    loads = tmp_path / "loads"
    loads.write_text("")
    path.write_text(f"from pathlib import Path\nloads = Path({str(loads)!r})\nloads.write_text(loads.read_text() + 'x')\n")
    monkeypatch.chdir(tmp_path)
    first, second = load_plugins(["random.py"]), load_plugins([str(path)])
    assert first == second
    assert loads.read_text() == "x"
    assert sys.modules["random"] is random
    assert str(tmp_path) not in sys.path
    here = Path("here")
    assert require_loaded(["random.py"], {"random.py": first[str(path)]}, here) == ["random.py"]
    assert require_loaded(["elsewhere.py"], {"elsewhere.py": first[str(path)]}, here) == [str(path)]
    with pytest.raises(UserError, match=r"^here was made with other\.py: give --plugins other\.py$"):
        require_loaded(["other.py"], {}, here)


def test_the_flag_takes_every_word_up_to_the_next_flag() -> None:
    assert take_plugins(["run", "--plugins", "a.py", "b.parts", "--seed", "3"]) == (["a.py", "b.parts"], ["run", "--seed", "3"])
    assert take_plugins(["--plugins=a.py", "--plugins", "b.py"]) == (["a.py", "b.py"], [])
    with pytest.raises(UserError, match="--plugins needs files or modules"):
        take_plugins(["--plugins", "--seed", "3"])
