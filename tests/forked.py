"""Python processes that start quickly: each is forked from a process that has already imported slow modules.

A process that imports `datasets` needs 2 s of CPU, three quarters of them for modules that are the same in every
process: numpy, pandas, pyarrow. One process imports these once and is forked for each command. Each forked process
itself imports this package and the modules that read the environment (`datasets`, `huggingface_hub`).

    done = run([sys.executable, "-m", "consistent_chat", "build", "demo"], env=os.environ)

Each process has its own environment, working directory, streams, signals and process id. Tests need an ordinary
process instead if they test imports, options of Python, PYTHONHASHSEED, PYTHONIOENCODING or resource limits.
"""

from __future__ import annotations

import atexit
import functools
import io
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection, context, forkserver, popen_forkserver, reduction
from pathlib import Path
from types import ModuleType
from typing import IO, Any
from unittest import mock

from tests import ROOT

THIRD_PARTY = ("tests.forked_preload",)
CLIENT = Path(__file__).with_name("forked_client.py")
LOCK = threading.Lock()
"""Two threads must not look at the same time whether processes have ended: one would take the other's exit code."""


class Context(context.ForkServerContext):
    """A context of multiprocessing whose processes are forked from one that has imported these modules."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self._names = names

    def Process(self, *args: Any, **given: Any) -> _Forked:
        made = _Forked(*args, **given)
        made.names = self._names
        return made


class _Forked(context.ForkServerProcess):
    names: tuple[str, ...]

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        path = mock.patch.dict(os.environ, PYTHONPATH=str(ROOT))  # so that the server finds the modules that it imports
        with path, mock.patch.object(popen_forkserver, "forkserver", _server(process_obj.names)):
            return popen_forkserver.Popen(process_obj)


@functools.cache
def _server(names: tuple[str, ...]) -> forkserver.ForkServer:
    """Return a separate fork server.

    The default server of multiprocessing imports the modules that tests/stored.py names.
    """
    server = forkserver.ForkServer()
    server.read_signed = forkserver.read_signed  # type: ignore[attr-defined]
    server.set_forkserver_preload([*names])
    return server


class Process:
    """A started process. Its methods are those of subprocess.Popen."""

    def __init__(self, process: Any, command: Sequence[str], written: list[IO[str]]) -> None:
        self.pid: int = process.pid
        self._process, self._command, self._written = process, command, written

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs. After a signal the code is minus its number."""
        with LOCK:
            code: int | None = self._process.exitcode
        return code

    def wait(self, timeout: float = 300) -> int:
        """Wait until the process ends, and return its exit code. Kill the process after `timeout` seconds."""
        if not connection.wait([self._process.sentinel], timeout):
            self.send_signal(signal.SIGKILL)
        while (code := self.poll()) is None:
            connection.wait([self._process.sentinel])
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def finish(self, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Wait until the process ends, and return its exit code and output, as subprocess.run does."""
        code, texts = self.wait(timeout), []
        for file in self._written:
            with file:
                file.seek(0)
                texts.append(file.read())
        return subprocess.CompletedProcess(self._command, code, *texts)


def start(
    command: Sequence[str],
    env: Mapping[str, str],
    cwd: str | Path | None = None,
    streams: Sequence[int] | None = None,
    session: bool = False,
) -> Process:
    """Start `python -c TEXT`, `python -m MODULE` or `python FILE`.

    Without `streams`, the process has an empty input, and `finish` returns its output. With `session`, the process
    leads a process group.
    """
    assert command[0] == sys.executable
    written = [] if streams else [tempfile.TemporaryFile("w+", encoding="utf-8") for _ in range(2)]  # noqa: SIM115
    with open(os.devnull, "rb") as nothing:
        numbers = streams or [file.fileno() for file in (nothing, *written)]
        given = ([*map(os.fspath, command[1:])], dict(env), str(cwd or Path.cwd()), session, _path())
        process = Context(*THIRD_PARTY).Process(target=_child, args=(*given, _Streams(numbers)))
        with LOCK:
            process.start()
    return Process(process, command, written)


def run(
    command: Sequence[str], env: Mapping[str, str], cwd: str | Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command as subprocess.run does, with its output as text."""
    return start(command, env, cwd).finish()


def adopt(environment: Mapping[str, str]) -> None:
    """Replace the environment, before `datasets` is imported. Process pools use this as their initializer."""
    assert not {"datasets", "huggingface_hub"} & set(sys.modules)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # so that it is determined anew


@contextmanager
def client() -> Iterator[str]:
    """Provide the start of a shell command that runs Python in a forked process: `WORDS -m x` runs `python -m x`."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listening:
        address = str(Path(folder, "s"))
        listening.bind(address)
        listening.listen(32)
        threading.Thread(target=_serve, args=(listening,), daemon=True).start()
        yield f'"{sys.executable}" -ISE "{CLIENT}" "{address}"'
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)  # ends the thread


def _serve(listening: socket.socket) -> None:
    with suppress(OSError):
        while True:
            threading.Thread(target=_answer, args=(listening.accept()[0],), daemon=True).start()


def _answer(asking: socket.socket) -> None:
    """Start the process that a client requests, and send the client its process id and its exit code."""
    with asking:
        message, streams, _, _ = socket.recv_fds(asking, 1 << 16, 3)
        while part := asking.recv(1 << 16):
            message += part
        process = start(**json.loads(message), streams=streams)
        for stream in streams:
            os.close(stream)
        asking.sendall(f"{process.pid}\n".encode())
        code = process.wait()
        with suppress(OSError):  # the client was killed
            asking.sendall(f"{code}\n".encode())


@functools.cache
def _path() -> list[str]:
    """Return this environment's `sys.path` without its first entry and without PYTHONPATH."""
    shown = subprocess.run(
        [sys.executable, "-I", "-c", "import json, sys; print(json.dumps(sys.path))"], capture_output=True, check=True
    )
    return list(map(str, json.loads(shown.stdout)))


class _Streams:
    """Three open files that are passed to another process."""

    def __init__(self, streams: Sequence[int]) -> None:
        self.streams = streams

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, tuple(map(reduction.DupFd, self.streams))


def _arrived(*streams: Any) -> list[int]:
    return [stream.detach() for stream in streams]


def _child(
    command: list[str], env: dict[str, str], cwd: str, session: bool, path: list[str], streams: list[int]
) -> None:
    """Set up this process like a new Python process and run the command; never return."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if session:
        os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        _open(name, mode)
    os.chdir(cwd)
    adopt(env)
    code = 1
    try:
        _execute(command, [*filter(None, env.get("PYTHONPATH", "").split(os.pathsep)), *path])
        code = 0
    except SystemExit as stop:
        code = _code(stop)
    except KeyboardInterrupt:
        traceback.print_exc()
        code = -signal.SIGINT
    except BaseException:
        traceback.print_exc()
    finally:
        _end(code)


def _open(name: str, mode: str) -> None:
    number = ("stdin", "stdout", "stderr").index(name)
    errors = "backslashreplace" if name == "stderr" else "strict"
    raw = open(number, f"{mode}b", closefd=False)  # noqa: SIM115
    live = name == "stderr" or os.isatty(number)
    text = io.TextIOWrapper(raw, "utf-8", errors, line_buffering=live)
    text.mode = mode  # type: ignore[misc]
    setattr(sys, name, text)
    setattr(sys, f"__{name}__", text)


def _execute(command: list[str], path: list[str]) -> None:
    option, *rest = command
    if option == "-c":
        sys.path[:], sys.argv = ["", *path], ["-c", *rest[1:]]
        main = sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), main.__dict__)
    elif option == "-m":
        sys.path[:], sys.argv = [os.getcwd(), *path], rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        assert not option.startswith("-"), "options of Python need a process of their own"
        sys.path[:], sys.argv = [str(Path(option).absolute().parent), *path], command
        runpy.run_path(option, run_name="__main__")


def _code(stop: SystemExit) -> int:
    """Return the exit code that Python derives from a SystemExit."""
    if stop.code is None or isinstance(stop.code, int):
        return stop.code or 0
    print(stop.code, file=sys.stderr)
    return 1


def _end(code: int) -> None:
    """End as Python does: wait for threads, run the registered exit functions, and flush the streams."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code & 0xFF)
