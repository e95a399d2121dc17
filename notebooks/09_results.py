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
# # What is claimed, and what we could check
#
# | **Question** | What does each paper claim, what did we measure, on which data and weights, and what could nobody check here? |
# |---|---|
# | **Data set** | UCM, RSICD and RSITMD, by receipts; this page reads no image and no caption |
# | **Model** | backbones, captioner and witness trained here; published checkpoints by their published figures |
# | **Run time** | seconds |
# | **Downloaded** | nothing |
#
# ## What you will see
#
# - Every published figure that we compare with, its source, and how sure that source is.
# - Ours beside it, with interval, seeds, hardware, date, and the digests of code and data.
# - What has not been run here, what it needs, and the one command that runs it.
# - What is wrong with the public benchmarks, as lists that you can leave out with one
#   argument.
# - How far a leak between two of them lifts a score.

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

from collections import Counter

from rsnb import findings, lists, plots, profiles, published, report, results

# %% [markdown]
# The parameters of the page. Change them here, or from outside with
# `python -m rsnb run --profile … --set name=value`.

# %% tags=["parameters"]
profile = "world"  # decides only where this page keeps its numbers
first = "rsitmd"  # the data set of Tables 1 and 2

# %% [markdown]
# ## How to read a published figure
#
# Two tables of one data set seldom compare the same thing. Four differences decide
# more than most methods do.
#
# - **The start.** A CLIP {cite}`radford2021clip` that saw the whole web, a RemoteCLIP
#   {cite}`liu2024remoteclip` that was trained on the training split of this very data
#   set, and a ResNet from ImageNet are three problems.
# - **The split that chose the epoch.** Several released programs keep the epoch that is
#   best on *test*.
# - **Ties.** Equal captions get equal scores, and who is counted first then decides.
#   {doc}`/notebooks/01_audit_data` shows how much.
# - **The source.** A `paper` prints it. A `readme` is text, a figure or a file name in
#   the authors' repository. A `paper-note` is what a reader wrote down. A `secondary`
#   figure is quoted by somebody else.
#
# {py:mod}`rsnb.published` holds the published ones, each with all of this.

# %% tags=["nbval-check-output"]
one = published.rows(first, noise=0.0)
kinds = dict(Counter(r.kind for r in one))
on_test = sum(r.selection == "test" for r in published.rows())
report.table({first: kinds}, "Published rows by kind of source")

# %% [markdown]
# *Table 1. Published rows, by where we could read them.*
#
# ## One table a data set
#
# Published rows and ours, the highest mR first. Ours are named by their receipt. Our
# backbones start from random weights, which no published one does; rows with text or
# CADRE also use MiniLM. So they are no rivals of the rows above them. They are the
# ground on which the methods of this book were compared under equal conditions.

# %%
report.table(results.beside(first), f"{first}, test split", index=False)

# %% [markdown]
# *Table 2. mR and recall at 1, 5 and 10 in each direction, in %. Spread: standard
# deviation over seeds where published; for ours the interval over images. RSITMD's
# own images are not here. Ours is measured on the test images whose pixels RSICD
# holds, on good evidence; its gallery is smaller than the published one, which makes
# it easier.*
#
# RSICD is complete here, with the published test split. So is UCM, but whether its
# published rows share our images and our caption file is not known: another file
# with other repeats exists.

# %%
report.table(results.beside("rsicd"), "rsicd, test split", index=False)

# %% [markdown]
# *Table 3. As Table 2, for RSICD.*

# %%
report.table(results.beside("ucm"), "ucm, test split", index=False)

# %% [markdown]
# *Table 4. As Table 2, for UCM. Its captions repeat so much that no text encoder can
# pass a t2i R@1 of {glue:text}`ceiling:.1f` %.*
#
# ## RRSITR: training through noise
#
# The paper's figures under noise exist for RSITMD alone, from a reader's notes, as mR.
# They start from CLIP. We have no CLIP weights here, so we ran the question where we
# could: a backbone that was trained on part of RSICD is fine-tuned on UCM, and on
# 2,000 other images of RSICD, with a share of the captions moved. Each method had the
# same number of trials on the validation split of each set.

# %%
axis = ("captions moved (%)", "test mR (%)")
plots.bands(results.noise_lines("rsitmd"), *axis)

# %% [markdown]
# *Figure 1. Published, RSITMD: RRSITR and the runner-up of its paper. RRSITR loses
# {glue:text}`fall_published:.0f` % of its clean mR at 80 % noise.*

# %%
plots.bands(findings.lines("ucm"), *axis)

# %% [markdown]
# *Figure 2. Ours, UCM: mean over three draws of noise and order, the band from the
# lowest to the highest.*

# %%
plots.bands(findings.lines("rsicd"), *axis)

# %% [markdown]
# *Figure 3. The same for RSICD. Note the axis: this backbone is weak.*
#
# Query by query, paired:

# %%
gaps = {d: results.gaps(d) for d in ("ucm", "rsicd")}
rows = gaps["ucm"] + gaps["rsicd"]
report.table(rows, "Ours minus a rival, test mR", index=False)

# %% [markdown]
# *Table 5. Points of mR with 95 % interval, p of a paired permutation over images, and
# p by Holm over the rates above 0 of one rival. "WiSE-FT" averages the weights before
# and after fine-tuning.*
#
# ## CADRE: refinement at test time
#
# The paper's tables are not public, so there is nothing to compare with. Ours is a
# reconstruction from its abstract, {doc}`/notebooks/07_cadre`. On real pixels:

# %%
keys = ("CADRE > backbone", "CADRE > text and backbone, whole gallery")
rows = results.tests("ucm", keys) + results.tests("rsicd", keys)
report.table(rows, "CADRE on real pixels", index=False)

# %% [markdown]
# *Table 6. Points of mR. The second test asks whether CADRE does more than a fusion
# with the captioner's text over the whole gallery, which costs no call of a model. The
# backbone here is not averaged over 8 symmetries, as it is in Tables 3 and 4, so the
# gain over that free alternative is smaller and untested.*
#
# ## Text to text
#
# TRSLLaVA's figures rest on captions by a paid model. Ours in Tables 3 and 4 are those
# of the smaller of two captioners trained here ({doc}`/notebooks/07_cadre` has the
# larger), and they are poor. How far text alone can carry
# is shown by captions of *people*: RSITMD's captions as queries, RSICD's captions of
# the same scenes as descriptions, and RSICD's paraphrases.

# %%
text = results.found("t2t-real-text").get("figures", {})
tasks = {"rsitmd-rsicd": "test", "rsicd-paraphrases": "test"}
rows = {f"{t}: {k}": {"mR": v["mR"], "t2i R@1": v["t2i_r1"]}
        for t, part in tasks.items() if t in text
        for k, v in text[t][part]["rows"].items()}  # fmt: skip
report.table(rows, "Captions by people as descriptions")

# %% [markdown]
# *Table 7. mR and R@1 in %, test part. No pixel is used. The pictures were paired by
# their captions, which favours queries that nearly repeat a description.*
#
# ## Not run here
#
# What needs weights that cannot be had from here. Elsewhere each line fetches,
# verifies, evaluates and compares. RSITMD and UCM must lie in `RSNB_DATA`. With the
# real weights nobody has tried it.

# %%
rows = [r for d in results.OURS for r in results.missing(d)]
report.table(rows, "Not run", index=False)

# %% [markdown]
# *Table 8. The command for each combination, and what it needs. Exit code 0 means that
# the figure is inside the tolerance, or nothing is published; 1 that it is outside.
# `zero-shot` means not trained further: RemoteCLIP has seen these training splits.
# `t2t` sets another captioner beside a paid one.*
#
# ## What is wrong with the benchmarks
#
# The lists below come with the package. They hold ids, numbers and digests, and no
# caption. `rsnb.data.load("rsitmd", drop="leak-rsicd")` leaves one out.

# %%
made = results.found("findings-lists")["figures"]
rows = {f"{d}: {n}": {"rows": len(found), "test": sum(
            r["split"] == "test" for r in found)}
        for d in ("rsitmd", "rsicd", "ucm")
        for n in lists.names(d) for found in [lists.read(d, n)]}  # fmt: skip
report.table(rows, "Lists that come with the package", digits=0)

# %% [markdown]
# *Table 9. A row is a caption; in `leak-X` a pair of images, in `repeated` and `tier-c`
# an image. `leak-X`: images on the other side of the train/test line in X. `padded`:
# captions that repeat one of their own image. `seen`: test captions that stand in own
# train or val. `repeated`: test images with a twin in train or val. `mismatch`:
# captions that the audit takes for wrong. `tier-c`: RSITMD images whose pixels were
# borrowed on weak evidence.*
#
# RSITMD and RSICD share scenes under different names. Our finder reads captions
# alone, and a mapping that came with the data was made from captions too: the next
# table is agreement, not truth.

# %%
rows = {k: {"found by captions": v} for k, v in made["overlap"].items()}
report.table(rows, "RSITMD in RSICD")

# %% [markdown]
# *Table 10. Shares are of 1: precision and recall against the mapping, whose tier A
# rests on a shared caption, B and C on weaker evidence.*
#
# ## How far the leak lifts a score
#
# Backbones that were trained on RSICD, and one that was trained without any scene of
# RSITMD's test split, all scored on RSITMD's borrowed test images. `rsicd-rest` left
# out 3,000 training images drawn at random, so whether it knows a leaked image is
# chance. Images that it knows may still be easier. The clean backbone says how much.

# %%
effect = results.found("findings-real")["figures"]
names = {"own": "{}", "clean": "rsitmd-rn, images of {}"}
bars = {names[k].format(b): {g: found[k][g] for g in ("seen", "others")}
        for b, found in effect["leak"].items() for k in names}  # fmt: skip
plots.bars(bars, "test mR (%)")

# %% [markdown]
# *Figure 4. Queries of {glue:text}`gallery:.0f` test images against one gallery, apart
# for those that `rsicd-deep` or `rsicd-rest` was trained on ("seen"). Below each stands
# `rsitmd-rn`, which was trained on none, on the same two groups.*
#
# Image by image, the leaky backbone minus the clean one, seen minus others:

# %%
order = ("points", "low", "high")
rows = {b: {"seen images": v["seen"], **{k: v["leak"][k] for k in order}}
        for b, v in effect["leak"].items()}  # fmt: skip
report.table(rows, "What the leak is worth")

# %% [markdown]
# *Table 11. Points of mR with 95 % interval, images resampled.*
#
# And each list on its own data set, left out with `drop`:

# %%
kinds = ("nothing", "padded", "seen", "repeated", "mismatch", "leak-rsitmd")
rows = {b: {k: found[k]["mR"] for k in kinds if k in found}
        for b, found in effect["moved"].items()}  # fmt: skip
report.table(rows, "Test mR with one list left out")

# %% [markdown]
# *Table 12. mR in %, "nothing" left out first. A smaller gallery is easier, so the
# rises under `leak-rsitmd` and under UCM's `seen`, which leave out most images or
# captions of the split, are no gain.*
#
# ## Where each of our figures comes from

# %%
receipts = [f"backbone-{n}" for own in results.OURS.values() for n in own]
receipts += [f"{k}-{d}" for k in ("noise", "t2t", "cadre")
             for d in ("ucm", "rsicd")]  # fmt: skip
receipts += ["t2t-real-text", "findings-lists", "findings-real"]
report.table([results.origin(n) for n in receipts], "Receipts", index=False)

# %% [markdown]
# *Table 13. Command, seeds, date, hardware, and the first digits of the digests of the
# package and of the data. Hardware is where it was scored; `-deep` backbones were
# trained on a GPU.*

# %% tags=["hide-input"]
numbers = {"ceiling": results.found("audit-real")["figures"][
    "ucm_test_t2i_r1_deterministic"]}  # fmt: skip
curve = results.noise_lines("rsitmd")["RRSITR"]
numbers["fall_published"] = 100 * (1 - curve[80.0][0] / curve[0.0][0])
numbers["gallery"] = effect["leak"]["rsicd-rest"]["images"]
for b, found in effect["leak"].items():
    name = b.replace("-", "_")
    for key in ("points", "low", "high"):
        numbers[f"{name}_{key}"] = found["leak"][key]
numbers |= {"on_test": on_test, "published": len(published.rows())}
for d, found in gaps.items():
    beaten = [
        r["ours minus"]
        for r in found
        if r["points"] > 0 and float(r.get("Holm", 1)) < 0.05
    ]
    numbers |= {f"{d}_wins": beaten.count("InfoNCE"),
                f"{d}_wise": beaten.count("InfoNCE + WiSE-FT")}  # fmt: skip
sides = {d: [r for r in lists.read(d, f"leak-{o}") if r["split"] == "test"]
         for d, o in (("rsitmd", "rsicd"), ("rsicd", "rsitmd"))}  # fmt: skip
numbers |= {f"{d}_leaked": len({r["image"] for r in rows})
            for d, rows in sides.items()}  # fmt: skip
overlap = made["overlap"]
numbers |= {"precision": 100 * overlap["precision, images in both"],
            "recall": 100 * overlap["recall"],
            "leaks": overlap["test leaks found"]}  # fmt: skip
report.page(profiles.get(profile).name, "09_results", numbers)

# %% [markdown]
# ## What we found
#
# - Of four noise rates, ours is above InfoNCE, with p below 0.05 by Holm, at
#   {glue:text}`ucm_wins:.0f` on UCM and {glue:text}`rsicd_wins:.0f` on RSICD; above
#   WiSE-FT at {glue:text}`ucm_wise:.0f` and {glue:text}`rsicd_wise:.0f`.
# - Of the {glue:text}`published:.0f` published rows we list,
#   {glue:text}`on_test:.0f` chose their epoch on the test split, by their code.
# - Our finder and the known mapping together place
#   {glue:text}`rsitmd_leaked:.0f` of RSITMD's test images in RSICD's train or val, and
#   {glue:text}`rsicd_leaked:.0f` of RSICD's in RSITMD's train. Both match captions.
#   Where both name a partner, they agree on {glue:text}`precision:.1f` %; the finder
#   has {glue:text}`recall:.1f` % of the mapping.
# - On RSITMD's test images with RSICD's pixels, having been trained on that very file
#   is worth {glue:text}`rsicd_rest_points:.1f` points of mR
#   ({glue:text}`rsicd_rest_low:.1f` to {glue:text}`rsicd_rest_high:.1f`), on the images
#   concerned, to a small backbone, and {glue:text}`rsicd_deep_points:.1f`
#   ({glue:text}`rsicd_deep_low:.1f` to {glue:text}`rsicd_deep_high:.1f`) to one that is
#   larger, sees more and was trained for longer.
#
# ## What this does not show
#
# - Any published checkpoint's recall: none can be fetched here. Table 8 says how.
# - RSITMD's full test split. Its own pixels are missing, the borrowed ones are RSICD's
#   smaller copies, and a leak under other pixels may be worth less.
# - That a method which helps a small backbone helps CLIP. The comparisons above are
#   fair to each other and small.
# - The truth about leaks and mismatches. Both finders read captions, and nobody has
#   looked at every pair.
# - What a published figure would be under another protocol. We list differences; we
#   can not undo them.
#
# ## Exercises
#
# 1. Load RSITMD without the leaked images. How many test images remain, and what is
#    the t2i ceiling by repeated captions then?
#
#    ```{admonition} Solution
#    :class: dropdown
#    `data.load("rsitmd", drop="leak-rsicd").where("test")`, then
#    `metrics.caption_ceiling`. Few captions of RSITMD repeat, so the ceiling hardly
#    moves.
#    ```
#
# 2. Which published row would you cite for CLIP on RSITMD? There are two.
#
#    ```{admonition} Solution
#    :class: dropdown
#    Neither alone. `published.rows("rsitmd", key="clip-b32/zero-shot")` gives both;
#    they differ in single recalls by several points though model and split agree.
#    ```
#
# ## References
#
# RRSITR {cite}`song2026rrsitr`, TRSLLaVA {cite}`xiao2025beyond`, CADRE
# {cite}`zhang2026cadre`. UCM {cite}`qu2016deep`, RSICD {cite}`lu2018rsicd`, RSITMD
# {cite}`yuan2022amfmn`. Weight averaging, WiSE-FT {cite}`wortsman2022wise`.
