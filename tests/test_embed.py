"""Embeddings are unit vectors, cached by content, the same in any batch size."""

from __future__ import annotations

import numpy as np
import pytest

from rsnb.embed import embed, embed_images, embed_texts
from rsnb.errors import EmbeddingError
from rsnb.pixels import load_pixels
from toy import squares, tiny


def test_embed_shapes_norms_and_exact_ties():
    pairs = squares(12)
    emb = embed(tiny(), pairs, cache=False)
    assert emb.img.shape == (12, 32)
    assert emb.txt.shape == (24, 32)
    assert emb.sim.shape == (24, 12)
    for a in (emb.img, emb.txt):
        assert a.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(a, axis=1), 1, atol=1e-6)
    assert pairs.captions[0] == "a red square on the left"
    repeated = embed_texts(tiny(), [pairs.captions[0], "b", pairs.captions[0]], batch=2)
    np.testing.assert_array_equal(repeated[0], repeated[2])


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_batch_size_moves_only_the_last_bits(batch):
    images = load_pixels(squares(10), 32, cache=False)
    one = embed_images(tiny(), images, 10)
    np.testing.assert_allclose(embed_images(tiny(), images, batch), one, atol=1e-6)


def test_nan_weights_are_noticed():
    backbone = tiny()
    backbone.model.text_projection.data.fill_(float("nan"))
    with pytest.raises(EmbeddingError, match="not finite"):
        embed_texts(backbone, ["a red square"])


def test_mean_over_the_symmetries_does_not_depend_on_the_orientation():
    backbone = tiny()
    images = load_pixels(squares(4), 32, cache=False)
    turned = np.ascontiguousarray(np.rot90(images[:, :, ::-1], 1, (1, 2)))
    one, other = (embed_images(backbone, x, turns=True) for x in (images, turned))
    np.testing.assert_allclose(one, other, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1, atol=1e-6)
    assert np.abs(one - embed_images(backbone, images)).max() > 1e-4
