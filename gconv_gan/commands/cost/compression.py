"""What the networks of a run cost beside those of others, what training methods changed in them, and the scores of all."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from pydantic import Field, PositiveInt
from torch import nn

from gconv_gan.commands.score.checkpoint_choice import choose_checkpoint
from gconv_gan.commands.score.compare_scores import matching, read, stored
from gconv_gan.commands.train.networks import build_networks, load_run
from gconv_gan.config.base import Config
from gconv_gan.config.commands import JsonFile, RunFolder
from gconv_gan.config.errors import UserError
from gconv_gan.config.hints import does_not_exist
from gconv_gan.config.load import parse_command
from gconv_gan.experiments.compression_plot import Point, plot
from gconv_gan.gallery.page.score_names import direction, in_words, score_name
from gconv_gan.methods.method import PlayerName
from gconv_gan.methods.surgery import example_inputs, macs_of
from gconv_gan.metrics.comparison import Entry, aligned, groups, require_alike, table
from gconv_gan.metrics.cost import inference, peak_bytes, rounds
from gconv_gan.metrics.extractors.trained_classifier import DESCRIPTION, built, load_classifier
from gconv_gan.metrics.score_card import Score
from gconv_gan.metrics.tables import lower_is_better
from gconv_gan.models.changes import summaries
from gconv_gan.runtime.device import command_device, device_name
from gconv_gan.runtime.files.atomic import require_possible_folder, write_bytes, write_text
from gconv_gan.runtime.run_folder import versions
from gconv_gan.training.checkpoint import STATE

Sort = Literal["GAN", "classifier"]
Networks = dict[PlayerName, nn.Module]
TEST = "test"
"""Name of a classifier's scores."""


class CompressionCommand(Config):
    """Compare what the networks of runs cost on this device, and their scores."""

    run: RunFolder
    against: Annotated[tuple[str, ...], tyro.conf.arg(metavar="RUN [RUN ...]")] = ()
    """Other runs, the original first: ratios are to it; none: the networks of RUN as its config describes them, before any change."""
    batch: Annotated[int, Field(ge=2)] = 64
    """Batch of the second latency and of the memory; the first latency is that of one image."""
    repeats: Annotated[int, Field(ge=3)] = 25
    """Rounds of the latencies; in each round every network runs once."""
    protocol: str | None = None
    """Only the scores of GANs under this protocol; None: every one that all runs have."""
    json_out: JsonFile = None
    """Also write the numbers to this file."""
    png: str | None = None
    """Draw costs and scores here."""


class Latency(Config):
    """Time of a forward pass in evaluation mode, in milliseconds, over the rounds."""

    batch: PositiveInt
    median: float
    low: float
    """Lower quartile."""
    high: float
    """Upper quartile."""


class NetworkCost(Config):
    """What one network costs."""

    parameters: int
    macs: int
    """Multiply-adds per image of a forward pass."""
    latencies: tuple[Latency, ...]
    weight_bytes: int
    """Parameters and buffers."""
    activation_bytes: int
    """Peak of torch's allocator during a forward pass of the larger batch, without what was allocated before."""
    changes: tuple[str, ...]
    """What training methods changed in its structure."""

    @property
    def peak_bytes(self) -> int:
        """Return the memory of a forward pass: weights, buffers and the peak of all else."""
        return self.weight_bytes + self.activation_bytes

    def ratios(self, to: "NetworkCost") -> dict[str, float]:
        """Return every cost divided by that of ``to``."""
        times = zip(self.latencies, to.latencies, strict=True)
        return {
            "parameters": self.parameters / to.parameters,
            "MACs": self.macs / to.macs,
            **{f"latency, batch {one.batch}": one.median / other.median for one, other in times},
            "peak memory": self.peak_bytes / to.peak_bytes,
        }


class RunCost(Config):
    """One row: a run, or the networks that its config describes."""

    run: str
    images: int | None
    """Images seen at the checkpoint; None: the networks are new."""
    networks: dict[PlayerName, NetworkCost]
    ratios: dict[PlayerName, dict[str, float]]
    """Of the costs to those of the first row."""
    scores: dict[str, dict[str, float]]
    """Protocol -> scores at this checkpoint; "test" of a classifier."""


class CompressionReport(Config):
    """Result and settings of one comparison; ratios are to its first row."""

    format: int = 1
    sort: Sort
    runs: tuple[RunCost, ...]
    batch: int
    rounds: int
    device: str
    threads: int
    memory: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Source:
    """The networks of a row, on the device, and where they are from."""

    label: str
    sort: Sort
    images: int | None
    networks: Networks
    changes: Mapping[PlayerName, Sequence[str]]
    tested: Mapping[str, Any] | None = None
    """Of a classifier: scores on the test images, and what they depend on."""


def main(arguments: Sequence[str]) -> None:
    """Print the costs of the runs that the command line names, and their scores; write and draw them if asked."""
    command = parse_command(CompressionCommand, arguments)
    for flag, file in (("--json", command.json_out), ("--png", command.png)):
        if file is not None:
            require_possible_folder(Path(file).parent, flag)
    if command.png is not None and not command.png.endswith(".png"):
        raise UserError(f"--png {command.png}: name a file that ends in .png")
    sources = [source_of(run) for run in (*command.against, command.run)]
    sorts = {source.sort: source.label for source in sources}
    if len(sorts) > 1:
        raise UserError(f"{sorts['GAN']} is a GAN's run, {sorts['classifier']} a classifier's: neither costs nor scores can be compared")
    scores, lines = scores_of(sources, command.protocol)
    rows = sources if command.against else [as_configured(command.run), *sources]
    report = measure(rows, scores, command)
    print("\n".join([*_lines(report), *lines]))
    if command.json_out is not None:
        write_text(Path(command.json_out), report.model_dump_json(indent=2) + "\n")
    if command.png is not None:
        write_bytes(Path(command.png), picture(report))
        print(f"picture: {command.png}")


# ---- networks ------------------------------------------------------------------------------------------------------


def source_of(run: str) -> Source:
    """Return the networks of a run of either sort at its newest checkpoint; of a GAN the averaged generator.

    Raises:
        UserError: there is no such run, or it is not complete.

    """
    if _is_classifier(run):
        return _classifier(run)
    trained = load_run(run)
    names: tuple[PlayerName, ...] = ("generator", "discriminator")
    changes = {name: summaries(name, trained.changes, source=trained.checkpoint / STATE) for name in names}
    networks: Networks = {"generator": trained.generator(), "discriminator": trained.discriminator()}
    return Source(run, "GAN", trained.images_seen, _moved(networks), changes)


def as_configured(run: str) -> Source:
    """Return the networks that the config of ``run`` describes, before any change of their structure."""
    label = f"{run}, as configured"
    if _is_classifier(run):
        _, fields = load_classifier(run)
        with torch.random.fork_rng(devices=[]):
            networks: Networks = {"classifier": built({**fields, "methods": []}, Path(run) / DESCRIPTION)}
        return Source(label, "classifier", None, _moved(networks), {})
    trained = load_run(run)
    generator, discriminator = build_networks(trained.config, trained.num_classes)
    return Source(label, "GAN", None, _moved({"generator": generator, "discriminator": discriminator}), {})


def _is_classifier(run: str) -> bool:
    file = Path(run) / "config.json"
    if not file.is_file():
        raise UserError(f"{run} is not a run folder: it has no config.json" if Path(run).exists() else does_not_exist(Path(run)))
    return "test_data" in json.loads(file.read_text())


def _classifier(run: str) -> Source:
    network, fields = load_classifier(run)
    state = json.loads((choose_checkpoint(Path(run), None).path / STATE).read_text())
    changes = summaries("classifier", fields.get("methods", []), source=Path(run) / DESCRIPTION)
    depends_on = {
        "test images": state.get("test_data"),
        "image_size": fields["arguments"].get("image_size"),
        "classes": list(fields["classes"]),
    }
    tested = {"scores": {key: fields[key] for key in ("accuracy", "top5", "loss") if key in fields}, "depends on": depends_on}
    images = fields.get("images_seen", state["progress"]["images_seen"])
    return Source(run, "classifier", int(images), _moved({"classifier": network}), {"classifier": changes}, tested)


def _moved(networks: Networks) -> Networks:
    return {name: network.to(command_device()).eval() for name, network in networks.items()}


# ---- scores --------------------------------------------------------------------------------------------------------


def scores_of(sources: Sequence[Source], protocol: str | None) -> tuple[list[dict[str, dict[str, float]]], list[str]]:
    """Return the scores of every run at its checkpoint, by protocol, and their tables as lines.

    Raises:
        UserError: they cannot be compared.

    """
    if sources[0].sort == "classifier":
        return _tested(sources)
    if protocol is not None:
        found = [read(source.label, protocol=protocol, checkpoint=source.images) for source in sources]
    else:
        found = [_at_checkpoint(source) for source in sources]
    missing = [source for source, scores in zip(sources, found, strict=True) if not scores]
    if missing:
        named = ", ".join(f"{source.label} at {source.images:,} images" for source in missing)
        return [{} for _ in sources], ["", f"scores are left out: none is stored of {named} (gconv-gan score computes them)"]
    lines: list[str] = []
    by_run: list[dict[str, dict[str, float]]] = [{} for _ in sources]
    for entries in groups([(source.label, scores) for source, scores in zip(sources, found, strict=True)]):
        require_alike(entries)
        lines += ["", *table(entries, mark=False)]
        for scores, entry in zip(by_run, entries, strict=True):
            scores[_name(entry)] = dict(entry.score.scores)
    return by_run, lines


def _name(entry: Entry) -> str:
    """Return the protocol with what tells two scores of one run under it apart."""
    card = entry.score.card
    return f"{card.formula.protocol}, {card.extractor.name}, {card.fakes.weights}, {card.fakes.batch_norm}, seed {card.fakes.seed}"


def _at_checkpoint(source: Source) -> list[Score]:
    """Return the stored scores of the networks that are measured: those of an earlier checkpoint may be of other ones."""
    return matching(stored(source.label), protocol=None, checkpoint=source.images) if _is_scored(source.label) else []


def _is_scored(run: str) -> bool:
    return any((Path(run) / "scores").glob("*.json"))


def _tested(sources: Sequence[Source]) -> tuple[list[dict[str, dict[str, float]]], list[str]]:
    first, *others = (source.tested or {} for source in sources)
    for source, one in zip(sources[1:], others, strict=True):
        unlike = [key for key, value in one["depends on"].items() if value != first["depends on"][key]]
        if unlike:
            raise UserError(f"the test scores cannot be compared: {source.label} differs from {sources[0].label} in {' and '.join(unlike)}")
    keys = [key for key in first["scores"] if all(key in one["scores"] for one in others)]
    rows = [["test images", "images", *keys]]
    for source, one in zip(sources, (first, *others), strict=True):
        rows.append([source.label, f"{source.images:,}", *(f"{one['scores'][key]:.4f}" for key in keys)])
    return [{TEST: dict(one["scores"])} for one in (first, *others)], ["", *aligned(rows)]


# ---- costs ---------------------------------------------------------------------------------------------------------


def measure(rows: Sequence[Source], scores: Sequence[dict[str, dict[str, float]]], command: CompressionCommand) -> CompressionReport:
    """Return the costs of the networks of ``rows``, timed in turns.

    Args:
        rows: what is measured; ratios are to the first.
        scores: of the last rows, which are those of runs.
        command: the settings.

    """
    device = command_device()
    runs = {
        (row, name, batch): inference(network, *example_inputs(name, network, batch=batch))
        for row, source in enumerate(rows)
        for name, network in source.networks.items()
        for batch in (1, command.batch)
    }
    taken = rounds(runs, repeats=command.repeats, device=device)

    def cost(row: int, name: PlayerName, network: nn.Module) -> NetworkCost:
        tensors = [*network.parameters(), *network.buffers()]
        return NetworkCost(
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            macs=macs_of(name, network),
            latencies=tuple(_latency(batch, taken[row, name, batch]) for batch in (1, command.batch)),
            weight_bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
            activation_bytes=peak_bytes(runs[row, name, command.batch], device=device),
            changes=tuple(rows[row].changes.get(name, ())),
        )

    costs = [{name: cost(row, name, network) for name, network in source.networks.items()} for row, source in enumerate(rows)]
    described = [dict[str, dict[str, float]]()] * (len(rows) - len(scores)) + list(scores)
    return CompressionReport(
        sort=rows[0].sort,
        runs=tuple(
            RunCost(
                run=source.label,
                images=source.images,
                networks=found,
                ratios={name: one.ratios(costs[0][name]) for name, one in found.items()},
                scores=score,
            )
            for source, found, score in zip(rows, costs, described, strict=True)
        ),
        batch=command.batch,
        rounds=command.repeats,
        device=device_name(),
        threads=torch.get_num_threads(),
        memory="weights, buffers, and the peak of torch's allocator in a forward pass"
        + ("" if device.type == "cuda" else ", recorded by its profiler: without the workspaces of CPU libraries"),
        versions=versions(),
    )


def _latency(batch: int, seconds: Sequence[float]) -> Latency:
    low, median, high = (1000 * value for value in statistics.quantiles(seconds, n=4))
    return Latency(batch=batch, median=median, low=low, high=high)


# ---- report --------------------------------------------------------------------------------------------------------


def _lines(report: CompressionReport) -> list[str]:
    """Return the costs as text, a table for each network, and what was changed."""
    threads = "" if report.device != "cpu" else f", {report.threads} thread{'s' * (report.threads > 1)}"
    lines = [
        f"{report.device}{threads}, evaluation mode; latency: median [quartiles] of {report.rounds} interleaved rounds",
        f"peak memory at batch {report.batch}: {report.memory}",
        f"× is the ratio to {report.runs[0].run}",
    ]
    for name in report.runs[0].networks:
        rows = [[name, "parameters", "MACs per image", *(f"ms, batch {batch}" for batch in (1, report.batch)), "peak MiB"]]
        for run in report.runs:
            cost = run.networks[name]
            times = [f"{one.median:.3g} [{one.low:.3g}, {one.high:.3g}]" for one in cost.latencies]
            values = [f"{cost.parameters:,}", f"{cost.macs:,}", *times, f"{cost.peak_bytes / 2**20:.2f}"]
            ratios = [""] * len(values) if run is report.runs[0] else [f" ×{ratio:.3f}" for ratio in run.ratios[name].values()]
            rows.append([run.run, *(value + ratio for value, ratio in zip(values, ratios, strict=True))])
        lines += ["", *aligned(rows)]
        for run in report.runs:
            lines += [f"  {run.run}: {words}" for words in run.networks[name].changes]
    return lines


def picture(report: CompressionReport) -> bytes:
    """Return the costs and the first score that all have as a PNG."""
    labels = [run.run for run in report.runs]
    short = [Path(label).name for label in labels]
    labels = short if len(set(short)) == len(set(labels)) else labels
    scored = [(row, run) for row, run in enumerate(report.runs) if run.scores]
    subject: PlayerName = "generator" if report.sort == "GAN" else "classifier"
    points, title = [], ""
    if scored:
        protocol, scores = next(iter(scored[0][1].scores.items()))
        score = next(iter(scores))
        title = f"{score_name(score, scores)}{in_words(direction(score, lower_is_better()))} ({protocol.split(',')[0]})"
        points = [Point(row, run.networks[subject].macs / 1e6, run.scores[protocol][score]) for row, run in scored]
    ratios: dict[str, list[Mapping[str, float]]] = {name: [run.ratios[name] for run in report.runs] for name in report.runs[0].networks}
    return plot(labels, ratios, points, score=title, subject=subject)
