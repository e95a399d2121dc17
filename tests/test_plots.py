from io import BytesIO

import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.colors import to_hex
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


SYSTEMS = ("backbone", "text", "VCI", "QGD", "CADRE")


def test_a_role_keeps_its_colour_and_no_other_label_takes_it():
    kinds = ("clean", "ambiguous", "noisy")
    assert len({plots.ROLES[k] for k in (*kinds, *SYSTEMS)}) == 8
    fig = plots.bars({"a": {"x": 1.0, "VCI": 2.0, "y": 3.0, "QGD": 1.0}}, "mR")
    drawn = {
        b.get_label(): to_hex(b[0].get_facecolor()) for b in fig.axes[0].containers
    }
    drawn = {k: v.upper() for k, v in drawn.items()}
    assert drawn["VCI"] == plots.ROLES["VCI"] and drawn["QGD"] == plots.ROLES["QGD"]
    assert len(set(drawn.values())) == 4
    x, y = [0, 1], [0.0, 1.0]
    fig = plots.curves({"": (x, {"noisy": y, "z": y})}, "look", ["share"])
    assert fig.axes[0].lines[0].get_color() == plots.ROLES["noisy"]
    assert fig.axes[0].lines[1].get_color() == plots.PALETTE[0]


def test_panels_with_one_quantity_share_a_scale():
    panels = {"a": ([0, 1], {"x": [0, 1]}), "b": ([0, 1], {"x": [0, 9]})}
    axes = plots.curves(panels, "epoch", ["mR"]).axes
    assert axes[0].get_ylim() == axes[1].get_ylim()
    assert axes[0].get_ylim()[1] > 9


def test_testimony_writes_each_gain_under_its_word():
    gains = [[2.0, -0.5, -0.01], [-1.0, 0.25, 3.0]]
    fig = plots.testimony(["a", "red", "lake"], gains, ["1 lake", "2 pond"])
    ax = fig.axes[0]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["a", "red", "lake"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["1 lake", "2 pond"]
    assert [t.get_text() for t in ax.texts][:3] == ["+2.0", "-0.5", "+0.0"]
    low, high = ax.collections[0].get_clim()
    assert low == -high < 0  # 0 is white
    assert list(fig._repr_mimebundle_()) == ["image/svg+xml"]


@pytest.mark.parametrize("gains", [[[1.0, 2.0]], [[1.0], [2.0]], []])
def test_testimony_refuses_what_does_not_fit(gains):
    with pytest.raises(ParameterError, match="a row a label"):
        plots.testimony(["a", "b"], gains, ["1", "2"])


def test_heatmaps_lie_on_their_images_and_share_a_scale():
    fig = plots.heatmaps(IMAGES[:3], [np.eye(4), None, np.ones((2, 2))], list("abc"))
    layers = [ax.images for ax in fig.axes[:3]]
    assert [len(some) for some in layers] == [2, 1, 2]
    assert layers[0][1].get_extent() == layers[0][0].get_extent()
    assert layers[0][1].get_clim() == layers[2][1].get_clim() == (0, 1)
    assert fig.axes[-1].get_ylabel() == "weight / largest"
    assert list(fig._repr_mimebundle_()) == ["image/png"]


@pytest.mark.parametrize("maps", [[np.eye(2)], [None, None], [None, 2 * np.eye(2)]])
def test_heatmaps_refuse_what_does_not_fit(maps):
    with pytest.raises(ParameterError, match="None or a map of 0 to 1"):
        plots.heatmaps(IMAGES[:2], maps)
