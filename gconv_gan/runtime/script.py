"""Start and end of every command. Large libraries are imported within ``run_script``, so that an interrupt prints nothing."""

import contextlib
import importlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from gconv_gan.config.errors import GuardError, StoppedBySignalError, UserError
from gconv_gan.runtime.files.full_disk import full_disk_sentence, is_full_disk
from gconv_gan.runtime.launcher import end_with_launcher, require_plain_processes


def run_command(module: str, *, arguments: Sequence[str] | None = None) -> None:
    """Import ``module`` and ``run_script`` its ``main``, as one of the launcher's processes.

    Args:
        module: the command.
        arguments: what its ``main`` takes; None: the arguments of the command line.

    """
    words = sys.argv[1:] if arguments is None else arguments
    end_with_launcher()
    _keep_threads_silent_on_a_full_disk()
    run_script(lambda: _as_a_process(module, words))


def _as_a_process(module: str, arguments: Sequence[str]) -> None:
    require_plain_processes()
    from gconv_gan.runtime.device import process_state

    state = process_state()
    importlib.import_module(module).main(arguments)
    state.destroy_process_group()
    if state.num_processes > 1:
        # A thread of torch's process group that asks for the interpreter's lock while the interpreter ends aborts the process, and
        # the launcher then counts a complete run as failed. All files are closed here: end without that phase.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def run_script(main: Callable[[], int | None]) -> None:
    """Run ``main`` and exit: 0 done, 2 wrong input, 3 stopped by a guard, 128 + n ended by signal n.

    An unusable file or folder counts as wrong input, and a full disk as a guard. The main process prints the message to standard
    error, once. An interrupt, or a closed pipe at the output (``… | head``), prints no message. No other exception is caught. The
    return value of ``main`` is the exit code.
    """
    sentence = ""
    try:
        try:
            code = main() or 0
        finally:
            sys.stdout.flush()  # otherwise the interpreter flushes at exit and prints a traceback
    except UserError as error:
        code, sentence = 2, str(error)
    except GuardError as error:
        code, sentence = 3, str(error)
    except StoppedBySignalError as stop:
        code, sentence = 128 + stop.number, str(stop)
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except BrokenPipeError:
        if not _reader_is_gone():
            raise  # not a pipe of the command's output
        code = 128 + signal.SIGPIPE
    except OSError as error:
        if is_full_disk(error):
            code, sentence = 3, full_disk_sentence(error.filename)
        elif error.filename is None:  # the error is not about a file
            raise
        else:
            code = 2
            sentence = f"{error.filename}: {error.strerror}; check that the path is right and that you may read and write there"
    if not code:
        return
    with contextlib.suppress(OSError):
        _say(sentence)
    _give_up_what_cannot_be_written()
    sys.exit(code)


def _say(sentence: str) -> None:
    """Print the sentence, if there is one, on the main process."""
    if sentence and _is_main_process():
        from gconv_gan.config.load import program

        print(f"{program()}: {sentence}", file=sys.stderr)


def _is_main_process() -> bool:
    from accelerate import PartialState

    if PartialState._shared_state:  # a new PartialState would connect the processes, which may be what was just refused
        from gconv_gan.runtime.device import process_state

        return bool(process_state().is_main_process)
    return os.environ.get("RANK", "0") == "0"


def _reader_is_gone() -> bool:
    """Return whether standard output or standard error is a pipe whose reader has closed it."""
    poll = select.poll()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # the stream has no file descriptor
            poll.register(stream, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _give_up_what_cannot_be_written() -> None:
    """Discard unwritten output: the interpreter flushes again at exit and would print a traceback."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _keep_threads_silent_on_a_full_disk() -> None:
    """Suppress tracebacks of threads and destructors on a full disk: writers of event files raise the error again in the main thread."""
    thread, destructor = threading.excepthook, sys.unraisablehook

    def of_thread(arguments: Any) -> None:
        if not is_full_disk(arguments.exc_value):
            thread(arguments)

    def of_destructor(arguments: Any) -> None:
        if not is_full_disk(arguments.exc_value):
            destructor(arguments)

    threading.excepthook, sys.unraisablehook = of_thread, of_destructor
