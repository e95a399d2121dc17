"""Tokens come from the same pass as the embedding; Gram matrices give the same norm."""

from __future__ import annotations

import copy

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F

from rsnb import backbones, local
from rsnb.embed import embed
from rsnb.errors import BackboneError, EmbeddingError, ParameterError
from rsnb.local import image_tokens, local_similarity, score, text_tokens
from rsnb.metrics import evaluate, evaluate_embeddings
from rsnb.pixels import load_pixels
from toy import squares, tiny


def unit(*shape, seed=0, dtype=torch.float64):
    gen = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=gen, dtype=dtype), dim=-1)


def direct(img, txt):
    """Return (T, N) from the token cosines themselves."""
    cosines = torch.einsum("twd,npd->tnwp", txt, img)
    return cosines.square().sum((2, 3)).sqrt()


# Tokens


def models():
    shipped = backbones.load("source-vit-0")
    yield shipped.model, shipped.image_size, 64, shipped.tokenize(["a b", "two planes"])
    torch.manual_seed(0)
    model = backbones.build("ViT-B-32", "gelu")
    yield model, 224, 49, open_clip.get_tokenizer("ViT-B-32")(["a pier", "two planes"])


def test_one_pass_gives_the_embedding_and_all_tokens():
    for model, side, patches, ids in models():
        pixels = torch.randn(2, 3, side, side)
        with torch.no_grad():
            img, img_tok = image_tokens(model, pixels)
            txt, txt_tok = text_tokens(model, ids)
            torch.testing.assert_close(img, model.encode_image(pixels))
            torch.testing.assert_close(txt, model.encode_text(ids))
            # open_clip's own patches, after the last norm, then projected.
            visual = copy.deepcopy(model.visual)
            visual.output_tokens = True
            want = F.normalize(visual(pixels)[1] @ visual.proj, dim=-1)
        torch.testing.assert_close(img_tok, want)
        assert img_tok.shape == (2, patches, img.shape[1])
        assert txt_tok.shape == (2, ids.shape[1], txt.shape[1])
        for tokens in (img_tok, txt_tok):
            torch.testing.assert_close(
                tokens.norm(dim=-1), torch.ones(tokens.shape[:2])
            )
        # The token at the end mark is the caption's embedding.
        end = txt_tok[torch.arange(2), ids.argmax(1)]
        torch.testing.assert_close(end, F.normalize(txt, dim=-1))


def test_a_norm_after_pooling_is_applied_to_the_patches_too():
    torch.manual_seed(0)
    vision = {"layers": 1, "width": 32, "patch_size": 8, "image_size": 16}
    vision |= {"head_width": 32, "final_ln_after_pool": True, "pool_type": "avg"}
    text = {"context_length": 8, "vocab_size": 20, "width": 32, "heads": 1, "layers": 1}
    cfg = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    model = backbones.build(cfg, "gelu")
    torch.nn.init.normal_(model.visual.ln_post.weight)
    pixels = torch.randn(3, 3, 16, 16)
    img, tokens = image_tokens(model, pixels)
    torch.testing.assert_close(img, model.encode_image(pixels))
    raw = model.visual.transformer(model.visual._embeds(pixels))[:, 1:]
    want = F.normalize(model.visual.ln_post(raw) @ model.visual.proj, dim=-1)
    torch.testing.assert_close(tokens, want)


def test_gradients_reach_both_towers():
    backbone = tiny("vit")
    pixels = backbone.prepare(load_pixels(squares(4), 32, cache=False))
    _, patches = image_tokens(backbone.model, pixels)
    _, words = text_tokens(backbone.model, backbone.tokenize(squares(2).captions))
    local_similarity(patches, words).diagonal().sum().backward()
    for weight in (backbone.model.visual.conv1, backbone.model.token_embedding):
        assert weight.weight.grad.isfinite().all() and weight.weight.grad.any()


def test_towers_without_patch_tokens_are_refused():
    ids = torch.zeros(1, 8, dtype=torch.long)
    for call in (image_tokens, text_tokens):
        with pytest.raises(BackboneError, match=r"ModifiedResNet.*ViT"):
            call(tiny("rn").model, ids)
    model = tiny("vit").model
    model.visual.attn_pool = torch.nn.Identity()
    with pytest.raises(BackboneError, match="pools by attention"):
        image_tokens(model, torch.zeros(1, 3, 32, 32))


# Similarity


@pytest.mark.parametrize(("n", "t", "p", "w", "d"), [(5, 7, 4, 3, 70), (1, 1, 1, 1, 1)])
def test_equals_the_direct_form(monkeypatch, n, t, p, w, d):
    img, txt = unit(n, p, d), unit(t, w, d, seed=1)
    want = direct(img, txt)
    torch.testing.assert_close(local_similarity(img, txt), want)
    for name, size in (("_BLOCK", 9), ("_IMAGES", 2), ("_TEXTS", 3)):
        monkeypatch.setattr(local, name, size)
    torch.testing.assert_close(local_similarity(img, txt), want)


def test_float32_keeps_five_digits_at_full_size():
    img, txt = unit(6, 50, 512, dtype=torch.float32), unit(9, 77, 512, seed=1)
    got = local_similarity(img, txt.float()).double()
    torch.testing.assert_close(got, direct(img.double(), txt), rtol=1e-5, atol=0)
    with torch.autocast("cpu", torch.bfloat16):
        same = local_similarity(img, txt.float())
    torch.testing.assert_close(same.double(), got)


def test_by_hand():
    eye = torch.eye(4)[None]
    assert local_similarity(eye, eye).item() == 2  # four cosines of 1
    ones = eye[:, :1].expand(1, 3, 4)
    assert local_similarity(ones, ones).item() == 3  # nine of them: not divided


def test_gradient_numerically():
    img, txt = unit(3, 2, 5).requires_grad_(), unit(2, 4, 5, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(local_similarity, (img, txt))


def test_gradient_at_zero_is_zero():
    eye = torch.eye(4)
    img, txt = eye[None, :2].clone().requires_grad_(), eye[None, 2:]
    sim = local_similarity(img, txt)
    sim.sum().backward()
    assert sim.item() == 0
    assert not img.grad.any()


def test_nan_is_not_hidden():
    img, txt = unit(2, 3, 4), unit(2, 3, 4, seed=1)
    img[1, 0, 0] = torch.nan
    assert local_similarity(img, txt).isnan().all(0).tolist() == [False, True]


@pytest.mark.parametrize("shape", [(2, 3, 5), (3, 4)])
def test_tokens_that_do_not_fit(shape):
    with pytest.raises(EmbeddingError, match=r"\(2, 3, 4\)"):
        local_similarity(torch.zeros(2, 3, 4), torch.zeros(shape))


# Score


def test_score_is_the_weighted_sum_and_ties_what_is_equal():
    backbone, pairs = tiny("vit"), squares(6)
    images = load_pixels(pairs, 48, cache=False)
    captions = [*pairs.captions, pairs.captions[0]]
    images = np.concatenate([images, images[:1]])
    got = score(backbone, images, captions)
    assert got.shape == (13, 7) and got.dtype == np.float32
    with torch.no_grad():
        img, patches = image_tokens(backbone.model, backbone.prepare(images))
        txt, words = text_tokens(backbone.model, backbone.tokenize(captions))
        near = direct(patches, words)
    want = 0.9 * F.normalize(txt, dim=1) @ F.normalize(img, dim=1).T + 0.1 * near
    np.testing.assert_allclose(got, want.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(got[0], got[-1])
    np.testing.assert_array_equal(got[:, 0], got[:, -1])


def test_without_local_it_ranks_as_the_embeddings_do():
    backbone, pairs = tiny("vit"), squares(8)
    sim = score(backbone, load_pixels(pairs, 32, cache=False), pairs.captions, 0.0)
    emb = embed(backbone, pairs, cache=False)
    np.testing.assert_allclose(sim, emb.sim, atol=1e-6)
    want = evaluate_embeddings(emb.txt, emb.img, pairs.gt).mR
    assert evaluate(sim, pairs.gt).mR == pytest.approx(want)


def test_score_refuses_what_it_cannot_rank():
    backbone, pairs = tiny("vit"), squares(3)
    images = load_pixels(pairs, 32, cache=False)
    with pytest.raises(ParameterError, match="weight in"):
        score(backbone, images, pairs.captions, 1.5)
    with pytest.raises(ParameterError, match="0 captions"):
        score(backbone, images, [])
    with pytest.raises(BackboneError, match="uint8"):
        score(backbone, images.astype(np.float32), pairs.captions)
    backbone.model.visual.proj.data.fill_(float("nan"))
    with pytest.raises(EmbeddingError, match="broken"):
        score(backbone, images, pairs.captions)
