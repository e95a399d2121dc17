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
# # Explore retrieval: move the parts, watch the ranking
#
# | **Question** | What does each part of the book's methods do to one ranking, one set of captions, one gallery of sentences? |
# |---|---|
# | **Data set** | profile `world`: 450 test images, with captions drawn by a stated rule; some training pairs for the audit |
# | **Model** | the profile's dual encoder, the witness and the probe of page 07, constants from its receipt; one fusion weight is fitted on validation |
# | **Run time** | minutes at most on two CPU cores: {doc}`/book/benchmarks`; on a GPU not measured |
# | **Downloaded** | nothing for `world` |
#
# ## What you will see
#
# - CADRE on captions that win, lose and stay, with every part of it on a slider.
# - Losses of captions with two thresholds to move: who is called noisy, and who is.
# - Sentences about images, with fields and variants switched on and off.
# - All three without a kernel in the published book. In a notebook the first
#   answers any text.

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

from rsnb import (
    assets,
    captions,
    explorers,
    plots,
    probes,
    profiles,
    replay,
    report,
)
from rsnb.cadre import VCI, Cadre, prepare, trace
from rsnb.captions import FIELDS
from rsnb.embed import embed
from rsnb.errors import ParameterError
from rsnb.explorers import unpack
from rsnb.smallcaptioners import records
from rsnb.t2t import TAU, fit_fusion, space
from rsnb.widgets import Explorer
from rsnb.witnesses import witness

# %% [markdown]
# The parameters of the page. Change them here, or from outside with
# `python -m rsnb run --profile … --set name=value`.

# %% tags=["parameters"]
profile = "world"  # or ucm, rsicd, or a path to your data
backbone_name = ""  # dual encoder to refine; empty: the profile's own
captioner_name = ""  # who testifies; empty: the profile's own
draw = 64  # test captions to choose the queries from
each = 8  # queries of each kind that the explorer holds
seed = 0  # of the draw
device = "cpu"  # cuda where there is a GPU

# %% [markdown]
# ## A ranking made of parts
#
# {doc}`07_cadre` reports means over 2,250 captions. A mean does not say what
# happened to the caption in front of you. The score of a candidate is a sum, so it
# can be taken apart: with $s$ the score of the first stage and $e$ the evidence of
# the witness,
#
# $$x = w_0 s + \sum_l w_l e_l + w_d \cos(\text{query}, \text{description})$$
#
# for a candidate that was asked, and $w_0 s + \text{prior}$ for any other. Here
# $e_l$ is the sum of the gains, in nats, of the words of level $l$: scene, object,
# attribute, relation, wording. `rsnb.cadre.VCI` computes it. If QGD is on, $s$ is
# itself a sum over views, `rsnb.cadre.Probe`:
#
# $$s = (1 - m)\, \hat q \cdot v_0 + m \sum_v p_v\, \tilde q \cdot v, \qquad
# p = \mathrm{softmax}(t\, \bar q \cdot v + b)$$
#
# with $v_0$ the whole image, $v$ its views, and $\hat q$, $\tilde q$, $\bar q$ the
# query as the probe turns it for each purpose. $t$ is the sharpness, one over the
# temperature of the views.
#
# All that these formulas need of a query is a few numbers for each candidate. The
# explorer holds them for the first 100 candidates of the backbone, so your browser
# can compute the rest.

# %%
cfg = profiles.get(profile)
pairs = cfg.load().with_pixels()
backbone = assets.backbone(backbone_name or cfg.backbone)
name, how = captioner_name or cfg.captioner, {"variants": 1}
if cfg.oracle:  # chosen on validation in notebook 04
    how = report.receipt("t2t-world")["figures"]["chosen"]

# %% [markdown]
# What can be embedded before the first query:


# %%
def staged(split):
    part = pairs.where(split)
    found = records(part, name, device=device)
    return prepare(backbone, part, found, space(), **how)


# %% [markdown]
# **Constants.** Validation set them on page 07, once for QGD and VCI together and
# once for VCI alone, and the receipt kept them. Without a receipt for your data
# they are fitted now.

# %%
who, probe = witness(name, device), probes.probe(backbone, pairs)
cases = {"both": ("CADRE", probe), "vci": ("VCI", None)}
try:
    found = report.receipt(f"cadre-{cfg.name}")["figures"]["backbones"]
    rows = found[backbone.name]["rows"]
    fitted = {k: VCI(**rows[row]["t2i"]) for k, (row, _) in cases.items()}
except (ParameterError, KeyError):
    val = staged("val")
    fitted = {
        k: Cadre(backbone, who, p).fit(val).t2i for k, (_, p) in cases.items()
    }
cadre = Cadre(backbone, who, probe, t2i=fitted["both"])

# %%
shown = {
    k: vars(v) | {"weights": str(np.round(v.weights, 2))}
    for k, v in fitted.items()
}
report.table(shown)

# %% [markdown]
# *Table 1. Fitted constants: weights in the order of the formula, the prior of who
# was not asked, the bonus of the backbone's first choice, the share at which asking
# stops (0: never), and how many may be asked.*
#
# **Queries by a rule.** Test captions are drawn with the seed. Of those whose image
# is among the 100 candidates, the explorer takes the first few whose image *comes to
# rank 1* from a lower rank, the first few whose image *falls*, and the first few
# whose image *keeps its rank*. So losses are shown as often as wins, which flatters
# nobody: in the draw they are rarer.

# %%
stage = staged("test")
test = stage.pairs
order = np.random.default_rng(seed).permutation(len(test.captions))
data = replay.retrieval(cadre, stage, fitted, order[:draw])
drawn = [one for one in data["queries"] if one["right"] >= 0]

# %% [markdown]
# Where is the image of each, before and after?


# %%
def place(one, **change):
    scores = replay.replay(data, one, **change).scores[0]
    return 1 + int((scores > scores[one["right"]]).sum())


was = np.array([one["right"] + 1 for one in drawn])
now = np.array([place(one) for one in drawn])

# %% [markdown]
# The first few of each kind. Their queries are then rewritten by the witness in
# view of their best candidates:

# %%
kinds = {"its image comes to rank 1": (now == 1) & (was > 1)}
kinds |= {"its image falls": now > was, "its image keeps its rank": now == was}
data["queries"] = [
    drawn[k] | {"kind": kind}
    for kind, some in kinds.items()
    for k in np.flatnonzero(some)[:each]
]
replay.rewrite(cadre, stage, data, data["queries"])

# %%
report.table({k: {"of the draw": some.sum()} for k, some in kinds.items()})

# %% [markdown]
# *Table 2. What happens to the image of the drawn captions.*
#
# ## Explore CADRE
#
# Choose a query. The frame with a tick marks the image that the caption was written
# for. Then try, in this order:
#
# 1. Switch VCI off and on. Who was brought forward, and which words did it?
# 2. Move *K*. At 0 nobody is asked; at which K does the image come?
# 3. Choose a query that falls. Click the image that is first now, then the right
#    one, and compare the words. Is the caption not just as true of the winner?
# 4. Open *Fusion weights* and take away one level. Does the ranking need it?
# 5. Raise *Filter threshold*: asking stops when those not yet asked hold less than
#    this share of the softmax. Who is no longer heard?
# 6. Move *View sharpness*, $t$. At 0 all images are looked at alike; far right, one
#    view decides.


# %%
def answer(text):
    (one,) = replay.ask(cadre, stage, [text])
    replay.rewrite(cadre, stage, data, [one], best=5)
    return {"query": one}


Explorer("retrieval", data, answer)

# %% [markdown]
# *Explorer 1. CADRE on one query. Arrows say how far a candidate moved from the
# backbone's rank. Click one for its words, its views and the parts of its score.
# Text that you type is searched if a kernel is there. In the published page the
# stored query that shares most words with it is shown instead, and the page says
# so.*

# %%
first = data["queries"][0]
best = np.argsort(-replay.replay(data, first).scores[0], kind="stable")[:10]
titles = [f"{k + 1} → {place_}" for place_, k in enumerate(best, 1)]
images = [test.image(first["near"][k]) for k in best]
print(first["query"])
plots.strip(images, titles, [k == first["right"] for k in best], columns=5)

# %% [markdown]
# *Figure 1. What the explorer opens with, on paper: the best candidates of the
# first query, rank by the backbone and rank after both modules.*
#
# What the first before and the first after say about each word:

# %%
ends = {"first before": 0, "first after": best[0]}
gains = unpack(first["gains"])
words = [word or "(end)" for word in first["words"]]
plots.testimony(words, gains[list(ends.values())], list(ends))

# %% [markdown]
# *Figure 2. Gain of each word in nats. Blue words speak for a candidate, orange
# ones against it.*
#
# **What it means.** Read the two rows against each other. A word that both images
# show gains much and moves nobody: only differences count. A candidate that was asked
# and has nothing to say can fall behind those that were not asked. So VCI also moves
# images that it never heard.
#
# One caption is an anecdote. The same sliders, moved for all captions of the draw:

# %%
settings = {"backbone": {"qgd": False, "vci": False}, "QGD": {"vci": False}}
settings |= {"VCI": {"qgd": False}, "both": {}, "both, K = 5": {"most": 5}}
settings |= {"both, K = 10": {"most": 10}, "both, slack 5 %": {"slack": 0.05}}
settings |= {"both, one view decides": {"sharp": 1000.0}}
settings |= {"both, all views alike": {"sharp": 0.0}}


# %% [markdown]
# For each setting: recall, how many were asked, and by how many places the first 20
# of the backbone moved.


# %%
def moved(one, **change):
    scores = replay.replay(data, one, **change).scores[0]
    after = np.argsort(np.argsort(-scores, kind="stable"))
    return abs(after - np.arange(len(after)))[:20]


table = {}
for label, change in settings.items():
    at = np.array([place(one, **change) for one in drawn])
    table[label] = {f"R@{k}": 100 * (at <= k).mean() for k in (1, 5, 10)}
    calls = [replay.replay(data, one, **change).calls[0] for one in drawn]
    places = np.median([moved(one, **change) for one in drawn])
    table[label] |= {"calls": np.mean(calls), "places": places}

# %%
report.table(table, digits=1)

# %% [markdown]
# *Table 3. Recall in % of the drawn captions whose image is among the 100, and mean
# calls, and median of the places moved, under settings of the explorer.*
#
# The explorer rounds its numbers to 16 bits. Does it still tell the same story as
# {doc}`07_cadre`, which does not? `trace` computes the first query from scratch:

# %% tags=["nbval-check-output"]
seen = trace(cadre, stage, first["query"])
there = seen.rows[np.argsort(seen.after)][:5].tolist()
print("same first five:", there == [first["near"][k] for k in best[:5]])
print("same calls:", seen.calls == replay.replay(data, first).calls[0])

# %% [markdown]
# **What it does not show.** The explorer holds 100 candidates. What lies beyond them
# cannot come back, and the share at which asking stops is counted among the 100.
#
# ## Explore the audit
#
# {doc}`01_audit_data` and {doc}`03_train_through_noise` judge pairs by their loss.
# Here a share of the training captions has changed places, and you set the limits:
# pairs up to the first threshold are called clean, pairs above the second one
# noisy, and the rest ambiguous. The backbone has not been trained on these pairs.
# The explorer opens with the thresholds of the known null (`rsnb.pacing`): clean
# where a pair is true with more than even odds, noisy where the odds fall under one
# in twenty.

# %%
train = pairs.where("train")
sample = train.subset(np.arange(min(1000, len(train))))
start = assets.backbone(cfg.start or cfg.backbone)
arms = {"plain loss": "infonce", "paced": "paced"} if cfg.sweep else {}
lines: dict = {label: {} for label in arms}
for label, arm in arms.items():
    figures = report.receipt(f"noise-{cfg.sweep}")["figures"][arm]
    for rate, row in figures.items():
        if rate.endswith("%"):
            at = int(rate[:-1]) / 100
            lines[label][at] = [row[k] for k in ("mean", "low", "high")]
losses = explorers.audit(sample, start, min(200, len(sample)), recall=lines)

# %% [markdown]
# Try this. Drag *Noisy above loss* to the left: recall rises, precision falls.
# Hide the truth and ask yourself whether you would have stopped at the same place.
# Raise the share of moved captions, and look where the thresholds of the null go.

# %%
Explorer("audit", losses)

# %% [markdown]
# *Explorer 2. Pairs by loss. Hatched bars are wrong captions, the line is random
# pairs. Below the histogram: recall on the test split after training through that
# share of moved captions, by receipt of page 03. The lists show the lowest losses,
# those nearest the middle, and the highest.*

# %%
one = losses["draws"][0]
loss, wrong = unpack(one["loss"]), np.array(one["wrong"]) > 0
groups = {"true": loss[~wrong], "wrong": loss[wrong]}
groups |= {"random pairs": unpack(one["random"])}
plots.histograms({"": groups}, "loss of a pair (nats, both directions)")

# %% [markdown]
# *Figure 3. What the explorer opens with. Wrong pairs lie where random pairs lie,
# and true pairs reach into their range.*

# %%
audited = {}
for one in losses["draws"]:
    loss, wrong = unpack(one["loss"]), np.array(one["wrong"]) > 0
    noisy = loss > one["high"]
    audited[f"{one['rate']:.0%} moved"] = {
        "wrong": 100 * wrong.mean(),
        "estimated": 100 * one["estimated"],
        "called noisy": 100 * noisy.mean(),
        "precision": 100 * wrong[noisy].mean(),
        "recall": 100 * noisy[wrong].mean(),
    }
first_draw = next(iter(audited.values()))
names = {f"noisy_{k}": first_draw[k] for k in ("precision", "recall")}
report.glue(noisy_moved=100 * losses["draws"][0]["rate"], **names)
report.table(audited, digits=1)

# %% [markdown]
# *Table 4. The opening of the explorer in numbers, in %.*
#
# **What it means.** The noisy group is nearly pure and holds only a part of the
# wrong pairs. Between the thresholds the losses of true and wrong pairs overlap, so
# this loss alone does not decide. That is why page 03 weighs ambiguous pairs instead
# of dropping them.
#
# **What it does not show.** A moved caption is wrong in a blunt way. A wrong count
# in an otherwise right sentence has a low loss and stays in the clean group.
#
# ## Explore text to text
#
# {doc}`04_text_to_text` chose on validation what part of a record to search. Here
# you choose: which fields, joined or apart, how many variants, how their cosines
# become one score, and what weight the text has beside the backbone.

# %%
val, some = pairs.where("val"), test.subset(np.arange(min(80, len(test))))
of_val, of_some = (records(p, name, device=device) for p in (val, some))
ways = {"apart": False, "aggregate": "max", "tau": TAU, "fields": FIELDS}
ways |= how
on_val = captions.gallery(space(), of_val, **ways)
on_val = on_val.scores(space().encode(val.captions))
fusion = fit_fusion(on_val, embed(backbone, val).sim, val.gt)
dual = embed(backbone, some).sim
texts = explorers.t2t(some, of_some, space(), dual, fusion, ways)
Explorer("t2t", texts)

# %% [markdown]
# *Explorer 3. Text-to-text retrieval among 80 images. Arrows compare with the
# opening, which is what validation chose. Click an image for its texts, the nearest
# first. The spread that the weight is measured in is that of the opening.*

# %%
asked = space().encode(texts["queries"])
right, hits = np.array(texts["right"]), {}
for fields in [(f,) for f in FIELDS] + [FIELDS]:
    those = captions.gallery(space(), of_some, **{**ways, "fields": fields})
    first_ = those.scores(asked).argmax(1) == right
    hits[" + ".join(fields)] = {"R@1": 100 * first_.mean()}
report.glue(**{f"r1_{k}": hits[k]["R@1"] for k in FIELDS})
plots.bars(hits, "R@1 of the explorer's queries, text alone (%)")

# %% [markdown]
# *Figure 4. Fields of a record, joined where there are several. Set the weight of
# text to 1 to see these in the explorer.*
#
# **What it means.** A field is worth what it shares with the words of a query. Look
# for a query where *features* wins, and read why.
#
# **What it does not show.** 40 queries among 80 images are easier than the test
# split, and a share of them moves by 2.5 points with one query.

# %% [markdown]
# The numbers of this page, for the text below:

# %% tags=["hide-input"]
numbers = {"drawn": len(drawn), "draw": draw}
numbers |= {"won": ((now == 1) & (was > 1)).sum(), "fell": (now > was).sum()}
for label in ("backbone", "QGD", "VCI", "both"):
    numbers[f"r1_{label}"] = table[label]["R@1"]
for k in (5, 10):
    row = table[f"both, K = {k}"]
    numbers |= {f"k{k}_r1": row["R@1"], f"k{k}_r10": row["R@10"]}
numbers |= {f"places_{k}": table[k]["places"] for k in ("QGD", "VCI")}
numbers["r10_both"] = table["both"]["R@10"]
report.page(cfg.name, "10_explore_retrieval", numbers, settings=table)

# %% [markdown]
# ## What we found
#
# - Of {glue:text}`draw:.0f` captions drawn, {glue:text}`drawn:.0f` have their image
#   among 100 candidates. {glue:text}`won:.0f` of those come to rank 1 from below,
#   and {glue:text}`fell:.0f` fall.
# - R@1 among them goes from {glue:text}`r1_backbone:.0f` % to
#   {glue:text}`r1_both:.0f` %; VCI alone gives {glue:text}`r1_VCI:.0f` %, QGD alone
#   {glue:text}`r1_QGD:.0f` %.
# - With 5 candidates asked R@1 is {glue:text}`k5_r1:.0f` %, with 10
#   {glue:text}`k10_r1:.0f` %. R@10 is {glue:text}`k5_r10:.0f` and
#   {glue:text}`k10_r10:.0f` %, against {glue:text}`r10_both:.0f` % with 20.
# - QGD alone moves a candidate of the backbone's first 20 by
#   {glue:text}`places_QGD:.0f` places in the median, VCI alone by
#   {glue:text}`places_VCI:.0f`.
# - With {glue:text}`noisy_moved:.0f` % of the captions moved, {glue:text}`noisy_precision:.0f` %
#   of the pairs that the null calls noisy are wrong, and they are
#   {glue:text}`noisy_recall:.0f` % of all wrong ones.
# - As the only text of a record, *caption* finds the right one of 80 images at
#   once for {glue:text}`r1_caption:.0f` % of the queries, *one sentence* for
#   {glue:text}`r1_one_sentence:.0f` %, *features* for {glue:text}`r1_feature:.0f` %.
#
# ## What this does not show
#
# - An estimate. Some dozen captions are enough to look at and too few to compare
#   methods with; {doc}`07_cadre` has the whole test split, intervals and tests.
# - A better setting. Sliders that you move until a caption wins are fitted to that
#   caption. Validation is where constants come from.
# - Other images. The explorers of the book hold the embedded world alone, whose
#   pixels may be published. In a notebook they open any data set that is set as
#   `profile`.
#
# ## Exercises
#
# 1. Set all weights of VCI but *description* to 0. What does the witness's
#    description alone do, compared with its words?
#
#    ```{admonition} Solution
#    :class: dropdown
#    The ranking then is a fusion of the backbone with text to text
#    ({doc}`04_text_to_text`) among K candidates. Fewer images come to rank 1 than
#    with the words, because a description is written before the query is known.
#    ```
#
# 2. Choose a query that keeps rank 1, and move *Filter threshold* to the right. When
#    is nobody asked any more?
#
#    ```{admonition} Solution
#    :class: dropdown
#    When the backbone's first choice holds more than one minus that share of the
#    softmax. The bonus of the first choice and its weight decide how soon.
#    ```
#
# ## References
#
# CADRE {cite}`zhang2026cadre`. Embedded explorers that need no kernel are an old idea
# of the web; live ones are made with anywidget, which Jupyter and Colab both show.
