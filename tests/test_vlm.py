"""Captioning with real transformers classes, on small checkpoints built here.

Each is saved with its processor and loaded by the code that loads published models.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from huggingface_hub import HfApi
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import rsnb.vlm
from rsnb.captioners import PROMPTS, Prompt, TransformersCaptioner, describe
from rsnb.errors import BackboneError, DataError, FileCorruptError, ParameterError
from rsnb.files import write_with_receipt
from rsnb.likelihood import _by_word
from test_prompts import five, variant
from toy import squares

KINDS = ("llava", "llava_next", "qwen", "fast_vlm")
SAY = Prompt(
    ("describe this", "what is at the top", "say which things you see here"), 16
)
WORDS = (
    "a the red green blue field water road ship plane left right top many some what is "
    "at describe this say which things you see here"
).split()
MARKS = "<pad> <s> </s> <unk> <image> <video> <start> <end> USER: ASSISTANT:".split()
PAD, BOS, EOS, IMAGE = 0, 1, 2, 4
# Begins with <s>, as published ones do, and the tokenizer adds <s> of its own.
TEMPLATE = (
    "<s> {% for m in messages %}USER: {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}IMAGE {% else %}{{ c['text'] }} {% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
TEXT = {
    "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3,
    "pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS,
}  # fmt: skip
CLIP = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "image_size": 32, "patch_size": 8, "projection_dim": 32,
    "initializer_range": 0.5,
}  # fmt: skip


def tokenizer(kind, pieces=(), side="right"):
    from transformers import PreTrainedTokenizerFast

    marks = list(MARKS)
    if kind == "qwen":  # whose processor knows these names and no others
        marks[4:6] = "<|image_pad|>", "<|video_pad|>"
    vocab = {w: i for i, w in enumerate([*marks, *WORDS, *pieces])}
    named = dict(zip(("pad", "bos", "eos", "unk"), MARKS, strict=False))
    words = Tokenizer(models.WordLevel(vocab, MARKS[3]))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", BOS)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words, additional_special_tokens=marks[4:], padding_side=side,
        **{f"{k}_token": mark for k, mark in named.items()},
    )  # fmt: skip


def parts(kind, words):
    """Return an untrained model and its processor."""
    import transformers as tf

    text = {**TEXT, "vocab_size": len(words)}
    crop = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    both = {"patch_size": 8, "vision_feature_select_strategy": "default"}
    both |= {"num_additional_image_tokens": 1}
    chat = {"chat_template": TEMPLATE.replace("IMAGE", "<image>")}
    if kind == "qwen":
        vision = {
            "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 4,
            "out_hidden_size": 64, "patch_size": 4, "window_size": 16,
            "fullatt_block_indexes": [1], "initializer_range": 0.5,
        }  # fmt: skip
        rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}
        net = tf.Qwen2_5_VLForConditionalGeneration(tf.Qwen2_5_VLConfig(
            vision_config=vision, text_config={**text, "rope_parameters": rope},
            image_token_id=IMAGE, video_token_id=5, vision_start_token_id=6,
            vision_end_token_id=7,
        ))  # fmt: skip
        size = {"patch_size": 4, "merge_size": 2}
        pixels = tf.Qwen2VLImageProcessor(**size, min_pixels=64, max_pixels=1024)
        video = tf.Qwen2VLVideoProcessor(**size)
        chat = {
            "chat_template": TEMPLATE.replace("IMAGE", "<start> <|image_pad|> <end>")
        }
        return net, tf.Qwen2_5_VLProcessor(pixels, words, video, **chat)
    if kind == "fast_vlm":
        vision = tf.TimmWrapperConfig(
            architecture="test_resnet", do_pooling=False, hidden_size=96
        )
        net = tf.FastVlmForConditionalGeneration(tf.FastVlmConfig(
            vision_config=vision, text_config=tf.Qwen2Config(**text),
            image_token_index=IMAGE, image_seq_length=4,
        ))  # fmt: skip
        for weight in net.model.multi_modal_projector.parameters():
            weight.data *= 30  # or the image counts for too little
        square = {"size": {"height": 64, "width": 64}, "do_center_crop": False}
        pixels = tf.CLIPImageProcessor(**square)
        both = {"patch_size": 32, "vision_feature_select_strategy": "full"}
        return net, tf.LlavaProcessor(pixels, words, **both, **chat)
    towers = {"vision_config": tf.CLIPVisionConfig(**CLIP), "image_token_index": IMAGE}
    towers |= {"text_config": tf.LlamaConfig(**text), "image_seq_length": 16}
    if kind == "llava":
        net = tf.LlavaForConditionalGeneration(tf.LlavaConfig(**towers))
        pixels = tf.CLIPImageProcessor(**crop)
        return net, tf.LlavaProcessor(pixels, words, **both, **chat)
    grid = {"image_grid_pinpoints": [[32, 64], [64, 32], [64, 64]]}
    net = tf.LlavaNextForConditionalGeneration(tf.LlavaNextConfig(**towers, **grid))
    pixels = tf.LlavaNextImageProcessor(**crop, **grid)
    return net, tf.LlavaNextProcessor(pixels, words, **both, **chat)


def wire(net, ids):
    """Make a model say `ids` whatever it sees: each token leads to the next."""
    language, head = net.model.language_model, net.get_output_embeddings().weight.data
    for layer in language.layers:
        layer.self_attn.o_proj.weight.data.zero_()
        layer.mlp.down_proj.weight.data.zero_()
    known = torch.nn.functional.normalize(torch.randn(head.shape), dim=1)
    language.embed_tokens.weight.data.copy_(known)
    head.zero_()
    for here, then in zip([MARKS.index("ASSISTANT:"), *ids], ids, strict=False):
        head[then] += known[here]


def save(folder, kind, pieces=None, side="right"):
    """Save a checkpoint; with `pieces` it says these, and ends if the last is EOS."""
    torch.manual_seed(1)
    words = tokenizer(kind, [p for p in pieces or () if p not in MARKS + WORDS], side)
    net, processor = parts(kind, words)
    if pieces:
        wire(net, [words.convert_tokens_to_ids(p) for p in pieces])
    processor.save_pretrained(folder)
    net.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def random(tmp_path_factory):
    """Return kind → folder of a random checkpoint."""
    return {k: save(tmp_path_factory.mktemp(k), k) for k in KINDS}


def pictures(n=8):
    rng = np.random.default_rng(0)
    sizes = [(30 + 9 * (k % 5), 40 + 7 * (k % 3)) for k in range(n)]
    return [
        Image.fromarray(rng.integers(0, 256, (*s, 3)).astype(np.uint8)) for s in sizes
    ]


def first_answers(monkeypatch, captioner, images, prompt=SAY):
    """Return [image][turn] first answers, before they are parsed."""
    monkeypatch.setattr(rsnb.vlm, "settle", lambda i, answers, *_: answers)
    return captioner.describe(images, prompt, [str(k) for k in range(len(images))])


def spy(captioner, monkeypatch):
    """Return a list that fills with what the model is given."""
    calls, generate = [], captioner.net.generate

    def spied(**kw):
        calls.append(kw)
        return generate(**kw)

    monkeypatch.setattr(captioner.net, "generate", spied)
    return calls


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_alone_and_in_a_batch_get_the_same_answer(random, kind, monkeypatch):
    captioner = TransformersCaptioner.load(random[kind], batch=8)
    assert captioner.processor.tokenizer.padding_side == "left"  # saved as right
    calls = spy(captioner, monkeypatch)
    together = first_answers(monkeypatch, captioner, pictures())
    assert [len(c["input_ids"]) for c in calls] == [8, 8, 8]
    masks = torch.cat([c["attention_mask"].diff(dim=1).min(1)[0] for c in calls])
    assert (masks == 0).all()  # never from 1 back to 0: all blanks are on the left
    assert any((c["attention_mask"] == 0).any() for c in calls)
    captioner.batch = 1
    alone = [first_answers(monkeypatch, captioner, [x])[0] for x in pictures()]
    assert together == alone
    texts = {a.text for answers in alone for a in answers}
    assert (
        len(texts) > 20
    )  # of 24: they look at image and prompt, so the test has power
    assert {a.status for answers in alone for a in answers} == {"ok", "truncated"}


def test_padding_on_the_right_would_change_answers_and_is_refused(random, monkeypatch):
    captioner = TransformersCaptioner.load(random["llava"])
    right = first_answers(monkeypatch, captioner, pictures())
    captioner.processor.tokenizer.padding_side = "right"
    with pytest.raises(BackboneError, match="pads on the right"):
        captioner.describe(pictures(), SAY, list("abcdefgh"))
    captioner.batch = 1
    assert first_answers(monkeypatch, captioner, pictures()) == right

    class Blind(torch.Tensor):
        def all(self, *_):
            return True

    captioner.batch, process = 8, captioner.processor
    monkeypatch.setattr(
        type(process), "__call__", _masked(type(process).__call__, Blind)
    )
    assert first_answers(monkeypatch, captioner, pictures()) != right


def _masked(call, kind):
    def called(self, *args, **kw):
        out = call(self, *args, **kw)
        out["attention_mask"] = out["attention_mask"].as_subclass(kind)
        return out

    return called


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_answers_in_json_makes_records(tmp_path, kind, monkeypatch):
    rows = [json.dumps(variant(k)) for k in range(5)]
    pieces = ['{"variants": [', *[f"{r}," for r in rows[:4]], rows[4], "] }", "</s>"]
    captioner = TransformersCaptioner.load(save(tmp_path / "m", kind, pieces))
    calls = spy(captioner, monkeypatch)
    prompt = Prompt(("describe this plane",), 8)
    records = captioner.describe(pictures(3), prompt, list("abc"))
    assert [r.image for r in records] == list("abc")
    for record in records:
        assert record.usable, record.reason
        said = [vars(v) for v in record.variants]
        assert said == [variant(k) for k in range(5)]
        assert not any("describe" in t or "USER" in t for t in record.texts())
    assert len(calls) == 1
    assert (calls[0]["input_ids"] == BOS).sum(1).tolist() == [1] * 3  # begun once
    # one token less, and the end does not come
    (record,) = captioner.describe(pictures(1), Prompt(prompt.turns, 7), ["a"])
    assert record.status == "truncated" and record.raw == " ".join(pieces[:-1])
    assert "asked 3 times" in record.reason


def test_through_the_driver_with_five_turns(tmp_path):
    """The path of the embedded captioner: a variant a turn, JSON Lines, resumed."""
    pieces = [json.dumps(variant(0)), "</s>"]
    folder = save(tmp_path / "m", "fast_vlm", pieces)
    data, path = squares(5, "test"), tmp_path / "c.jsonl"
    captioner = TransformersCaptioner.load(folder, batch=40)
    records = describe(data, captioner, PROMPTS["world"], path)
    assert [r.status for r in records] == ["invalid"] * 5  # five times the same words
    assert records[0].reason == "repeated variant"
    other = save(tmp_path / "n" / "m", "fast_vlm", [*pieces[:1], "red", "</s>"])
    other = TransformersCaptioner.load(other)
    assert (other.model, captioner.model) == ("m", "m")
    with pytest.raises(DataError, match="another run"):
        describe(data, other, PROMPTS["world"], path)


def test_texts_that_are_no_json_are_unparsed_and_kept(tmp_path):
    captioner = TransformersCaptioner.load(
        save(tmp_path / "m", "llava", ["red", "ship", "</s>"])
    )
    (record,) = captioner.describe(pictures(1), SAY, ["a"])
    assert (record.status, record.raw) == ("unparsed", "red ship")
    captioner = TransformersCaptioner.load(save(tmp_path / "n", "llava", ["</s>"]))
    (record,) = captioner.describe(pictures(1), SAY, ["a"])
    assert (record.status, record.raw) == ("unparsed", "")
    assert "empty answer; asked 3 times" in record.reason


def test_sampling_is_seeded_apart_from_neighbours_and_leaves_no_trace(random):
    captioner = TransformersCaptioner.load(random["llava"], batch=8)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    records = captioner.describe(pictures(4), SAY, list("abcd"))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert captioner.describe(pictures(4)[2:], SAY, list("cd")) == records[2:]


def test_a_turn_is_asked_again_with_its_own_image_and_words(random, monkeypatch):
    captioner = TransformersCaptioner.load(random["llava"], batch=8)
    calls, read = spy(captioner, monkeypatch), captioner.processor.tokenizer.decode
    captioner.describe(pictures(2), SAY, ["a", "b"])
    first, *later = calls
    assert len(first["input_ids"]) == 6 and len(later) == 12
    rows = [
        row for image in (0, 3) for _seed in (1, 2) for row in range(image, image + 3)
    ]
    for call, row in zip(later, rows, strict=True):
        assert SAY.turns[row % 3] in read(call["input_ids"][0])
        assert torch.equal(call["pixel_values"][0], first["pixel_values"][row])
        assert call["do_sample"] and not first["do_sample"]


def test_habits_of_a_checkpoint_do_not_slip_in(random, monkeypatch):
    captioner = TransformersCaptioner.load(random["qwen"])
    plain = first_answers(monkeypatch, captioner, pictures(3))
    habits = {"do_sample": True, "temperature": 5.0, "top_k": 3, "top_p": 0.5}
    for key, value in {**habits, "repetition_penalty": 9.0, "num_beams": 3}.items():
        setattr(captioner.net.generation_config, key, value)
    assert first_answers(monkeypatch, captioner, pictures(3)) == plain


def test_an_image_that_the_processor_refuses_harms_no_other(random):
    captioner = TransformersCaptioner.load(random["qwen"], batch=8)
    images = pictures(4)
    good = captioner.describe(images, SAY, list("abcd"))
    images[1] = Image.new("RGB", (900, 2))
    records = captioner.describe(images, SAY, list("abcd"))
    assert records[1].status == "failed" and "aspect ratio" in records[1].reason
    assert [records[k] for k in (0, 2, 3)] == [good[k] for k in (0, 2, 3)]


def test_a_batch_that_does_not_fit_shrinks(random, monkeypatch):
    captioner = TransformersCaptioner.load(random["llava"], batch=8)
    usual = first_answers(monkeypatch, captioner, pictures())
    generate = captioner.net.generate

    def small(**kw):
        if len(kw["input_ids"]) > 3:
            raise RuntimeError("out of memory")
        return generate(**kw)

    monkeypatch.setattr(captioner.net, "generate", small)
    assert first_answers(monkeypatch, captioner, pictures()) == usual


# A model that gives its prompt back


class Echo:
    """Processor, tokenizer and model in one; words are numbers, replies are prompts."""

    padding_side, pad_token, bos_token, pad_token_id = "right", None, None, 1
    eos_token, eos_token_id, chat_template = "</s>", 1, "a template"
    dtype, device = torch.float32, torch.device("cpu")
    generation_config = SimpleNamespace(eos_token_id=None)

    def __init__(self, then: str) -> None:
        self.tokenizer, self.words, self.then = self, ["", "</s>"], then

    def apply_chat_template(self, chat, add_generation_prompt):
        return chat[0]["content"][1]["text"]

    def __call__(self, images, text, padding, return_tensors, add_special_tokens):
        from transformers import BatchFeature

        self.words += sorted({w for t in [*text, self.then] for w in t.split()})
        ids = torch.tensor([self.code(t) for t in text])
        mask = torch.ones_like(ids)
        return BatchFeature({"input_ids": ids, "attention_mask": mask})

    def code(self, text):
        return [self.words.index(w) for w in text.split()]

    def generate(self, input_ids, **_):
        then = torch.tensor([[*self.code(self.then), 1]] * len(input_ids))
        return torch.cat([input_ids, then], 1)

    def decode(self, ids, skip_special_tokens):
        return " ".join(self.words[i] for i in ids)


@pytest.mark.parametrize("name", PROMPTS)
def test_a_prompt_never_leaks_into_a_caption(name):
    prompt = PROMPTS[name]
    echo = Echo(five())
    (record,) = TransformersCaptioner("echo", "", echo, echo).describe(
        pictures(1), Prompt(prompt.turns[:1]), ["a"]
    )
    assert record.usable and [vars(v) for v in record.variants] == [
        variant(k) for k in range(5)
    ]
    again = Echo(prompt.turns[0])  # says its prompt once more, as its answer
    (record,) = TransformersCaptioner("echo", "", again, again).describe(
        pictures(1), Prompt(prompt.turns[:1]), ["a"]
    )
    assert record.status == "unparsed" and not record.texts()


@pytest.mark.parametrize("lacks", ["chat_template", "eos_token_id"])
def test_a_model_that_cannot_be_asked_is_refused(lacks):
    echo = Echo("")
    setattr(echo, lacks, None)
    with pytest.raises(BackboneError, match="cannot be asked"):
        TransformersCaptioner("echo", "", echo, echo)


# Answers that are given, and how likely they are


def plain(captioner, image, turn, text):
    """Return the log-probability of each token and of the end, without a cache."""
    inputs = captioner.inputs([(image, turn)])
    ids = captioner.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    prompt = inputs["input_ids"].shape
    for key, value in inputs.items():
        if value.shape == prompt:  # else of the image
            more = (
                ids if key == "input_ids" else [int(key == "attention_mask")] * len(ids)
            )
            inputs[key] = torch.cat([value, torch.tensor([more])], 1)
    with torch.no_grad():
        log_p = captioner.net(**inputs).logits[0, prompt[1] - 1 :].log_softmax(-1)
    return [*log_p[range(len(ids)), ids].tolist(), float(log_p[-1, EOS])]


@pytest.mark.parametrize("kind", KINDS)
def test_likelihood_is_that_of_the_whole_text_read_plainly(random, kind):
    captioner = TransformersCaptioner.load(random[kind])
    texts = ["the red road", "red", "a plane at the water", "what  is\nunheard of"]
    texts += [f"a {a} {b}" for a in WORDS[2:10] for b in WORDS[2:10]]  # two batches
    found = {}
    for name, image in enumerate([pictures(2)[1], None, pictures(1)[0]]):
        found[name] = captioner.likelihood(image, SAY.turns[0], texts)
        for text, values in list(zip(texts, found[name], strict=True))[::9]:
            assert values.dtype == np.float32 and len(values) == len(text.split()) + 1
            want = plain(captioner, image, SAY.turns[0], text)
            np.testing.assert_allclose(values, want, atol=1e-4)
    again = captioner.likelihood(None, SAY.turns[0], texts[:2] * 2)  # other neighbours
    for k, values in enumerate(again):
        np.testing.assert_allclose(values, found[1][k % 2], atol=1e-5)
    assert np.abs(found[0][0] - found[1][0]).max() > 0.01  # the image counts
    assert np.abs(found[0][0] - found[2][0]).max() > 1e-3


def test_likelihood_counts_the_tokens_of_a_word_together():
    spans = [(0, 2), (2, 3), (3, 7), (7, 12), (12, 13)]  # th e| red| road|,
    found = _by_word("the red road,", spans, [1, 2, 4, 8, 16, 32])
    assert found.tolist() == [3, 4, 24, 32]
    assert _by_word("a  b ", [(0, 3), (3, 4), (4, 5)], [1, 2, 4, 8]).tolist() == [
        0,
        7,
        8,
    ]


def test_likelihood_of_nothing(random):
    captioner = TransformersCaptioner.load(random["llava"])
    assert captioner.likelihood(None, "describe this", []) == []
    with pytest.raises(ParameterError, match=r"texts \[1\] are blank"):
        captioner.likelihood(None, "describe this", ["red", " "])


@pytest.mark.parametrize("kind", KINDS)
def test_ask_gives_one_answer_for_each_image_and_turn(random, kind):
    captioner = TransformersCaptioner.load(random[kind], batch=3)
    images, turns = pictures(4), [*SAY.turns, SAY.turns[0]]
    together = captioner.ask(images, turns, limit=6)
    captioner.batch = 1
    assert captioner.ask(images, turns, limit=6) == together
    assert len(set(together)) > 2 and all(len(t.split()) <= 6 for t in together)
    # greedy: it begins with what is likeliest; marks are not shown
    every = list(captioner.processor.tokenizer.get_vocab())
    values = captioner.likelihood(images[0], turns[0], every)
    best = every[int(np.argmax([v[0] for v in values]))]
    assert best in together[0].split()[:1] or best not in WORDS
    with pytest.raises(ParameterError, match="one turn about each image"):
        captioner.ask(images, turns[:2])


# Loading


def test_a_checkpoint_says_what_it_is(random):
    one = TransformersCaptioner.load(random["llava"])
    assert one.model == random["llava"].name and len(one.revision) == 64
    assert one.net.dtype == torch.float32 and "float32" in one.decoding["dtype"]
    assert set(one.versions) == {"torch", "transformers"}
    half = TransformersCaptioner.load(random["llava"], dtype="bfloat16")
    assert half.net.dtype == torch.bfloat16
    assert half.describe(pictures(2), SAY, ["a", "b"])[0].status != "failed"


def test_damaged_weights_are_seen(tmp_path):
    folder = save(tmp_path / "m", "fast_vlm")
    weights = folder / "model.safetensors"
    state = load_file(weights)
    write_with_receipt(weights, weights.read_bytes())
    assert TransformersCaptioner.load(folder).model == "m"
    data = bytearray(weights.read_bytes())
    data[-9] ^= 4
    weights.write_bytes(data)  # safetensors would not notice
    with pytest.raises(FileCorruptError, match="sha256"):
        TransformersCaptioner.load(folder)
    (folder / "model.safetensors.json").unlink()
    weights.write_bytes(data[:5000])
    with pytest.raises(BackboneError, match="cannot be loaded"):
        TransformersCaptioner.load(folder)
    state.pop(next(k for k in state if "linear_1" in k))
    save_file(state, weights, {"format": "pt"})
    with pytest.raises(
        BackboneError, match=r"1 weights are not in its files.*linear_1"
    ):
        TransformersCaptioner.load(folder)


def test_no_code_and_no_pickle_is_loaded(tmp_path):
    folder, ran = save(tmp_path / "m", "llava"), tmp_path / "ran"
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(BackboneError, match="safetensors"):
        TransformersCaptioner.load(folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {
        "AutoConfig": "mine.C", "AutoModelForImageTextToText": "mine.M",
    }}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    code = f"from pathlib import Path\nPath({str(ran)!r}).touch()\nclass C: pass\n"
    (folder / "mine.py").write_text(code + "class M: pass\n")
    with pytest.raises(BackboneError, match="cannot be loaded"):
        TransformersCaptioner.load(folder)
    assert not ran.exists()


def test_what_is_no_such_model_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("RSNB_OFFLINE", "1")
    with pytest.raises(BackboneError, match="cannot be loaded"):
        TransformersCaptioner.load("nobody/no-such-model")
    with pytest.raises(BackboneError, match="cannot be loaded"):
        TransformersCaptioner.load(tmp_path)


def test_a_lost_network_is_asked_once(monkeypatch):
    """The loader alone asks for each of six files six times, which takes minutes."""
    asked: list[str] = []

    def no_network(api, name, **_):
        asked.append(name)
        raise ConnectionError("no route")

    monkeypatch.setattr(HfApi, "model_info", no_network)
    monkeypatch.setenv("RSNB_OFFLINE", "0")
    with pytest.raises(BackboneError, match=r"no route.*network once"):
        TransformersCaptioner.load("nobody/no-such-model")
    assert asked == ["nobody/no-such-model"]
