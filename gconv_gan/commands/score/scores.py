"""Scores of a run or of a folder of images: choice of reference, extractors and protocols."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from gconv_gan.commands.score.fakes import Fakes, file_fakes, run_fakes
from gconv_gan.commands.score.progress import Progress
from gconv_gan.commands.score.references import (
    Reals,
    chosen_reals,
    open_files,
    open_reference,
    processes,
    reference_of,
    require_every_class,
    require_split,
    usual_split,
)
from gconv_gan.commands.train.networks import TrainedRun, load_run
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import parse_command
from gconv_gan.config.sections.scores import ScoreCommand, ScoreOptions
from gconv_gan.data.datasets import DATASETS
from gconv_gan.metrics.evaluate import needs_classes, needs_real_features, score_all
from gconv_gan.metrics.extractors.factory import build_extractors
from gconv_gan.metrics.extractors.inception import Extractor
from gconv_gan.metrics.images.content_order import ContentOrder
from gconv_gan.metrics.images.sources import ImageFiles
from gconv_gan.metrics.metric import Evaluation
from gconv_gan.metrics.protocols import Protocol, adjusted, family, other_variant, protocol
from gconv_gan.metrics.references.interchange import import_statistics
from gconv_gan.metrics.references.reference_statistics import ReferenceStatistics
from gconv_gan.metrics.score_card import Score
from gconv_gan.runtime.device import command_device, process_state
from gconv_gan.runtime.files.atomic import require_possible_folder, write_text

NUM_FAKE = 50_000  # of a generator, if the protocol does not give a number


def main(arguments: Sequence[str]) -> None:
    """Score the images that the command line names; print the scores and write them to the run folder and to ``--json``."""
    command = parse_command(ScoreCommand, arguments)
    require_outlet(command.json_out)
    kept = scored(command)
    if process_state().is_main_process:
        for result, path in kept:
            print("\n".join(result.lines()))
            if path is not None:
                print(f"written to {path}")
        if command.json_out:
            Path(command.json_out).parent.mkdir(parents=True, exist_ok=True)
            write_text(Path(command.json_out), as_json([result for result, _ in kept]))
            print(f"written to {command.json_out}")


def scored(command: ScoreCommand) -> list[tuple[Score, Path | None]]:
    """Score the images that ``command`` names; return each score with its file in the run folder (None for files and other processes)."""
    jobs = jobs_of(command, generated=is_run(command.source))
    results = evaluate(command, jobs)
    kept = is_run(command.source) and process_state().is_main_process
    return [(result, keep(Path(command.source), command, job, result) if kept else None) for job, result in zip(jobs, results, strict=True)]


def require_outlet(json_out: str | None) -> None:
    """Raise ``UserError``, before anything is scored, if ``--json`` names a file that cannot be written."""
    if json_out is not None:
        if Path(json_out).is_dir():
            raise UserError(f"--json {json_out} is a folder; name a file")
        require_possible_folder(Path(json_out).parent, "--json")


def as_json(results: Sequence[Score]) -> str:
    """Return one score as an object {"scores", "card"}, several as a list of them."""
    values = [json.loads(result.to_json()) for result in results]
    return json.dumps(values[0] if len(values) == 1 else values, indent=2) + "\n"


def is_run(source: str) -> bool:
    """Return whether ``source`` is a run folder."""
    return (Path(source) / "config.json").is_file()


@dataclass(frozen=True)
class Job:
    """A protocol and the extractor whose features it uses."""

    protocol: Protocol
    extractor: str


def jobs_of(options: ScoreOptions, *, generated: bool) -> list[Job]:
    """Return every protocol with its own extractor, or with each of ``--extractor``; a changed protocol gets another name.

    Raises:
        UserError: a protocol does not exist, or none is given and the extractor has no usual one.

    """
    jobs = []
    for name in options.protocol or (None,):
        for network in options.extractor or (None,):
            chosen = protocol(name or _usual_protocol(network or "inception", generated=generated))
            changes = {"metrics": options.metrics, "num_fake": options.num_fake, "num_real": options.num_real}
            changed = {key: value for key, value in changes.items() if value is not None}
            chosen = adjusted(chosen, **changed, **other_variant(chosen, network))
            jobs.append(Job(chosen, network or chosen.extractor or "inception"))
    if len(set(jobs)) != len(jobs):
        raise UserError("a protocol is named twice with the same extractor")
    return jobs


USUAL = {
    "inception": "fid50k_full",
    "efficientnet_lite0": "fd50k_lite0_224",
    "dinov2": "fd50k_dinov2",
    "clip": "fd50k_clip",
    "checkpoint": "fd1k_classifier",
}


def _usual_protocol(network: str, *, generated: bool) -> str:
    kind = family(network)
    if not generated:
        return "images_without_classes" if kind in ("dinov2", "clip") else "images"
    return USUAL.get(kind, "images")


def evaluate(command: ScoreCommand, jobs: Sequence[Job]) -> list[Score]:
    """Score ``command.source`` under every job; every process returns the same.

    A generator generates each image once for all jobs.

    Raises:
        UserError: a source, reference, extractor or protocol is absent, or they do not fit each other.

    """
    device = command_device()
    run = load_run(command.source, checkpoint=command.checkpoint) if is_run(command.source) else None
    if run is not None and command.size is not None:
        raise UserError(
            f"--size {command.size} is for pictures in files; {command.source} is a run, whose images have the size of its data"
        )
    files = open_files(Path(command.source), size=command.size, cache_dir=Path(command.cache_dir)) if run is None else None
    references = References(command, run, files)
    references.require(jobs)  # before weights are looked for or fetched
    networks = build_extractors(
        [job.extractor for job in jobs],
        weights=Path(command.weights) if command.weights else None,
        download=command.download,
        device=device,
    )
    if run is not None:
        fakes = fakes_of(run, command, jobs, rule=run.rule)
        return score_jobs(fakes, command, evaluations_of(fakes, jobs, networks, references))
    assert files is not None
    results: dict[Job, Score] = {}
    for count in dict.fromkeys(job.protocol.num_fake for job in jobs):
        group = [job for job in jobs if job.protocol.num_fake == count]
        fakes = file_fakes(files, command.source, count=count, seed=command.seed)
        results |= dict(zip(group, score_jobs(fakes, command, evaluations_of(fakes, group, networks, references)), strict=True))
    return [results[job] for job in jobs]


def fakes_of(run: TrainedRun, options: ScoreOptions, jobs: Sequence[Job], *, rule: str) -> Fakes:
    """Return the images of the run's generator, as many as the jobs need."""
    return run_fakes(
        run,
        count=max(job.protocol.num_fake or NUM_FAKE for job in jobs),
        seed=options.seed,
        weights=options.generator_weights,
        batch_norm=options.batch_norm,
        truncation=options.truncation,
        labels=options.labels,
        rule=rule,
    )


def score_jobs(fakes: Fakes, options: ScoreOptions, evaluations: Sequence[Evaluation]) -> list[Score]:
    """Return the scores of all evaluations, computed in one pass over the images."""
    sharing = replace(processes(), seen=Progress("scored"))
    return score_all(fakes.source, evaluations, fakes=fakes.card, run=fakes.run, processes=sharing, batch_size=options.batch_size)


def evaluations_of(fakes: Fakes, jobs: Sequence[Job], networks: dict[str, Extractor], references: "References") -> list[Evaluation]:
    """Return the evaluation of every job."""
    whole = NUM_FAKE if fakes.run is not None else len(fakes.source)
    return [
        Evaluation(job.protocol, job.protocol.num_fake or whole, networks[job.extractor], references.of(job, networks[job.extractor], jobs))
        for job in jobs
    ]


@dataclass
class References:
    """The references of the jobs of a command, each opened and computed once."""

    options: ScoreOptions
    run: TrainedRun | None
    files: ContentOrder[ImageFiles] | None
    """The scored pictures; None for a run."""
    opened: dict[str | None, ReferenceStatistics | Reals | Path] = field(default_factory=dict)
    computed: dict[tuple[str | None, int | None, str], ReferenceStatistics] = field(default_factory=dict)

    def require(self, jobs: Sequence[Job]) -> None:
        """Open the references of all jobs; raise ``UserError`` if one is absent, or has too few images or another split."""
        for job in jobs:
            reals = self._opened(job.protocol)
            if isinstance(reals, Reals):
                chosen_reals(reals, job.protocol, seed=self.options.seed)

    def _opened(self, chosen: Protocol) -> ReferenceStatistics | Reals | Path:
        split = self._split(chosen)
        if split not in self.opened:
            self.opened[split] = self._open(split)
        return self.opened[split]

    def of(self, job: Job, network: Extractor, jobs: Sequence[Job]) -> ReferenceStatistics:
        """Return the statistics that ``job`` needs, with features if any of ``jobs`` on the same images needs them."""
        split, reals = self._split(job.protocol), self._opened(job.protocol)
        if isinstance(reals, Path):
            return import_statistics(reals, network, count=self.options.num_real)
        by_class = needs_classes(job.protocol)
        if by_class and self.run is not None and reals.classes != self.run.class_names:
            raise UserError(f"{by_class}: the classes of the reference, {reals.classes}, are not the run's, {self.run.class_names}")
        if isinstance(reals, ReferenceStatistics):
            require_split(job.protocol, reals.reference.split)
            return reals
        require_split(job.protocol, reals.split)
        if self.run is not None and self.run.class_names == reals.classes and self.options.labels == "uniform":
            require_every_class(reals)
        key = split, job.protocol.num_real, job.extractor
        if key not in self.computed:
            sharing = [one.protocol for one in jobs if (self._split(one.protocol), one.protocol.num_real, one.extractor) == key]
            self.computed[key] = reference_of(
                reals,
                job.protocol,
                network,
                seed=self.options.seed,
                cache_dir=Path(self.options.cache_dir),
                with_features=any(needs_real_features(one) for one in sharing),
                batch_size=self.options.batch_size,
            )
        return self.computed[key]

    def _split(self, chosen: Protocol) -> str | None:
        """Return the split to open: that of ``--reference-split``, else the protocol's if the data are known to have splits."""
        if self.options.reference_split is not None:
            return self.options.reference_split
        named = (self.options.reference or "").partition(":")[0]
        if chosen.split == "any" or (self.options.reference is not None and named not in DATASETS):
            return None
        if named:
            return usual_split(chosen, named)
        if self.run is None or getattr(self.run.config.data, "split", None) is None:
            return None
        return usual_split(chosen, self.run.config.data.kind)

    def _open(self, split: str | None) -> ReferenceStatistics | Reals | Path:
        data = None if self.run is None else self.run.config.data
        return open_reference(
            self.options.reference,
            split=split,
            trained_on=data,
            size=data.size if data is not None else self.files.size if self.files is not None else None,
            files_size=None if self.files is None else self.files.source.size,
            cache_dir=Path(self.options.cache_dir),
        )


def keep(run: Path, options: ScoreOptions, job: Job, result: Score) -> Path:
    """Write a score into the ``scores/`` of a run folder and return the file."""
    assert result.card.fakes.images_seen is not None
    path = score_file(run, options, job, result.card.fakes.images_seen)
    path.parent.mkdir(exist_ok=True)
    write_text(path, result.to_json() + "\n")
    return path


def score_file(run: Path, options: ScoreOptions, job: Job, images: int) -> Path:
    """Return the file in a run folder for the score of a checkpoint, named after protocol, extractor, settings and ``images``.

    "fid2k-num_real=300-inception-480.json": a file that an earlier version named otherwise keeps its name.
    """
    usual = ScoreOptions()
    chosen = [(options.batch_norm, usual.batch_norm), (options.generator_weights, usual.generator_weights), (options.labels, usual.labels)]
    mode = [str(value) for value, default in [*chosen, (f"seed{options.seed}", f"seed{usual.seed}")] if value != default]
    mode += [] if options.truncation is None else [f"truncation{options.truncation:g}"]
    network = "checkpoint" if job.extractor.startswith("checkpoint:") else job.extractor
    name = "-".join([job.protocol.name, network, *mode, str(images)])
    earlier = run / "scores" / (_plain(name, "._-") + ".json")
    words = {"', '": "+", "('": "", "',)": "", "')": "", " (": "-", ", ": "-", ")": "", ":": "_"}
    for found, word in words.items():
        name = name.replace(found, word)
    return earlier if earlier.is_file() else earlier.with_name(_plain(name, "._-=+") + ".json")


def _plain(name: str, marks: str) -> str:
    return "".join(c if c.isalnum() or c in marks else "_" for c in name)
