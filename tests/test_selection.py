"""No id of a test split reaches what tunes: in the package, in the pages, in benches.

The package's tuners run on sets whose test rows raise when a pixel or a word of them is
read. What pages and benches hand to a tuner is followed through their code.
"""

from __future__ import annotations

import ast
from dataclasses import replace

import numpy as np
import pytest

from rsnb import assets, captions, probes, recipes, rerank, sweep
from rsnb.cache import cache_dir
from rsnb.cadre.evidence import Witness
from rsnb.cadre.qgd import Lesson
from rsnb.cadre.refine import Cadre, prepare
from rsnb.embed import embed
from rsnb.records import Record, Variant
from rsnb.t2t import TextSpace, fit_fusion
from rsnb.trials import TUNE_DRAW, TUNE_RATE
from test_cadre_refine import ASK, Knows, Words
from test_style import PAGES, REPO, code_of
from test_sweep import arm, everything, toy  # noqa: F401 (a fixture)
from toy import Squares, recipe, tiny

FIRST_TEST = 60  # row of the set of 48 + 12 + 12


def refuse(self, *_, **__):
    raise AssertionError("a test row was read")


class Sealed(str):
    """A caption of the test split: no word of it can be had."""

    __slots__ = ()
    lower = casefold = split = strip = encode = translate = replace = refuse


class Watched(Squares):
    """A reader that refuses the pixels of test rows, and notes the others."""

    seen = set()  # noqa: RUF012 (shared with the copies that threads use)

    def __call__(self, row):
        if row >= FIRST_TEST:
            refuse(self)
        self.seen.add(row)
        return super().__call__(row)


def sealed(split="val"):
    """Return the squares, test sealed; where `split` is test, its rows change places.

    So the twins hand a tuner the test split under the name that it asks for.
    """
    whole = everything()
    texts = [
        Sealed(c) if i >= FIRST_TEST else c
        for i, c in zip(whole.gt, whole.captions, strict=True)
    ]
    named = whole.split
    if split == "test":
        named = (*named[:48], *("test",) * 12, *("val",) * 12)
    return replace(whole, captions=tuple(texts), reader=Watched(), split=named)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RSNB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Watched, "seen", set())


def train_a_recipe(split, monkeypatch):
    """Which epoch is kept is a choice."""
    monkeypatch.setattr(recipes, "load", lambda name, drop=(): sealed(split))
    monkeypatch.setattr(recipes, "get", lambda name, seed=None: recipe("vit"))
    assets.make("squares")


def sweep_trials(split, monkeypatch):
    """Which trial of a method is best, and which share of WiSE-FT."""
    monkeypatch.setattr(sweep, "load", lambda name: sealed(split))
    for trial in (0, 1):
        sweep.run(arm(rate=TUNE_RATE, draw=TUNE_DRAW, trial=trial))
    assert sweep.tuned("toy", "paced") in (0, 1)


def stage_of(split):
    pairs, space = sealed(split).where("val"), TextSpace("toy", "", Words())
    variants = (Variant("a square", "at the left", "a square at the left"),) * 5
    records = [Record(i, variants, "ok", "", "") for i in pairs.ids]
    return prepare(tiny(), pairs, records, space), records, space


def tune_text_galleries(split, monkeypatch):
    one, records, space = stage_of(split)
    captions.tune(one.pairs, records, space)


def fit_a_fusion(split, monkeypatch):
    one, *_ = stage_of(split)
    rng = np.random.default_rng(0)
    fit_fusion(rng.random(one.text.shape), one.first.sim, one.pairs.gt)


def tune_rerankers(split, monkeypatch):
    one, *_ = stage_of(split)
    own = embed(tiny(), sealed(split).where("train"))
    some = {"rocchio": rerank.RERANKERS["rocchio"]}
    rerank.tune(one.first, one.pairs.gt, rerank.Bank(own.txt, own.img), some)


def fit_cadre(split, monkeypatch):
    one, *_ = stage_of(split)
    rng = np.random.default_rng(0)
    one = replace(one, text=rng.random(one.text.shape).astype(np.float32))
    fitted = Cadre(tiny(), Witness(Knows(), ASK)).fit(one)
    assert fitted.t2i is not None


def learn_a_probe(split, monkeypatch):
    """`probes.make` takes all splits and learns on the training one."""
    pairs, real = sealed(split), probes.learned
    named = {"train": "none", "val": "train", "test": "test"}
    pairs = replace(pairs, split=tuple(named[s] for s in pairs.split))
    how = Lesson(epochs=1, batch=4)
    monkeypatch.setattr(probes, "learned", lambda *of: real(*of, how))
    probes.make(tiny(), pairs, cache_dir() / "probe.safetensors")


TUNERS = (train_a_recipe, sweep_trials, tune_text_galleries, fit_a_fusion,
          tune_rerankers, fit_cadre, learn_a_probe)  # fmt: skip


@pytest.mark.promise("statistics")
@pytest.mark.parametrize("tuner", TUNERS)
def test_no_test_row_reaches_a_tuner(toy, tuner, monkeypatch, figure):  # noqa: F811
    tuner("val", monkeypatch)
    assert Watched.seen and max(Watched.seen) < FIRST_TEST
    figure("tuners that no test row reaches", len(TUNERS), of=len(TUNERS))


@pytest.mark.promise("statistics", off=True)
@pytest.mark.parametrize("tuner", TUNERS)
def test_a_tuner_that_is_handed_the_test_split_is_caught(toy, tuner, monkeypatch):  # noqa: F811
    with pytest.raises(AssertionError, match="a test row was read"):
        tuner("test", monkeypatch)


@pytest.mark.promise("statistics", off=True)
def test_the_sweep_keeps_the_test_split_to_its_last_step(toy, monkeypatch):  # noqa: F811
    """Other draws are no tuning: they do read it, so the seal is no mere show."""
    monkeypatch.setattr(sweep, "load", lambda name: sealed())
    with pytest.raises(AssertionError, match="a test row was read"):
        sweep.run(arm())


# Pages and benches

CHOICES = {"fit", "tune", "fit_fusion", "calibrate", "learn", "learned", "adapt"}


def whole(mark):
    return any(mark) if isinstance(mark, list) else mark


def marks(node, env):
    """Return whether an expression holds test data; of a sequence, for each item."""
    if isinstance(node, ast.Constant):
        return node.value == "test"
    if isinstance(node, ast.Name):
        return env.get(node.id, False)
    if isinstance(node, ast.Tuple | ast.List):
        return [whole(marks(e, env)) for e in node.elts]
    if isinstance(node, ast.GeneratorExp | ast.ListComp):
        over, inner = marks(node.generators[0].iter, env), dict(env)
        for name in ast.walk(node.generators[0].target):
            inner |= {name.id: False} if isinstance(name, ast.Name) else {}
        more = whole(marks(node.elt, inner))
        return [m or more for m in over] if isinstance(over, list) else over or more
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "zip":
        lists = [m for a in node.args if isinstance(m := marks(a, env), list)]
        if len({len(m) for m in lists}) == 1:
            return [any(m) for m in zip(*lists, strict=True)]
    return any([whole(marks(n, env)) for n in ast.iter_child_nodes(node)])


def put(target, mark, env):
    if isinstance(target, ast.Name):
        env[target.id] = mark
    elif isinstance(target, ast.Tuple | ast.List):
        same = isinstance(mark, list) and len(mark) == len(target.elts)
        for k, one in enumerate(target.elts):
            put(one, mark[k] if same else whole(mark), env)


def leaks(code):
    """Return the calls of a tuner that are handed test data, and all such calls."""
    bad, every = [], []

    def look(node, env):
        for call in ast.walk(node):
            if isinstance(call, ast.Call):
                name = ast.unparse(call.func)
                if name.rpartition(".")[2] in CHOICES and name != "ImageOps.fit":
                    given = [*call.args, *(k.value for k in call.keywords)]
                    every.append(name)
                    if any(whole(marks(a, env)) for a in given):
                        bad.append(ast.unparse(call))

    def run(body, env):
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                run(node.body, dict(env))
                continue
            parts = [v for _, v in ast.iter_fields(node)]
            for part in parts:
                if isinstance(part, ast.expr):
                    look(part, env)
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    put(target, marks(node.value, env), env)
            elif isinstance(node, ast.For):
                put(node.target, whole(marks(node.iter, env)), env)
            for part in parts:
                if isinstance(part, list) and part:
                    if isinstance(part[0], ast.stmt):
                        run(part, env)
                    elif isinstance(part[0], ast.ExceptHandler):
                        for one in part:
                            run(one.body, env)

    run(ast.parse(code).body, {})
    return bad, every


@pytest.mark.promise("statistics")
def test_no_page_or_bench_hands_test_data_to_a_tuner(figure):
    count = 0
    for path in (*PAGES, *sorted(REPO.glob("tests/bench/*.py"))):
        code = code_of(path) if path in PAGES else path.read_text("utf-8")
        bad, every = leaks(code)
        assert not bad, f"{path.name}: {bad}"
        count += len(every)
    assert count > 15
    figure("tuning calls of pages and benches that see test data", 0, of=count)


@pytest.mark.promise("statistics", off=True)
@pytest.mark.parametrize(
    "code",
    [
        "fit_fusion(a, b, pairs.where('test').gt)",
        "test = p.where('test')\ncaptions.tune(test, r, s)",
        "val, some = p.where('val'), p.where('test')\nx = embed(b, some)\ntune(x.sim)",
        "a, b = (p.where(s) for s in ('val', 'test'))\nrerank.tune(b, gt)",
        "x = p.where('test')\nif a:\n    y = x\n    Cadre(b).fit(y)",
        "def f():\n    q = p.where('test')\n    return model.fit(X, y=q.label)",
        "both = [(p, 1) for p in (val, of('test'))]\n"
        "a, b = (prepare(p) for p in both)\nc.fit(b)",
    ],
)
def test_a_leak_in_a_page_is_seen(code):
    assert leaks(code)[0]
    assert not leaks(code.replace("'test'", "'val'"))[0]


@pytest.mark.promise("statistics")
def test_what_is_no_leak():
    code = "val, test = (p.where(s) for s in ('val', 'test'))\nc = C(b).fit(val)\n"
    assert leaks(f"{code}c.refine(test)") == ([], ["C(b).fit"])
