"""A small vision-language model of a published class, trained on any `Pairs`.

Explained in notebook 04. The class is `FastVlmForConditionalGeneration` of
transformers, LLaVA's successor with a convolutional tower: a small ResNet keeps an
8x8 map of places, and each place is a token of a three-layer decoder. It is saved with
its processor and loaded by the code that loads the published checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rsnb.files import write_with_receipt
from rsnb.prompts import PROMPTS
from rsnb.records import FIELDS

__all__ = ["ANSWER", "END", "IMAGE", "Shape", "Texts", "answer", "build", "save"]

# JSON in four tokens, so that a word-level model answers as a large one is asked to.
GLUE = ('{"one_sentence": "', '", "feature": "', '", "caption": "', '"}')
PAD, END, UNKNOWN, IMAGE, ANSWER = "<pad>", "<end>", "<unk>", "<image>", "<answer>"
TEMPLATE = (
    "{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'image' %}"
    "<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}<answer>{% endif %}"
)
Texts = Sequence[Sequence[Mapping[str, str]]]  # five variants an image: field → text


@dataclass(frozen=True)
class Shape:
    """Size of the model.

    Attributes:
        side: input side in pixels; a place of the map is 16 pixels wide.
        channels: of the four stages of the ResNet.
        blocks: residual blocks of each stage.
        width: of the decoder.
        layers: of the decoder.
    """

    side: int = 128
    channels: tuple[int, ...] = (32, 64, 128, 256)
    blocks: tuple[int, ...] = (1, 1, 1, 1)
    width: int = 192
    layers: int = 3


def answer(variant: Mapping[str, str]) -> str:
    """Return the JSON text that answers one turn; quotes and backslashes are dropped.

    >>> answer({"one_sentence": "a", "feature": "b", "caption": "c"})
    '{"one_sentence": "a", "feature": "b", "caption": "c"}'
    """
    texts = [variant[f].replace('"', "").replace("\\", "") for f in FIELDS]
    return "".join(g + t for g, t in zip(GLUE, [*texts, ""], strict=True))


def _processor(texts: Sequence[str], shape: Shape, min_count: int) -> Any:
    """Return a LlavaProcessor: word-level tokenizer, CLIP's image processing."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
    from tokenizers import pre_tokenizers as pre
    from tokenizers.trainers import WordLevelTrainer
    from transformers import CLIPImageProcessor, LlavaProcessor, PreTrainedTokenizerFast

    raw = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    raw.normalizer = normalizers.Lowercase()
    raw.pre_tokenizer = pre.Sequence([
        pre.Metaspace(), pre.Split(",", "isolated"), pre.Split(".", "isolated")
    ])  # fmt: skip
    raw.decoder = decoders.Metaspace()
    special = [PAD, END, UNKNOWN, IMAGE, ANSWER]
    trainer = WordLevelTrainer(special_tokens=special, min_frequency=min_count)
    raw.train_from_iterator([*texts, *PROMPTS["world"].turns * min_count], trainer)
    raw.add_tokens([AddedToken(g, normalized=False) for g in GLUE])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token=PAD, eos_token=END, unk_token=UNKNOWN,
        padding_side="left", additional_special_tokens=[IMAGE, ANSWER],
    )  # fmt: skip
    side = {"height": shape.side, "width": shape.side}
    images = CLIPImageProcessor(
        size={"shortest_edge": shape.side}, crop_size=side, do_convert_rgb=True
    )
    return LlavaProcessor(
        image_processor=images, tokenizer=tokenizer, patch_size=16, image_token=IMAGE,
        vision_feature_select_strategy="full", num_additional_image_tokens=0,
        chat_template=TEMPLATE,
    )  # fmt: skip


def build(
    variants: Texts, shape: Shape, *, seed: int = 0, min_count: int = 1
) -> tuple[Any, Any]:
    """Return (random weights, processor) with the words of the variants' texts.

    Words seen less than `min_count` times are unknown.
    """
    from transformers import (
        FastVlmConfig,
        FastVlmForConditionalGeneration,
        Qwen2Config,
        TimmWrapperConfig,
    )

    texts = [text for row in variants for v in row for text in v.values()]
    processor = _processor(texts, shape, min_count)
    tokenizer = processor.tokenizer
    vision: Any = TimmWrapperConfig(
        architecture="resnet18", do_pooling=False,
        model_args={
            "layers": list(shape.blocks), "channels": list(shape.channels),
            "stem_width": shape.channels[0], "output_stride": 16,
        },
    )  # fmt: skip
    vision.hidden_size = shape.channels[-1]  # what the projector asks for
    heads = shape.width // 32
    text = Qwen2Config(
        vocab_size=-(-len(tokenizer) // 8) * 8, hidden_size=shape.width,
        intermediate_size=2 * shape.width + 64, num_hidden_layers=shape.layers,
        num_attention_heads=heads, num_key_value_heads=heads, tie_word_embeddings=True,
        max_position_embeddings=512, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    config = FastVlmConfig(
        vision_config=vision, text_config=text, tie_word_embeddings=True,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # eager: the fused attention's backward pass is several times slower on a CPU
        model = FastVlmForConditionalGeneration._from_config(
            config, attn_implementation="eager"
        )
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model, processor


def save(folder: Path, model: Any, processor: Any, /, **facts: Any) -> None:
    """Write weights in half precision, processor, and a receipt of both with `facts`.

    `rsnb.vlm.TransformersCaptioner.load` reads the folder, and checks the weights.
    """
    model.half().save_pretrained(folder)
    processor.save_pretrained(folder)
    path = folder / "model.safetensors"
    write_with_receipt(path, path.read_bytes(), **facts)
