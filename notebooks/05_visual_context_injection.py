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
# # Ask the candidates
#
# | **Question** | Can the images that a frozen retriever finds first tell which of them was meant? |
# |---|---|
# | **Data set** | profile `world`: 450 validation and 450 test images; tables over backbones from receipts |
# | **Model** | any frozen backbone; as witness the captioner of {doc}`04_text_to_text` with a LoRA adapter of {glue:text}`megabytes:.1f` MB |
# | **Run time** | minutes at most on two CPU cores: {doc}`/book/benchmarks`; on a GPU not measured |
# | **Downloaded** | nothing for `world` |
#
# ## What you will see
#
# - Why a query and an image are no equals: one says too little, the other shows
#   too much.
# - What an image has to say to a query, word by word, in nats.
# - When to stop asking, and where to put what was heard.
# - Controls with the wrong evidence, and what each part is worth.
# - Whom it helps, whom it harms, an example of each; and how to make any
#   vision-language model a witness.

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

from dataclasses import replace
from textwrap import fill

import numpy as np
from IPython.display import display

from rsnb import assets, plots, profiles, report, smallcaptioners, witnesses
from rsnb.adapters import WEIGHTS
from rsnb.cadre import Cadre, prepare, trace
from rsnb.cadre.vci import SLACKS, best_first
from rsnb.files import read_json, receipt_path
from rsnb.metrics import evaluate
from rsnb.phrases import LEVELS
from rsnb.stats import paired_permutation
from rsnb.t2t import fit_fusion, space

# %% [markdown]
# The parameters of the page. Change them here, or from outside with
# `python -m rsnb run --profile … --set name=value`.

# %% tags=["parameters"]
profile = "world"  # or ucm, rsicd, rsitmd, nwpu, or a path to your data
query = ""  # what to search for; empty: a caption that the backbone misses
backbone_name = ""  # frozen dual encoder; empty: the profile's own
captioner_name = ""  # who becomes the witness; empty: the profile's own
n_heard = 6  # candidates whose testimony is shown
seed = 0  # of the random example
device = "cpu"  # of the witness; cuda where there is a GPU

# %% [markdown]
# ## What is reconstructed here
#
# CADRE {cite}`zhang2026cadre` refines a ranking at test time. Of the paper only
# the abstract is public; there is no code. This page builds its first module,
# Visual-Context Injection (VCI), as a *declared reconstruction*:
#
# | | the abstract says | our choice |
# |---|---|---|
# | retriever | frozen, can be exchanged | any entry of `rsnb.backbones` |
# | feedback | the candidates it returns | its first 20, asked in its order |
# | filter | adaptive | stop when no one who was not asked is likely |
# | evidence | visual, in a hierarchy | gain of each word, summed by level |
# | injection | into the query, by a language model adapted to the domain | into the score of each candidate; into the query as an alternative |
#
# Nothing on the right is known to be in the paper. What it does is measured.
#
# All that can be known before the first query is prepared once and cached:
# embeddings, and what the captioner wrote about each image.

# %%
cfg = profiles.get(profile)
pairs = cfg.load().with_pixels()
val, test = pairs.where("val"), pairs.where("test")
backbone = assets.backbone(backbone_name or cfg.backbone)
name, how = captioner_name or cfg.captioner, {"variants": 1}
if cfg.oracle:  # chosen on validation in notebook 04
    how = report.receipt("t2t-world")["figures"]["chosen"]
records = [smallcaptioners.records(part, name) for part in (val, test)]
on_val, stage = (
    prepare(backbone, part, said, space(), **how)
    for part, said in zip((val, test), records, strict=True)
)
sim, gt = stage.first.sim, test.gt
first = evaluate(sim, gt).t2i_ranks[:, 1]

# %% [markdown]
# ## A query says too little, an image shows too much
#
# Take a caption whose image the backbone ranks third to sixth: the first such
# caption in random order. Read it, then look at the images in front of the right
# one.

# %%
rng = np.random.default_rng(seed)
t = int(rng.permutation(np.flatnonzero((first >= 2) & (first < 6)))[0])
sentence, right = query or test.captions[t], -1 if query else gt[t]
cosines = backbone.encode_texts([sentence]) @ stage.first.img.T
near = best_first(cosines, n_heard)[0]

# %%
print(f"“{sentence}”")
titles = [f"{k}. {test.label[i]}" for k, i in enumerate(near, 1)]
plots.strip([test.image(i) for i in near], titles, list(near == right))

# %% [markdown]
# *Figure 1. The first images that the backbone finds, the right one framed.*
#
# The query leaves most of the image open. This is the *asymmetry* of the task: a
# sentence underspecifies, an image overspecifies. An encoder that puts each into
# one vector cannot know which part of the image will be asked for. In the
# embedded world the asymmetry can be counted:

# %% tags=["nbval-check-output"]
if cfg.oracle:
    from rsnb.world import oracle

    facts = [len(f) for i in test.ids for f in oracle.facts(i)]
    fits = oracle.truth("test").sum(1)
    print(f"{np.mean(facts):.1f} facts a caption")
    print(f"{np.median(fits):.0f} images fit a caption, in the median")
    print(f"{100 * np.mean(fits == 1):.0f} % of the captions fit one alone")

# %% [markdown]
# ## A witness
#
# Feedback could mean averaging: take what the first candidates have in common
# and add it to the query. But what they share is what the backbone knew already;
# it found them by it. What tells them apart is what each shows *alone*. So each
# candidate is heard alone.
#
# The witness is a vision-language model. It is asked what a person would type to
# find the image, and it need not answer: we read off how likely it holds the
# *query* to be, with the image and without. The evidence is the difference,
#
# $$\mathrm{gain} = \log p(\text{query} \mid \text{image}) - \log p(\text{query}),$$
#
# in nats, where $p$ is the likelihood of the words under the witness
# ({py:class}`rsnb.cadre.Witness`): at +0.7 the image makes the words twice as likely. Without the second
# term, common words would win. The model reads from left to right, so the gain is
# a sum over words.


# %%
def grid(testimony, labels):
    """Show the gains of the words, and their sum beside each label."""
    words = [word or "(end)" for word, _, _ in testimony[0]]
    gains = np.array([[gain for *_, gain in row] for row in testimony])
    sums = [f"{labels[k]}  {x:+.1f}" for k, x in enumerate(gains.sum(1))]
    return plots.testimony(words, gains, sums)


# %% [markdown]
# The six images of Figure 1 are heard:

# %%
witness = witnesses.witness(name, device)
grid([witness.words(test, int(i), sentence) for i in near], titles)

# %% [markdown]
# *Figure 2. Gain of each word in nats, blue for the image and orange against it;
# the sum stands beside the class. The last column is the end of the text.*
#
# What all candidates show may gain much and yet parts none of them, like the
# class. A few words decide. And a word counts given those before it: in "crop
# fields" the second says nothing new. The sum need not be highest for the right
# image: small things are overlooked, and other images fit as well.
#
# ## Levels
#
# Not all words deserve the same trust. Each belongs to a level: the scene, an
# object in it, an attribute, a relation, or mere wording. A word list and one
# rule decide (`rsnb.phrases`): content words before the first relation name the
# scene, later ones objects. Gains are summed by level. A sixth column is the
# cosine with the image's description, as in {doc}`04_text_to_text`.
#
# With $s$ the score of the backbone and $e$ this evidence, a candidate has
#
# $$x = w_0 s + w \cdot e \;\text{ if it was asked,} \qquad x = w_0 s + \mathrm{prior} \;\text{ if not}$$
#
# ({py:class}`rsnb.cadre.VCI`). The weights $w_0, w$ make the right candidate of
# validation queries most likely: a conditional logit
# {cite}`mcfadden1974conditional`. Three more numbers are tried there. `prior` stands in for
# evidence not heard, `stay` is a bonus for the backbone's first choice, `slack`
# says when to stop. The backbone gets no gradient.

# %%
cadre = Cadre(backbone, witness).fit(on_val)
order = best_first(on_val.first.sim, cadre.t2i.most)
rows = np.broadcast_to(np.arange(len(order))[:, None], order.shape)
evidence = cadre.evidence(on_val, order, rows)  # cached by fit
good = order == val.gt[:, None]
print({k: vars(cadre.t2i)[k] for k in ("prior", "stay", "slack")})

# %%
gains = {"right": evidence[good], "other": evidence[~good]}
levels = {
    level: {who: x[:, k].mean() for who, x in gains.items()}
    for k, level in enumerate(LEVELS)
}
plots.bars(levels, "mean gain on validation (nats)")

# %% [markdown]
# *Figure 3. What the first 20 images of each validation caption testify, by level:
# the right image, and the others, which the backbone finds nearly as good. All
# candidates agree best on the scene; on every level the right one has more.*

# %%
columns = ["backbone", *LEVELS, "description"]
weight = np.array(cadre.t2i.weights)
spread = np.array([on_val.first.sim.std(), *evidence.std((0, 1))])
both = {"weight": weight, "weight x spread": weight * spread}
table = {c: {k: v[i] for k, v in both.items()} for i, c in enumerate(columns)}
report.table(table, "Weights from text to image")

# %% [markdown]
# *Table 1. A weight of 1 on a level takes the witness at its word. The second
# column is in nats for one standard deviation, so rows can be compared.*
#
# ## What it brings
#
# From image to text the query image is the witness itself. That is one call: its
# gains for 50 captions re-rank them.

# %%
found = cadre.refine(stage)
fusion = fit_fusion(on_val.text, on_val.first.sim, val.gt)
recalls = {
    backbone.name: evaluate(sim, gt),
    "text to text alone": evaluate(stage.text, gt),
    "both, whole gallery": evaluate(fusion(stage.text, sim), gt),
    "VCI": found.scores.evaluate(gt),
}
report.table({k: r.as_dict() for k, r in recalls.items()}, "Recall in %")

# %% [markdown]
# *Table 2. Test split; design and constants from validation.* Text to text and
# its fusion hold a description of *every* image against the query. VCI asks
# {glue:text}`calls:.1f` images a query. A *call* is one distinct image whose
# description or testimony is consulted, cached or not.
#
# ## Over backbones
#
# Much of that is the strength of the captioner, which text to text uses without
# any candidates. So it must stand beside VCI, on every backbone. The receipts
# are of the world, whatever the profile; `python tests/bench/cadre.py --test
# --write` makes this one.

# %%
bench = report.receipt("cadre-world")["figures"]["backbones"]
fused, everyone = "text and backbone, whole gallery", "VCI asks everyone"
kinds = {k: k for k in ("backbone", "text to text alone", fused, "VCI")}
kinds[everyone] = "VCI that may ask the whole gallery"
over = {}
for label, row in bench.items():
    one, scores = row["rows"]["VCI"], row["rows"]
    over[label] = {k: scores[v]["mR"] for k, v in kinds.items()}
    over[label] |= {"calls": one["calls"], "harm (%)": one["harm"]["both"]}
    over[label]["left alone (%)"] = one["left alone"]
report.table(over, "mR on test (%)")

# %% [markdown]
# *Table 3. One fixed design, constants fitted on validation for each backbone;
# calls of VCI a text query; harm: queries of both directions that were right
# before and are wrong after. The design was fixed before test was scored, once.*
#
# On the zero-shot backbone, `source-rn-0`, VCI is level with text to text alone.
# Where the right image is not among the first 20, nobody asks it; the column
# "VCI asks everyone" shows what that costs.
#
# ## Whom to ask, and when to stop
#
# Candidates are asked in the order of the backbone. After each answer the x of
# all images make a softmax. If the images not asked hold less than `slack` of it,
# asking stops. A query whose answer is plain from the start is left alone. Does
# that beat a fixed number?


# %%
def reach(**change):
    """Return the calls and the recall of a changed filter on validation."""
    asked = replace(cadre.t2i, **change)(on_val.first.sim, order, evidence)
    recall = 100 * evaluate(asked.scores, val.gt).t2i_hits.mean()
    return asked.calls.mean(), [recall] * 3


# %%
fixed = dict(reach(slack=0.0, most=k) for k in (0, 1, 2, 3, 5, 7, 10, 15, 20))
adaptive = dict(reach(slack=s) for s in SLACKS[1:])
curve = {"fixed number": fixed, "adaptive stop": adaptive}
plots.bands(curve, "calls a query", "t2i recall (%)")

# %% [markdown]
# *Figure 4. Mean of R@1, R@5 and R@10 from text to image against calls, on
# validation, where `slack` is chosen. The adaptive stop needs fewer calls for the
# same recall; at the right end there is little to save.*
#
# The chosen stop may cost a quarter of a point of recall on validation. It leaves
# {glue:text}`alone:.1f` % of this backbone's test queries alone: a backbone of
# this size is seldom sure. The receipt has the curves on test, for the whole of
# CADRE ({doc}`07_cadre`), whose other module gives a better order of asking:

# %%
table = {}
for label, row in bench.items():
    fixed, adaptive = (row["curve"][kind] for kind in ("fixed", "adaptive"))
    t2i, calls = ([x[c] for x in fixed] for c in ("t2i", "calls"))
    for x in (x for x in adaptive if x["slack"]):
        same = np.interp(x["t2i"], np.maximum.accumulate(t2i), calls)
        saved = 100 - 100 * x["calls"] / same
        table.setdefault(label, {})[f"slack {x['slack']:g}"] = saved
report.table(table, "Calls saved at equal recall (%)", digits=0)

# %% [markdown]
# *Table 4. Test split: how many calls fewer the adaptive stop needs than a fixed
# number that reaches the same t2i recall, for every `slack`; none is chosen
# here. It pays on the strongest backbone. On weak ones only a stop so early that
# recall falls by points saves much.*
#
# ## Where to inject
#
# The abstract speaks of a query that is enriched. Our witness has learned that as
# a second turn, to rewrite a query in view of an image. Three candidates of
# Figure 1 and what each makes of it:

# %%
new = witness.rewrite(test, near[:3].tolist(), [sentence] * 3)
plots.strip([test.image(i) for i in near[:3]], new, list(near[:3] == right))

# %% [markdown]
# *Figure 5. The query, rewritten in view of each image.* Each adds what it shows,
# and bends what was asked to itself. It may even repeat a claim of the query that
# the image does not bear out.
#
# The query as the best candidate rewrites it can be mixed with the original in two
# spaces: in the backbone's (*embedding*), before images are searched again, or
# in the sentence encoder's (*requery*), before descriptions are. From the
# receipt of the design, on validation:

# %%
design = report.receipt("cadre-design")["figures"]["backbones"]
parts = {b: row["ablation"] for b, row in design.items() if "ablation" in row}
table = {}
for b, part in parts.items():
    score = [design[b]["rows"]["VCI"][f"t2i_r{k}"] for k in (1, 5, 10)]
    for kind in ("embedding", "requery"):
        row = {k[-3:]: v["t2i"] for k, v in part.items() if kind in k}
        table[f"{b}, {kind}"] = row | {"score instead": np.mean(score)}
report.table(table, "t2i recall (%) by weight of the rewritten query")

# %% [markdown]
# *Table 5. Mean of R@1, R@5 and R@10 on validation. At weight 0 a row is the
# backbone alone (embedding) or text to text alone (requery); "score instead" is
# the method of this page, which also chose the candidate that rewrites.*
#
# A rewritten query has to settle on *one* candidate and then speaks for it to the
# whole gallery, right or wrong. In the score each candidate speaks for itself.
#
# ## Is it the evidence?
#
# Any second score with fitted weights might help a little. Three controls, fitted
# on validation in the same way: the evidence of a *random* image in place of each
# candidate's, that of another image of the *same class*, and feedback without a
# witness (Rocchio: embeddings of the first images are added to the query).

# %%
controls = "VCI, random evidence", "VCI, evidence shuffled within class"
table = {}
for label, row in bench.items():
    for control in (*controls, "re-rank, rocchio"):
        one, mR = row["tests"][f"VCI > {control}"], row["rows"][control]["mR"]
        p = "< 0.001" if one["p"] < 1e-3 else f"{one['p']:.3f}"
        cell = {control: f"{mR:.1f}; {one['difference']:+.1f} (p {p})"}
        table.setdefault(label, {}).update(cell)
report.table(table, "mR of the control; VCI minus control")

# %% [markdown]
# *Table 6. Test split. p of a paired permutation test over images with all their
# captions, not corrected for the number of tests.*
#
# With random evidence the weights fall back to the backbone's own score. Evidence
# of the same class helps weak backbones by a few points, as they often miss the
# class. Everything else that VCI gains is about the instance.
#
# ## What each choice is worth
#
# One change at a time, weights fitted again, on validation. The rows are from the
# whole of CADRE, whose other module may make up for a part of what is missing.

# %%
part = parts["world-rn"]
names, table = [k for k in part if k.startswith("CADRE")], {}
for k in sorted(names, key=lambda k: part[k]["mR"]):
    change = {b: x[k]["mR"] - x["CADRE"]["mR"] for b, x in parts.items()}
    table[k[5:].strip(", ") or "nothing changed"] = change
report.table(table, "Change of mR on validation (points)")

# %% [markdown]
# *Table 7. One backbone, largest loss first. The design asks 20 images at most, and
# an image about 50 captions.*
#
# With descriptions alone much of the gain is gone: the testimony carries the rest.
# Attributes and relations are missed most. To split the gains by level is worth
# nothing in recall; one weight for their sum does as well, and the levels are
# there to be read. `stay` costs recall and buys less harm.
#
# ## Whom it helps, whom it harms
#
# A mean hides who pays. Text queries of the test split, by the rank that the
# backbone gave to the right image:

# %%
after = evaluate(found.scores.t2i, gt).t2i_ranks[:, 1]
table = {}
for low, high in ((1, 1), (2, 5), (6, 10), (11, 20), (21, len(test))):
    at = (first + 1 >= low) & (first < high)
    was, now = first[at], after[at]
    moves = {"rose": now < was, "fell": now > was, "first now": now < 1}
    table[f"{low} to {high}"] = {"queries": at.sum()}
    table[f"{low} to {high}"] |= {k: 100 * v.mean() for k, v in moves.items()}
report.table(table, "Queries by rank before; moves in %", digits=1)

# %% [markdown]
# *Table 8. VCI with this page's backbone.* Nobody beyond rank 20 is asked. They
# rise all the same, as candidates that speak against themselves fall behind. The
# first row holds the harm: what was right and no longer is. `stay` keeps it at
# 7 % or less on validation, if it can. Table 3 has it for all backbones on test.
#
# ## Two queries, step by step
#
# Of the captions whose image comes first now, the one that rose most; of those
# whose image was first, the one that fell most.


# %%
def show(t):
    """Trace a caption: images by their new rank, and what they testify."""
    told = trace(cadre, stage, test.captions[t])
    (own,) = np.flatnonzero(told.rows == gt[t]).tolist()
    best = np.argsort(told.after)[:n_heard].tolist()
    best = best if own in best else [*best[:-1], own]
    labels = {k: f"{told.before[k]} → {told.after[k]}" for k in best}
    print(fill(f"“{told.query}”, {told.calls} calls. New: {told.rewritten}"))
    images = [test.image(int(told.rows[k])) for k in best]
    display(plots.strip(images, [*labels.values()], [k == own for k in best]))
    said = [(told.words[k], labels[k]) for k in best if k < told.calls]
    return grid(*zip(*said, strict=True)) if said else "no image was asked"


# %% [markdown]
# The winner:

# %%
was_first = np.flatnonzero(first < 1)
now_first = np.flatnonzero((after < 1) & (first < cadre.t2i.most))
show(now_first[np.argmax((first - after)[now_first])])

# %% [markdown]
# *Figure 6. Rank before → after, and the testimony in nats of those asked. The
# right image is framed. "New" is the query as the image that came first rewrites
# it. A candidate that speaks against itself falls behind those not asked.*
#
# The loser:

# %%
show(was_first[np.argmax((after - first)[was_first])])

# %% [markdown]
# *Figure 7. The same for the loser.*
#
# Often two causes meet. The caption names few facts, and other images bear them
# out as well: nothing can tell which of them the writer was looking at. And the
# witness overlooks something small; the darkest orange in the row of the right
# image shows what.
#
# ## Making any model a witness
#
# The captioner of {doc}`04_text_to_text` writes full descriptions. What people
# type is shorter and has other words, so its likelihoods have to be adapted.
# *LoRA* {cite}`hu2022lora` ({py:func}`rsnb.lora.adapt`) leaves each weight matrix
# $W$ as it is and learns a thin product beside it,
#
# $$W + \frac{\alpha}{r} B A,$$
#
# where $A$ has $r$ rows, $B$ has $r$ columns and starts at zero, so at first nothing
# changes; $r$ is small and $\alpha$ a constant. Afterwards
# the product is added to W, and the model is as fast as before. The adapter here
# has rank {glue:text}`rank` and {glue:text}`megabytes:.1f` MB. It learned for
# {glue:text}`minutes:.0f` minutes on two cores from {glue:text}`images` images and
# their captions, two turns: what would a person type (one time in ten without the
# image, for the second term of the gain), and how does a query read once the
# image was seen.
#
# The same call adapts any image-text-to-text model of the transformers library,
# LLaVA or Qwen-VL as well as ours:
#
# ```python
# from pathlib import Path
#
# from rsnb import adapters, data, pixels
# from rsnb.batches import TrainConfig
# from rsnb.cadre import ASKING, Witness
# from rsnb.lora import Adapter, Lesson, adapt
# from rsnb.vlm import TransformersCaptioner
#
# name, ask = "Qwen/Qwen2.5-VL-3B-Instruct", ASKING["plain"]
# train = data.load("mine").where("train").with_pixels()
# captioner = TransformersCaptioner.load(name, device="cuda")
#
#
# def draw(row, rng, _):
#     typed = str(rng.choice(train.captions_of(row)))
#     return Lesson(ask.typed, typed, sees=bool(rng.random() >= 0.1))
#
#
# settings = Adapter(rank=16, train=TrainConfig(epochs=1, batch_size=8, lr=2e-4))
# log = adapt(captioner, pixels.load_pixels(train, 448), draw, settings)
# adapters.save(Path("my-adapter"), captioner, settings, log)
#
# adapted = TransformersCaptioner.load(name, device="cuda", adapter="my-adapter")
# witness = Witness(adapted, ask)
# ```
#
# The tests do this with small checkpoints of three such classes. No large model
# could be loaded where this page was made.
#
# The numbers of this page, for the text and for later chapters:

# %% tags=["hide-input"]
log = read_json(receipt_path(witnesses.folder("world-vlm") / WEIGHTS))
gained = [r["VCI"] - r["backbone"] for r in over.values()]
extra = [
    row["rows"]["QGD, global"]["mR"] - over[label]["backbone"]
    for label, row in bench.items()
]
base, text, both, vci = recalls.values()
numbers = {
    "base_mR": base.mR,
    "text_mR": text.mR,
    "both_mR": both.mR,
    "vci_mR": vci.mR,
    "calls": found.calls.mean(),
    "alone": 100 * np.mean(found.calls == 0),
    "harm": 100 * np.mean(after[was_first] >= 1),
    "above": vci.mR - both.mR,
    "p": paired_permutation(vci, both),
    "least": min(gained),
    "most": max(gained),
    "extra_least": min(extra),
    "extra_most": max(extra),
    "rank": log["settings"]["rank"],
    "megabytes": log["bytes"] / 1e6,
    "minutes": log["seconds"] / 60,
    "images": log["images"],
}
report.page(cfg.name, "05_visual_context_injection", numbers)

# %% [markdown]
# ## What we found
#
# - Asking {glue:text}`calls:.1f` candidates a query takes the backbone from mR
#   {glue:text}`base_mR:.1f` to {glue:text}`vci_mR:.1f`. Text to text alone has
#   {glue:text}`text_mR:.1f`. Its fusion with the backbone over the whole gallery
#   has {glue:text}`both_mR:.1f`, or {glue:text}`above:.1f` points less than VCI (p
#   {glue:text}`p:.4f`).
# - Over the backbones of Table 3 the gain is {glue:text}`least:.1f` to
#   {glue:text}`most:.1f` points. On the zero-shot one that is no more than text to
#   text reaches.
# - The gain needs the candidate's own evidence: another image's gives little or
#   nothing (Table 6).
# - The score is the place to inject. A rewritten query, in either space, gains
#   less (Table 5).
# - At equal recall the filter saves calls where the backbone is strong, and few
#   elsewhere (Table 4). It left no query alone.
# - {glue:text}`harm:.1f` % of the text queries that were right become wrong.
#
# ## What this does not show
#
# - *Training-free* it is only in a narrow sense: the backbone is frozen and no
#   query causes a gradient. But the witness learned from 6,000 images with 30,000
#   captions that no backbone had, and most of its lead over text to text comes
#   from that ("description alone" in Table 7). Would these pairs help by
#   themselves? A probe that learns from them with the whole image only ("QGD,
#   global" of {doc}`06_query_guided_disambiguation`) changes mR by
#   {glue:text}`extra_least:.1f` to {glue:text}`extra_most:.1f` points, the most on
#   the zero-shot backbone. A backbone trained on them was not tried.
# - Captions, captioner and test come from one world with a few hundred words. A
#   general model has no likelihoods this sharp; on real pixels see
#   {doc}`07_cadre`.
# - Our reconstruction may differ from the paper in every choice above. Its
#   numbers cannot be compared with the paper's.
# - One adapter from one seed. Intervals and p values cover the test images, not
#   its training.
# - The levels come from a word list for English captions.
# - From text to image `prior` came out at the largest value tried, on every
#   backbone. A wider grid was not tried; Table 7 says that it matters little.
#
# ## Exercises
#
# 1. Set `query` to "there are yellow bridges close to crop fields". No image of
#    Figure 1 shows such a bridge. What does the column of the colour look like,
#    and does it change the order?
#
#    ```{admonition} Solution
#    :class: dropdown
#    All its gains are negative and about equal. Equal evidence moves all candidates
#    alike; only differences between them change the order. Try "purple" as well, a
#    word that no caption has: the witness knows nothing of it, and says little.
#    ```
#
# 2. The gain compares with no image. What if you left out log p(query)?
#
#    ```{admonition} Solution
#    :class: dropdown
#    From text to image the term is the same for all candidates, so among those that
#    were asked nothing changes. From image to text captions compete, and short
#    common ones would win.
#    ```
#
# 3. Let no more than five candidates be asked. Which rows of Table 8 change?
#
#    ```{admonition} Solution
#    :class: dropdown
#    After `from rsnb.cadre import VCI`, fit
#    `Cadre(backbone, witness, t2i=VCI((), most=5))`. Of ranks 6 to 20 hardly any
#    comes first now, as nobody asks them. Fewer queries at rank 1 are harmed.
#    ```
#
# ## References
#
# CADRE {cite}`zhang2026cadre`, reconstructed. LoRA {cite}`hu2022lora`. Rocchio's
# feedback {cite}`rocchio1971relevance`. Evidence as a ratio of likelihoods is
# pointwise mutual information, as old as information theory.
