"""Views: windows that cover an image, embedded once, and a map of their weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from PIL import Image

import rsnb.cadre.views as views
from rsnb.cadre.views import ENLARGED, GRID, boxes, heat, look
from rsnb.embed import embed
from rsnb.errors import DataError, ParameterError
from toy import Squares, squares, tiny

SMALL = ((1.0, 1), (0.5, 2))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RSNB_CACHE", str(tmp_path))
    return tmp_path


def covered(where, n=100):
    """Return bool (n, n): which points lie in one of the boxes."""
    at = (np.arange(n) + 0.5) / n
    inside = [
        ((y <= at) & (at <= d))[:, None] & ((x <= at) & (at <= r))
        for x, y, r, d in where
    ]
    return np.any(inside, axis=0)


@pytest.mark.parametrize("grid", [GRID, SMALL, ((1.0, 1), (0.4, 4), (0.3, 5))])
def test_each_level_of_a_grid_covers_the_image(grid):
    where, start = boxes(grid), 0
    assert where.shape == (sum(n * n for _, n in grid), 4)
    assert where[0].tolist() == [0, 0, 1, 1]
    assert where.min() >= 0 and where.max() <= 1 + 1e-12
    for side, n in grid:
        level = where[start : start + n * n]
        np.testing.assert_allclose(level[:, 2:] - level[:, :2], side)
        assert covered(level).all()
        assert len(np.unique(level, axis=0)) == n * n
        start += n * n


@pytest.mark.parametrize(
    "grid",
    [
        (),
        ((0.5, 2), (1.0, 1)),
        ((1.0, 2),),
        ((1.0, 1), (0.0, 1)),
        ((1.0, 1), (1.2, 1)),
        ((1.0, 1), (0.5, 0)),
    ],
)
def test_bad_grids(grid):
    with pytest.raises(ParameterError, match="grid"):
        boxes(grid)


def test_views_are_unit_and_the_first_is_the_image():
    backbone, pairs = tiny(), squares(6)
    found = look(backbone, pairs, cache=False)
    assert found.emb.shape == (6, 5, 32) and found.emb.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found.emb, axis=2), 1, atol=1e-6)
    np.testing.assert_array_equal(found.boxes, boxes())
    part = look(backbone, pairs.subset([4, 1]), cache=False)
    np.testing.assert_allclose(part.emb, found.emb[[4, 1]], atol=1e-6)
    # at the encoder's own side, the first view is what `embed` reads
    own = replace(pairs, reader=Squares(32), source={})
    one = look(backbone, own, SMALL).emb[:, 0]
    np.testing.assert_allclose(one, embed(backbone, own).img, atol=1e-6)


def test_a_view_is_what_its_box_shows(monkeypatch):
    seen = []

    def spy(_, pixels):
        seen.append(pixels)
        return np.eye(2, 32, dtype=np.float32)

    monkeypatch.setattr(views, "embed_images", spy)
    look(tiny(), squares(2), SMALL, cache=False)
    whole = np.stack([np.asarray(squares(2).image(k)) for k in range(2)])
    assert [p.shape for p in seen] == [(2, 48, 48, 3)] + [(2, 24, 24, 3)] * 4
    np.testing.assert_array_equal(seen[0], whole)
    np.testing.assert_array_equal(seen[2], whole[:, :24, 24:])  # right, at the top
    np.testing.assert_array_equal(seen[3], whole[:, 24:, :24])


def test_images_are_read_no_larger_than_the_encoder_gains(monkeypatch):
    sides = []
    monkeypatch.setattr(
        views, "embed_images", lambda _, p: sides.append(p.shape[1]) or np.eye(len(p))
    )
    for side in (48, 500):
        pairs = replace(squares(2), reader=Squares(side), source={})
        look(tiny(), pairs, ((1.0, 1),))
    assert sides == [48, ENLARGED * 32]


@dataclass(frozen=True)
class Sized(Squares):
    """Squares of any side: those of `Squares` need a multiple of 3."""

    def __call__(self, row):
        return Squares(48)(row).resize((self.side, self.side), Image.Resampling.NEAREST)


@pytest.mark.parametrize("tower", ["rn", "vit"])
@pytest.mark.parametrize("side", [45, 63, 64, 65])
def test_windows_about_as_large_as_the_encoder_reads(tower, side):
    """Half of 63 rounds to 31 or 32, by place, and the encoder reads 32."""
    backbone = tiny(tower)
    pairs = replace(squares(2), reader=Sized(side), source={})
    emb = look(backbone, pairs).emb
    assert emb.shape == (2, 5, 32) and np.isfinite(emb).all()


def test_views_are_kept(cache, monkeypatch):
    backbone, pairs = replace(tiny(), digest="its weights"), squares(4)
    made = look(backbone, pairs, SMALL)
    assert len(list((cache / "views").glob("*.safetensors"))) == 1
    monkeypatch.setattr(views, "embed_images", None)  # would be called
    kept = look(backbone, pairs, SMALL)
    np.testing.assert_array_equal(kept.emb, made.emb)
    assert kept.receipt == made.receipt
    others = [
        lambda: look(backbone, pairs),  # another grid
        lambda: look(backbone, pairs.subset([0, 1]), SMALL),
        lambda: look(replace(backbone, digest="other"), pairs, SMALL),
        lambda: look(backbone, pairs, SMALL, cache=False),
        lambda: look(backbone, replace(pairs, source={}), SMALL),  # unknown data
    ]
    for other in others:
        with pytest.raises(TypeError):
            other()


def test_images_without_pixels():
    pairs = replace(squares(3), has_pixels=np.array([True, False, True]))
    with pytest.raises(DataError, match="no pixels"):
        look(tiny(), pairs, SMALL, cache=False)


def test_a_map_shows_where_the_weight_lies():
    where = boxes()
    for k in range(1, len(where)):
        weights = np.zeros(len(where))
        weights[k] = 0.7
        at = heat(weights, where)
        assert at.shape == (64, 64) and at.min() >= 0 and at.max() == 1
        left, top, right, bottom = where[k] * 64
        y, x = np.nonzero(at)
        assert top - 1 <= y.min() and y.max() <= bottom
        assert left - 1 <= x.min() and x.max() <= right
        assert (at[y.min() : y.max() + 1, x.min() : x.max() + 1] > 0).all()
    rng = np.random.default_rng(0)
    at = heat(rng.dirichlet(np.ones(len(where))), where, 32)
    assert at.shape == (32, 32) and at.min() >= 0 and at.max() == 1


def test_the_whole_image_points_nowhere():
    assert not heat(np.eye(5)[0], boxes()).any()
    assert not heat(np.ones(1), boxes(((1.0, 1),))).any()
