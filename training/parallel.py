"""Several training processes with one model: what `torchrun` started, seen from one of them.

Every process computes the gradients of its own rows of a batch; they are averaged before the
update, so all processes keep the same weights (data parallelism).
"""

import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as distributed
from torch import Tensor

__all__ = ["Processes", "processes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """This process among all of a run.

    Attributes:
        rank: Number of this process; 0 reads the corpus, writes and prints.
        local_rank: Number of this process on its machine.
        count: Number of processes.
    """

    rank: int = 0
    local_rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def wait(self) -> None:
        """Return once every process has come here."""
        if self.count > 1:
            distributed.barrier()

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace the tensors by their means over all processes, in one exchange."""
        if self.count == 1:
            return
        group = list(tensors)
        flat = torch.cat([tensor.flatten() for tensor in group])
        distributed.all_reduce(flat)
        flat /= self.count
        for tensor, part in zip(group, flat.split([t.numel() for t in group]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def agree(self, number: int, *, device: torch.device) -> int:
        """The first process's number, in every process."""
        if self.count == 1:
            return number
        tensor = torch.tensor([number], dtype=torch.int64, device=device)
        distributed.broadcast(tensor, src=0)
        return int(tensor)


@contextmanager
def processes(*, use_gpu: bool) -> Generator[Processes]:
    """Join the processes that torchrun started; alone, without any set-up, where it did not."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    distributed.init_process_group("nccl" if use_gpu else "gloo")
    try:
        yield Processes(
            rank=distributed.get_rank(),
            local_rank=int(os.environ.get("LOCAL_RANK", "0")),
            count=count,
        )
    finally:
        distributed.destroy_process_group()
