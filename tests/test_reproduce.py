"""One command to the published row, against a local mirror of the hub.

The mirror serves the file names, layouts and formats of the three published ViT-B/32
checkpoints and of RSICD, with small content: the same code path, other weights.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import open_clip
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save

import fixtures_data as fx
from rsnb import backbones, cards, cells, cli, data, hub, published, reproduce
from rsnb.cache import cache_dir
from rsnb.cadre import Lesson
from rsnb.checkpoints import probe
from rsnb.errors import ParameterError
from rsnb.metrics import evaluate_embeddings
from rsnb.pixels import load_pixels
from rsnb.published import Row
from rsnb.recall import METRICS
from test_backbones import SMALL_CLIP
from test_hub import Server

SPLITS = {"train": 16, "val": 4, "test": 8}  # images, with five captions each
SETS, NAMES = tuple(cells.TEST), tuple(cells.BACKBONES)
WORDS = "red green long wide old white road lake plane roof tank field tree".split()


class Mirror(Server):
    """A hub of several files; a path that it does not have is a 404."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        super().__init__(b"")

    def describe(self, h):
        if h.path in self.files:
            self.body = self.files[h.path]
            self.commit = h.path.split("/resolve/")[1].split("/")[0]
            super().describe(h)
        else:
            h.send_error(404)

    def answer(self, h):
        self.body = self.files.get(h.path, b"")
        super().answer(h)


def images(suffix: str) -> list[tuple[str, str, list[str]]]:
    """Return (file name, split, captions) of each image."""
    rng, out = np.random.default_rng(0), []
    for split, n in SPLITS.items():
        for k in range(n):
            texts = [
                f"the {' '.join(rng.choice(WORDS, 5))} of {k} {j}" for j in range(5)
            ]
            out.append((f"{split}_{k}{suffix}", split, texts))
    return out


def karpathy(folder: Path, manifest: str) -> None:
    """Write RSITMD or UCM as published: one JSON beside images/; RSITMD has no val."""
    rows = images(".tif")
    if folder.name == "rsitmd":
        rows = [(n, s.replace("val", "train"), texts) for n, s, texts in rows]
    (folder / "images").mkdir(parents=True)
    for k, (name, *_) in enumerate(rows):
        (folder / "images" / name).write_bytes(fx.encoded(fx.pixels(k), "TIFF"))
    entries = [
        {"filename": n, "split": s, "sentences": [{"raw": t} for t in texts]}
        for n, s, texts in rows
    ]
    (folder / manifest).write_text(json.dumps({"images": entries}))


def parquets() -> dict[str, bytes]:
    """Return RSICD as its hub copy has it."""
    out, rows = {}, list(enumerate(images(".jpg")))
    for stem, split in (("train", "train"), ("valid", "val"), ("test", "test")):
        part = [(k, n, t) for k, (n, s, t) in rows if s == split]
        table = pa.table({
            "filename": [f"rsicd_images/{n}" for _, n, _ in part],
            "captions": [t for *_, t in part],
            "image": [{"bytes": fx.encoded(fx.pixels(k)), "path": n}
                      for k, n, _ in part],
        })  # fmt: skip
        body = io.BytesIO()
        pq.write_table(table, body)
        out[f"data/{stem}-00000-of-00001.parquet"] = body.getvalue()
    return out


def state(seed: int) -> dict[str, torch.Tensor]:
    """Return small CLIP weights that the two GELUs read very differently.

    Each MLP sees 2 and adds nothing, if its GELU is the quick one.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        own = backbones.build(SMALL_CLIP, "quickgelu").state_dict()
    for key in [k for k in own if k.endswith("mlp.c_fc.weight")]:
        out = key.replace("c_fc", "c_proj")
        own[key] = own[key] * 0
        own[key.replace("weight", "bias")].fill_(2.0)
        own[out] = 100 * own[out]
        seen = 2 * torch.sigmoid(torch.tensor(1.702 * 2))
        own[out.replace("weight", "bias")] = -(own[out] * seen).sum(1)
    return own


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return the data folder, the bodies of all hub files, and the weights."""
    folder = tmp_path_factory.mktemp("published")
    karpathy(folder / "rsitmd", "dataset_RSITMD.json")
    karpathy(folder / "ucm", "dataset.json")
    weights = {name: state(k) for k, name in enumerate(NAMES)}
    bodies = {}
    for name, tensors in weights.items():
        entry = backbones.REGISTRY[cells.BACKBONES[name]]
        path, _, commit = entry.weights.removeprefix("hub:").partition("@")
        owner, repo, file = path.split("/", 2)
        body = io.BytesIO()
        torch.save(tensors, body)
        extra = {"input_resolution": torch.tensor(64)}  # a fact that OpenAI's carry
        safe = file.endswith(".safetensors")
        content = save({**tensors, **extra}) if safe else body.getvalue()
        bodies[f"/{owner}/{repo}/resolve/{commit}/{file}"] = content
    pin = hub.PINNED["rsicd"]
    where = f"/datasets/{pin.repo}/resolve/{pin.revision}"
    bodies |= {f"{where}/{file}": b for file, b in parquets().items()}
    return folder, bodies, weights


@pytest.fixture
def mirror(made, tmp_path, monkeypatch):
    """Serve the hub, and pin its small content where the real one is pinned."""
    folder, bodies, _ = made
    server = Mirror(dict(bodies))
    sums = {p: hashlib.sha256(b).hexdigest() for p, b in bodies.items()}
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("RSNB_DATA", str(folder))
    monkeypatch.setenv("RSNB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RSNB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(
        "time.sleep", lambda seconds: None
    )  # between the client's tries
    configs = open_clip.factory._MODEL_CONFIGS
    monkeypatch.setitem(configs, "ViT-B-32-quickgelu", SMALL_CLIP)
    pin = hub.PINNED["rsicd"]
    where = f"/datasets/{pin.repo}/resolve/{pin.revision}"
    files = tuple(
        (f, sums[f"{where}/{f}"], len(bodies[f"{where}/{f}"])) for f, *_ in pin.files
    )
    monkeypatch.setattr(hub, "PINNED", {"rsicd": replace(pin, files=files)})
    total, test = sum(SPLITS.values()), SPLITS["test"]
    known = {n: (total, 5 * total, "beside images/") for n in SETS}
    for module in (data, cards):
        monkeypatch.setattr(module, "CARDS", known)
    monkeypatch.setattr(reproduce, "TEST", dict.fromkeys(SETS, (test, 5 * test)))
    monkeypatch.setattr(backbones, "REGISTRY", dict(backbones.REGISTRY))
    for path, digest in sums.items():
        for name, entry in backbones.REGISTRY.items():
            file, _, commit = entry.weights.removeprefix("hub:").partition("@")
            owner, repo, rest = file.split("/", 2)
            if path == f"/{owner}/{repo}/resolve/{commit}/{rest}":
                backbones.REGISTRY[name] = replace(entry, sha256=digest)
    yield server
    server.httpd.shutdown()
    server.httpd.server_close()


def unpin(name: str) -> None:
    """Forget the pinned sha256, so that what the server states must do."""
    known = cells.BACKBONES[name]
    backbones.REGISTRY[known] = replace(backbones.REGISTRY[known], sha256=None)


def truth(made, name: str, kind: str, gelu: str = "quickgelu") -> dict[str, float]:
    """Return recalls by a shorter way: the weights in memory, the test split."""
    model = backbones.build(SMALL_CLIP, gelu)
    model.load_state_dict(made[2][name])
    entry = backbones.Entry("ViT-B-32-quickgelu", gelu, "")
    known = backbones.wrap("x", model, entry, "")
    test = data.load(kind).where("test")
    img = known.encode_images(load_pixels(test, 64, cache=False))
    txt = known.encode_texts(test.captions)
    return evaluate_embeddings(txt, img, test.gt).as_dict()


def publish(monkeypatch, figures, shift=0.0, std=None):
    """Let every row of the published table be these figures, moved by `shift`."""
    cut = tuple(figures[k] + shift for k in METRICS)
    about = "readme", "its page", "CLIP", "nothing", "none", ""
    row = Row("A system", "", "", 0.0, cut, figures["mR"] + shift, std, *about)
    monkeypatch.setattr(published, "rows", lambda *_: [row])


def run(*argv: object) -> int:
    return cli.main(["reproduce", *map(str, argv)])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", SETS)
def test_every_backbone_on_every_set(made, mirror, monkeypatch, capsys, kind, name):
    monkeypatch.setattr(published, "rows", lambda *_: [])
    assert run(kind, "--backbone", name) == 0  # which also fetches rsicd
    said = capsys.readouterr().out
    assert "no published row to compare with" in said
    want = truth(made, name, kind)
    path = said.split("receipt: ")[1].split("\n")[0]
    facts = json.loads(Path(path).read_text())
    assert facts["figures"]["recalls"] == pytest.approx(want)
    assert facts["command"] == cells.Cell(kind, name, "zero-shot").command
    assert facts["inputs"]["data"] and len(facts["figures"]["probe"]) == 16
    publish(monkeypatch, want, shift=0.4)
    assert run(kind, "--backbone", name) == 0
    assert "inside the tolerance" in capsys.readouterr().out


def test_a_row_that_is_not_reached_is_1(made, mirror, monkeypatch, capsys):
    want = truth(made, "clip-b32", "ucm")
    publish(monkeypatch, want, shift=3.0)
    assert run("ucm") == 1
    said = capsys.readouterr().out
    assert "-3.00" in said and "its page" in said and "outside the tolerance" in said
    assert run("ucm", "--tolerance", 3.5) == 0
    publish(monkeypatch, want, shift=3.0, std=1.6)  # twice that is more than a point
    assert run("ucm") == 0
    publish(monkeypatch, {**want, "t2i_r5": want["t2i_r5"] + 6}, shift=0.5)
    assert run("ucm") == 1


@pytest.mark.parametrize("pinned", [True, False])
def test_wrong_content_is_2_and_not_kept(mirror, capsys, pinned):
    if not pinned:
        unpin("remoteclip-b32")
    mirror.faults = ["flip"]
    assert run("ucm", "--backbone", "remoteclip-b32") == 2
    err = capsys.readouterr().err
    assert "RemoteCLIP-ViT-B-32.pt: sha256 of the content is" in err
    assert run("ucm", "--backbone", "remoteclip-b32", "--tolerance", 99) == 0


def test_a_mirror_with_other_content_is_2(made, mirror, capsys):
    body = io.BytesIO()
    torch.save(state(7), body)
    path = next(p for p in mirror.files if p.endswith("RS5M_ViT-B-32.pt"))
    mirror.files[path] = body.getvalue()
    assert run("ucm", "--backbone", "georsclip-b32") == 2
    assert "sha256 of the content is" in capsys.readouterr().err


def test_a_file_that_changed_later_is_2(mirror, tmp_path, capsys):
    unpin("georsclip-b32")
    argv = "ucm", "--backbone", "georsclip-b32", "--tolerance", 99
    assert run(*argv) == 0
    [blob] = (p for p in tmp_path.glob("hf/models--Zilun*/blobs/*") if p.is_file())
    body = bytearray(blob.read_bytes())
    body[len(body) // 2] ^= 1
    blob.write_bytes(body)
    assert run(*argv) == 2
    assert "as known for it" in capsys.readouterr().err
    assert run(*argv) == 0  # fetched anew


def test_rsicd_with_wrong_content_is_2(mirror, capsys):
    mirror.faults = ["", "flip"]
    assert run("rsicd") == 2
    assert "valid-00000-of-00001.parquet: sha256" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"test": "val"}, "has no split 'test'"),
        ({"test_0": "train"}, "7 images and 35 captions in its test split, not 8"),
        ({"test_0": ""}, "count off"),
    ],
)
def test_a_missing_split_is_2(mirror, tmp_path, monkeypatch, capsys, change, said):
    folder = tmp_path / "data" / "rsitmd"
    karpathy(folder, "dataset_RSITMD.json")
    monkeypatch.setenv("RSNB_DATA", str(folder.parent))
    path = folder / "dataset_RSITMD.json"
    [(start, split)] = change.items()
    rows = json.loads(path.read_text())["images"]
    for row in rows:
        if row["filename"].startswith(start):
            row["split"] = split
    path.write_text(json.dumps({"images": [r for r in rows if r["split"]]}))
    assert run("rsitmd") == 2
    assert said in capsys.readouterr().err


def test_missing_data_is_2_and_says_where_it_belongs(
    mirror, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("RSNB_DATA", str(tmp_path))
    assert run("rsitmd") == 2
    assert "put there: beside images/" in capsys.readouterr().err


def test_the_wrong_activation_is_2(made, mirror, monkeypatch, capsys):
    right, wrong = (truth(made, "clip-b32", "ucm", g) for g in ("quickgelu", "gelu"))
    assert abs(right["mR"] - wrong["mR"]) > 1
    publish(monkeypatch, right)
    assert run("ucm", "--activation", "gelu") == 2
    err = capsys.readouterr().err
    assert "reaches the published recalls with quickgelu, not with gelu" in err
    assert run("ucm", "--activation", "quickgelu") == 0
    publish(monkeypatch, wrong)  # weights whose entry is wrong
    assert run("ucm") == 2
    assert "Give --activation gelu" in capsys.readouterr().err


def test_a_stored_probe_tells_the_activation_without_data(made, mirror, capsys):
    name = cells.BACKBONES["clip-b32"]
    known = replace(backbones.REGISTRY[name], probe=probe(backbones.load(name)))
    backbones.REGISTRY[name] = known
    assert run("ucm", "--activation", "gelu") == 2
    assert "probe differs" in capsys.readouterr().err
    assert run("ucm", "--tolerance", 99) == 0


@pytest.mark.parametrize("kind", ["ucm", "rsicd"])
def test_no_network_is_3(mirror, monkeypatch, capsys, kind):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert run(kind) == 3
    err = capsys.readouterr().err
    assert "refused" in err and "when the server can be reached" in err


@pytest.mark.parametrize("switch", ["RSNB_OFFLINE", "HF_HUB_OFFLINE"])
@pytest.mark.parametrize("kind", ["ucm", "rsicd"])
def test_offline_by_choice_is_2(mirror, monkeypatch, capsys, kind, switch):
    monkeypatch.setenv(switch, "1")
    assert run(kind) == 2
    assert "offline mode forbids a fetch" in capsys.readouterr().err
    assert not mirror.seen


def test_a_refusal_is_2(mirror, capsys):
    mirror.files.clear()
    assert run("ucm") == 2
    assert "404" in capsys.readouterr().err


def test_a_second_run_needs_no_network(made, mirror, monkeypatch, capsys):
    publish(monkeypatch, truth(made, "clip-b32", "ucm"))
    assert run("ucm") == 0
    first, seen = capsys.readouterr().out, len(mirror.seen)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert run("ucm") == 0
    monkeypatch.setenv("RSNB_OFFLINE", "1")
    assert run("ucm") == 0
    assert capsys.readouterr().out == first * 2 and len(mirror.seen) == seen


def test_a_cut_download_goes_on_within_one_run(mirror, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 2**16)
    mirror.faults = ["cut", "cut"]
    assert run("ucm", "--tolerance", 99) == 0
    assert [bool(span) for _, span in mirror.seen] == [False, True, True]


def recalls(name):
    """Return the recalls in the receipt of a run."""
    place = cache_dir() / "reproduce" / f"{name}.json"
    return json.loads(place.read_text())["figures"]["recalls"]


def test_rrsitr_trains_from_the_backbone(made, mirror, monkeypatch, capsys):
    argv = "rsitmd", "--method", "rrsitr", "--epochs", 1, "--limit", 16
    assert run(*argv, "--noise", 0.4) == 0
    said = capsys.readouterr().out
    pairs = data.load("rsitmd").with_val()
    assert pairs.split.count("val") == 2 and pairs.split.count("train") == 18
    assert pairs.source["sha256"] != data.load("rsitmd").source["sha256"]
    name = "rsitmd-clip-b32-rrsitr-noise40-trial"
    assert "not judged" in said and f"{name}.json" in said
    assert recalls(name) != pytest.approx(truth(made, "clip-b32", "rsitmd"))


def test_text_to_text_from_a_file_of_captions(mirror, monkeypatch, tmp_path, capsys):
    test = data.load("ucm").where("test")
    rows = ({"image": i, "caption": test.captions_of(k)[0]}
            for k, i in enumerate(test.ids))  # fmt: skip
    path = tmp_path / "said.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = []
    monkeypatch.setattr(published, "rows", lambda *how: asked.append(how) or [])
    assert run("ucm", "--method", "t2t", "--captioner", path) == 0
    assert asked == [("ucm", "t2t", 0.0)] and not mirror.seen
    row = next(x for x in capsys.readouterr().out.split("\n") if x[:7] == "i2t_r1 ")
    assert float(row.split()[1]) == 100


def test_captions_that_cannot_be_used_are_2(mirror, tmp_path, capsys):
    ids = data.load("ucm").where("test").ids
    path = tmp_path / "said.jsonl"
    path.write_text(
        "".join(json.dumps({"image": i, "caption": "."}) + "\n" for i in ids)
    )
    assert run("ucm", "--method", "t2t", "--captioner", path) == 2
    assert "none of its 8 records is usable" in capsys.readouterr().err


def test_cadre_refines_the_backbone(mirror, monkeypatch, capsys):
    short = partial(Lesson, epochs=2, batch=8)  # sixteen images fill no usual batch
    monkeypatch.setattr("rsnb.cadre.qgd.Lesson", short)
    refine, found = reproduce.Cadre.refine, []
    monkeypatch.setattr(
        reproduce.Cadre, "refine", lambda *a: found.append(refine(*a)) or found[-1]
    )
    argv = "--backbone", "remoteclip-b32", "--method", "cadre"
    assert run("rsicd", *argv, "--captioner", "world-vlm") == 0
    assert "no published row" in capsys.readouterr().out
    gt = data.load("rsicd").where("test").gt
    own = recalls("rsicd-remoteclip-b32-cadre-world-vlm")
    assert own == pytest.approx(found[0].scores.evaluate(gt).as_dict())


def test_record_writes_a_receipt_of_the_book(made, mirror, monkeypatch, tmp_path):
    monkeypatch.setattr("rsnb.report.root", lambda: tmp_path)
    publish(monkeypatch, truth(made, "clip-b32", "ucm"))
    assert run("ucm", "--record") == 0
    path = tmp_path / "book/results/reproduce/ucm-clip-b32-zero-shot.json"
    facts = json.loads(path.read_text())
    assert facts["figures"]["verdict"] == "inside" and facts["inputs"]["weights"]
    assert facts["command"] == cells.Cell("ucm", "clip-b32", "zero-shot").command


@pytest.mark.parametrize(
    "argv",
    [["nwpu"], ["ucm", "--backbone", "clip"], ["ucm", "--method", "magic"],
     ["ucm", "--noise", "0.2"], ["ucm", "--method", "rrsitr", "--epochs", "0"],
     ["ucm", "--tolerance", "nan"], ["ucm", "--tolerance", "-1"],
     ["ucm", "--method", "cadre", "--captioner", __file__], ["ucm", "--device", "tpu"]],
)  # fmt: skip
def test_unknown_cells_are_2(argv, capsys):
    assert run(*argv) == 2
    assert capsys.readouterr().err.startswith("rsnb: ")


def test_cells_name_what_they_need():
    found = cells.cells()
    assert len(found) == 3 * (3 * 3 + 1) == len({c.command for c in found})
    one = cells.Cell("rsitmd", "georsclip-b32", "cadre")
    assert one.needs[0] == "Zilun/GeoRSCLIP/ckpt/RS5M_ViT-B-32.pt"
    assert one.needs[1:] == ("Qwen/Qwen2.5-VL-3B-Instruct", "rsitmd")
    own = cells.Cell("ucm", method="t2t", captioner="x").command
    assert own == "python -m rsnb reproduce ucm --method t2t --captioner x"
    odd = cells.Cell("ucm", method="t2t", captioner="a/x", activation="gelu").name
    assert odd == "ucm-t2t-gelu-x"
    noisy = [cells.Cell("ucm", method="rrsitr", noise=r).name for r in (0.2, 0.204)]
    assert noisy == ["ucm-clip-b32-rrsitr-noise20", "ucm-clip-b32-rrsitr-noise20.4"]
    for cell in found:  # every command is one that the command line takes
        known = cli._parser().parse_args(cell.command.split()[3:])
        assert (known.data, known.method) == (cell.data, cell.method)
    keys = {r.key for r in published.rows() if r.data in cells.TEST}
    assert keys - {""} <= {c.key for c in found}
    with pytest.raises(ParameterError, match="zero-shot, rrsitr"):
        cells.Cell("ucm", method="zeroshot")
