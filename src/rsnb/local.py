"""Local similarity of RRSITR: every patch of an image against every word position.

Explained in notebook 03. With the unit tokens of image i as the rows of A and those of
caption j as the rows of B, S_ij = ‖A Bᵀ‖ (Frobenius), and ‖A Bᵀ‖² = ⟨AᵀA, BᵀB⟩. So two
d x d Gram matrices an item replace a product of all tokens for every pair.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from rsnb.backbones import Backbone
from rsnb.errors import BackboneError, EmbeddingError, ParameterError
from rsnb.vectors import distinct_rows

__all__ = ["image_tokens", "local_similarity", "score", "text_tokens"]

# Gram rows at once. A strip keeps the part right of its diagonal only: the smaller the
# block, the less of the lower triangle is computed, and the slower the product.
_BLOCK = 32
Tokens = tuple[Tensor, Tensor]  # embeddings and tokens
_IMAGES, _TEXTS = 1024, 256  # Gram strips held at once: 84 MB together at d = 512


def _clip(model: nn.Module) -> Any:
    visual = getattr(model, "visual", None)
    what = f"{type(model).__name__} with {type(visual).__name__} images"
    if isinstance(model, open_clip.CLIP) and isinstance(visual, VisionTransformer):
        if visual.attn_pool is None:
            return model
        what = "this ViT pools by attention and"
    raise BackboneError(
        f"{what} has no patch tokens in the space of the embedding. Take open_clip's "
        "CLIP with a ViT that pools at the class token, or RRSITR(local=False)."
    )


def image_tokens(model: nn.Module, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the embeddings and the patch tokens of images in one forward pass.

    Args:
        model: an open_clip `CLIP` with a `VisionTransformer`.
        pixels: normalised float (B, 3, S, S).

    Returns:
        (B, d), what `model.encode_image` gives, not normalised; and float32 (B, P, d),
        unit norm, all P patches after the last norm and the visual projection, without
        the class token. Both carry gradients.

    Raises:
        BackboneError: the image tower has no patch tokens.
    """
    visual = _clip(model).visual
    out = visual.forward_intermediates(
        pixels, indices=1, normalize_intermediates=True, output_fmt="NLC"
    )
    tokens = out["image_intermediates"][0] @ visual.proj
    return out["image_features"], F.normalize(tokens.float(), dim=-1)


def text_tokens(model: nn.Module, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Return the embeddings and the word tokens of captions in one forward pass.

    Args:
        model: as for `image_tokens`.
        ids: int64 (B, W) from the backbone's tokenizer.

    Returns:
        (B, d), what `model.encode_text` gives, not normalised; and float32 (B, W, d),
        unit norm, all W positions, padding too (as published), after the last norm and
        the text projection. Both carry gradients.

    Raises:
        BackboneError: as for `image_tokens`.
    """
    clip = _clip(model)
    out = clip.forward_intermediates(
        text=ids, text_indices=1, normalize=False, normalize_intermediates=True
    )
    tokens, project = out["text_intermediates"][0], clip.text_projection
    if project is not None:
        tokens = project(tokens) if callable(project) else tokens @ project
    return out["text_features"], F.normalize(tokens.float(), dim=-1)


def _strip(tokens: Tensor, low: int) -> Tensor:
    """Return rows `low` to `low + _BLOCK` of each Gram matrix, from column `low` on."""
    return tokens[..., low : low + _BLOCK].transpose(1, 2) @ tokens[..., low:]


def local_similarity(img_tokens: Tensor, txt_tokens: Tensor) -> Tensor:
    """Return (T, N), the Frobenius norm of each pair's matrix of token cosines.

    Captions are the rows, as `rsnb.metrics` has them. Not divided by token counts, so
    0 to √(P·W); unscaled. Computed in float32 at least, also under autocast. Beside its
    arguments it holds at most 1,280 strips of 32·d numbers (84 MB at d = 512), unless
    gradients are wanted: then all Gram matrices, about 2·d² bytes an item. The gradient
    at 0 is 0.

    >>> a = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    >>> local_similarity(a, torch.tensor([[[0.6, 0.8]], [[1.0, 0.0]]])).tolist()
    [[1.0], [1.0]]

    Args:
        img_tokens: (N, P, d), unit norm.
        txt_tokens: (T, W, d), unit norm.

    Raises:
        EmbeddingError: the shapes are not those.
    """
    a, b = tuple(img_tokens.shape), tuple(txt_tokens.shape)
    if len(a) != 3 or len(b) != 3 or a[2] != b[2]:
        want = "(N, P, d) and (T, W, d) of one backbone"
        raise EmbeddingError(f"tokens are {a} and {b}; {want} are needed.")
    dtype = torch.promote_types(img_tokens.dtype, torch.float32)
    img, txt = img_tokens.to(dtype), txt_tokens.to(dtype)
    square = img.new_zeros(len(txt), len(img))
    with torch.autocast(img.device.type, enabled=False):
        for n in range(0, len(img), _IMAGES):
            for low in range(0, img.shape[2], _BLOCK):
                gram = _strip(img[n : n + _IMAGES], low)
                # What lies right of the diagonal block stands for its mirror too.
                gram[..., _BLOCK:] *= 2
                columns = gram.flatten(1).T
                for t in range(0, len(txt), _TEXTS):
                    part = square[t : t + _TEXTS, n : n + _IMAGES]
                    part.addmm_(_strip(txt[t : t + _TEXTS], low).flatten(1), columns)
                del gram, columns  # before the next strip is made
    # Rounding can leave less than 0; the root has no slope there. NaN passes through.
    none = square <= torch.finfo(dtype).eps
    return square.masked_fill(none, 1).sqrt().masked_fill(none, 0)


def _many(encode: Callable[[Any], Tokens], items: Any, batch: int) -> Tokens:
    parts = [encode(items[i : i + batch]) for i in range(0, len(items), batch)]
    emb, tokens = (torch.cat(p) for p in zip(*parts, strict=True))
    return F.normalize(emb.float(), dim=-1), tokens


@torch.inference_mode()
def score(
    backbone: Backbone, images: np.ndarray, captions: Sequence[str], local: float = 0.1
) -> np.ndarray:
    """Return float32 (T, N) = (1 - local)·S_global + local·S_local, RRSITR's score.

    For `rsnb.metrics.evaluate`: captions are rows; equal captions and equal images are
    scored once, so they tie exactly. Both similarities are unscaled. Works through
    2,048 images x 512 captions at a time, so that tokens and Gram strips stay
    small; beyond 2,048 images, captions are encoded anew for each tile.

    Args:
        backbone: a ViT, see `image_tokens`.
        images: uint8 (N, S, S, 3).
        captions: T texts.
        local: weight of the local similarity, in [0, 1]; published 0.1.

    Raises:
        BackboneError: the backbone has no patch tokens.
        EmbeddingError: a score is NaN or infinite.
        ParameterError: `local` out of range, or nothing to score.
    """
    if not 0 <= local <= 1 or not len(images) or not len(captions):
        given = f"{len(images)} images, {len(captions)} captions, local={local}"
        raise ParameterError(f"{given}: one of each and a weight in [0, 1] are needed.")
    model, device = backbone.model, backbone.device
    row = {text: i for i, text in enumerate(dict.fromkeys(captions))}
    texts = list(row)
    flat, column = distinct_rows(images.reshape(len(images), -1))
    pixels = flat.reshape(-1, *images.shape[1:])

    def see(part: np.ndarray) -> Tokens:
        return image_tokens(model, backbone.prepare(part))

    def read(part: list[str]) -> Tokens:
        return text_tokens(model, backbone.tokenize(part).to(device))

    out = np.empty((len(texts), len(pixels)), np.float32)
    for n in range(0, len(pixels), 2048):
        img, patches = _many(see, pixels[n : n + 2048], 64)
        for t in range(0, len(texts), 512):
            txt, words = _many(read, texts[t : t + 512], 256)
            near = local_similarity(patches, words)
            tile = (1 - local) * txt @ img.T + local * near
            out[t : t + 512, n : n + 2048] = tile.cpu().numpy()
    if not np.isfinite(out).all():
        raise EmbeddingError(f"{backbone.name}: NaN scores, its weights are broken.")
    return out[[row[c] for c in captions]][:, column]
