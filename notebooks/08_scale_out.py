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
# # Past one machine
#
# | **Question** | What changes when the archive is larger than memory, and then larger than a machine? |
# |---|---|
# | **Data set** | profile `world` for what runs here; clustered vectors of up to ten million rows, and other measurements, from receipts |
# | **Model** | the profile's backbone; a small ViT that RRSITR trained for the local index |
# | **Run time** | minutes at most on two CPU cores: {doc}`/book/benchmarks` |
# | **Downloaded** | nothing for `world` |
#
# ## What you will see
#
# - An archive as a folder of verified parts, written by any process, continued after
#   a kill.
# - The same `search(queries, k)` over memory, over parts on disk, over a FAISS file
#   and over a vector database, and which to take at which size.
# - RRSITR's patch-by-word score turned into a short code that an index can search.
# - Ray for embedding and captioning, `torchrun` for training, with the numbers of
#   one process.
# - What a GPU gives against its own limits, and a plan on paper for a hundred million
#   tiles.

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
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from rsnb import backbones, plots, profiles, report, shards
from rsnb.embed import embed
from rsnb.errors import FileCorruptError
from rsnb.index import Searcher
from rsnb.local import image_tokens, local_similarity, text_tokens
from rsnb.localindex import LocalCode, LocalIndex
from rsnb.ondisk import DiskSearcher, StreamedSearcher, build_index
from rsnb.pixels import load_pixels

# %% [markdown]
# The parameters of the page. Change them here, or from outside with
# `python -m rsnb run --profile … --set name=value`.

# %% tags=["parameters"]
profile = "world"  # or ucm, rsicd, rsitmd, nwpu, or a path to your data
backbone_name = ""  # empty: the profile's own
part_rows = 100  # embeddings in a part
rank = 31  # numbers in the local code, less one
n_fit = 400  # images and captions that the local code learns from
tiles = 100_000_000  # images in the plan on paper
gpu_hour = 3.0  # price of an hour of one GPU, in your currency
core_hour = 0.04  # price of an hour of one CPU core
terabyte_month = 20.0  # price of a terabyte stored for a month

# %% [markdown]
# ## An archive is a folder of parts
#
# Ten thousand embeddings of 512 numbers are 20 MB. Nobody needs a cluster for
# them, and most test sets are that small. Ten million are 20 GB: they fit on a disk
# and not in a laptop. The step between the two should change one argument, not the
# program.
#
# {py:mod}`rsnb.shards` keeps an archive as parts. A part is one safetensors file
# with its checksum beside it. Any process may write any part. The manifest comes
# last, once every part has been checked: a folder with a manifest is whole.

# %%
cfg = profiles.get(profile)
pairs = cfg.load().with_pixels().where("test")
model = backbones.load(backbone_name or cfg.backbone)
emb = embed(model, pairs)

# %% [markdown]
# `make` gives part $i$, and the identity says what makes all parts. A folder refuses
# parts of another identity.

# %%
identity = {"backbone": model.name, "weights": model.digest}
# At the least three parts, however few images you have.
part_rows = min(part_rows, max(1, len(emb.img) // 3))
made = []


def make(i):
    made.append(i)
    return {"emb": emb.img[i * part_rows : (i + 1) * part_rows]}


# %% [markdown]
# Now somebody stops the work after two parts. The second call finds what is there,
# checks it, and makes the rest.

# %% tags=["nbval-check-output"]
folder = Path(tempfile.mkdtemp()) / "archive"
for i in (0, 1):
    shards.write_part(folder, i, make(i), identity)
count = -(-len(emb.img) // part_rows)
archive = shards.write(folder, count, make, identity)
print(f"{len(archive)} rows in {count} parts, made in the order {made}")

# %% [markdown]
# The checks are there for the day when a disk is full or two jobs write to one
# folder. One byte changed in a part is an error that names the file, not a
# slightly different ranking:

# %% tags=["nbval-check-output"]
broken = folder / "part-00001.safetensors"
good = broken.read_bytes()
broken.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
try:
    shards.Shards(folder).verify()
except FileCorruptError as e:
    print(str(e).replace(str(folder), "…"))
_ = broken.write_bytes(good)

# %% [markdown]
# ## One search, four places
#
# Every engine here answers `search(query_emb, k)` with rows and scores, best first,
# refuses queries that are not unit vectors, and never fills up with a made-up row.
# One set of tests runs over all of them.
#
# - {py:class}`rsnb.index.Searcher` holds the vectors in memory and is exact.
# - {py:class}`rsnb.ondisk.StreamedSearcher` is exact too and reads one part at a
#   time.
# - {py:class}`rsnb.ondisk.DiskSearcher` maps a FAISS {cite}`douze2024faiss` index
#   from a file. It looks at a few cells of the space, and at quantised vectors if
#   asked; with the parts at hand it ranks its best again by the exact vectors.
# - {py:class}`rsnb.databases.LanceSearcher` asks LanceDB, an embedded vector
#   database.

# %%
path = build_index(archive, folder / "ivf.faiss", "IVF8,PQ32x3")
again = {"shards": archive, "fetch": 100}
engines = {
    "in memory": Searcher(emb.img), "streamed": StreamedSearcher(archive),
    "IVF-PQ": DiskSearcher(path, params="nprobe=2"),
    "IVF-PQ, ranked again": DiskSearcher(path, params="nprobe=4", **again),
}  # fmt: skip

# %% [markdown]
# Each is asked for the ten best images of every test caption; for fewer in a small
# gallery, where two cells of eight may hold no ten.

# %% tags=["nbval-check-output"]
k = min(10, -(-len(emb.img) // 40))
found = {name: e.search(emb.txt, k)[0] for name, e in engines.items()}
for name, rows in found.items():
    same = (rows[:, :, None] == found["in memory"][:, None]).any(2)
    print(f"{name:21} {same.mean():.3f} of the {k} best")

# %% [markdown]
# `recall@10` here means: which share of the ten best by exact search an engine
# returns. It says nothing about whether those ten are right, which is what the rest
# of the book is about.
#
# This gallery is too small to tell engines apart. The receipts `bench/search` and
# `bench/search-10000000` (`python tests/bench/search.py`) hold clustered vectors of
# 128 numbers: one centre for every thousand rows, and around each a cloud that
# mostly fills 16 of the 128 directions. Queries are new members of the clouds.
# Settings were chosen on one half of the queries and are reported on the other.

# %%
by_size = {}
for name in ("bench/search", "bench/search-10000000"):
    by_size |= report.receipt(name)["figures"]["approximate"]
lines = [
    {"rows": f"{int(n):,}", "engine": engine, **row}
    for n, engines in by_size.items() for engine, row in engines.items()
    if isinstance(row, dict) and "recall" in row
]  # fmt: skip
cols = {
    "recall": "recall@10", "one_query_ms": "one query, ms",
    "batch_256_ms": "256 queries, ms", "bytes_per_vector": "bytes a row",
    "build_seconds": "build, s",
}  # fmt: skip
flat = pd.DataFrame(lines).set_index(["rows", "engine"])
report.table(flat[[*cols]].rename(columns=cols), "Two CPU cores")

# %% [markdown]
# An index buys speed with recall, and every kind has a knob for it:

# %%
million, knob = by_size["1000000"], {}
for t in million["tried"]:
    if t["fetch"] in (0, 100):
        name = t["kind"] + (", ranked again" if t["fetch"] else "")
        knob.setdefault(name, {})[t["recall"]] = (t["queries_per_second"],) * 3
plots.bands(knob, "recall@10 against exact search", "queries a second")

# %% [markdown]
# *Figure 1. A million rows: what recall costs, by kind of index, as its knob turns.
# Queries come 256 at a time, on two cores. Exact search answers
# {glue:text}`exact_rate:.0f` a second.*
#
# A rule follows, for two cores and vectors of this kind. Up to about a hundred thousand
# rows stay exact: a query takes {glue:text}`exact_ms:.1f` ms and nothing has to be
# tuned. At a million take IVF over whole vectors if memory holds them. HNSW learns no
# cells, but at the settings tried it found {glue:text}`hnsw_recall:.2f` of the ten
# best. Beyond memory take IVF-PQ in a file and rank its best again by the exact vectors
# in the parts: {glue:text}`pq_bytes:.0f` bytes a row, and at ten million rows
# {glue:text}`pq_recall:.3f` of the ten best in {glue:text}`pq_ms:.1f` ms, where exact
# search over the parts takes {glue:text}`streamed_ms:.0f` ms. A database asks for more
# time than any of these and gives what they lack: rows that come, go and carry fields.
#
# ## A fine-grained score as an index
#
# RRSITR {cite}`song2026rrsitr` adds a local similarity to the cosine: the Frobenius
# norm of the table of all patch-by-word cosines. It needs every patch of every
# image, so in practice it re-ranks a short list that the global score has found.
# What the global score misses stays missed.
#
# But the square of that norm is an inner product. With the unit tokens of image $i$
# as the rows of $A$ and those of caption $t$ as the rows of $B$,
#
# $$S_{ti}^2 = \lVert A B^\top \rVert^2 = \langle A^\top A,\; B^\top B \rangle ,$$
#
# and inner products are what an index searches. The catch is the length of the
# vectors: half of a $d \times d$ table. {py:class}`rsnb.localindex.LocalCode` cuts
# it. It takes the matrix of $S^2$ between training captions and training images,
# removes row and column means (they are kept as one exact number an item), and
# takes its singular vectors. No other code of that length is nearer to the training
# matrix, because captions and images shape it together.

# %%
vit = backbones.load("world-vit")
part = profiles.get("world").load().where("train").subset(np.arange(n_fit))
pixels = vit.prepare(load_pixels(part, vit.image_size))
with torch.inference_mode():
    patches = image_tokens(vit.model, pixels)[1]
    words = text_tokens(vit.model, vit.tokenize(part.captions[:n_fit]))[1]

# %% [markdown]
# A code is learned from the tokens of both sides. After that an image is a handful of
# numbers.

# %%
code = LocalCode.fit(patches, words, rank)
img_codes = code.encode_images(patches)
print(f"tokens {4 * patches[0].numel():,} bytes, code {4 * (rank + 1):,}")

# %% [markdown]
# The index is asked with captions, and the exact score says who is right:

# %%
index = LocalIndex(img_codes, "SQ8")
near = index.search(code.encode_texts(words), k)[0]
full = local_similarity(patches, words).numpy()
best = np.argsort(-full, axis=1, kind="stable")[:, :k]
shared = (near[:, :, None] == best[:, None]).any(2).mean()
print(f"{shared:.2f} of the {k} best by the exact local similarity")

# %% [markdown]
# That was a demonstration on the items that the code was learned from, with a ViT
# that never saw the loss. The measurement is the receipt `bench/local-index`
# (`python tests/bench/local_index.py`): three ViTs trained with RRSITR's published
# loss, codes learned on training items, their length and quantiser chosen on
# validation. The test split was scored with two codes of each.

# %%
local = report.receipt("bench/local-index")["figures"]
curve = {"float32": {}, "int8": {}, "int4": {}}
for rows in zip(*local["validation"].values(), strict=True):
    ratio = [100 * r["ratio"] for r in rows]
    band = np.mean(ratio), min(ratio), max(ratio)
    curve.get(rows[0]["kind"], {})[rows[0]["bytes"]] = band
plots.bands(curve, "bytes an image", "mR, % of the exact score's")

# %% [markdown]
# *Figure 2. What is left of the retrieval by local similarity alone, by bytes an
# image. Lines are means over three trained ViTs, bands their range; validation
# split.*

# %%
flat = pd.json_normalize(local["test"]).set_index("seed")
cols = {
    "global_mR": "global", "exact_mR": "local", "index.mR": "short code",
    "longest.mR": "long code", "fused_exact_mR": "0.9/0.1 sum",
}  # fmt: skip
report.table(flat[[*cols]].rename(columns=cols), "By seed: mR on test (%)")

# %% [markdown]
# The same scores of ViTs that the loss has not trained:

# %%
others = pd.DataFrame(local["others"]).T.drop(columns="weights").astype(float)
report.table(others, "mR on test (%)")

# %% [markdown]
# The short code is the shortest that kept 99 % of mR and nine of the ten best on the
# validation split of every seed: {glue:text}`code_bytes:.0f` bytes an image, which on
# test keep at least {glue:text}`kept_low:.1f` % of the exact score's mR. The long one,
# {glue:text}`long_bytes:.0f` bytes, keeps {glue:text}`long_low:.1f` % or more; what
# lies above 100 is luck. The tokens themselves take
# {glue:text}`token_bytes:,.0f` bytes. Searching
# {glue:text}`gallery:,.0f` images takes
# {glue:text}`ms_index:.1f` ms a caption, the exact score
# {glue:text}`ms_exact:.0f` ms.
#
# Whether the local score deserves an
# index is another question, and the table answers it too: compare *local* with
# *global* for ViTs that the loss has trained and for those it has not. A ViT whose
# patches were never asked to agree with words has nothing in them to search for.
#
# ## More than one process
#
# Nothing in the package schedules anything. Two libraries that others keep do it.
#
# **Ray Data** {cite}`moritz2018ray` hands parts of the archive to workers that hold
# a model. A worker writes its part itself. What is there and whole is not made
# again, so a killed worker costs one part, and a killed job costs what was in
# flight:
#
# ```python
# from rsnb.scale import caption_shards, embed_shards
#
# archive = embed_shards("world-rn", pairs, "archive", workers=8)
# texts = caption_shards("world-vlm", pairs, "texts", workers=8)
# ```
#
# **`torchrun`** starts the training several times, and the processes share each
# step: every one encodes its slice of the batch, embeddings *and tokens* are
# gathered with their gradients, and all see the loss of the whole batch. That
# matters here: the contrastive loss of two half batches is another loss.
#
# ```bash
# torchrun --nproc-per-node 2 -m rsnb assets world-vit --force
# ```
#
# Tests kill a worker of either with signal 9 in mid-run. What comes out is complete
# and verified, and for the training it is the same file, byte for byte. The numbers
# are those of one process: embeddings differ by {glue:text}`ray_gap:.1g` at most,
# losses by {glue:text}`ddp_gap:.1g` (`python tests/bench/scaling.py`).

# %%
scaling = report.receipt("bench/scaling")["figures"]
unit, steps = scaling["embedding"], scaling["training"]
rates = {"images embedded": unit["images_per_second"],
         "training steps": steps["steps_per_second"]}  # fmt: skip
lines = [
    {"what": what, "by": arm.replace("_", " "), "a second": v["median"]}
    for what, arms in rates.items() for arm, v in arms.items()
]  # fmt: skip
report.table(lines, "Two CPU cores; starts left out", index=False)

# %% [markdown]
# Two Ray workers embed {glue:text}`ray_2:.2f` times what one process with one thread
# embeds, and one process with two threads {glue:text}`threads_2:.2f` times: on one
# machine Ray is there for order and resumption, not for speed, and it takes
# {glue:text}`ray_start:.0f` s to start. Two training processes run at
# {glue:text}`ddp_2:.2f` times the rate of one with two threads.
#
# ## What a GPU gives
#
# Measured on the card that the table names (`python tests/bench/gpu.py`), against
# two ceilings that the same run measured: a large bf16 product and a large copy.

# %%
gpu = report.receipt("bench/gpu")["figures"]
seen = pd.DataFrame(gpu["embedding"]).set_index(["model", "batch"])
seen *= [100 if "share" in c or c == "inside_tower" else 1 for c in seen]
cols = {
    "tower_images_s": "images/s, tower", "compiled_images_s": "compiled",
    "compiled_share_of_matmul": "% of the product",
    "path_images_s": "images/s, from bytes",
}  # fmt: skip
title = f"{gpu['device']}: bf16, random weights"
report.table(seen[[*cols]].rename(columns=cols), title, digits=0)

# %% [markdown]
# Exact search on the same card, by the number of queries at once:

# %%
asked = pd.DataFrame(gpu["search"]).set_index("queries")
asked["% of limit"] = 100 * asked["share_of_limit"]
title = f"Ten best of {asked['images'].iloc[0]:,} x 512, milliseconds"
cols = ["ms", "topk_ms", "limit_ms", "binds", "% of limit"]
report.table(asked[cols], title, digits=1)

# %% [markdown]
# One query is a read of all vectors, and comes near what the memory gives. Many
# queries are a product, and then finding the best among the scores costs as much as
# making them. Maxima of groups of 64 scores, read once, take the place of a `topk`
# over all of them.
#
# ## A hundred million tiles, on paper
#
# Nobody ran this. It is arithmetic: unit costs measured here, or on the card of the
# tables above, times the number of tiles. The prices are parameters of the page.

# %%
card = max(gpu["embedding"], key=lambda r: (r["model"], r["batch"]))
pq = by_size["10000000"]["IVF8192,PQ32"]
gpu_hours = tiles / card["path_images_s"] / 3600
core_hours = tiles * unit["seconds_per_1000_images_1_thread"] / 3.6e6

# %% [markdown]
# An embedding of 768 numbers is kept as float16, beside the index.

# %%
stored = {"embeddings": 2 * 768, "index": pq["bytes_per_vector"]}
plan = [
    (f"embed, {card['model']}", "GPU hours", gpu_hours, gpu_hour),
    ("the same, small ResNet", "core hours", core_hours, core_hour),
] + [
    (f"a month of {what}", "GB", tiles * size / 1e9, terabyte_month / 1e3)
    for what, size in stored.items()
]
plan = pd.DataFrame(plan, columns=["what", "unit", "amount", "price"])
plan["cost"] = plan["amount"] * plan["price"]
report.table(plan, f"{tiles:,} tiles", index=False)

# %% [markdown]
# The embedding is a matter of hours on one card, if the decoding keeps up with it;
# the decoding is what a cluster is for. Captions by a large MLLM are left out: no
# unit cost of one was measured here, and it would be the largest row by far.

# %%
exact = report.receipt("bench/search")["figures"]["exact"]
share = [r["share_of_limit"] for by in exact.values() for r in by.values()]
good = [r["times_quicker_than_exact"] for r in million.values()
        if isinstance(r, dict) and r.get("recall", 0) >= 0.95]  # fmt: skip
quick = [max(r[way] for r in good) for way in ("one", "batch")]

# %% [markdown]
# The text shows these numbers by name:

# %%
speed, limit = local["speed"], [r["share_of_limit"] for r in gpu["search"]]
numbers = {
    "kept_low": 100 * local["worst_ratio"],
    "code_bytes": local["choice"]["bytes"],
    "long_low": 100 * local["worst_ratio_longest"],
    "long_bytes": local["longest"]["bytes"], "gallery": speed["gallery"],
    "token_bytes": speed["bytes_an_image"]["tokens"],
    "ms_exact": speed["ms"]["exact from tokens"],
    "ms_index": speed["ms"]["index, int8"],
    "gpu_one": 100 * limit[0], "gpu_many": 100 * limit[-1],
    "exact_rate": 256e3 / million["exact"]["batch_256_ms"],
    "exact_ms": by_size["100000"]["exact"]["one_query_ms"],
    "hnsw_recall": million["HNSW32"]["recall"],
    "streamed_ms": by_size["10000000"]["streamed"]["one_query_ms"],
    "quick_one": quick[0], "quick_batch": quick[1],
    "limit_low": 100 * min(share), "limit_high": 100 * max(share),
    "pq_bytes": pq["bytes_per_vector"], "pq_recall": pq["recall"],
    "pq_ms": pq["one_query_ms"], "ray_gap": unit["largest_gap"],
    "ddp_gap": steps["largest_gap"], "gpu_hours": gpu_hours,
    "ray_2": unit["ratio_to_1_thread"]["ray_2_workers"],
    "threads_2": unit["ratio_to_1_thread"]["one_process_2_threads"],
    "ray_start": unit["start_seconds"]["ray"],
    "ddp_2": steps["ratio_2_processes"],
}  # fmt: skip
report.page(cfg.name, "08_scale_out", numbers)

# %% [markdown]
# ## What we found
#
# - An archive of verified parts lets the same program stop, go on, and be shared out.
# - RRSITR's local similarity can be searched:
#   {glue:text}`long_bytes:.0f` bytes an image keep all of its mR on three trained
#   ViTs, {glue:text}`code_bytes:.0f` bytes {glue:text}`kept_low:.1f` % or more.
# - Exact search runs at {glue:text}`limit_low:.0f` to
#   {glue:text}`limit_high:.0f` % of what memory or the plain product allow. On a
#   million rows an index is {glue:text}`quick_one:.0f` times quicker for single
#   queries and {glue:text}`quick_batch:.0f` times in batches, at a recall@10 of 0.95
#   or more.
# - Several processes give the numbers of one, and a killed one loses nothing.
# - On one card a query of four million vectors runs at
#   {glue:text}`gpu_one:.0f` % of the limit, a batch of a thousand at
#   {glue:text}`gpu_many:.0f` %.
# - On paper a large ViT sees a hundred million tiles in
#   {glue:text}`gpu_hours:.0f` hours of one card.
#
# ## What this does not show
#
# - The large galleries are synthetic. Real embeddings have other shapes, and an
#   index has to be tuned on yours: `tests/bench/search.py` shows how.
# - No cluster was at hand. Two workers on two cores show that the numbers agree and
#   that a kill loses nothing; they do not show how a hundred workers scale.
# - The local index was measured on small ViTs of the embedded world. Patches of a
#   large checkpoint may need a longer code; `tests/bench/local_index.py` finds out.
# - The plan leaves out what moves bytes between machines, and everything that goes
#   wrong in a month.
# - The three ViTs were trained on a GPU, longer than the noise sweep of
#   {doc}`03_train_through_noise` trains them.
#
# ## References
#
# Product quantisation is from {cite}`jegou2011pq`, FAISS from {cite}`douze2024faiss`,
# Ray from {cite}`moritz2018ray`, the local similarity from RRSITR
# {cite}`song2026rrsitr`.
