"""Any transformers image-text-to-text model as a captioner.

Explained in notebook 04. LLaVA, LLaVA-NeXT, Qwen-VL, FastVLM and what comes after:
whatever `AutoProcessor` and `AutoModelForImageTextToText` load.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image

from rsnb import hub
from rsnb.errors import BackboneError, ParameterError
from rsnb.files import read_verified, receipt_path, tree_digest
from rsnb.likelihood import likelihood
from rsnb.prompts import HEAT, Answer, Prompt, apart, settle
from rsnb.records import Record

__all__ = ["TransformersCaptioner"]


class TransformersCaptioner:
    """A model that is asked greedily, in batches, padded on the left.

    Args:
        model: its name in records.
        revision: the commit or the digest of its files.
        net: the model, in eval mode.
        processor: its processor, with a chat template.
        batch: prompts in one call of the model (images times turns).

    Attributes:
        ends: ids of the tokens that end an answer.
        adapter: the peft model around `net` while `rsnb.lora.adapt` has it, else None.

    Raises:
        BackboneError: no chat template, or no token that ends an answer.
    """

    def __init__(
        self, model: str, revision: str, net: Any, processor: Any, batch: int = 8
    ) -> None:
        """Check what generation needs, and set padding to the left."""
        self.model, self.revision, self.batch = model, revision, batch
        self.net, self.processor = net, processor
        self.decoding = {"do_sample": False, "dtype": str(net.dtype), "retry": HEAT}
        self.adapter: Any = None
        self.versions = {p: version(p) for p in ("torch", "transformers")}
        words = processor.tokenizer
        words.padding_side = "left"
        words.pad_token = words.pad_token or words.eos_token
        ends = net.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        self.ends = sorted({*ends, words.eos_token_id} - {None})
        if not self.ends or not getattr(processor, "chat_template", None):
            raise BackboneError(
                f"{model} has no chat template or no token that ends an answer, so it "
                "cannot be asked. Take the instruction-tuned checkpoint of this model."
            )

    @classmethod
    def load(
        cls, name: str | Path, *, revision: str = "", device: str = "cpu",
        dtype: str = "auto", batch: int = 8, adapter: str | Path = "",
    ) -> TransformersCaptioner:  # fmt: skip
        """Load a hub name or a local folder of safetensors; no code in it is run.

        Args:
            name: such as `"llava-hf/llava-1.5-7b-hf"`, or a folder, where weight files
                with a receipt beside them are verified.
            revision: commit on the hub; else what is cached, else the newest. A
                folder's is the digest of its files.
            device: where to put the weights.
            dtype: `"auto"` is float32 on CPU, else bfloat16, or float16 without it.
            batch: prompts in one call of the model.
            adapter: a folder from `rsnb.adapters.save`, merged into the weights, so
                that it costs no time; `revision` is then a digest of both.

        Raises:
            BackboneError: it cannot be loaded, its files lack some of its weights, or
                the adapter is of another base.
            FileCorruptError: a weight file differs from its receipt.
        """
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor

        folder = Path(name) if Path(name).is_dir() else None
        for shard in folder.glob("*.safetensors") if folder else ():
            if receipt_path(shard).is_file():
                read_verified(shard)
        if dtype == "auto":
            cuda = torch.device(device).type == "cuda"
            bf16 = cuda and torch.cuda.is_bf16_supported(including_emulation=False)
            dtype = "bfloat16" if bf16 else "float16" if cuda else "float32"

        def parts(here: bool) -> tuple[Any, Any]:
            how: Any = {"revision": revision or None, "local_files_only": here}
            how["trust_remote_code"] = False
            processor = AutoProcessor.from_pretrained(name, **how)
            how |= {"use_safetensors": True, "output_loading_info": True}
            auto = AutoModelForImageTextToText
            return processor, auto.from_pretrained(name, dtype=dtype, **how)

        try:
            processor, (net, info) = hub.load_once(parts, name)
        except Exception as e:
            raise BackboneError(
                f"{name} cannot be loaded as an image-text-to-text model "
                f"({type(e).__name__}: {e}). It needs a processor, safetensors and a "
                "class in transformers, and the network once if it is a hub name; "
                "captions of other models can come from a file."
            ) from e
        if missing := sorted(info["missing_keys"]):  # transformers makes them up
            raise BackboneError(
                f"{name}: {len(missing)} weights are not in its files "
                f"({', '.join(missing[:3])}). Fetch or save the checkpoint again."
            )
        commit = tree_digest(folder) if folder else net.config._commit_hash or revision
        label = folder.resolve().name if folder else str(name)
        who = cls(label, commit, net.to(device).eval(), processor, batch)
        if not adapter:
            return who
        from rsnb.adapters import merged

        return merged(who, Path(adapter))

    def describe(
        self, images: Sequence[Image], prompt: Prompt, ids: Sequence[str]
    ) -> list[Record]:
        """Return one record for each image, in order.

        First answers are greedy, `batch` at a time. An unusable one is asked again
        alone, so that what is sampled does not depend on its neighbours.
        """
        turns = len(prompt.turns)
        asks = [(image, turn) for image in images for turn in prompt.turns]

        def ask(some: Sequence[tuple[Image, str]], seed: int = 0) -> list[Answer]:
            generate = partial(self._generate, limit=prompt.max_new_tokens, seed=seed)
            return apart(some, generate, lambda _, why: Answer("", "failed", why))

        def again(row: int, turn: int, seed: int) -> Answer:
            return ask([asks[row * turns + turn]], seed)[0]

        starts = range(0, len(asks), self.batch)
        first = [a for k in starts for a in ask(asks[k : k + self.batch])]
        return [
            settle(
                image, first[k * turns : (k + 1) * turns], partial(again, k),
                prompt.variants,
            )
            for k, image in enumerate(ids)
        ]  # fmt: skip

    def ask(
        self, images: Sequence[Image], turns: Sequence[str], *, limit: int = 128
    ) -> list[str]:
        """Return one greedy answer to turn k about image k, in order.

        Args:
            images: n images.
            turns: n texts.
            limit: longest answer in tokens; a longer one is cut there.

        Raises:
            ParameterError: images and turns differ in number.
        """
        if len(images) != len(turns):
            what = f"{len(images)} images and {len(turns)} turns"
            raise ParameterError(f"{what}; ask one turn about each image.")
        asks = list(zip(images, turns, strict=True))
        starts = range(0, len(asks), self.batch)
        some = (self._generate(asks[k : k + self.batch], limit, 0) for k in starts)
        return [answer.text for answers in some for answer in answers]

    def likelihood(
        self, image: Image | None, turn: str, texts: Sequence[str]
    ) -> list[np.ndarray]:
        """Return for each text the log-probability of each word, as an answer.

        See `rsnb.likelihood.likelihood`.
        """
        return likelihood(self, image, turn, texts)

    def inputs(self, asks: Sequence[tuple[Image | None, str]]) -> Any:
        """Return what the model takes for n prompts: all have an image, or none has."""
        words, texts = self.processor.tokenizer, []
        for image, turn in asks:
            said = {"type": "text", "text": turn}
            parts = [said] if image is None else [{"type": "image"}, said]
            chat = [{"role": "user", "content": parts}]
            render = self.processor.apply_chat_template
            texts.append(render(chat, add_generation_prompt=True))
        begun = bool(words.bos_token) and texts[0].startswith(words.bos_token)
        images = [[image.convert("RGB")] for image, _ in asks if image is not None]
        inputs = self.processor(
            images=images or None, text=texts, padding=True, return_tensors="pt",
            add_special_tokens=not begun,  # or the prompt begins twice
        ).to(self.net.device, self.net.dtype)  # fmt: skip
        if not inputs["attention_mask"][:, -1].all():
            raise BackboneError(
                f"{self.model}: its processor pads on the right, between prompt and "
                "answer, which changes the answers. Use batch=1."
            )
        return inputs

    def _generate(
        self, asks: Sequence[tuple[Image, str]], limit: int, seed: int
    ) -> list[Answer]:
        import torch

        words, inputs = self.processor.tokenizer, self.inputs(asks)
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            torch.manual_seed(seed)
            # All is said, or habits in the checkpoint's generation_config slip in.
            out = self.net.generate(
                **inputs, max_new_tokens=limit, num_beams=1, do_sample=seed > 0,
                temperature=HEAT if seed else 1.0, top_p=1.0, top_k=50,
                repetition_penalty=1.0, eos_token_id=self.ends,
                pad_token_id=words.pad_token_id,
            )  # fmt: skip
        answers = []
        for row in out[:, inputs["input_ids"].shape[1] :].tolist():  # prompt left out
            end = next((k for k, t in enumerate(row) if t in self.ends), None)
            text = words.decode(row[:end], skip_special_tokens=True)
            answers.append(Answer(text, "truncated" if end is None else "ok"))
        return answers
