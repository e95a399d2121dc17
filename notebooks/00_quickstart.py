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
# # Quickstart: ask a data set for a picture
#
# | **Question** | Can a sentence find the right overhead image, and how do we know? |
# |---|---|
# | **Data set** | profile `world`: 450 rendered test images with 2,250 captions. Other profiles: the same page on real data |
# | **Model** | a dual encoder of the CLIP family that comes with the package |
# | **Run time** | minutes at most on two CPU cores: {doc}`/book/benchmarks`; on a GPU not measured |
# | **Downloaded** | nothing for `world` |
#
# ## What you will see
#
# - A sentence goes in, and the best-matching images come out.
# - The same sentence tested against the truth: each caption of the test split
#   belongs to one image, so we can count how often that image is found.
# - Six recalls and their mean, with an interval, beside the highest value that
#   the data set allows.
# - One silent mistake, the wrong activation function, and what it costs.

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

from textwrap import wrap

import numpy as np

from rsnb import assets, backbones, plots, profiles, report
from rsnb.embed import embed
from rsnb.index import Searcher
from rsnb.metrics import evaluate_embeddings
from rsnb.stats import bootstrap_ci

# %% [markdown]
# The parameters of the page. Change them here, or from outside with
# `python -m rsnb run --profile … --set name=value`.

# %% tags=["parameters"]
profile = "world"  # or ucm, rsicd, rsitmd, nwpu, or a path to your data
query = ""  # what to search for; empty: a sentence that fits the profile
backbone_name = ""  # empty: the profile's own backbone
k = 6  # images to show
seed = 0  # of the random examples
device = "cpu"  # cuda where there is a GPU

# %% [markdown]
# ## A data set is images, captions, and who belongs to whom
#
# `load` returns a `Pairs` object: image ids, captions, and an array `gt` that
# gives the row of the image that each caption describes. Images are read only
# when somebody asks for them. We keep the **test** split, which no model in
# this book has trained on or been selected on. If this copy of a data set
# knows an image without holding its pixels, the image is left out here, and
# the line below says how many remain.

# %% tags=["nbval-check-output"]
cfg = profiles.get(profile)
pairs = cfg.load()
test = pairs.where("test").with_pixels()
captions, gt = test.captions, test.gt
n = pairs.split.count("test")
print(f"{len(test):,} of {n:,} test images have pixels")
print(f"{len(captions):,} captions describe them")

# %% [markdown]
# Here are six of them, with one caption each. A caption says a few true things
# about its image and leaves out the rest, as people do.

# %%
rng = np.random.default_rng(seed)
shown = np.sort(rng.choice(len(test), min(6, len(test)), replace=False))
plots.strip([test.image(i) for i in shown], [test.label[i] for i in shown])

# %%
texts = {test.ids[i]: {"caption": test.captions_of(i)[0]} for i in shown}
report.table(texts)

# %% [markdown]
# *Figure 1. Six test images, titled with their class. Many images share a
# class, so the class alone cannot tell which image a caption means.*
#
# ## Two towers, one sphere
#
# A dual encoder has an image tower and a text tower. Both end in a vector of
# length one. Training moved the vector of an image close to the vectors of its
# own captions and away from those of others ({doc}`02_train_backbone` shows
# how). After that, "how well does this sentence fit this image" is one number,
#
# $$s(q, x) = u_q \cdot v_x,$$
#
# the inner product of the unit vectors of query $q$ and image $x$, which is the
# cosine of the angle between them.

# %%
backbone = assets.backbone(backbone_name or cfg.backbone)
backbone.model.to(device)
emb = embed(backbone, test)
img_emb, txt_emb = emb.img, emb.txt
size = sum(p.numel() for p in backbone.model.parameters())
print(f"{backbone.name}: {size / 1e6:.2f} M parameters")
print(f"images {img_emb.shape}, captions {txt_emb.shape}")

# %% [markdown]
# {py:func}`rsnb.embed.embed` keeps its result in a cache that is keyed by the content of the
# weights and of the data. A second call is a file read; another checkpoint or
# another split gets a new entry.
#
# ## A query and its results
#
# Searching is encoding one sentence and taking the largest inner products.
# {py:class}`rsnb.index.Searcher` does that exactly, or through a FAISS index
# {cite}`douze2024faiss` if asked, with a fixed rule for equal scores.

# %%
searcher = Searcher(img_emb)
sentence = query or cfg.query
found, scores = searcher.search(backbone.encode_texts([sentence]), k)
print(f"“{sentence}”")
plots.results(test, found[0], scores[0])

# %% [markdown]
# *Figure 2. The best matches for the query, with cosine and class. The order
# follows the sentence, but nothing in this figure says which answer is right:
# the query was made up, so no image is its truth.*
#
# Read the figure with care. A plausible strip of images is easy to produce and
# proves little: the eye forgives a wrong count or a wrong colour. What the
# cosine means in absolute terms is not defined either; only the order counts.
#
# ## The same question with a known answer
#
# Now the query is a caption of the test split: the longest of twenty drawn at
# random, since a long sentence says more. Its own image is framed if it is
# among the results.

# %%
some = rng.integers(len(captions), size=20)
t = max(some, key=lambda i: len(captions[i]))
found, scores = searcher.search(txt_emb[[t]], len(test))
rank = 1 + list(found[0]).index(gt[t])
print(*wrap(f"“{captions[t]}”", 72), sep="\n")
print(f"its own image is at rank {rank} of {len(test)}")
plots.results(test, found[0, :k], scores[0, :k], right=gt[t])

# %% [markdown]
# *Figure 3. One test caption as the query; a green frame marks the image that
# it was written for.*
#
# The images around the framed one are often fair answers as well: they show
# what the caption says, and only the pairing in the data set calls them wrong.
# Keep that in mind for every recall in this field. It counts whether the
# *paired* image was found, not whether the results were useful.
#
# ## Recall: count over all queries
#
# One query is an anecdote, so we ask all of them, in both directions. **t2i**:
# each caption looks for its image. **i2t**: each image looks for any of its
# captions. R@k is the percentage of queries with the answer among the first k,
#
# $$\mathrm{R@}k = \frac{100}{Q} \sum_{q=1}^{Q} P(\mathrm{rank}_q \le k),$$
#
# where $Q$ is the number of queries and $\mathrm{rank}_q$ the best rank of a right
# answer. **mR** is the mean of the six values for k = 1, 5, 10. Equal scores are
# put in a random order and $P$ is over that order, so a model gains nothing from
# ties ({py:func}`rsnb.metrics.evaluate_embeddings`).

# %%
recall = evaluate_embeddings(txt_emb, img_emb, gt)
low_high = bootstrap_ci(recall)
print(f"95 % interval of mR: {low_high.low:.1f} to {low_high.high:.1f}")
recall

# %% [markdown]
# The interval ({py:func}`rsnb.stats.bootstrap_ci`) resamples *images*, not
# captions, because the captions of one image succeed and fail together. It covers the luck of which images ended up
# in the test split. It does not cover the luck of training, for which several
# seeds are needed ({doc}`02_train_backbone` has them).
#
# ## What is the highest score that could be reached?
#
# Two limits lie below 100. If the same caption stands under several images, no
# encoder can know which one is meant. And if a caption is true of several
# images, even a reader who sees every fact must guess among them. The second
# limit can be computed only where the facts are known, which is the embedded
# world: its *oracle* reads the scene description that made the image. No model
# has access to that; it is printed as a yardstick. For an image, this oracle
# prefers captions that fit few other images.

# %% tags=["nbval-check-output"]
ceilings = cfg.ceilings(test)
for name, value in ceilings.items():
    print(f"{name}: mR {value['mR']:.1f}")

# %%
rows = {"backbone": recall.as_dict(), **ceilings}
groups = {
    way.replace("_r", " R@"): {name: row[way] for name, row in rows.items()}
    for way in recall.as_dict()
}
plots.bars(groups, "recall (%)")

# %% [markdown]
# *Figure 4. Recall of the model beside the limits of the data set. The distance
# between the bars of one group is what a better model could still gain.*
#
# What this figure does not show is where the remaining distance comes from:
# details that the encoder's small input has lost, words that it has seen too
# rarely, or facts that it mixes up. Later chapters take these apart.
#
# ## A mistake that raises no error
#
# CLIP checkpoints come in two kinds. Some were trained with the activation
# GELU, some with a cheaper approximation called QuickGELU. The files do not
# say which, the tensors have equal shapes, and loading succeeds either way.
# Here we load the same weights with the wrong one on purpose. The backbone is
# the profile's transformer, if it has one: a ResNet's image tower uses another
# function and would hide half of the effect.

# %%
right = assets.backbone(backbone_name or cfg.transformer or cfg.backbone)
other = {"gelu": "quickgelu", "quickgelu": "gelu"}[right.entry.activation]
model = backbones.build(right.entry.config, other)
model.load_state_dict(right.model.state_dict())
wrong = backbones.wrap("wrong activation", model, right.entry, "")

# %%
both = {}
for name, one in (("right", right), ("wrong", wrong)):
    e = embed(one, test)
    both[name] = evaluate_embeddings(e.txt, e.img, gt).as_dict()
report.table(both, "One set of weights, two activations: recall in %")

# %% [markdown]
# The two differ by {glue:text}`trap_points:.2f` points of mR, and nothing was
# printed or raised. How much is lost depends on the checkpoint: deep models
# apply the wrong function many times over. That the same published weights
# appear with both activations in public code, and with recalls that differ by
# several points, makes this worth a check.
#
# So every entry of {py:data}`rsnb.backbones.REGISTRY` states its activation, and every
# file that the package writes carries a *probe*: the first values of two
# embeddings of fixed inputs. `load` compares them and refuses a mismatch.

# %% tags=["nbval-check-output"]
gap = np.subtract(backbones.probe(wrong), backbones.probe(right))
print(f"probe differs by more than 0.0001: {np.abs(gap).max() > 1e-4}")

# %% [markdown]
# The numbers of this page, for the text below and for later chapters:

# %% tags=["hide-input"]
numbers = {
    "mR": recall.mR,
    "mR_low": low_high.low,
    "mR_high": low_high.high,
    "t2i_r1": recall.as_dict()["t2i_r1"],
    "ceiling": min(v["mR"] for v in ceilings.values()),
    "trap_points": abs(both["right"]["mR"] - both["wrong"]["mR"]),
}
more = {"recall": recall.as_dict(), "ceilings": ceilings}
more |= {"images": len(test), "weights": backbone.digest}
report.page(cfg.name, "00_quickstart", numbers, **more)

# %% [markdown]
# ## What we found
#
# - The backbone reaches mR {glue:text}`mR:.1f` on the test split, with a 95 %
#   interval from {glue:text}`mR_low:.1f` to {glue:text}`mR_high:.1f`.
# - The strictest limit that we can name for this data is
#   {glue:text}`ceiling:.1f`. A result should be read against that, not 100.
# - Finding the one paired image at rank 1 is hard: t2i R@1 is
#   {glue:text}`t2i_r1:.1f` %.
# - The wrong activation moves mR by {glue:text}`trap_points:.2f` points
#   without an error; a stored probe catches it.
#
# ## What this does not show
#
# - The embedded world is rendered. It has the structure of real data (sparse
#   captions, several true answers, small objects), but a result on it is a
#   statement about method, not about any sensor.
# - The interval is over test images with one set of weights.
# - No method was compared with another here. That needs the paired test of
#   later chapters.
#
# ## Exercises
#
# 1. Set `query` to a sentence with a wrong colour or count and compare the strips.
#    Which words does the model listen to?
#
#    ```{admonition} Solution
#    :class: dropdown
#    Change one word at a time and count how many of the six images stay. Another
#    class noun changes them all, and so does another colour. Another count leaves
#    the same images in another order: the model hears little of it. Page 05 looks
#    at each word.
#    ```
#
# 2. R@1 from image to text is higher than from text to image. Does the model read
#    images better than sentences?
#
#    ```{admonition} Solution
#    :class: dropdown
#    Not shown by this. An image has five right answers and needs one of them, a
#    caption has one. The oracle in Figure 4 has such a gap too, and it knows all facts.
#    Compare each direction with its own ceiling.
#    ```
#
# ## References
#
# The dual encoder is CLIP {cite}`radford2021clip`. Recall with this tie rule
# and `any positive counts` follows CLIP_benchmark
# {cite}`cherti2022clipbenchmark`. RemoteCLIP {cite}`liu2024remoteclip` and
# GeoRSCLIP {cite}`zhang2024rs5m` are checkpoints of the field that the same
# code loads.
