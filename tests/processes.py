"""Several processes on this machine, as a launcher would start them: gloo, on a port that is free."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent


def environment(rank: int, size: int, port: int) -> dict[str, str]:
    """What torchrun tells a process; one thread each, and no device but the CPU."""
    launched = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": size,
        "LOCAL_WORLD_SIZE": size,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "OMP_NUM_THREADS": 1,
        "MKL_NUM_THREADS": 1,
        "CUDA_VISIBLE_DEVICES": "",
        "GLOO_SOCKET_IFNAME": "lo" if sys.platform == "linux" else "lo0",
    }
    path = os.pathsep.join([str(HERE), str(HERE.parent / "src"), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, **{name: str(value) for name, value in launched.items()}, "PYTHONPATH": path}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def start(words: Sequence[str], size: int = 2) -> list[subprocess.Popen[str]]:
    """`python WORDS` in every process."""
    port = free_port()
    return [
        subprocess.Popen(
            [sys.executable, "-W", "error::UserWarning:ofmu", *words],
            env=environment(rank, size, port),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]


def ended(processes: Sequence[subprocess.Popen[str]], timeout: float = 90) -> list[tuple[int, str, str]]:
    """(exit code, stdout, stderr) of each; none is left running."""
    try:
        said = [process.communicate(timeout=timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *texts) for process, texts in zip(processes, said, strict=True)]


def together(case: str, folder: Path, size: int = 2) -> None:
    """Run the function `case` of parallel_cases.py in every process: each must end well.

    The processes are forked from one that has imported everything, which takes longer than most cases.
    """
    codes = exits(case, folder, size)
    said = [(folder / f"{case}-{rank}.err").read_text() for rank in range(size)]
    assert codes == [0] * size, "\n".join(f"process {rank}:\n{text[-3000:]}" for rank, text in enumerate(said))


def exits(case: str, folder: Path, size: int = 2, timeout: float = 900) -> list[int | None]:
    """The exit codes of such processes; what they print is in FOLDER/CASE-RANK.err."""
    import multiprocessing

    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["parallel_cases"])
    port = free_port()
    found = [
        forks.Process(target=run, args=(case, str(folder), environment(rank, size, port))) for rank in range(size)
    ]
    for process in found:
        process.start()
    try:
        for process in found:
            process.join(timeout)
    finally:
        for process in found:
            process.kill()
            process.join()
    return [process.exitcode for process in found]


def run(case: str, folder: str, variables: dict[str, str]) -> None:
    """What each of them does."""
    os.environ.update(variables)
    error = os.open(Path(folder) / f"{case}-{variables['RANK']}.err", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(error, stream)
    import parallel_cases

    parallel_cases.main(case, Path(folder))
