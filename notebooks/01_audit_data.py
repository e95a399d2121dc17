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
# | **Model** | none |
# | **Run time** | under a minute on 2 CPU cores; a GPU does not help |
# | **Downloaded** | nothing for `world` |
#
# ## What you will see
#
# - Counts of each split, and how often captions repeat.
# - The ceiling that repeated captions put on recall, under two tie rules.
# - Captions and images that a test split shares with training data.
# - Images whose captions contradict their class, and files with faults.
# - Each check tried on planted errors, so that "nothing found" means something.

# %% tags=["hide-input"]
import sys

if "google.colab" in sys.modules:  # leaves Colab's own torch and numpy alone
    from IPython import get_ipython

    pip = (
        "open_clip_torch==3.3.0 faiss-cpu==1.15.1 imagehash==4.3.2 ftfy==6.3.1"
    )
    pip += " git+https://github.com/rsnb/rsnb@v0.1.0"
    get_ipython().run_line_magic("pip", f"install -q --no-deps {pip}")

import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from rsnb import audit, data, duplicates, errors, plots, profiles, report
from rsnb.metrics import KS, caption_ceiling

# %% [markdown]
# The parameters of the page. Change them here, or from outside with
# `python -m rsnb run --profile … --set name=value`.

# %% tags=["parameters"]
profile = "world"  # or ucm, rsicd, rsitmd, nwpu, or a path to your data
n_images = 2000  # training images to compare with the test images by pixels
planted = 50  # errors of each kind to plant
seed = 0  # of the planted errors

# %% [markdown]
# ## Count first
#
# `audit` reads captions, splits and ids. Two captions count as equal if they
# agree after trimming and lower-casing. *Recurring* captions stand under more
# than one image; *few distinct* counts images with fewer than five different
# captions.

# %%
cfg = profiles.get(profile)
pairs, others = cfg.load(), cfg.load_sisters()
facts = audit.audit(pairs, others)
columns = "split images captions distinct recurring few_distinct".split()
report.table(facts.table()[columns], "Splits and repeats", index=False)

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
# Suppose a sentence stands under four images. A text encoder gives it one
# vector, so the four images are equally good answers, but only the paired one
# counts. With ties broken at random it is first in one case of four.
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
leaks = facts.leak_table()
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
# confirms it.

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
# four name one and the same other class. It over-reports near-synonyms
# (*playfield*, *playground*) and never sees a wrong count or colour.

# %%
rows = audit.conflicts(pairs)
kinds = Counter(pairs.label[i] for i in rows).most_common()
print(f"{len(rows)} images of {len(pairs):,}")
report.table({c: {"images": n} for c, n in kinds} or {"none": {"images": 0}})

# %% [markdown]
# ## Files with faults
#
# `load` reads every layout of this field and does not guess. Faults come as
# one table with file and line, and nothing is loaded; with `lenient=True` the
# rows at fault are left out and counted. Blank captions deserve the warning:
# RSITMD's original text files hold four images with five blank captions each,
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
times, known = Counter(test.captions), set(train.captions)
fresh = [c for c in times if times[c] == 1 and c not in known]
planted = min(planted, len(fresh), len(look), len(test) // 2)
copied = tuple(rng.choice(fresh, planted, replace=False).tolist())
dirty = replace(train, captions=train.captions[:-planted] + copied)
new = audit.leakage(test, dirty).captions
new -= audit.leakage(test, train).captions

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
caught = np.isin(audit.conflicts(replace(test, gt=gt)), swap).sum()

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

# %% tags=["hide-input"]
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
}
more = {"near_duplicates": across.as_dict(), "matched": found}
report.page(cfg.name, "01_audit_data", numbers, **more, **facts.as_dict())

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
#
# ## What this does not show
#
# - Verbatim comparison finds no paraphrase. The ceilings are therefore upper
#   limits of the true ones.
# - A clean audit does not make captions true. Whether a sentence fits its image
#   needs a model or a reader; finding wrong pairs is the subject of a later
#   chapter.
# - Overlap with the data of a *published checkpoint* cannot be seen here, since
#   that data is rarely public. RemoteCLIP, for one, was trained on data that
#   includes the training splits of RSICD, RSITMD and UCM.
#
# ## Exercises
#
# 1. Run this page on RSICD and RSITMD. Which of the two has the lower ceiling,
#    and what do its captions look like?
# 2. Lower `radius` in `near_duplicates` from 10 to 2. Which planted copies are
#    lost first?
#
# ## References
#
# UCM-Captions {cite}`qu2016deep`, RSICD {cite}`lu2018rsicd`, and RSITMD
# {cite}`yuan2022amfmn` are the sets that this audit was written for. The
# overlap between them has been reported by users of RemoteCLIP
# {cite}`liu2024remoteclip` and RS5M {cite}`zhang2024rs5m`.
