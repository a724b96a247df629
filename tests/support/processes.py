"""Scripts and modules in processes of their own, alone or as a job of several.

A fresh interpreter takes seconds to import PyTorch, and a job of torchrun does it three times. So
processes are forked here from one that has imported what they need; jobs of several are led by
torchrun's own agent.
"""

import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
import time
import traceback
import uuid
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "torch._dynamo",  # which optimizers import when they are made
        "torch.distributed.fsdp",
        "torch.distributed.launcher.api",
        "pelagos.pretrain.training",
        "pelagos.finetune.cli.training",
        "frozen",
    ]
)


class Launched:
    """A module (`-m`, its name), code (`-c`, text) or a script, and arguments: what Python takes.

    It begins in the present folder, in a session of its own. With two `processes` or more, `pid` is
    the agent that starts them, and starts them again so often as `restarts` says.
    """

    def __init__(self, *words, processes=1, restarts=0, environment=None):
        self.file = tempfile.NamedTemporaryFile("r", prefix="job-")  # noqa: SIM115 (read as it grows)
        variables = dict(os.environ if environment is None else environment)
        variables.setdefault("OMP_NUM_THREADS", "1")
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id=str(uuid.uuid4()),
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=restarts,
            monitor_interval=0.05,
            start_method="fork",
        )
        arguments = (self.file.name, Path.cwd(), variables, [str(word) for word in words], config)
        self.process = CONTEXT.Process(target=_begin, args=arguments)
        self.process.start()
        self.pid = self.process.pid
        self.output = ""

    @property
    def returncode(self):
        """The exit code; that of a signal is negative; None while the job runs."""
        return self.process.exitcode

    def printed(self):
        """What it has printed until now, errors too."""
        if not self.file.closed:
            self.file.seek(0)
            self.output = self.file.read()
        return self.output

    def until(self, condition, seconds=120):
        """Wait for something that the running job does."""
        end = time.monotonic() + seconds
        while not condition():
            assert self.process.is_alive(), self.wait()
            if time.monotonic() > end:
                self.kill()
                raise AssertionError(f"nothing after {seconds} s: {self.output}")
            time.sleep(0.005)

    def wait(self, seconds=240):
        """What it printed, when it has ended."""
        self.process.join(seconds)
        if self.process.is_alive():
            self.kill()
            raise AssertionError(f"no end after {seconds} s: {self.output}")
        self.printed()
        self.file.close()
        return self.output

    def finish(self):
        """What it printed; its exit code has to be 0."""
        output = self.wait()
        assert self.returncode == 0, output[-5000:]
        return output

    def kill(self):
        """End the whole session at once."""
        os.killpg(self.pid, signal.SIGKILL)
        self.wait()


def run(*words, processes=1):
    """What a job printed that ended well."""
    return Launched(*words, processes=processes).finish()


def leave():
    """Ends one of two processes, when both are done: gloo's threads must not outlive its group."""
    dist.barrier()
    dist.destroy_process_group()


def _begin(output, folder, variables, words, config):
    """In the forked process."""
    os.setsid()
    os.chdir(folder)
    file = os.open(output, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.environ.clear()
    os.environ.update(variables)
    sys.path[:0] = filter(None, variables.get("PYTHONPATH", "").split(os.pathsep))
    torch.set_num_threads(int(variables["OMP_NUM_THREADS"]))
    warnings.filterwarnings("error", category=UserWarning, module=r"pelagos\.")
    if config.nproc_per_node == 1:
        _execute(words)
        return
    try:
        elastic_launch(config, _execute)(words)
    except ChildFailedError as error:
        sys.exit(str(error))


def _execute(words):
    """What the interpreter does with its command line."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):  # the agent's are inherited
        signal.signal(number, signal.SIG_DFL)
    option, rest = words[0], words[1:]
    try:
        if option == "-m":
            sys.argv = rest
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        elif option == "-c":
            sys.argv = [option, *rest[1:]]
            exec(rest[0], {"__name__": "__main__"})
        else:
            sys.argv = words
            runpy.run_path(option, run_name="__main__")
    except SystemExit as stop:
        if stop.code:
            raise  # else the agent waits for an end that is none by exit
    except Exception:
        traceback.print_exc()
        sys.exit(1)
