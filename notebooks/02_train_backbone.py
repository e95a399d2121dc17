# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Train a backbone on the unit sphere
#
# | **Question** | What does contrastive learning do to the embeddings, and what do scale and resolution do to recall? |
# |---|---|
# | **Data set** | profile `world`: a part of its 4,000 training images; validation and test of 450 each |
# | **Model** | open_clip `CLIP` with a small ModifiedResNet, from random weights; beside it the trained one that comes with the package |
# | **Run time** | minutes at most on two CPU cores: {doc}`/book/benchmarks`; on a GPU not measured |
# | **Downloaded** | nothing for `world` |
#
# ## What you will see
#
# - The loss that trains a dual encoder, in one formula and a few lines.
# - Two numbers that describe a cloud of points on a sphere, *alignment* and
#   *uniformity*, measured while a small model trains from nothing.
# - Why more training and a longer schedule beat the short run of this page.
# - What happens to recall when images get smaller, or when the model sees only
#   a window of them.
# - The result that the shipped backbones reach over three seeds.

# %% tags=["hide-input"]
import sys
from importlib.util import find_spec

if "google.colab" in sys.modules:  # adds what is missing, nothing else
    from IPython import get_ipython

    pip = "install -q --no-deps git+https://github.com/rsnb/rsnb@v0.1.0"
    if not find_spec("rsnb"):
        get_ipython().run_line_magic("pip", pip)
    from rsnb import colab

    colab.prepare()

import numpy as np
import torch
import torch.nn.functional as F

from rsnb import assets, plots, profiles, recipes, report
from rsnb.embed import embed_images, embed_texts
from rsnb.losses import alignment, info_nce, uniformity
from rsnb.metrics import evaluate_embeddings
from rsnb.pixels import load_pixels
from rsnb.train import TrainConfig, fit

# %% [markdown]
# The parameters of the page. Change them here, or from outside with
# `python -m rsnb run --profile … --set name=value`.

# %% tags=["parameters"]
profile = "world"  # or ucm, rsicd, rsitmd, nwpu, or a path to your data
backbone_name = ""  # trained one to compare with; empty: the profile's own
n_images = 1500  # training images of the short run
epochs = 14  # passes over them
lr = 0.002  # peak learning rate
store = 96  # side in pixels of the training images in memory
seed = 0  # of weights, order and augmentation
device = "cpu"  # cuda where there is a GPU

# %% [markdown]
# ## Pairs in, points on a sphere out
#
# A dual encoder maps an image to a vector $u$ and a caption to a vector $v$, each
# divided by its own length. Both are then points on the unit sphere in $d$
# dimensions, and their similarity is the cosine $u \cdot v$. Nothing else
# is compared at search time, which is why retrieval over millions of images is
# a matter of one matrix product or an index.
#
# The short run takes part of the training split, and the validation split for
# watching. The test split waits until the end.

# %% tags=["nbval-check-output"]
cfg = profiles.get(profile)
pairs = cfg.load().with_pixels()
train, val, test = (pairs.where(s) for s in ("train", "val", "test"))
rng = np.random.default_rng(seed)
part = train.subset(np.sort(rng.permutation(len(train))[:n_images]))
print(f"{len(part):,} of {len(train):,} training images, {len(val):,} val")

# %% [markdown]
# The architecture is a row in {py:mod}`rsnb.recipes`: a ResNet with attention pooling
# for images at 64 pixels, a two-layer transformer for words. `start` gives it
# random weights and a vocabulary made from the training captions alone.

# %%
recipe = recipes.get("world-rn", seed)
start = recipes.start(recipe, part.captions)
start.model.to(device)
val_pixels = load_pixels(val, start.image_size)

# %% [markdown]
# Both kinds of input become rows of unit length, before any training too:

# %%
captions, gt = val.captions, val.gt
img_emb = embed_images(start, val_pixels)
txt_emb = embed_texts(start, captions)
evaluate_embeddings(txt_emb, img_emb, gt)

# %% [markdown]
# An untrained model answers at chance: R@10 is near ten divided by the number
# of images. That is the floor of every curve below.
#
# ## InfoNCE: pick your partner out of a batch
#
# Take $B$ pairs $(u_i, v_i)$. For each image, the loss asks a softmax over the $B$
# captions to choose the right one, and for each caption the same over the images:
#
# $$\ell = -\frac{1}{2B} \sum_{i=1}^{B} \big[ \log p(v_i \mid u_i) + \log p(u_i \mid v_i) \big],
# \qquad
# p(v_i \mid u_i) = \frac{e^{s\, u_i \cdot v_i}}{\sum_j e^{s\, u_i \cdot v_j}}$$
#
# and $p(u_i \mid v_i)$ likewise with the sum over images. The scale $s$ is learned
# with the rest; it decides how strongly close rivals count. An encoder that tells
# nothing apart pays about $\log B$ ({py:func}`rsnb.losses.info_nce`).

# %% tags=["nbval-check-output"]
n = min(128, len(val))
one = [np.flatnonzero(gt == i)[0] for i in range(n)]
u, v = torch.from_numpy(img_emb[:n]), torch.from_numpy(txt_emb[one])
s = float(start.model.logit_scale.exp().detach())
loss = float(info_nce(u, v, s))
print(f"untrained {loss:.1f}, log {n} = {np.log(n):.1f}")

# %% [markdown]
# One detail matters in this field. Captions repeat, so a batch can hold two
# images with the same sentence. Calling the second one a *negative* would
# punish a right answer; `info_nce` shares the target between them instead.
#
# ## Two numbers for a cloud of points
#
# Wang and Isola {cite}`wang2020alignment` split what InfoNCE rewards in two:
#
# - **alignment** ({py:func}`rsnb.losses.alignment`), the mean over true pairs.
#   Zero is perfect:
#
#   $$A = \operatorname{mean}_i\, \lVert u_i - v_i \rVert^2$$
#
# - **uniformity** ({py:func}`rsnb.losses.uniformity`) over points of one kind.
#   Zero means that all points coincide; the more evenly they cover the sphere, the
#   more negative it gets:
#
#   $$U = \log \operatorname{mean}_{i \ne j}\, e^{-2 \lVert u_i - u_j \rVert^2}$$
#
# Neither is enough alone. Three made-up clouds show why.


# %%
def cloud(img_emb, txt_emb, gt):
    return {
        "alignment": alignment(img_emb[gt], txt_emb),
        "uniformity": uniformity(img_emb),
        "mR": evaluate_embeddings(txt_emb, img_emb, gt).mR,
    }


point = torch.ones(450, 128) / 128**0.5
spread = F.normalize(torch.from_numpy(rng.normal(size=(450, 128))).float())
clouds = {
    "all at one point": (point, point),
    "spread, pairs apart": (spread, spread.roll(1, 0)),
    "spread, pairs together": (spread, spread),
}
rows = {name: cloud(a, b, np.arange(450)) for name, (a, b) in clouds.items()}
report.table(rows, "Made-up clouds of 450 pairs")

# %% [markdown]
# *Table 1. A collapsed cloud has perfect alignment and no use; a spread cloud
# whose pairs lie apart has perfect uniformity and no use. Retrieval needs
# both: pairs together, everything else apart.*
#
# ## Watch it train
#
# {py:func}`rsnb.train.fit` is a plain loop: AdamW, warm-up and cosine, one caption an image and
# pass. Each step sees whole images or windows of them, turned and mirrored,
# with the words *left*, *right*, *top* and *bottom* turned along, so captions
# stay true. Every other pass it looks at the validation split.

# %%
settings = TrainConfig(epochs=epochs, lr=lr, eval_every=2, seed=seed)
pixels = load_pixels(part, store)
result = fit(start, part, pixels, val, val_pixels, settings)
short, log = result.backbone, result.log

# %%
x = [e["epoch"] for e in log]
names = ["alignment", "uniformity_img", "uniformity_txt"]
lines = {name: [e[name] for e in log] for name in names}
recalls = {"mR": [e["val_mR"] for e in log]}
panels = {"recall on validation": (x, recalls), "the cloud": (x, lines)}
plots.curves(panels, "epoch", ["mR (%)", "value (lower is better)"])

# %% [markdown]
# *Figure 1. Recall rises while both clouds spread. From the first look shown
# to the last, image uniformity goes from {glue:text}`uni_first:.2f` to
# {glue:text}`uni_last:.2f` and alignment from {glue:text}`align_first:.2f` to
# {glue:text}`align_last:.2f`.*
#
# The two can pull against each other: spreading a cloud makes each true pair
# harder to keep together. So alignment alone does not tell a good model from a
# bad one, and neither number replaces recall. They are useful as a diagnosis.
# A collapse shows in uniformity at once, long before a table of recalls would
# make anyone suspicious.
#
# The run is short on purpose. Nothing here was tuned for it, and it uses
# one seed, so its final recall is an illustration and not a result.
#
# ## Longer training
#
# The profile's own backbone had the whole training split and a longer
# schedule. Beside the short run, on the same validation split:

# %%
strong = assets.backbone(backbone_name or cfg.backbone)
strong.model.to(device)
models = {"untrained": start, "short run": short, strong.name: strong}
rows = {}
for name, model in models.items():
    img_emb = torch.from_numpy(embed_images(model, val_pixels))
    txt_emb = torch.from_numpy(embed_texts(model, captions))
    rows[name] = cloud(img_emb, txt_emb, gt)
report.table(rows, "Validation split")

# %% [markdown]
# *Table 2. The same split for random weights, the short run, and the profile's
# backbone.*
#
# ## What resolution does
#
# How much of the recall hangs on fine detail? We shrink the test images to
# ever fewer pixels and let the encoder blow them up to its own input size. The
# encoder always gets the same number of pixels; what varies is how much
# information is in them.

# %%
side = strong.image_size
native = load_pixels(test, 2 * side)
txt_emb, gt = embed_texts(strong, test.captions), test.gt
shares = [0.25, 0.375, 0.5, 0.75, 1.0]

# %% [markdown]
# `native` holds the test images at twice the encoder's side, so that there is
# something to shrink and something to look closer at.

# %%
sides = [round(share * side) for share in shares]
x = torch.from_numpy(native).permute(0, 3, 1, 2)
by_side = []
for s in sides:
    small = F.interpolate(x, (s, s), mode="bilinear", antialias=True)
    img_emb = embed_images(strong, small.permute(0, 2, 3, 1).numpy())
    by_side.append(evaluate_embeddings(txt_emb, img_emb, gt).mR)

# %% [markdown]
# ## What scale does
#
# The other way to change scale is to look closer: cut the central window out
# of the native image and give *that* to the encoder. A window of half the side
# shows a quarter of the scene with twice the detail.

# %%
by_share = []
for share in shares:
    cut = round(side * (1 - share))  # native has twice the encoder's side
    window = native[:, cut : 2 * side - cut, cut : 2 * side - cut]
    img_emb = embed_images(strong, window)
    by_share.append(evaluate_embeddings(txt_emb, img_emb, gt).mR)

# %%
panels = {
    "whole scene, fewer pixels": (shares, {"mR": by_side}),
    "part of the scene": (shares, {"mR": by_share}),
}
plots.curves(panels, "side, as a share of the full side", ["mR (%)"])

# %% [markdown]
# *Figure 2. Left: the whole scene with ever less detail. Right: ever less of the
# scene. At a quarter of the side, shrinking leaves mR at
# {glue:text}`mR_small:.1f` and a single central window at
# {glue:text}`mR_window:.1f`.*
#
# Shrinking costs recall because captions mention things that are a few pixels
# wide. A single window costs recall for another reason: it cannot see what lies
# outside, and a caption that mentions it no longer fits. The figure does *not*
# show that looking closer is useless. It shows that one fixed window must not
# replace the whole image. Choosing windows by the query, and adding them to
# the whole instead of replacing it, is the subject of
# {doc}`06_query_guided_disambiguation`.
#
# For such windows to carry meaning at all, training must have shown the
# encoder windows of many sizes. The shipped backbones were trained with window
# sides down to a third of the image.
#
# ## The results that count
#
# A number from one seed is an anecdote with decimals. Receipts in
# `book/results/` hold the test recall of each recipe over several seeds, with
# the command that makes them again. Epochs were chosen on validation; test was
# scored once a seed. The last column is minutes of wall time on two
# cores that other work shared.

# %%
rows_by_seed = report.seed_table(cfg.receipts)
report.table(rows_by_seed, "Test split, by seed", index=False)

# %% [markdown]
# The numbers of this page, for the text above and for later chapters:

# %% tags=["hide-input"]
numbers = {
    "uni_first": round(log[0]["uniformity_img"], 2) + 0.0,
    "uni_last": log[-1]["uniformity_img"],
    "align_first": log[0]["alignment"],
    "align_last": log[-1]["alignment"],
    "mR_short": rows["short run"]["mR"],
    "mR_strong": rows[strong.name]["mR"],
    "mR_small": by_side[0],
    "mR_window": by_share[0],
    "mR_whole": by_share[-1],
}
more = {"validation": rows, "by_side": by_side, "by_window": by_share}
more |= {"shares": shares}
report.page(cfg.name, "02_train_backbone", numbers, **more)

# %% [markdown]
# ## What we found
#
# - InfoNCE does two things at once, and both can be watched: it pulls pairs
#   together and spreads each cloud over the sphere.
# - The short run ends at mR {glue:text}`mR_short:.1f` on validation; the
#   profile's backbone, with all the data and a longer schedule, has
#   {glue:text}`mR_strong:.1f`.
# - Detail matters: the whole image gives mR {glue:text}`mR_whole:.1f` on test,
#   the same image at a quarter of the encoder's side
#   {glue:text}`mR_small:.1f`.
#
# ## What this does not show
#
# - Figures 1 and 2 come from one seed and one set of weights. The table by seed
#   is the part to quote.
# - Alignment and uniformity of models with other widths or learned scales are
#   not comparable in size. Compare them along one run, as in Figure 1.
# - The models are small, and the images have few pixels. That a detail matters
#   here says nothing about how much it matters to a ViT-L at 336 pixels.
#
# ## Exercises
#
# 1. Let all captions sit at one point of the sphere and all images at the opposite
#    one. What are alignment and uniformity, and what is mR?
#
#    ```{admonition} Solution
#    :class: dropdown
#    Alignment is 4, the largest possible: the squared distance of opposite points.
#    Uniformity is 0 for either kind, as in a collapsed cloud. All scores are equal, so
#    mR is that of chance: ties get the expectation over a random order.
#    ```
#
# 2. Where does $\log B$ come from? And why is the untrained loss printed above larger?
#
#    ```{admonition} Solution
#    :class: dropdown
#    If all cosines are equal, the softmax gives each of $B$ captions the share $1/B$,
#    and $-\log(1/B) = \log B$. Random weights give cosines that differ without meaning,
#    and the scale $s$ makes their differences large: the encoder is confidently wrong.
#    ```
#
# ## References
#
# InfoNCE {cite}`oord2018cpc`; the symmetric form over image and text
# {cite}`radford2021clip`; alignment and uniformity {cite}`wang2020alignment`;
# the hardest-negative loss that came before it in this field
# {cite}`faghri2018vsepp`.
