"""Supervised training as a task: one step of a classifier, and its average."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from accelerate import Accelerator
from jaxtyping import Float, Int
from torch import Tensor, nn

from gconv_gan.config.schema import constructor
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.data.batches.class_batches import LabelledBatch
from gconv_gan.data.batches.held_out import HeldOut
from gconv_gan.layers.dropout import seed_dropout
from gconv_gan.losses.classification import mixed_cross_entropy
from gconv_gan.methods.method import Layout, Method, Player, PlayerName
from gconv_gan.metrics.classification.predictions import hits, negative_log_likelihood, predictions
from gconv_gan.optim.ema import Ema
from gconv_gan.training.report import Report
from gconv_gan.training.step import finish_step, half_batches, one_step, over_micro_batches
from gconv_gan.training.task import Task


@runtime_checkable
class LabelledImages(Protocol):
    """Labelled batches, addressed by the number of images seen before them."""

    def batch(self, images_seen: int) -> LabelledBatch:
        """Return one process's share of the batch after ``images_seen`` images."""
        ...

    def whole(self) -> "LabelledImages":
        """Return the source of the batches of all processes."""
        ...


class Batch(NamedTuple):
    """One process's share of a batch. The target is ``weight`` [] times ``labels`` plus the rest times ``others``; None: no mixing."""

    images: Float[Tensor, "b 3 s s"]
    labels: Int[Tensor, " b"]
    others: Int[Tensor, " b"]
    places: Int[Tensor, " b"]
    """Indices in the batch of all processes."""
    weight: Float[Tensor, ""] | None


class Inputs(NamedTuple):
    """The tensors that an iteration reads."""

    batch: Batch
    images_seen: Int[Tensor, ""]
    average: Float[Tensor, ""]
    """Weight of the network in its average."""


class Supervised(Task):
    """A classifier.

    Args:
        config: the run.
        network: bare, in fp32.
        data: training batches.
        held_out: images of the tests during training; None: no tests.
        held_out_name: "validation" or "test".
        methods: the training methods, in order.
        device: device of training.

    """

    config: ClassifierRunConfig

    def __init__(
        self,
        config: ClassifierRunConfig,
        network: nn.Module,
        *,
        data: LabelledImages,
        held_out: HeldOut | None = None,
        held_out_name: str = "test",
        methods: Sequence[Method] = (),
        layout: Layout = "channels_last",
        device: torch.device,
    ) -> None:
        average = config.average
        player = Player(
            "classifier",
            network.to(device),
            constructor(config.optimizer, "optimizer"),
            config.optimizer.learning_rate,
            build_average=partial(Ema, half_life_images=average.half_life_images, ramp=average.ramp) if average.half_life_images else None,
            layout=layout,
        )
        super().__init__([player], methods, {}, device)
        self.config, self.data, self.held_out, self.held_out_name = config, data, held_out, held_out_name
        self.player = player
        self._whole_data = data.whole()  # for ``losses``
        self._masks = seed_dropout(player.network, config.seed, device=device)
        self.images_per_iteration, self.evaluate_every = config.trainer.batch_size, config.evaluation.every

    def begin(self, accelerator: Accelerator) -> None:
        """See ``Task``."""
        super().begin(accelerator)
        self._accelerator = accelerator
        self._masks = seed_dropout(self.player.network, self.config.seed, device=self.device)
        self._accumulate = partial(over_micro_batches, count=self.config.trainer.micro_batches)

    def prepare(self) -> tuple[None, Inputs]:
        """Return the next batch."""
        before = self.progress.images_seen
        average = self.player.average
        step = self.images_per_iteration
        weight = 0.0 if average is None else average.weight(batch_images=step, images_seen=before + step)
        return None, Inputs(
            self._batch(self.data, before),
            torch.tensor(before).to(self.device, non_blocking=True),
            torch.tensor(weight, dtype=torch.float32).to(self.device, non_blocking=True),
        )

    def _batch(self, data: LabelledImages, images_seen: int) -> Batch:
        batch = data.batch(images_seen)
        images = batch.images.contiguous(memory_format=torch.channels_last)
        return Batch(images, batch.labels, batch.others, batch.places, batch.weight)

    def _iterate(self, variant: None, inputs: Inputs) -> None:
        """Run one step, and update the average."""
        self._masks.step = inputs.images_seen
        with one_step(self._power_iterations):
            statistics = self._accumulate(self._step, inputs.batch, self.players["classifier"].network)
        norm = finish_step(
            self.player,
            methods=self.methods,
            guard=self.guard,
            max_grad_norm=self.config.trainer.max_grad_norm,
            images_seen=inputs.images_seen,
        )
        self.means.add({**statistics, "grad_norm": norm})
        if self.player.average is not None:
            self.player.average.update(inputs.average * (1 - self.guard.failed))

    def _step(self, batch: Batch, *, backward: Callable[[Tensor], None], share: float) -> dict[str, Tensor]:
        """Accumulate the gradient of the cross-entropy on one micro-batch; return detached scalars."""
        self._masks.indices = batch.places
        logits = self.players["classifier"].network(batch.images)
        loss = self._cross_entropy(logits, batch)
        backward(loss if share == 1 else loss * share)
        return {"loss": loss.detach(), "accuracy": (logits.detach().argmax(1) == batch.labels).float().mean()}

    def _cross_entropy(self, logits: Tensor, batch: Batch) -> Tensor:
        smoothing = self.config.labels.smoothing
        return mixed_cross_entropy(logits, batch.labels, batch.others, weight=batch.weight, smoothing=smoothing)

    def advance(self) -> None:
        """See ``Task``."""
        self.progress.images_seen += self.images_per_iteration

    def _loss(self, player: PlayerName, halves: Sequence[int], network: Callable[..., Any]) -> Tensor:
        """See ``Task``."""
        parts = half_batches(lambda number: self._batch(self._whole_data, number * self.images_per_iteration), halves)
        counts = [len(part.labels) for part in parts]
        steps = torch.tensor([half // 2 * self.images_per_iteration for half in halves])
        self._masks.step = steps.repeat_interleave(torch.tensor(counts)).to(self.device)
        self._masks.indices = torch.cat([part.places for part in parts])
        logits = network(torch.cat([part.images for part in parts])).split(counts)
        losses = [self._cross_entropy(part_logits, part) * len(part.labels) for part_logits, part in zip(logits, parts, strict=True)]
        return torch.stack(losses).sum() / sum(counts)

    def score(self, report: Report) -> bool:
        """Test the average (the network, without an average), log the result, and return whether it is the best so far."""
        if self.held_out is None:
            return False
        images, name = self.progress.images_seen, self.held_out_name
        found = held_out_scores(self.player.tested, self.held_out, self._accelerator)
        scores: Mapping[str, float] = {f"{name}/{key}": value for key, value in found.items()}
        report.log(dict(scores), images)
        report.say(f"{images / 1000:9.1f} kimg  " + "  ".join(f"{key} {value:.4f}" for key, value in scores.items()))
        return self.progress.improved_by(f"{name}/error", 1 - scores[f"{name}/accuracy"])


def held_out_scores(network: nn.Module, data: HeldOut, accelerator: Accelerator) -> dict[str, float]:
    """Return accuracy, top-5 accuracy and mean negative log-likelihood over all processes, each testing its share."""
    logits, labels = predictions(network, data, index=accelerator.process_index, processes=accelerator.num_processes)
    rows = torch.stack([hits(logits, labels), hits(logits, labels, k=5), negative_log_likelihood(logits, labels)])
    sums = accelerator.reduce(rows.double().sum(1).to(accelerator.device), reduction="sum") / len(data)
    return dict(zip(("accuracy", "top5", "loss"), sums.tolist(), strict=True))
