"""What a training run must keep to resume to the same bytes.

Explained in notebook 02. Model, running mean, best weights and optimiser lie in one
safetensors file; step, log and settings in its receipt.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as st_load
from safetensors.torch import save as st_save
from torch import Tensor, nn

from rsnb.batches import TrainConfig
from rsnb.errors import FileCorruptError, ParameterError
from rsnb.files import read_with_receipt, write_with_receipt

__all__ = ["RunState"]


class RunState:
    """Model, running mean and optimiser, saved and restored as one safetensors file.

    Of a model with frozen parameters (`requires_grad` is False) only the others, and
    the buffers, are kept: the frozen ones are there before the run, and stay.
    """

    def __init__(self, model: nn.Module, cfg: TrainConfig) -> None:
        self.model = model
        self.mean = {k: v.clone() for k, v in self.weights().items()}
        moving = [p for p in model.parameters() if p.requires_grad]
        matrices = [p for p in moving if p.ndim > 1]
        vectors = [p for p in moving if p.ndim <= 1]
        none: dict[str, Any] = {"params": vectors, "weight_decay": 0.0}
        self.optim = torch.optim.AdamW(
            [{"params": matrices}, none], lr=cfg.lr, weight_decay=cfg.weight_decay,
            betas=(0.9, 0.98),
        )  # fmt: skip
        self.best = dict(self.mean)
        self.looks: list[Tensor] = []  # panel losses, see `pacing.look`

    def weights(self) -> dict[str, Tensor]:
        """Return name → tensor of the model, frozen parameters left out."""
        every = self.model.named_parameters(remove_duplicate=False)
        frozen = {k for k, p in every if not p.requires_grad}
        return {k: v for k, v in self.model.state_dict().items() if k not in frozen}

    def put(self, weights: dict[str, Tensor]) -> None:
        """Load what `weights` returned into the model."""
        whole = len(weights) == len(self.model.state_dict())
        self.model.load_state_dict(weights, strict=whole)

    def save(self, path: Path, **facts: Any) -> None:
        """Write all tensors; `facts` go to the receipt."""
        parts = {"model": self.weights(), "mean": self.mean, "best": self.best}
        out = {f"{part}/{k}": v for part in parts for k, v in parts[part].items()}
        out |= {f"look/{i:04d}": v for i, v in enumerate(self.looks)}
        for i, slots in self.optim.state_dict()["state"].items():
            out |= {f"optim/{i}/{k}": v for k, v in slots.items()}
        copies = {k: v.detach().cpu().contiguous().clone() for k, v in out.items()}
        write_with_receipt(path, st_save(copies), **facts)

    def resume(self, path: Path, identity: str) -> dict[str, Any]:
        """Restore a run that was saved as `identity`; return its facts, or {}.

        Raises:
            FileCorruptError: the file is damaged.
            ParameterError: it is of a run with another identity.
        """
        return self.restore(path, identity) if path.is_file() else {}

    def restore(self, path: Path, identity: str | None = None) -> dict[str, Any]:
        """Read what `save` wrote, of any identity if none is given; see `resume`."""
        data, saved = read_with_receipt(path)
        if identity not in (None, saved.get("identity")):
            what = f"{path.parent} holds a run with other settings, data or start"
            raise ParameterError(f"{what}. Take another folder, or delete that one.")
        try:
            tensors = st_load(data)
        except SafetensorError as e:
            raise FileCorruptError(f"{path} holds no run ({e}). Delete it.") from e

        def part(name: str, on: Any = "cpu") -> dict[str, Tensor]:
            own = {k: v for k, v in tensors.items() if k.startswith(name + "/")}
            return {k[len(name) + 1 :]: v.to(on) for k, v in own.items()}

        self.put(part("model"))
        # Model and optimiser place what they load themselves; these two are ours.
        on = next(self.model.parameters()).device
        self.mean, self.best = part("mean", on), part("best", on)
        self.looks = [v for _, v in sorted(part("look").items())]
        state = self.optim.state_dict()
        slots: dict[int, dict[str, Tensor]] = {}
        for key, v in part("optim").items():
            i, name = key.split("/")
            slots.setdefault(int(i), {})[name] = v
        self.optim.load_state_dict({**state, "state": slots})
        return saved
