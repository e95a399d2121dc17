"""Find the same scene twice: by perceptual hash, or by what its captions say.

Explained in notebook 01.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import imagehash
import numpy as np
from PIL import Image
from scipy.fft import dctn

from rsnb.cache import cached_arrays
from rsnb.files import fingerprint
from rsnb.pairs import Pairs
from rsnb.words import split_words

__all__ = ["Duplicates", "caption_matches", "image_prints", "near_duplicates"]

# A scene has no upright: the 8 turns and mirrors of a square, the identity first.
TURNS: tuple[Any, ...] = (None, *Image.Transpose)
SIDE = 32  # the side to which imagehash.phash shrinks an image
BLOCK, RADIUS = 512, 10  # images compared at once; hash bits that may differ
MIN_CORR = 0.75  # of what hashes do not see; re-encoded scenes have > 0.85


@dataclass(frozen=True)
class Duplicates:
    """Pairs of images that look alike.

    Attributes:
        a: int64 (M,), row in the first set.
        b: int64 (M,), row in the second set (the same set if there is one only).
        distance: int64 (M,), differing bits of 64.
        turn: int64 (M,), 0 = as is, otherwise 1 + `Image.Transpose` value.
        splits: split of the two images → number of pairs.
    """

    a: np.ndarray
    b: np.ndarray
    distance: np.ndarray
    turn: np.ndarray
    splits: Mapping[tuple[str, str], int]

    def as_dict(self) -> dict[str, int]:
        """Return the number of pairs, in all and by `split-split`."""
        by = {f"{a}-{b}": n for (a, b), n in sorted(self.splits.items())}
        return {"pairs": len(self.a), **by}


def image_prints(pairs: Pairs) -> dict[str, np.ndarray]:
    """Return what is compared of each image, once; then it is cached.

    Returns:
        `hash` uint64 (N, 8), the 64-bit DCT hash of the image under each turn, and
        `thumb` uint8 (N, 32, 32), grey. All images must have pixels.
    """

    def make() -> dict[str, np.ndarray]:
        hashes = np.zeros((len(pairs), len(TURNS)), np.uint64)
        thumbs = np.zeros((len(pairs), SIDE, SIDE), np.uint8)
        for i in range(len(pairs)):
            grey = pairs.image(i).convert("L")
            thumbs[i] = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.LANCZOS))
            for k in range(len(TURNS)):
                bits = imagehash.phash(_turned(thumbs[i], k)).hash
                hashes[i, k] = int.from_bytes(np.packbits(bits).tobytes(), "big")
        return {"hash": hashes, "thumb": thumbs}

    data, ids = pairs.source.get("sha256"), fingerprint(list(pairs.ids))
    key = {"data": data, "ids": ids}
    return cached_arrays("prints", key, make, "rsnb.images") if data else make()


def near_duplicates(a: Pairs, b: Pairs | None = None) -> Duplicates:
    """Return pairs of images that are the same scene re-encoded, resized or turned.

    Hashes within 10 bits of 64 propose a pair; the detail that they do not see, the
    higher frequencies of the grey thumbnails, confirms it. (Without that, two
    shorelines that divide the frame alike pass for one scene.)

    Args:
        a: images with pixels.
        b: a second set; without it, pairs inside `a`, each once.
    """
    pa = image_prints(a)
    pb = pa if b is None else image_prints(b)
    found: dict[tuple[int, int], tuple[int, int]] = {}
    for start in range(0, len(a), BLOCK):
        for k in range(len(TURNS)):
            block = pa["hash"][start : start + BLOCK, k]
            apart = np.bitwise_count(block[:, None] ^ pb["hash"][None, :, 0])
            for i, j in np.argwhere(apart <= RADIUS):
                pair = (start + int(i), int(j))
                if b is None and pair[0] >= pair[1]:
                    continue
                better = int(apart[i, j]) < found.get(pair, (65, 0))[0]
                if better and _same(pa["thumb"][pair[0]], pb["thumb"][j], k):
                    found[pair] = int(apart[i, j]), k
    rows = [(*pair, *how) for pair, how in sorted(found.items())]
    other = b if b is not None else a
    splits = Counter((a.split[i], other.split[j]) for i, j, _, _ in rows)
    i, j, distance, turn = np.array(rows, np.int64).reshape(-1, 4).T
    return Duplicates(i, j, distance, turn, splits)


def _turned(thumb: np.ndarray, turn: int) -> Image.Image:
    image = Image.fromarray(thumb)
    return image.transpose(TURNS[turn]) if turn else image


def _same(a: np.ndarray, b: np.ndarray, turn: int) -> bool:
    x, y = _detail(np.asarray(_turned(a, turn))), _detail(b)
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return scale > 0 and float(x @ y) / scale >= MIN_CORR


def _detail(thumb: np.ndarray) -> np.ndarray:
    """Return a thumbnail's DCT coefficients without the 8 x 8 that the hash uses."""
    coefficients = dctn(thumb.astype(float))
    coefficients[:8, :8] = 0
    return np.asarray(coefficients).ravel()


def caption_matches(a: Pairs, b: Pairs, *, shared: bool = False) -> dict[str, str]:
    """Return id in `a` → id in `b` of images whose captions show the same scene.

    First, images that share captions held by one image on either side; then, unless
    `shared`, mutual best matches by TF-IDF over runs of 1 to 3 words, within a class
    where both sets state one. No pixel is used.
    """
    votes: dict[int, Counter[int]] = defaultdict(Counter)
    owners_a, owners_b = _owners(a), _owners(b)
    for text, rows in owners_a.items():
        if len(rows) == 1 and len(owners_b.get(text, ())) == 1:
            [i], [j] = rows, owners_b[text]
            votes[i][j] += 1
    match = {i: count.most_common(1)[0][0] for i, count in votes.items()}
    times = Counter(match.values())
    match = {i: j for i, j in match.items() if times[j] == 1}
    if not shared:
        taken = set(match.values())
        best = _mutual_best(a, b)
        match |= {i: j for i, j in best.items() if i not in match and j not in taken}
    return {a.ids[i]: b.ids[j] for i, j in sorted(match.items())}


def _owners(pairs: Pairs) -> dict[str, set[int]]:
    owners: dict[str, set[int]] = defaultdict(set)
    for text, i in zip(pairs.captions, pairs.gt.tolist(), strict=True):
        owners[" ".join(split_words(text))].add(i)
    return owners


def _mutual_best(a: Pairs, b: Pairs) -> dict[int, int]:
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.preprocessing import normalize

    # A run counts once an image, however often it is repeated.
    count = CountVectorizer(analyzer=_runs, binary=True, dtype=float)
    texts = [p.captions_of(i) for p in (a, b) for i in range(len(p))]
    bags = count.fit_transform(texts)
    idf = np.log(bags.shape[0] / np.asarray(bags.sum(0)).ravel())
    unit = normalize(bags.multiply(idf).tocsr())
    x, y = unit[: len(a)], unit[len(a) :]
    classes = {c for c in a.label if c} & {c for c in b.label if c}
    groups = ([c if c in classes else "" for c in p.label] for p in (a, b))
    group_a, group_b = map(np.array, groups)
    best = {}
    for c in {*group_a}:
        ia, ib = np.flatnonzero(group_a == c), np.flatnonzero(group_b == c)
        if not len(ib):
            continue
        sim = (x[ia] @ y[ib].T).toarray()
        to_b, to_a = sim.argmax(1), sim.argmax(0)
        for n in np.flatnonzero(to_a[to_b] == np.arange(len(ia))):
            if sim[n, to_b[n]] > 0:
                best[int(ia[n])] = int(ib[to_b[n]])
    return best


def _runs(texts: list[str]) -> list[str]:
    """Return all runs of 1 to 3 words."""
    every = [split_words(text) for text in texts]
    cuts = ((w, k, n) for w in every for n in (1, 2, 3) for k in range(len(w) - n + 1))
    return [" ".join(words[k : k + n]) for words, k, n in cuts]
