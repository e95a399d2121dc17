from io import BytesIO

import numpy as np
import pytest
from matplotlib import rcParams
from PIL import Image

from rsnb import plots
from rsnb.errors import ParameterError
from toy import squares

IMAGES = list(np.arange(4 * 8 * 8 * 3, dtype=np.uint8).reshape(4, 8, 8, 3))


def lines():
    return plots.curves(
        {"a": ([1, 2], {"x": [1, 2], "y": [2, 1]}), "b": ([1, 2], {"z": [0, 1]})},
        "epoch",
        ["mR", "loss"],
    )


def bars():
    return plots.bars({"R@1": {"a": 1.0, "b": 2.0}, "R@5": {"a": 3.0}}, "recall (%)")


def strip():
    return plots.strip(IMAGES, ["a", "$b$", "c<", "d"], [True, False, False, False])


@pytest.mark.parametrize("make", [lines, bars, strip])
def test_equal_data_gives_equal_bytes(make):
    assert make()._repr_mimebundle_() == make()._repr_mimebundle_()


@pytest.mark.parametrize("make", [lines, bars])
def test_lines_and_bars_are_svg(make):
    bundle = make()._repr_mimebundle_()
    assert list(bundle) == ["image/svg+xml"]
    assert bundle["image/svg+xml"].rstrip().endswith("</svg>")


def test_images_are_png_of_the_page_width():
    bundle = strip()._repr_mimebundle_()
    assert list(bundle) == ["image/png"]
    width = Image.open(BytesIO(bundle["image/png"])).width
    assert 600 < width < 760  # 6.5 inches at 110 dpi, margins cut


def test_nothing_global_is_set():
    before = dict(rcParams)
    lines(), bars(), strip()
    assert dict(rcParams) == before


def test_a_right_answer_is_framed_and_ticked():
    axes = strip().axes
    assert axes[0].get_title() == "✓ a" and axes[1].get_title() == "$b$"
    shown = [ax.axison and ax.spines["left"].get_visible() for ax in axes[:4]]
    assert shown == [True, False, False, False]


@pytest.mark.parametrize(
    ("images", "titles", "marks"),
    [([], [], []), (IMAGES, ["a"], []), (IMAGES, [], [True])],
)
def test_strip_refuses_what_does_not_fit(images, titles, marks):
    with pytest.raises(ParameterError, match="give at least one image"):
        plots.strip(images, titles, marks)


def test_bars_write_each_value():
    texts = {t.get_text() for t in bars().axes[0].texts}
    assert texts == {"1.0", "2.0", "3.0"}


def test_results_title_with_score_and_class_and_frame_the_right_one():
    pairs = squares(4)
    axes = plots.results(pairs, [2, 0], [0.9, 0.25], right=0).axes
    assert [ax.get_title() for ax in axes[:2]] == ["0.90 blue", "✓ 0.25 red"]


def test_the_palette_has_six_colours_that_differ_in_lightness_or_hue():
    assert len(set(plots.PALETTE)) == 6
