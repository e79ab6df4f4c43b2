"""Several training processes with one model: what `torchrun` started, seen from one of them.

Every process computes the gradients of its own rows of a batch; they are averaged before the
update, so all processes keep the same weights (data parallelism).
"""

import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as distributed
from torch import Tensor

__all__ = ["ParallelError", "Processes", "processes"]

# The others wait while the first reads the corpus, which may be large.
_TIMEOUT = timedelta(hours=6)


class ParallelError(RuntimeError):
    """Another process of the run ended before its time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """This process among all of a run.

    Attributes:
        rank: Number of this process; 0 reads the corpus, writes and prints.
        local_rank: Number of this process on its machine.
        count: Number of processes.
        local_count: Number of them on this machine.
    """

    rank: int = 0
    local_rank: int = 0
    count: int = 1
    local_count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def wait(self) -> None:
        """Return once every process has come here.

        Raises:
            ParallelError: One of them never will.
        """
        if self.count == 1:
            return
        try:
            distributed.barrier()
        except RuntimeError as error:
            raise ParallelError("another process of this run has ended") from error

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace the tensors by their means over all processes, in one exchange."""
        if self.count == 1:
            return
        group = list(tensors)
        flat = torch.cat([tensor.flatten() for tensor in group])
        distributed.all_reduce(flat)
        flat /= self.count
        start = 0
        for tensor in group:
            tensor.copy_(flat[start : start + tensor.numel()].view_as(tensor))
            start += tensor.numel()

    def agree(self, number: float, *, device: torch.device) -> float:
        """The first process's number, in every process; whole numbers up to 2^53 stay exact."""
        if self.count == 1:
            return number
        tensor = torch.tensor([number], dtype=torch.float64, device=device)
        distributed.broadcast(tensor, src=0)
        return float(tensor)


@contextmanager
def processes(*, may_use_gpu: bool) -> Generator[Processes]:
    """Join the processes that torchrun started; alone, without any set-up, where it did not."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    use_gpu = may_use_gpu and torch.cuda.is_available()
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if use_gpu:
        torch.cuda.set_device(local_rank)
    distributed.init_process_group("nccl" if use_gpu else "gloo", timeout=_TIMEOUT)
    try:
        yield Processes(
            rank=distributed.get_rank(),
            local_rank=local_rank,
            count=count,
            local_count=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        )
    finally:
        distributed.destroy_process_group()
