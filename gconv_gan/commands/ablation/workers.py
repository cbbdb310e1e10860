"""The processes of an ablation: one for each core of a machine without a GPU, or for each of several GPUs.

Every process trains its share of the runs. The first process, which trains none, receives their messages, and answers a question only
when all processes that still train have asked it: so they end at the same images. If one is killed, the others go on; another process
resumes its runs, with a time limit after the others have ended, at their length.
"""

import multiprocessing
import os
import signal
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from gconv_gan.commands.ablation.side_by_side import Along, Name, side_by_side
from gconv_gan.config.errors import StoppedBySignalError, UserError
from gconv_gan.data.reading.decoding import available_cores
from gconv_gan.experiments.arms import RunConfig
from gconv_gan.runtime.device import command_device
from gconv_gan.training.guards import noticing_signals

LOOK = 1.0
"""Seconds between two looks at the signals."""
RESUMED = 2
"""Times that the runs of a killed process are resumed."""


def train_all(runs: Mapping[Name, RunConfig], *, processes: int | None, limit: float | None, along: Along) -> int:
    """Train all runs, on all cores or GPUs of this machine; return the images seen by each. The same call again resumes.

    Args:
        runs: the runs, seed by seed.
        processes: number of processes; None: one for each core or GPU, as long as there are runs.
        limit: reading of ``time.perf_counter`` by which all runs must have ended, at the same images; None: no limit.
        along: called with the images that all runs have seen, and whether they have a new score.

    Raises:
        UserError: a run cannot be trained, or a process was killed.
        StoppedBySignalError: a signal that ends a process arrived; all runs were saved.

    """
    places = _places(processes, len(runs))
    if len(places) == 1:
        return side_by_side(runs, limit=limit, along=along, agree=lambda number: number)
    shares = [dict(list(runs.items())[first :: len(places)]) for first in range(len(places))]
    with noticing_signals() as signals:
        return _Conversation(shares, places, limit, along, signals).lead()


def _places(processes: int | None, runs: int) -> list[dict[str, str]]:
    """Return the environment of each process."""
    device = command_device()
    if device.type == "cuda":
        cards = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        cards = cards if cards != [""] else [str(card) for card in range(torch.cuda.device_count())]
        return [{"CUDA_VISIBLE_DEVICES": card} for card in cards[: min(len(cards), runs, processes or runs)]]
    number = 1 if device.type != "cpu" else min(processes or available_cores(), runs)
    return [{"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}] * number


class _Conversation:
    """The messages between this process and those that train.

    A message is ("agree", number), which is answered, ("along", images, scored), ("done", images), ("wrong", sentence),
    ("stopped", signal) or ("failed", traceback).
    """

    def __init__(
        self,
        shares: Sequence[Mapping[Name, RunConfig]],
        places: Sequence[dict[str, str]],
        limit: float | None,
        along: Along,
        signals: list[int],
    ) -> None:
        # processes are forks of one that imports the libraries once and computes nothing
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload([__name__, "gconv_gan.parts"])
        self.workers: dict[Connection, BaseProcess] = {}
        self.shares = {index: (dict(share), place) for index, (share, place) in enumerate(zip(shares, places, strict=True))}
        self.limit, self.along, self.signals = limit, along, signals
        self.training: dict[Connection, int] = {}
        self.killed: list[int] = []
        self.left = dict.fromkeys(self.shares, RESUMED)
        self.asked: dict[Connection, int] = {}
        self.seen = {scored: dict.fromkeys(self.shares, 0) for scored in (False, True)}
        self.told = {False: 0, True: 0}
        self.lengths: list[int] = []
        self.wrong: Exception | None = None
        for index in self.shares:
            self._start(index, limit=limit, length=None)

    def _start(self, index: int, *, limit: float | None, length: int | None) -> None:
        share, place = self.shares[index]
        mine, theirs = self.context.Pipe()
        worker = self.context.Process(target=_work, args=(share, place, limit, length, theirs))
        with _environment(place):  # of the process that imports
            worker.start()
        theirs.close()
        self.workers[mine] = worker
        self.training[mine] = index

    def lead(self) -> int:
        """Answer until all processes have ended; return the images seen by all runs."""
        passed_on = False
        while self.training:
            for connection in wait(list(self.training), timeout=LOOK):
                assert isinstance(connection, Connection)
                try:
                    self._hear(connection, *connection.recv())
                except (EOFError, ConnectionResetError):
                    self._killed(connection)
            if self.training and len(self.asked) == len(self.training):
                answer = max(self.asked.values())
                for connection in self.training:
                    connection.send(answer)
                self.asked.clear()
            stop = bool(self.signals or self.wrong)
            if stop and not passed_on:
                passed_on = True
                for worker in self.workers.values():
                    if worker.is_alive() and worker.pid is not None:
                        os.kill(worker.pid, signal.SIGTERM)  # they save; one that has the signal of the terminal already saves once
            if not stop and (self.limit is None or not self.training):
                length = max(self.lengths, default=None)
                for index in self.killed:
                    self._start(index, limit=self.limit if length is None else None, length=None if self.limit is None else length)
                self.killed.clear()
        for worker in self.workers.values():
            worker.join()
        if self.wrong is not None:
            raise self.wrong
        if self.signals:
            raise StoppedBySignalError(self.signals[0])
        return max(self.lengths)  # less in a process all of whose runs diverged

    def _hear(self, connection: Connection, word: str, *content: Any) -> None:
        match word:
            case "agree":
                self.asked[connection] = content[0]
            case "along":
                images, scored = content
                self.seen[scored][self.training[connection]] = images
                self._tell(scored)
            case "done":
                del self.training[connection]
                self.lengths.append(content[0])
            case "stopped":
                del self.training[connection]
                self.wrong = self.wrong or StoppedBySignalError(self.signals[0] if self.signals else content[0])
            case _:
                del self.training[connection]
                self.wrong = UserError(content[0]) if word == "wrong" else RuntimeError(f"in a process of the ablation:\n{content[0]}")

    def _tell(self, scored: bool) -> None:
        common = min(self.seen[scored].values())
        if common > self.told[scored]:
            self.told[scored] = common
            self.along(common, scored)

    def _killed(self, connection: Connection) -> None:
        index = self.training.pop(connection)
        self.asked.pop(connection, None)
        self.workers[connection].join()
        code = self.workers[connection].exitcode
        names = ", ".join(f"{arm}, seed {seed}" for arm, seed in self.shares[index][0])
        if self.left[index]:
            self.left[index] -= 1
            self.killed.append(index)
            print(f"a process was ended (exit code {code}); its runs are resumed: {names}", flush=True)
        else:
            sentence = f"a process was ended {RESUMED + 1} times (exit code {code}), its runs are {names}; the same command again resumes"
            self.wrong = self.wrong or UserError(sentence)


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _work(
    share: Mapping[Name, RunConfig], place: Mapping[str, str], limit: float | None, length: int | None, connection: Connection
) -> None:
    """Train a share of the runs; the entry of a process."""
    os.environ.update(place)

    def agree(number: int) -> int:
        connection.send(("agree", number))
        return int(connection.recv())

    def along(images: int, scored: bool) -> None:
        connection.send(("along", images, scored))

    try:
        message: tuple[Any, ...] = ("done", side_by_side(share, limit=limit, along=along, agree=agree, length=length))
    except StoppedBySignalError as stopped:
        message = ("stopped", stopped.number)
    except UserError as error:
        message = ("wrong", str(error))
    except (EOFError, BrokenPipeError):
        return  # the first process was killed; its runs resume from their checkpoints
    except Exception:
        message = ("failed", traceback.format_exc())
    connection.send(message)
