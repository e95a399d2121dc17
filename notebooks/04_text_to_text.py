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
# # Let text find text
#
# | **Question** | If a model writes down what it sees, can sentences alone find the image? |
# |---|---|
# | **Data set** | profile `world`: 450 validation and 450 test images with their records. Other profiles: the same page, records written on first use |
# | **Model** | a small captioner in a published class; MiniLM sentence embeddings, unchanged |
# | **Run time** | minutes at most on two CPU cores: {doc}`/book/benchmarks`; on a GPU not measured |
# | **Downloaded** | nothing for `world` |
#
# ## What you will see
#
# - An image becomes a *record*: five variants of one sentence, a list of
#   features and a caption.
# - A query meets the records in one sentence-embedding space. No image vector
#   is compared, and nothing is trained for retrieval.
# - Which field of a record carries the recall, and what the number of variants
#   and the way to pool them do.
# - How far the captioner is from a perfect one, and which facts it gets wrong.
# - What text adds to a dual encoder when both are asked.

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

from textwrap import fill

import numpy as np

from rsnb import assets, captions, plots, profiles, report, smallcaptioners
from rsnb.embed import embed
from rsnb.metrics import evaluate
from rsnb.stats import bootstrap_ci, paired_permutation
from rsnb.t2t import TextGallery, fit_fusion, space

# %% [markdown]
# The parameters of the page. Change them here, or from outside with
# `python -m rsnb run --profile … --set name=value`.

# %% tags=["parameters"]
profile = "world"  # or ucm, rsicd, rsitmd, nwpu, or a path to your data
query = ""  # what to search for; empty: a sentence that fits the profile
captioner_name = ""  # empty: the profile's own
backbone_name = ""  # dual encoder to fuse with; empty: the profile's own
encoder = "minilm"  # any sentence-transformers name
n_live = 3  # images that are described before your eyes
seed = 0  # of the random examples
device = "cpu"  # cuda where there is a GPU

# %% [markdown]
# ## From pixels to a record
#
# A dual encoder squeezes an image into one vector that nobody can read.
# TRSLLaVA {cite}`xiao2025beyond` goes another way: let a vision-language model
# *write* what the image shows, several times over, and search the texts. Its
# data set RSRT holds one record an image, with five variants of three fields:
# `one_sentence`, `feature` and `caption`.
#
# The captioner here is a small checkpoint of `FastVlmForConditionalGeneration`,
# a successor of LLaVA in the `transformers` library. A ResNet turns the image
# into a map of 8 x 8 places, each place becomes a token, and a three-layer
# decoder reads them and writes. It is loaded and asked by the very code that
# loads LLaVA or Qwen-VL:

# %%
cfg = profiles.get(profile)
pairs = cfg.load().with_pixels()
val, test = pairs.where("val"), pairs.where("test")
name = captioner_name or cfg.captioner
captioner = smallcaptioners.captioner(name, device)
prompt = smallcaptioners.prompt_of(name)
rng = np.random.default_rng(seed)
n_live = min(n_live, len(test))
some = test.subset(np.sort(rng.choice(len(test), n_live, replace=False)))

# %% [markdown]
# It is asked five times about each image, greedily, and answers in JSON. An
# answer that is cut off, or no JSON, or repeats itself is asked for again,
# twice at most. If that does not help, the image keeps its place in the gallery
# without a text, and the count below shows it.

# %%
images = [some.image(i) for i in range(len(some))]
live = captioner.describe(images, prompt, some.ids)
first = [r.variants[0] if r.usable else None for r in live]
plots.strip(images, [v.caption if v else "no text" for v in first])

# %% [markdown]
# *Figure 1. Test images and the caption of their first variant, written from
# the pixels just now.*
#
# The fields divide the work. One record in full:

# %%
rows = [vars(v) for v in live[0].variants]
report.table(rows, f"The record of {live[0].image}", index=False)

# %% [markdown]
# Variants are other words for the same facts, as synonyms in a query are. The
# records of all validation and test images come with the package for `world`,
# and are written once for other profiles. `quality` counts what went wrong:

# %% tags=["nbval-check-output"]
of_val = smallcaptioners.records(val, name, device=device)
of_test = smallcaptioners.records(test, name, device=device)
found = captions.quality([*of_val, *of_test])
print(f"{found['usable']} of {found['records']} records usable")
for field, words in found["words"].items():
    print(f"{field}: {words['median']:.0f} words in the median")

# %% [markdown]
# ## Training-free means: no training *for retrieval*
#
# The sentence encoder is MiniLM {cite}`reimers2019sbert,wang2020minilm` as
# published; it has never seen a caption of ours. No pair is learned from for
# retrieval, and nothing below has a gradient. But somebody trained the captioner, on
# pairs. In the paper that was a very large model on very much data. Here it is ours,
# trained on 6,000 images of a split that nothing else uses, with an annotator
# who names *every* fact of a scene. That is richer supervision than the dual
# encoders of {doc}`02_train_backbone` had, who saw sparse captions. Read the
# comparisons below with that in mind.
#
# ## From a query to a ranking
#
# A query is one vector; so is each text. The score of an image is pooled over
# the cosines $c_1 \dots c_n$ of its texts: the largest, the mean, or a soft
# maximum between the two,
#
# $$s = \tau \log \Big( \frac{1}{n} \sum_{j=1}^{n} e^{c_j / \tau} \Big),$$
#
# where a small $\tau$ is close to the largest and a large one to the mean
# ({py:class}`rsnb.t2t.TextGallery`). An exact index over all
# texts answers queries, grouped by image. How texts are used is chosen on
# validation, out of {glue:text}`ways` ways:

# %% tags=["nbval-check-output"]
minilm = space(encoder, device)
ways = captions.tune(val, of_val, minilm)
how = ways[0][0]
print({k: v for k, v in how.items() if k != "tau"})
print(f"validation mR {ways[0][1]:.1f}")

# %%
gallery = captions.gallery(minilm, of_test, **how)
sentence = query or cfg.query
rows, scores = gallery.search(minilm.encode([sentence]), 6)
print(f"“{sentence}”")
plots.results(test, rows[0], scores[0])

# %% [markdown]
# *Figure 2. The six best images for the query, with score and class. Only
# sentences were compared.*
#
# ## How much recall is in the words?
#
# Two yardsticks stand beside it. The *class name* of each image as its only
# text shows what knowing the class is worth. The *zero-shot* dual encoder was
# trained on other images, with a shifted sensor and sparser captions, and never
# on this split. In i2t the query image is described, and its texts are held
# against all captions: the same score matrix, read the other way.

# %%
asked = minilm.encode(test.captions)
classes = TextGallery(minilm, [[label] for label in test.label])
zero = assets.backbone(cfg.start or cfg.backbone)
sims = {
    "class name": classes.scores(asked),
    f"zero-shot, {zero.name}": embed(zero, test).sim,
    "text to text": gallery.scores(asked),
}
recalls = {label: evaluate(sim, test.gt) for label, sim in sims.items()}
report.table({k: r.as_dict() for k, r in recalls.items()}, "Recall in %")

# %% [markdown]
# *Table 1. Test split, captions as queries.*

# %%
text, kind = recalls["text to text"], recalls["class name"]
gain = bootstrap_ci(text, kind)
print(f"text minus class name: {gain.low:.1f} to {gain.high:.1f} (95 %)")

# %% [markdown]
# ## Which field carries it?
#
# The ways that `tune` tried answer that on validation. First the fields, each
# with its best pooling and all five variants:

# %%
best = {}
for way, mR in ways:
    label = (", " if way["apart"] else " + ").join(way["fields"])
    if way["variants"] == 5:
        best.setdefault(label, {"text": mR})
plots.bars(best, "mR on validation (%)")

# %% [markdown]
# *Figure 3. Fields of a record. A plus joins them to one text a variant, a comma
# keeps them apart as texts of their own.*
#
# A list of features alone does not name the class, and one sentence leaves out
# the surroundings. The full caption holds both in the form that a query has.
# More text is not better: a long text dilutes the few facts that a sparse query
# asks for. Then variants and pooling, for the chosen fields:

# %%
same = [w for w in ways if w[0]["fields"] == how["fields"]]
same = [w for w in same if w[0]["apart"] == how["apart"]]
table: dict = {}
for way, mR in same:
    pool = f"{way['aggregate']}, tau {way['tau']:g}"
    table.setdefault(pool, {})[f"{way['variants']} variants"] = mR
report.table(table, "mR on validation (%), by pooling and variants")

# %% [markdown]
# *Table 2. The step from one wording to three is a step in synonyms: the query
# may say "port" where the first variant says "harbor".*
#
# ## Rich queries
#
# A caption in these data sets is sparse, and several images fit it. What if the
# searcher writes down all they want? An independent writer, who sees the scene
# and uses other templates and other words than the captioner, makes one long
# query for each image. This is an *oracle query*: it reads the scene.

# %%
if cfg.oracle:
    from rsnb.world import oracle

    rich = oracle.queries(test.ids)
    print(fill(rich[0], 72))
    sim = gallery.scores(minilm.encode(rich))
    rich_recall = evaluate(sim, np.arange(len(test)))

# %% tags=["hide-input"]
dual = assets.backbone(backbone_name or cfg.backbone)
emb, emb_val = embed(dual, test), embed(dual, val)
if cfg.oracle:
    sim = dual.encode_texts(rich) @ emb.img.T
    by_dual = evaluate(sim, np.arange(len(test)))
    table = {"text to text": rich_recall, dual.name: by_dual}
    table = {k: r.as_dict() for k, r in table.items()}
report.table(table if cfg.oracle else {}, "Oracle queries, recall in %")

# %% [markdown]
# *Table 3. One oracle query an image. The dual encoder has never read a text of that
# length or those words; the sentence encoder has.*
#
# ## How far from a perfect captioner, and why
#
# The oracle can also write the records. Then we may swap parts: take the
# subject (class, count, colour, arrangement, ground) from one and the
# surroundings (bands at the sides, small objects) from the other.

# %%
parts = {}
if cfg.oracle:
    own = [[vars(v) for v in r.variants] for r in of_test]
    for label, texts in oracle.swapped(own, test.ids).items():
        swapped = TextGallery(minilm, texts, aggregate="mean")
        parts[label] = {"mR": evaluate(swapped.scores(asked), test.gt).mR}
    facts = cfg.ceilings(test)["oracle that reads the scene"]["mR"]
    parts["facts compared, no sentences"] = {"mR": facts}
plots.bars(parts, "mR on test (%)") if parts else "no oracle here"

# %% [markdown]
# *Figure 4. mR when the oracle supplies a part of each text (one sentence and
# features of a variant, pooled by the mean). The last bar compares facts with
# facts. Oracle bars are upper bounds; no method may use them.*
#
# The captioner is close to a perfect one. The larger loss comes after it: the
# sentence space does not keep every fact apart, and facts alone would find far
# more. What the captioner gets wrong can be counted, as the scenes are known:

# %%
right = oracle.agreement(own, test.ids) if cfg.oracle else {}
shares = {fact: {"right": share} for fact, share in right.items()}
plots.bars(
    shares, "images described rightly (%)"
) if right else "no oracle here"

# %% [markdown]
# *Figure 5. Share of test images whose first variant has exactly the true words
# of a kind.*
#
# Class, ground and surroundings are large in the image and nearly always right.
# Small objects are three to eight pixels wide in the original and two to five in
# what the captioner sees; above all, it miscounts them. Few captions give an
# exact number of them, so the recall hardly notices.
#
# ## Both together
#
# A dual encoder and a text score fail in different ways. *Late fusion*
# ({py:func}`rsnb.t2t.fit_fusion`) adds them,
#
# $$s = w \, \frac{a - \mu_a}{\sigma_a} + (1 - w) \, \frac{b - \mu_b}{\sigma_b},$$
#
# where $a$ and $b$ are the two scores of a query and an image, and their means
# $\mu$ and spreads $\sigma$ are those of validation. The weight $w$ is chosen there
# too, so no test query sees another.

# %%
val_gallery = captions.gallery(minilm, of_val, **how)
on_val = val_gallery.scores(minilm.encode(val.captions))
fusion = fit_fusion(on_val, emb_val.sim, val.gt)
alone = evaluate(emb.sim, test.gt)
fused = evaluate(fusion(sims["text to text"], emb.sim), test.gt)
both = {dual.name: alone, "text to text": text, "both": fused}
report.table({k: r.as_dict() for k, r in both.items()}, "Recall in %")

# %% [markdown]
# *Table 4. Test split.* Is the gain more than luck?

# %%
better = max((alone, text), key=lambda r: r.mR)
low_high, p = bootstrap_ci(fused, better), paired_permutation(fused, better)
print(f"weight of text {fusion.weight:.2f}, gain over the better of the two:")
print(f"{low_high.low:.1f} to {low_high.high:.1f} points of mR (95 %)")
print(f"p {'< 0.001' if p < 1e-3 else f'= {p:.3f}'}")

# %% [markdown]
# The p value is of a paired permutation test over images with all their
# captions.
#
# ## Real sentences
#
# RSRT is not public, and no large captioner can be loaded here. The closest
# stand-in needs no captioner: RSITMD {cite}`yuan2022amfmn` and RSICD
# {cite}`lu2018rsicd` describe some of the same pictures in different words. So
# RSITMD's captions look for pictures that RSICD's captions describe, and
# back-translated paraphrases of RSICD look for their originals. Sentences that
# both sides share are removed. The figures come from a receipt, made by
# `python tests/bench/real_text.py --write`:

# %%
real = report.receipt("t2t-real-text")["figures"]
keep = ["aggregate", "i2t_r1", "t2i_r1", "mR", "interval"]
rows = real["rsitmd-rsicd"]["test"]["rows"]
rows = {name: {k: row[k] for k in keep} for name, row in rows.items()}
report.table(rows, "RSITMD's captions look for RSICD's")

# %%
rows = real["rsicd-paraphrases"]["test"]["rows"]
rows = {name: {k: row[k] for k in keep} for name, row in rows.items()}
report.table(rows, "Paraphrases of RSICD look for their originals")

# %% [markdown]
# *Table 5. Real captions against real captions, test pictures, recall in %, mR with its
# 95 % interval. The aggregate was chosen on other pictures.*
#
# The galleries are small, {glue:text}`pictures_0` and {glue:text}`pictures_1` pictures,
# and {glue:text}`near_0:.0f` and {glue:text}`near_1:.0f` % of the queries nearly repeat
# a text of their own picture: their sets of words overlap by 0.8 or more (Jaccard).
#
# A frozen sentence encoder is ahead of counting words. Centring and whitening its
# vectors adds little. The pooling matters more than on the world: on the pictures
# that chose it, the *mean* over an image's texts loses {glue:text}`mean_least:.0f` to
# {glue:text}`mean_most:.0f` points against the best pooling. Five people write about
# different things, while the variants of one captioner agree.
#
# What the tables do not show is a captioner's errors: people, or a translation
# program, wrote both sides. And the mapping between the two sets was itself made
# from captions, which flatters the first table.
#
# ## Real pixels
#
# The same small architecture, trained by the same script on the human captions
# of UCM {cite}`qu2016deep` and RSICD, is `real-vlm`. It is asked once, because
# people's captions do not make five turns differ. `real-vlm-deep` is larger, was trained
# for longer, and is the witness of {doc}`07_cadre` on real pixels. From receipts
# (`python tests/bench/text_to_text.py --real ucm`, `cadre.py` beside it):

# %%
keep = ["i2t_r1", "t2i_r1", "mR", "mR_interval"]
rows = {}
for data in ("ucm", "rsicd"):
    figures = report.receipt(f"t2t-{data}")["figures"]
    deep = report.receipt(f"cadre-{data}")["figures"]["backbones"]
    found = {
        "class name only": figures["class name only"],
        "real-vlm": figures["text to text"],
        "real-vlm-deep": deep[f"{data}-deep"]["rows"]["text to text alone"],
    }
    for name, row in found.items():
        rows[f"{data}, {name}"] = {k: row[k] for k in keep}
report.table(rows)

# %% [markdown]
# *Table 6. Text to text on real test splits, recall in %. "Class name only" uses the
# true class of each image, which no captioner is told. How texts are used was chosen
# on validation for `real-vlm`, and is the default for the larger.*
#
# Both captioners are weak. `real-vlm` stays below what the true class name alone
# would give, so it often misses even the class, which is one of its fields; the larger
# stays below on UCM, not on RSICD. The path from pixels to sentences is the same as above;
# what is missing is a captioner that has seen more. A leader board, not the paper
# {cite}`xiao2025beyond`, gives its large one an mR of 31.3 on RSICD. Each of ours is one
# training run.
#
# ## Failures
#
# The captions whose own image ranks worst, with what was written about it:

# %%
worst = np.argsort(-text.t2i_ranks[:, 1])[:3]
images = [test.image(test.gt[t]) for t in worst]
plots.strip(images, [test.captions[t] for t in worst])

# %%
report.table(
    [{
        "query": test.captions[t],
        "written": " ".join(of_test[test.gt[t]].texts(("caption",), 1)),
        "rank": int(text.t2i_ranks[t, 1]) + 1,
    } for t in worst],
    index=False,
)  # fmt: skip

# %% [markdown]
# *Figure 6 and Table 7. Sometimes the caption is at fault: it names a small thing
# and no class, and fits many images. Sometimes the record is: a fact is missing
# or wrong, and nothing else in the text makes up for it.*
#
# The numbers of this page, for the text below and for later chapters:

# %% tags=["hide-input"]
if cfg.oracle:
    true = captions.from_variants(oracle.records(test.ids), test.ids)
    ideal = captions.gallery(minilm, true, **how)
    perfect = evaluate(ideal.scores(asked), test.gt)
numbers = {
    "text_mR": text.mR,
    "class_mR": kind.mR,
    "zero_mR": recalls[f"zero-shot, {zero.name}"].mR,
    "dual_mR": alone.mR,
    "fused_mR": fused.mR,
    "fused_low": low_high.low,
    "fused_high": low_high.high,
    "rich_mR": rich_recall.mR if cfg.oracle else float("nan"),
    "perfect_mR": perfect.mR if cfg.oracle else float("nan"),
    "facts_mR": facts if cfg.oracle else float("nan"),
    "count_right": right.get("their count", float("nan")),
    "class_right": right.get("class", float("nan")),
    "ways": len(ways),
}
lost = []
for k, part in enumerate(("rsitmd-rsicd", "rsicd-paraphrases")):
    sizes = real[part]["test"]["sizes"]
    numbers[f"pictures_{k}"] = sizes["pictures"]
    numbers[f"near_{k}"] = 100 * sizes["near copies"]
    for tried in real[part]["choice"]["rows"].values():
        by = {row["aggregate"]: row["mR"] for row in tried}
        lost.append(max(by.values()) - by["mean"])
numbers |= {"mean_least": min(lost), "mean_most": max(lost)}
report.page(cfg.name, "04_text_to_text", numbers, parts=parts, facts=right)

# %% [markdown]
# ## What we found
#
# - Text alone reaches mR {glue:text}`text_mR:.1f` with sparse human-style
#   captions as queries. The class name alone gives {glue:text}`class_mR:.1f`, the
#   zero-shot dual encoder {glue:text}`zero_mR:.1f`.
# - With rich oracle queries it reaches {glue:text}`rich_mR:.1f`.
# - With perfect records, searched in the same way, it would reach
#   {glue:text}`perfect_mR:.1f`; comparing facts without sentences,
#   {glue:text}`facts_mR:.1f`. The sentence space costs more than the captioner.
# - The captioner names the class rightly in {glue:text}`class_right:.1f` % of the
#   images, the number of small objects in {glue:text}`count_right:.0f` %.
# - Fused with the trained dual encoder ({glue:text}`dual_mR:.1f`) it reaches
#   {glue:text}`fused_mR:.1f`, a gain of {glue:text}`fused_low:.1f` to
#   {glue:text}`fused_high:.1f` points over the better of the two.
#
# ## What this does not show
#
# - The captioner and the captions come from one world with a few hundred words.
#   A real vision-language model meets things it has no word for, and invents
#   others; this one cannot.
# - It was trained on full descriptions of scenes. That a general model does as
#   well without such training is the paper's claim, and not tested here: its
#   data set is not public, and its models cannot be loaded where this was run.
# - The public summary page of the paper speaks of curriculum learning and of a
#   hyperspherical embedding that is trained. The abstract and the published code
#   have neither: records are embedded by a frozen encoder and compared. In this
#   book those ideas stand elsewhere: the sphere in {doc}`02_train_backbone`,
#   from easy to hard in {doc}`03_train_through_noise`.
# - Records came from one training run of the captioner. The intervals cover the
#   test images, not that run.
#
# ## Exercises
#
# 1. What does the soft maximum become as $\tau$ goes to 0, and as it grows without
#    bound? Why is there a mean inside the logarithm, and not a sum?
#
#    ```{admonition} Solution
#    :class: dropdown
#    The largest cosine, and the mean of the cosines. With a sum an image would gain
#    $\tau \log n$ for having $n$ texts, whatever they say; one with few usable variants
#    would lose for that alone.
#    ```
#
# 2. The captioner fails on an image. Where does it rank? Why is it not left out of the
#    gallery?
#
#    ```{admonition} Solution
#    :class: dropdown
#    Last: its score is `t2t.MISSING`, below every cosine. Without it the gallery would
#    be smaller, which makes every other query easier, and queries for that image would
#    not be counted. A captioner could raise its recall by failing on hard images.
#    ```
#
# ## References
#
# TRSLLaVA and its data set RSRT {cite}`xiao2025beyond`. LLaVA {cite}`liu2023llava`
# and FastVLM {cite}`vasu2025fastvlm`. The sentence encoder is MiniLM
# {cite}`wang2020minilm`, trained for sentences as in {cite}`reimers2019sbert`.
