"""Progress of a pass over images: a bar on a terminal, elsewhere a line now and then."""

import sys
import time

from tqdm import tqdm

from gconv_gan.runtime.device import process_state
from gconv_gan.training.report import clock

SECONDS = 30
"""Between two lines where standard error is no terminal."""


class Progress:
    """``progress(done, total)`` shows on standard error of the main process how many images were passed through the extractors.

    Args:
        what: the images, such as "generated".

    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._started = time.perf_counter()
        self._said: float | None = None
        self._bar: tqdm[None] | None = None

    def __call__(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` images are done."""
        if not process_state().is_main_process:
            return
        if sys.stderr.isatty():
            if self._bar is None:
                self._bar = tqdm(total=total, desc=f"{self._what} images", unit="img", dynamic_ncols=True, leave=False)
            self._bar.update(done - self._bar.n)
            if done == total:
                self._bar.close()
            return
        now = time.perf_counter()
        if done < total and (self._said is None or now - self._said >= SECONDS):
            self._said = now
            left = clock((now - self._started) / done * (total - done))
            print(f"{self._what}: {done:,} of {total:,} images, {left} left", file=sys.stderr, flush=True)
