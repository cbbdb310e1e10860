"""The ONNX file of a generator: written by torch's exporter, checked and timed with onnxruntime."""

import importlib.util
import io
import logging
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gconv_gan.config.errors import UserError
from gconv_gan.metrics.images.sources import shape_of
from gconv_gan.models.gan.mapping import MappedGenerator
from gconv_gan.sampling.latents import draw_labels, draw_latents

TIMED = 15  # passes
TRACED_BATCH, CHECKED_BATCHES = 2, (1, 7, 64)
TRACED_PSI = 0.7
TOLERANCE = 1e-3  # of images in [-1, 1], an eighth of a grey level: the two libraries sum in different orders


class VariablyTruncated(nn.Module):
    """A generator behind a mapping network whose ψ is an input of the forward pass, psi [], instead of a constant of the ONNX file."""

    def __init__(self, generator: MappedGenerator) -> None:
        super().__init__()
        self.generator = generator
        self.latent_dim, self.num_classes = generator.latent_dim, generator.num_classes

    def forward(self, z: Float[Tensor, "b d"], psi: Float[Tensor, ""], y: Int[Tensor, " b"] | None = None) -> Float[Tensor, "b 3 s s"]:
        """Return the images [B, 3, s, s] of z [B, d] and, if conditional, y [B], with w truncated towards its mean by psi []."""
        mean = self.generator.w_mean
        images: Tensor = self.generator.synthesis(mean + psi * (self.generator.mapping(z, y) - mean), y)
        return images


def require_onnx(advice: str) -> None:
    """Raise ``UserError``, which ends with ``advice``, if a package that ONNX export or its check needs is absent."""
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"ONNX needs {', '.join(missing)}: pip install 'gconv_gan[onnx]', or {advice}")


def _inputs(generator: nn.Module, batch: int) -> dict[str, torch.Tensor]:
    latent_dim, num_classes = shape_of(generator)
    inputs = {"z": draw_latents(0, "onnx", torch.arange(batch), latent_dim=latent_dim)}
    if num_classes is not None:
        inputs["y"] = draw_labels(0, "onnx_labels", torch.arange(batch), num_classes=num_classes)
    if isinstance(generator, VariablyTruncated):
        inputs = {"z": inputs.pop("z"), "psi": torch.tensor(TRACED_PSI), **inputs}
    return inputs


def write_onnx(generator: nn.Module, path: Path, *, advice: str) -> None:
    """Write ``generator`` as one ONNX file: z [batch, d] and, if conditional, y [batch] -> images [batch, 3, h, w], any batch.

    The file of a ``VariablyTruncated`` one has the input psi [], too.

    Raises:
        UserError: torch cannot export it, as where its forward pass branches on the values of a tensor; it ends with ``advice``.

    """
    inputs = _inputs(generator, TRACED_BATCH)
    try:
        with _silenced():
            torch.onnx.export(
                generator,
                tuple(inputs.values()),
                path,
                input_names=list(inputs),
                output_names=["images"],
                dynamic_shapes=tuple({0: torch.export.Dim.DYNAMIC} if tensor.ndim else None for tensor in inputs.values()),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise UserError(f"this generator cannot be exported to ONNX ({_reason(error)}): {advice}") from error


@contextmanager
def _silenced() -> Iterator[None]:
    """Hide what the exporter prints and logs: its progress and, before an error, whole graphs."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _reason(error: BaseException) -> str:
    """Return the first line of the error at the origin of the exporter's."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip().split("\n")[0].rstrip(".")


def latencies(generator: nn.Module, path: Path) -> tuple[float, float]:
    """Return the median milliseconds of one image on this CPU: by onnxruntime, and by torch."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    inputs = _inputs(generator, 1)
    arrays = {name: tensor.numpy() for name, tensor in inputs.items()}

    @torch.no_grad()
    def by_torch() -> None:
        generator(*inputs.values())

    found = []
    for call in (lambda: session.run(None, arrays), by_torch):
        times = []
        for _ in range(1 + TIMED):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        found.append(1000 * statistics.median(times[1:]))
    return found[0], found[1]


def onnx_difference(generator: nn.Module, path: Path, *, advice: str) -> float:
    """Return the largest difference between ``generator`` and its ONNX file under onnxruntime, at batch sizes not traced.

    Raises:
        UserError: if it is above the tolerance or not a number; it ends with ``advice``.

    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    worst = 0.0
    for batch in CHECKED_BATCHES:
        inputs = _inputs(generator, batch)
        with torch.no_grad():
            expected = generator(*inputs.values())
        (images,) = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
        found = float((torch.from_numpy(images) - expected).abs().max())
        if not found <= TOLERANCE:
            raise UserError(f"the ONNX file gives other images than the generator at batch {batch} (by up to {found:.2g}): {advice}")
        worst = max(worst, found)
    return worst
