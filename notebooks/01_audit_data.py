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
# # Audit the data before the model
#
# | **Question** | What is in a data set that can make a recall look better or worse than it is? |
# |---|---|
# | **Data set** | profile `world`: five splits of rendered scenes, 16,900 images in all. Made for real sets: UCM-Captions, RSICD, RSITMD, NWPU-Captions, or your own |
# | **Model** | none for the counts; a small ResNet, trained for a few seconds, to find wrong captions |
# | **Run time** | minutes at most on two CPU cores: {doc}`/book/benchmarks`; a GPU does not help |
# | **Downloaded** | nothing for `world` |
#
# ## What you will see
#
# - Counts of each split, and how often captions repeat.
# - The ceiling that repeated captions put on recall, under two tie rules.
# - Captions and images that a test split shares with training data; images whose
#   captions contradict their class; files with faults.
# - Each check tried on planted errors, so that "nothing found" means something.
# - Which single captions are wrong for their image, with a probability each.

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

import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.metrics import roc_auc_score

from rsnb import (
    audit,
    backbones,
    data,
    duplicates,
    errors,
    evidence,
    facts,
    noise,
    plots,
    profiles,
    report,
)
from rsnb.metrics import KS, caption_ceiling

# %% [markdown]
# The parameters of the page. Change them here, or from outside with
# `python -m rsnb run --profile … --set name=value`.

# %% tags=["parameters"]
profile = "world"  # or ucm, rsicd, rsitmd, nwpu, or a path to your data
n_images = 2000  # training images to compare with the test images by pixels
planted = 50  # errors of each kind to plant
seed = 0  # of the planted errors
start = "source-rn-0"  # backbone that finds wrong captions on the world
n_audited = 1000  # training images among which to find them
moved = 0.4  # share of their captions that change places
epochs = 4  # of training for that; 0 takes the backbone as it is

# %% [markdown]
# ## Count first
#
# `facts.report` reads captions, splits and ids. Two captions count as equal if they
# agree after trimming and lower-casing. *Recurring* captions stand under more
# than one image; *few distinct* counts images with fewer than five different
# captions.

# %%
cfg = profiles.get(profile)
pairs, others = data.load(cfg.data), cfg.load_sisters()
known = facts.report(pairs, others)
columns = "split images captions distinct recurring few_distinct".split()
report.table(known.table()[columns], "Splits and repeats", index=False)

# %% [markdown]
# *Table 1. Numbers of images and captions, and how many of the captions are
# different from each other. A large gap between captions and distinct captions
# means that five captions an image is a matter of padding.*
#
# Look at these counts before any recall. Two papers that report a test split
# of another size did not run the same test, and both splits may carry the
# same name.

# %% tags=["nbval-check-output"]
test, train = pairs.where("test"), pairs.where("train")
ceiling = caption_ceiling(test.captions, test.gt)
print(f"{ceiling.captions:,} test captions, {ceiling.distinct:,} distinct")
print(f"{ceiling.recurring:,} stand under more than one image")
print(f"{len(test):,} test images, {test.has_pixels.sum():,} with pixels")

# %% [markdown]
# ## Repeated captions put a ceiling on recall
#
# Suppose a sentence stands under $m$ images. A text encoder gives it one vector,
# so the $m$ images are equally good answers, but only the paired one counts. With
# ties broken at random it is among the first $k$ with probability $k/m$, so
#
# $$\mathrm{R@}k \le \frac{100}{T} \sum_{t=1}^{T} \min\!\left(1, \frac{k}{m_t}\right)$$
#
# over $T$ captions, where $m_t$ is the number of images under which caption $t$
# stands ({py:func}`rsnb.metrics.caption_ceiling`).
#
# A fixed order can do a little better than chance: an encoder that happens to
# put the image first that owns the sentence most often collects all of those
# queries. That is the **best fixed order**, the highest text-to-image recall
# that any deterministic encoder of the caption can reach. A published value
# above it was measured under another protocol.

# %%
rules = {
    "t2i, random ties": ceiling.t2i_random,
    "t2i, best order": ceiling.t2i_deterministic,
    "i2t, random ties": ceiling.i2t_random,
}
rows = {
    r: {f"R@{k}": v[j] for j, k in enumerate(KS)} for r, v in rules.items()
}
plots.bars(rows, "highest recall that repeats allow (%)")

# %% [markdown]
# *Figure 1. The ceiling that repeats alone put on the test split. Here text to
# image R@1 cannot pass {glue:text}`t2i_random:.2f` % with random ties and
# {glue:text}`t2i_fixed:.2f` % with the best fixed order.*
#
# This ceiling counts verbatim repeats only. Two captions that say the same in
# other words limit recall just as much and are not seen here.
#
# To get a feeling for the size of the effect we make it worse on purpose: a
# growing share of the test captions becomes a plain "class: …".

# %%
rng = np.random.default_rng(seed)
dice = rng.random(len(test.captions))
shares = [0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0]
plain = [f"class: {test.label[i]}" for i in test.gt]
limits = []
for share in shares:
    mixed = np.where(dice < share, plain, test.captions).tolist()
    limits.append(caption_ceiling(mixed, test.gt).t2i_random)

# %%
lines = {f"R@{k}": [v[j] for v in limits] for j, k in enumerate(KS)}
panels = {"": ([100 * s for s in shares], lines)}
plots.curves(panels, "captions replaced by the class (%)", ["ceiling (%)"])

# %% [markdown]
# *Figure 2. Ceiling of text to image recall. Generic captions lower R@1 almost
# in proportion to their number. Nothing about the model changed.*
#
# ## Leakage: the test split seen before
#
# A held-out caption that also stands in training data is no longer a fair
# query: a model can have learned the sentence by heart, with another image
# beside it. Worse is a held-out *image* in another data set's training split.
# RSICD and RSITMD share source images, so training on one and testing on the
# other needs a list of exclusions. The table looks for verbatim captions in the
# other splits, and in a sister data set if the profile names one and it is on
# this machine.

# %%
leaks = known.leak_table()
report.table(leaks, "Held-out captions found elsewhere", index=False)

# %% [markdown]
# *Table 2. For each held-out split: how many of its captions stand word for
# word elsewhere, and how many of its images that concerns. Short captions
# recur by chance, so a shared sentence is a lead, not a proof.*
#
# If there is a sister set, images can be matched through captions alone: first
# by sentences that only one image on either side has, then by mutual best
# match of their word runs. No pixel is needed.

# %%
found = {}
for other in others:
    there = set(duplicates.caption_matches(test, other).values())
    rows = [i in there for i in other.ids]
    found[other.name] = dict(Counter(np.array(other.split)[rows].tolist()))
report.table(found or {"no sister set here": {"test images matched": 0}})

# %% [markdown]
# ## The same scene twice
#
# Images repeat as well: re-encoded, resized, turned, mirrored. Each image gets
# a 64-bit perceptual hash under all eight symmetries of the square. Hashes
# that nearly agree propose a pair; the correlation of two small grey thumbnails
# confirms it ({py:func}`rsnb.duplicates.near_duplicates`).

# %%
look = test.with_pixels()
some = train.with_pixels()
some = some.subset(np.arange(len(some))[:n_images])
inside = duplicates.near_duplicates(look)
across = duplicates.near_duplicates(look, some)
counts = {"inside test": len(inside.a), "test and train": len(across.a)}
print(f"{len(look):,} test images, {len(some):,} training images compared")
report.table({"near-equal pairs": counts})

# %% [markdown]
# *Table 3. Pairs of images that are one scene to this check. In scenes with
# little structure, such as desert or open water, two different places can pass
# for one.*
#
# ## Captions that speak of another class
#
# If a data set states classes, a simple check finds images that are described
# as something else: none of the captions names the image's class, and at least
# four name one and the same other class ({py:func}`rsnb.facts.conflicts`). It
# over-reports near-synonyms
# (*playfield*, *playground*) and never sees a wrong count or colour.

# %%
rows = facts.conflicts(pairs)
kinds = Counter(pairs.label[i] for i in rows).most_common()
print(f"{len(rows)} images of {len(pairs):,}")
report.table({c: {"images": n} for c, n in kinds} or {"none": {"images": 0}})

# %% [markdown]
# ## Files with faults
#
# `load` reads every layout of this field and does not guess. Faults come as
# one table with file and line, and nothing is loaded; with `lenient=True` the
# rows at fault are left out and counted. Blank captions deserve the warning:
# RSITMD's original text files hold images with nothing but blank captions,
# and readers that skip blank lines shift every later caption to a wrong image.
# Here is a data set of four rows with two faults.

# %%
folder = Path(tempfile.mkdtemp())
lines = "filename,title;a.png,a road;b.png,;c.png,a pond;c.png,\ufffd"
(folder / "pairs.csv").write_text(lines.replace(";", "\n"), "utf-8")
for name in ("a.png", "c.png"):
    Image.new("RGB", (64, 64)).save(folder / name)
try:
    data.load(folder)
except errors.DataProblems as e:
    problems = e.problems
report.table([vars(p) for p in problems], "All faults at once", index=False)

# %% [markdown]
# ## Does the audit find what is there?
#
# A check that finds nothing has to prove that it can. We plant errors in copies
# of the test split and count how many come back: captions of the test split
# copied into training, images that are turned by 90 degrees and shrunk, and
# images that get all captions from an image of another class.

# %%
times, there = Counter(test.captions), set(train.captions)
fresh = [c for c in times if times[c] == 1 and c not in there]
planted = min(planted, len(fresh), len(look), len(test) // 2)
copied = tuple(rng.choice(fresh, planted, replace=False).tolist())
dirty = replace(train, captions=train.captions[:-planted] + copied)
new = facts.leakage(test, dirty).captions
new -= facts.leakage(test, train).captions

# %% [markdown]
# For the images, a copy of some test images is turned by a right angle and
# shrunk to 96 pixels:

# %%
part = look.subset(np.sort(rng.choice(len(look), planted, replace=False)))
shrunk = [part.image(i).rotate(90).resize((96, 96)) for i in range(planted)]
turned = replace(
    part, source={}, rows=np.arange(planted), reader=shrunk.__getitem__
)
pixel = duplicates.near_duplicates(part, turned)
again = int((pixel.a == pixel.b).sum())

# %%
both = [
    image
    for i in range(min(3, planted))
    for image in (part.image(i), shrunk[i])
]
plots.strip(both, ["original", "copy"] * (len(both) // 2), columns=6)

# %% [markdown]
# *Figure 3. Three images and their planted copies. The check compares each
# image under all turns and mirrors, so the pairs are found although no pixel
# stands where it stood.*
#
# And for the captions, pairs of images from different classes swap theirs:

# %%
order = np.argsort(test.label, kind="stable")
swap = order[np.arange(planted)], order[-1 - np.arange(planted)]
gt = test.gt.copy()
for i, j in zip(*swap, strict=True):
    gt[test.gt == i], gt[test.gt == j] = j, i
caught = np.isin(facts.conflicts(replace(test, gt=gt)), swap).sum()

# %%
outcome = {
    "test captions copied into train": {"planted": planted, "found": new},
    "images turned and shrunk": {"planted": planted, "found": again},
    "captions of another class": {"planted": 2 * planted, "found": caught},
}
report.table(outcome, "Planted errors")

# %% [markdown]
# *Table 4. What each check brought back. Only captions that occur once in the
# test split and not yet in training were copied. The class check is the weakest
# by design: it stays silent as soon as fewer than four captions name the other
# class.*

# %% [markdown]
# ## Which captions are wrong for their image?
#
# So far nothing looked at pictures and words together. A caption can be fresh,
# well spelled and of the right class, and still describe another image. To see
# whether such captions can be found we plant them: in a part of the training
# split, a share of the captions change places. Some land where they are true
# all the same or back at their own image; `false` marks those that do not
# belong to their image.
#
# The idea is a **known null**. We do not know which of the given pairs are
# wrong, but pairs that are certainly wrong can be had for free: put each
# caption beside a random image. What the data shows is a mixture of such pairs
# and of true ones. Where given pairs fit no better than random ones, they are
# wrong; how often that happens is the noise rate. A pair's fit is its loss
# against a fixed panel of other images and captions, as in training;
# {doc}`03_train_through_noise` has the formula of the mixture.

# %%
sample = train.subset(np.arange(min(n_audited, len(train))))
mix = noise.draw(sample, moved, seed=seed)
noisy, false = mix.apply(sample), mix.false(sample.captions, sample.gt)
model = backbones.load(start) if pairs.name == "world" and start else None

# %% [markdown]
# Every loss comes twice, for the pairs as given and for the random ones:

# %%
how = audit.AuditConfig(epochs=0)
words = None if model else evidence.from_captions(noisy, how)
losses = words or evidence.from_images(noisy, model, how)
given, random = next(iter(losses.values())).sum(1)

# %%
bins = np.linspace(*np.quantile(random, [0, 0.99]), 24)
groups = {"as given": given, "random": random}
groups |= {"true": given[~false], "wrong": given[false]}
lines = {k: np.histogram(v, bins)[0] for k, v in groups.items()}
plots.curves({"": (bins[1:], lines)}, "loss of a pair", ["captions"])

# %% [markdown]
# *Figure 4. Losses of given and of random pairs under a model that has not been
# trained on this data (for a data set without a backbone of its own: by words
# alone). An audit sees the first two curves: the given pairs have a second hump
# where the random pairs lie. The other two tell the given pairs apart by the
# truth that we planted. Where they overlap no threshold helps.*
#
# {py:func}`rsnb.audit.mismatches` goes on from there with up to four kinds of
# evidence.
#
# 1. **unseen**: the images are cut in two halves; a model is trained on one and
#    looks at the other, so that no pair is judged by a model that learned it.
#    Training is of the robust kind that page 03 explains.
# 2. **learned**: how readily a pair was taken up by the model that did train on
#    it, over the whole training.
# 3. **captions**: how unlike the image's other captions it is, by latent
#    semantic analysis of the words.
# 4. **class**: how improbable the image's class is, given the caption.
#
# Each is measured on given and random pairs alike. A logistic regression weighs
# them: random pairs count as wrong, and a given pair counts as true as far as
# the last round believed it. The two distributions of its output give every
# caption a probability to be wrong. Text without words, or with a file name
# inside, is wrong without further ado.

# %%
verdict = audit.mismatches(noisy, model, audit.AuditConfig(epochs=epochs))
scores = {**verdict.evidence, "all together": verdict.score}
areas = {k: roc_auc_score(false, v) for k, v in scores.items()}
plots.bars({k: {"AUROC": v} for k, v in areas.items()}, "AUROC", fmt="{:.3f}")

# %% [markdown]
# *Figure 5. How well each kind of evidence tells wrong captions from true ones,
# alone and together (1 is perfect, 0.5 is chance). The estimated share of wrong
# captions is {glue:text}`noise_estimated:.1f` %; in truth it is
# {glue:text}`noise_true:.1f` %.*
#
# A score alone would not convince a reader who has to decide. The report says
# why:

# %%
worst = [t for t in verdict.ranking()[:200] if verdict.score[t] > 0.5][::40]
wrong = np.where(false, "yes", "no")
rows = {
    noisy.captions[t]: {"reasons": verdict.reasons(t), "wrong": wrong[t]}
    for t in worst
}
report.table(rows, "Some of the most suspicious captions")

# %%
at = [i for i in noisy.gt[worst] if noisy.has_pixels[i]]
titles = [noisy.label[i] for i in at]
if at:
    fig = plots.strip([noisy.image(i) for i in at], titles, columns=5)
fig if at else print("no pixels here")

# %% [markdown]
# *Table 5 and Figure 6. Captions from the top of the ranking with the reasons
# that the report gives, and the images that they stand under, in the same
# order. A percentage says how many random images would suit the caption better:
# near 0 for a true pair, anything for a wrong one.*
#
# `python -m rsnb audit DATA --mismatch` does this for a data set, and writes a
# page with thumbnails and a table. Mark captions in its column `drop`, and
# `data.load(..., drop="mismatch.csv")` leaves them out. The table below was
# measured with that audit on whole training splits.

# %%
receipts = {"world": report.receipt("audit-mismatch-world")["figures"]}
try:
    receipts |= report.receipt("audit-mismatch-real")["figures"]
except errors.ParameterError:
    print("this copy has no receipt for the real sets")
rows = [
    {"set": name, "moved": rate, "wrong": row["false"], "AUROC": full["auroc"],
     "estimated": full["rate"], **row["alone"]}
    for name, figures in receipts.items()
    for rate, row in figures.items() if rate.endswith("%")
    for full in [row["together"]["all"]]
]  # fmt: skip
report.table(rows, "Planted mismatches, by receipt", digits=3, index=False)

# %% [markdown]
# *Table 6. Share of captions that are wrong, share estimated, AUROC of the score,
# and of each kind of evidence alone. On the world, wrong means that a fact of the
# caption does not hold in the scene; on UCM and RSICD (up to 2,000 images), that the
# caption is none of the image's own, so that a sentence which is true of many
# images counts as wrong when it moves among them. There the start was trained
# on the other real set.*
#
# Real defects are rarer and subtler than moved captions. {glue:text}`labelled`
# captions of RSICD's training split have labels from readers (a development set). By words
# alone, the median of the true mismatches stands at the
# {glue:text}`defects:.1f`th percentile of all captions by suspicion, the median
# of the odd but right ones at the {glue:text}`odd:.1f`th.

# %% tags=["hide-input"]
labelled = report.receipt("audit-mismatch-words")["figures"]["rsicd"]
KINDS = "mismatch", "ok"
numbers = {
    "t2i_random": ceiling.t2i_random[0],
    "t2i_fixed": ceiling.t2i_deterministic[0],
    "distinct": 100 * ceiling.distinct / ceiling.captions,
    "largest_leak": leaks.captions.max(),
    "twins": len(across.a),
    "planted": planted,
    "again": again,
    "caught": caught,
    "swapped": 2 * planted,
    "noise_true": 100 * false.mean(),
    "noise_estimated": 100 * verdict.rate,
    "area": areas["all together"],
    "labelled": sum(labelled[k]["captions"] for k in (*KINDS, "corrupted")),
    "defects": labelled["mismatch"]["median"],
    "odd": labelled["ok"]["median"],
}
more = {"near_duplicates": across.as_dict(), "matched": found}
report.page(cfg.name, "01_audit_data", numbers, **more, **known.as_dict())

# %% [markdown]
# ## What we found
#
# - {glue:text}`distinct:.1f` % of the test captions are distinct. Repeats alone
#   hold text-to-image R@1 to {glue:text}`t2i_random:.2f` %.
# - The largest overlap of a held-out split with another split or set is
#   {glue:text}`largest_leak` captions.
# - Among the images compared, {glue:text}`twins` pairs join the test split to
#   training data.
# - Of {glue:text}`planted` turned and shrunk copies the pixel check found
#   {glue:text}`again`; of {glue:text}`swapped` images with foreign captions the
#   class check found {glue:text}`caught`.
# - Single captions that changed places are told from true ones with an AUROC of
#   {glue:text}`area:.3f`; their share is estimated as
#   {glue:text}`noise_estimated:.1f` % where {glue:text}`noise_true:.1f` % are
#   wrong.
#
# ## What this does not show
#
# - Verbatim comparison finds no paraphrase. The ceilings are therefore upper
#   limits of the true ones.
# - A score is no verdict. Captions that moved are wrong in a blunt way, like a
#   random image's; a wrong count or colour in an otherwise right sentence is
#   closer to a true pair than to a random one, and mostly escapes.
# - Odd but right captions of rare scenes look suspicious as well. Read before
#   you drop.
# - The estimate takes wrong captions to be like random ones. Noise that stays
#   inside a class is underestimated.
# - Overlap with the data of a *published checkpoint* cannot be seen here, since
#   that data is rarely public. RemoteCLIP, for one, was trained on data that
#   includes the training splits of RSICD, RSITMD and UCM.
#
# ## Exercises
#
# 1. A sentence stands under four images and no other sentence is repeated. What does
#    it cost in text-to-image R@1 and R@5, with random ties?
#
#    ```{admonition} Solution
#    :class: dropdown
#    Four captions carry the sentence, each is first with probability 1/4. Together
#    they give one hit in place of four, so three hits of all $T$ are lost at R@1. At
#    R@5 nothing is lost: all four images are among the first five. Check it with
#    `caption_ceiling(["a"] * 4 + ["b"], np.arange(5))`.
#    ```
#
# 2. Draw the noise with `protocol="class"`, which moves captions inside a class. Which
#    of the four kinds of evidence cannot help, and why?
#
#    ```{admonition} Solution
#    :class: dropdown
#    The evidence of the class: a caption from the same class makes the image's class
#    no less probable. What is left must tell one instance from another, which is what
#    pictures and the image's other captions can do.
#    ```
#
# ## References
#
# UCM-Captions {cite}`qu2016deep`, RSICD {cite}`lu2018rsicd`, and RSITMD
# {cite}`yuan2022amfmn` are the sets that this audit was written for. The
# overlap between them has been reported by users of RemoteCLIP
# {cite}`liu2024remoteclip` and RS5M {cite}`zhang2024rs5m`.
