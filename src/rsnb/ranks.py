"""The processes of one training run: what each does, and what they tell each other.

Explained in notebook 08. `rsnb.train.fit` under `torchrun` trains as one process does:
each rank encodes its share of every batch, the embeddings are gathered with gradient,
all compute the loss of the whole batch, and the gradients of the shares add up to its
gradient. Without `torchrun` nothing here does anything.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from rsnb.errors import BackboneError, ParameterError
from rsnb.files import fingerprint

__all__ = ["agree", "average", "gather", "joined", "rank", "share", "size", "synced"]


def size() -> int:
    """Return the number of processes; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, from 0; rank 0 writes the files."""
    return dist.get_rank() if size() > 1 else 0


def _cuts(total: int) -> list[int]:
    return [total * k // size() for k in range(size() + 1)]


def share(total: int) -> slice:
    """Return which of `total` rows this rank works on; shares differ by 1 at most.

    Raises:
        ParameterError: fewer rows than ranks.
    """
    if total < size():
        raise ParameterError(f"{total} rows for {size()} processes. Start fewer.")
    cuts = _cuts(total)
    return slice(cuts[rank()], cuts[rank() + 1])


def gather(part: Tensor, total: int) -> Tensor:
    """Return the rows (total, ...) of all ranks from each one's share, with gradient.

    The gradient that flows back is `size()` times that of the own share: `average`
    then leaves the exact gradient of a loss that every rank computes from all rows.
    """
    if size() == 1:
        return part
    rows = [b - a for a, b in zip(_cuts(total), _cuts(total)[1:], strict=False)]
    own = part.new_zeros(max(rows), *part.shape[1:])  # gloo wants equal shapes
    own[: len(part)] = part.detach()
    every = [torch.empty_like(own) for _ in rows]
    dist.all_gather(every, own)
    if part.requires_grad:
        part.register_hook(lambda gradient: gradient * len(rows))
    shares = [other[:n] for other, n in zip(every, rows, strict=True)]
    return torch.cat([*shares[: rank()], part, *shares[rank() + 1 :]])


def average(model: nn.Module) -> None:
    """Replace each gradient by its mean over the ranks, in one message.

    `DistributedDataParallel` would send while it still computes, but it wants all work
    inside one `forward`, renames the weights and objects to unused parameters.
    """
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    if size() == 1 or not grads:
        return
    flat = torch.cat([g.flatten() for g in grads])
    dist.all_reduce(flat)
    parts = (flat / size()).split([g.numel() for g in grads])
    for g, mean in zip(grads, parts, strict=True):
        g.copy_(mean.view_as(g))


def agree(device: torch.device, *facts: Any) -> None:
    """Check that all ranks state the same facts; none goes on before the others.

    Raises:
        ParameterError: they differ.
    """
    if size() == 1:
        return
    digest = list(bytes.fromhex(fingerprint(*facts)))
    seen = gather(torch.tensor([digest], dtype=torch.uint8, device=device), size())
    if other := torch.nonzero((seen != seen[0]).any(1)).flatten().tolist():
        raise ParameterError(
            f"ranks {other} of {size()} have other settings, data or saved state than "
            "rank 0. Give all the same, and one folder that every machine sees."
        )


def synced(model: nn.Module, device: torch.device) -> nn.Module:
    """Return the model with statistics over all ranks where it normalises batches.

    Raises:
        BackboneError: a ResNet in several processes on CPUs, which torch has no
            synchronised batch normalisation for; each rank would normalise by its own.
    """
    found = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())
    if size() == 1 or not found:
        return model
    if device.type != "cuda":
        raise BackboneError(
            f"this model normalises batches, and {size()} processes on CPUs cannot "
            "share the statistics. Train it in one process, which uses all cores of "
            "a machine, or on GPUs; or train a ViT."
        )
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)


@contextmanager
def joined(minutes: float = 10) -> Iterator[None]:
    """Join the other processes of `torchrun`, if it started this one.

    Start `torchrun --nproc-per-node 2 -m rsnb assets world-vit`, or a script of your
    own that trains inside::

        with ranks.joined():
            fit(..., folder=shared)

    GPUs: one a process, as `device="cuda"`. With `--max-restarts N` a lost process
    restarts all of them, and `fit` goes on from `folder`, which all must see; set
    `TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1` before. `--local-ranks-filter 0` shows one
    progress bar. The number of processes may change between sittings.

    Args:
        minutes: without a word from the others, a process waits so long, then fails.

    Raises:
        ParameterError: restarts are wanted, and that variable is not set.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or size() > 1:
        yield
        return
    if int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) and (
        os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    ):
        raise ParameterError(
            "--max-restarts needs TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in front of "
            "torchrun: its new processes would look for those that died (torch issue "
            "135712)."
        )
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    kinds = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    dist.init_process_group(kinds, timeout=timedelta(minutes=minutes))
    yield  # an error ends the process, and torchrun the others
    dist.destroy_process_group()
