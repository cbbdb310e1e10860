"""Commands as processes of their own that do not import the libraries again.

A command of this project takes three to five seconds to import PyTorch, Accelerate and the rest, and the tests start hundreds.
`run_python` lets a *server*, a Python process that has imported these libraries and nothing of this project, fork for every command. The
fork executes the script, module or code as `python` does: own working folder, arguments, `sys.path`, `__main__`, exit code, and its own
copy of every module of the project. There is one server for each value of the variables that an interpreter or a library reads when it
starts (`AT_START`), but for those that the fork can follow itself (`IN_FORK`): a server takes as long to start as a command.
"""

import atexit
import importlib
import json
import multiprocessing
import os
import runpy
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from torch.multiprocessing.spawn import start_processes

LIBRARIES = (
    "torch", "torch._dynamo", "torch.distributed", "torch.utils.flop_counter", "torchvision.transforms.v2", "accelerate", "pydantic",
    "safetensors.torch", "scipy.stats", "scipy.linalg", "PIL.Image", "tyro", "einops", "tqdm", "rich.console", "matplotlib.figure",
)  # fmt: skip
AT_START = ("PYTHON", "LD_", "OMP_", "MKL_", "KMP_", "TORCH", "HF_")
IN_FORK = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")  # and PYTHONPATH, if it is the repository, in which no library looks
ROOT = Path(__file__).parents[1]


def _in_fork(name: str, value: str) -> bool:
    return name in IN_FORK or (name == "PYTHONPATH" and value == str(ROOT))


class _Server:
    """One process that has imported `LIBRARIES` and forks for commands."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.socket, theirs = socket.socketpair()
        self.bytecode = tempfile.TemporaryDirectory()  # with PYTHONDONTWRITEBYTECODE, every fork would compile the project again
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                env={name: value for name, value in environment.items() if not _in_fork(name, value)},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C ends the tests, and this process when its socket closes
            )

    def run(self, arguments: Sequence[str], folder: Path, environments: Sequence[Mapping[str, str]], stdout: int, stderr: int) -> int:
        told = {"arguments": list(arguments), "folder": str(folder), "environments": [*environments], "bytecode": self.bytecode.name}
        message = json.dumps(told).encode()
        socket.send_fds(self.socket, [struct.pack("!I", len(message)) + message], [stdout, stderr])
        answer = self.socket.recv(4)
        if len(answer) < 4:
            raise RuntimeError(f"the process that starts commands ended with code {self.process.wait()}")
        return int(struct.unpack("!i", answer)[0])


_SERVERS: dict[tuple[tuple[str, str], ...], _Server] = {}


def run_python(
    arguments: Sequence[str], cwd: Path = ROOT, env: Mapping[str, str] | None = None, launched: int = 0
) -> "subprocess.CompletedProcess[str]":
    """`subprocess.run([sys.executable, *arguments], cwd=cwd, env=env, capture_output=True, text=True)`, without the time of its imports.

    Args:
        arguments: `script.py …`, `-m module …` or `-c code …`.
        cwd: Folder in which it runs.
        env: The whole environment; None: the tests' own.
        launched: Number of processes that run it together, with the variables of `accelerate launch --num_processes`; 0: no launcher.

    Returns:
        Exit code (minus the number of a signal that ended it; of several: the size of the first that is not 0) and what was printed.

    """
    environment = dict(os.environ if env is None else env)
    at_start = {name: value for name, value in environment.items() if name.startswith(AT_START) and not _in_fork(name, value)}
    key = tuple(sorted(at_start.items()))
    if key not in _SERVERS:
        _SERVERS[key] = _Server(environment)
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        environments = [environment | variables for variables in _of_launcher(launched)] if launched else [environment]
        code = _SERVERS[key].run(arguments, cwd, environments, stdout.fileno(), stderr.fileno())
        for file in (stdout, stderr):
            file.seek(0)
        return subprocess.CompletedProcess([sys.executable, *arguments], code, stdout.read().decode(), stderr.read().decode())


def _of_launcher(processes: int) -> list[dict[str, str]]:
    """Return the variables that Accelerate's launcher sets for each process, on a CPU."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "ACCELERATE_USE_CPU": "true", "ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_DYNAMO_BACKEND": "no", "OMP_NUM_THREADS": "1",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes),
    }  # fmt: skip
    return [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]


def serve(descriptor: int) -> None:
    """Fork for each command that arrives at the socket `descriptor`, until its other end is closed."""
    for name in LIBRARIES:
        importlib.import_module(name)
    with socket.socket(fileno=descriptor) as channel:
        while True:
            head, files, _, _ = socket.recv_fds(channel, 4, 2)
            if not head:
                return
            body = channel.recv(struct.unpack("!I", head)[0], socket.MSG_WAITALL)
            child = os.fork()
            if child == 0:
                channel.close()
                for target, source in enumerate(files, 1):
                    os.dup2(source, target)
                    os.close(source)
                sys.path.pop(0)  # the folder of this file
                _execute(**json.loads(body))
            for file in files:
                os.close(file)
            channel.sendall(struct.pack("!i", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))


def _execute(arguments: list[str], folder: str, environments: list[dict[str, str]], bytecode: str) -> NoReturn:
    """Be `python ARGUMENTS` in `folder`; compiled modules go into `bytecode` where they may not be written beside their sources.

    With several environments: be the parent of a process for each.
    """
    environment = environments[0]
    if len(environments) > 1:
        children: list[int] = []
        while len(children) < len(environments) and (not children or children[-1]):
            environment = environments[len(children)]
            children.append(os.fork())
        if children[-1]:
            codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
            os._exit(next((abs(code) for code in codes if code), 0))
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if environment.get("PYTHONDONTWRITEBYTECODE"):
        sys.pycache_prefix = bytecode
    if environment.get("PYTHONPATH") == str(ROOT):
        sys.path.insert(0, str(ROOT))
    first, rest = arguments[0], arguments[1:]
    code = 0
    try:
        if first == "-c":
            sys.argv = ["-c", *rest[1:]]
            sys.path.insert(0, "")
            exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__", "__builtins__": __builtins__})
        elif first == "-m":
            sys.argv = [first, *rest[1:]]
            sys.path.insert(0, folder)
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        else:
            sys.argv = [first, *rest]
            sys.path.insert(0, str(Path(first).parent.resolve()))
            runpy.run_path(first, run_name="__main__")
    except SystemExit as stop:
        if not (stop.code is None or isinstance(stop.code, int)):
            print(stop.code, file=sys.stderr)
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def run_two(function: Callable[..., None], *arguments: object) -> None:
    """Call `function(rank, *arguments)` in two processes at once, forks of one that has imported `LIBRARIES`."""
    multiprocessing.set_forkserver_preload(list(LIBRARIES))
    start_processes(function, args=arguments, nprocs=2, start_method="forkserver")  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    serve(int(sys.argv[1]))
