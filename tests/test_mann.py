"""The external memory: it is what the equations say, padding does not touch it, and everything about it learns."""

import copy

import numpy as np
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    Trainer,
    TrainingArguments,
    pipeline,
)

from cift import features, finetuning, mann, models, strategies
from cift.errors import InputError

SIZE, SLOTS = 8, 5


@pytest.fixture
def memory():
    torch.manual_seed(0)
    made = mann.Memory(SIZE, SLOTS)
    with torch.no_grad():
        for weights in made.parameters():
            weights.normal_()
    return made


@pytest.fixture(scope="module")
def small(tiny_model):
    model, tokenizer = models.load(f"mann:{tiny_model}")
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(3)  # so that what differs shows
    return model.eval(), tokenizer


def literally(memory, states, premise, hypothesis):
    """What one pair finds in the memory, from the equations, number by number."""
    states = [torch.nn.functional.layer_norm(x, (SIZE,), memory.norm.weight, memory.norm.bias) for x in states]
    slots = [row.clone() for row in memory.initial]
    for x in (x for x, inside in zip(states, premise, strict=True) if inside):
        key = memory.address.weight @ x
        address = torch.stack([slot @ key / SIZE**0.5 for slot in slots]).softmax(0)
        gate = torch.sigmoid(memory.gate.weight @ x + memory.gate.bias)
        candidate = torch.tanh(memory.candidate.weight @ x + memory.candidate.bias)
        slots = [slot * (1 - w * gate) + w * gate * candidate for slot, w in zip(slots, address, strict=True)]
    found = torch.zeros(SIZE)
    for y in (y for y, inside in zip(states, hypothesis, strict=True) if inside):
        query = memory.seek.weight @ y
        weights = torch.stack([slot @ query / SIZE**0.5 for slot in slots]).softmax(0)
        found += sum(w * slot for w, slot in zip(weights, slots, strict=True))
    return memory.recall.weight @ (found / max(1, sum(hypothesis)))


def test_the_memory_is_what_the_equations_say(memory):
    torch.manual_seed(1)
    states = 3 * torch.randn(4, 9, SIZE)
    premise = torch.tensor([[1] * 5 + [0] * 4, [1] * 2 + [0] * 7, [0, 0] + [1] * 4 + [0] * 3, [1] * 9])
    hypothesis = torch.tensor([[0] * 5 + [1] * 4, [0] * 2 + [1] * 3 + [0] * 4, [0] * 6 + [1] * 3, [0] * 9])
    with torch.no_grad():
        fast = memory(states, premise.float(), hypothesis.float())
        slow = [literally(memory, *pair) for pair in zip(states, premise.tolist(), hypothesis.tolist(), strict=True)]
    torch.testing.assert_close(fast, torch.stack(slow), atol=1e-5, rtol=1e-5)
    assert fast[3].abs().max() == 0 and fast[:3].abs().min(1).values.max() > 0.01  # nobody reads without a hypothesis


def test_padding_is_neither_written_nor_read(memory):
    torch.manual_seed(1)
    states, mask = torch.randn(2, 6, SIZE), torch.tensor([[1.0] * 4 + [0.0] * 2] * 2)
    other = states.clone()
    other[:, 4:] = 100.0
    assert torch.equal(memory.write(states, mask), memory.write(other, mask))
    assert torch.equal(memory.write(states, 0 * mask), memory.initial.expand(2, -1, -1))
    written = memory.write(states, mask)
    assert torch.equal(memory.read(written, states, mask), memory.read(written, other, mask))


def test_slots_stay_within_what_they_held_and_what_is_written(memory):
    with torch.no_grad():
        written = memory.write(100 * torch.randn(3, 50, SIZE), torch.ones(3, 50))
    assert written.abs().max() <= max(1, memory.initial.abs().max())


def test_a_batch_gives_what_each_pair_gives_alone(small, pairs):
    model, tokenizer = small
    rows = finetuning.encode(pairs.select(range(6)), tokenizer)
    with torch.no_grad():
        together = model(**finetuning.collate(rows)).logits
        alone = torch.cat([model(**finetuning.collate([row])).logits for row in rows])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    assert (together[0] - together[3]).abs().max() > 1e-3  # pairs that differ in one word of the premise


def test_every_part_of_the_memory_gets_a_gradient(small, pairs):
    model, tokenizer = copy.deepcopy(small[0]), small[1]
    batch = finetuning.collate(finetuning.encode(pairs.select(range(6)), tokenizer))
    model(**batch, labels=torch.tensor([0, 1, 2] * 2)).loss.backward()
    parts = dict(model.classifier.memory.named_parameters())
    assert {name.split(".")[0] for name in parts} == {
        *("initial", "norm", "address", "gate", "candidate", "seek", "recall")
    }
    assert all(weights.grad.abs().max() > 0 for weights in parts.values())
    assert all(weights.grad is not None for weights in model.parameters())  # nothing idle, which DDP refuses


def test_without_slots_it_is_the_bare_backbone_under_the_same_head(tiny_model, pairs):
    bare, tokenizer = models.load(f"mann-bare:{tiny_model}", seed=3)
    full, _ = models.load(f"mann:{tiny_model}", seed=3)
    assert torch.equal(bare.classifier.dense.weight, full.classifier.dense.weight)
    assert torch.equal(bare.classifier.output.weight, full.classifier.output.weight)
    more = set(full.state_dict()) - set(bare.state_dict())
    assert more and all(name.startswith("classifier.memory.") for name in more)
    batch = finetuning.collate(finetuning.encode(pairs.select(range(4)), tokenizer))
    plain = AutoModelForSequenceClassification.from_pretrained(tiny_model).base_model.eval()
    with torch.no_grad():
        states, weights = plain(**batch).last_hidden_state, batch["attention_mask"][:, :, None].float()
        summary = bare.classifier.dense((states * weights).sum(1) / weights.sum(1)).tanh()
        torch.testing.assert_close(bare(**batch).logits, bare.classifier.output(summary))
        full.classifier.memory.recall.weight.zero_()
        torch.testing.assert_close(full(**batch).logits, bare(**batch).logits)


def test_under_bf16_it_stays_near(small, pairs):
    model, tokenizer = small
    batch = finetuning.collate(finetuning.encode(pairs.select(range(6)), tokenizer))
    with torch.no_grad():
        exact = model(**batch).logits
        with torch.autocast("cpu", torch.bfloat16):
            near = model(**batch).logits.float()
        cast = copy.deepcopy(model).bfloat16()(**batch).logits.float()
    torch.testing.assert_close(near, exact, atol=0.1, rtol=0.1)
    torch.testing.assert_close(cast, exact, atol=0.1, rtol=0.1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_the_gpu_gives_the_cpus_logits_and_gradients(small, pairs):
    model, tokenizer = copy.deepcopy(small[0]), small[1]
    batch = finetuning.collate(finetuning.encode(pairs.select(range(6)), tokenizer))
    results = []
    for where in ("cpu", "cuda"):
        model.to(where)
        output = model(**{key: value.to(where) for key, value in batch.items()})
        grads = torch.autograd.grad(output.logits.square().sum(), list(model.parameters()))
        results.append([output.logits.detach().cpu(), *(grad.cpu() for grad in grads)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


def test_the_trainer_takes_labels_and_a_folder_gives_the_model_back(tiny_model, pairs, tmp_path):
    model, tokenizer = models.load(f"mann:{tiny_model}")
    examples = pairs.map(lambda pair: tokenizer(pair["premise"], pair["hypothesis"]))
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "run"),
        num_train_epochs=15,
        learning_rate=3e-3,
        per_device_train_batch_size=16,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        gradient_checkpointing=True,
    )
    Trainer(model, arguments, train_dataset=examples, processing_class=tokenizer).train()
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    assert [file.name for file in (tmp_path / "model").glob("model*")] == ["model.safetensors"]
    again, _ = models.load(str(tmp_path / "model"))
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in model.state_dict().items())
    classify = pipeline("text-classification", model=str(tmp_path / "model"), device="cpu")
    texts = [{"text": pair["premise"], "text_pair": pair["hypothesis"]} for pair in pairs]
    found = [answer["label"] for answer in classify(texts, batch_size=7)]
    wanted = pairs.features["label"].int2str(pairs["label"])
    assert np.mean([f == w for f, w in zip(found, wanted, strict=True)]) > 0.9


@pytest.mark.parametrize("kind", ["LORA", "PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING"])
def test_peft_trains_the_memory_whole(kind, tiny_model, pairs, tmp_path):
    import peft

    model, tokenizer = models.load(f"mann:{tiny_model}")
    options = {"target_modules": ["query", "value"]} if kind == "LORA" else {"num_virtual_tokens": 4}
    tuned = peft.get_peft_model(model, peft.PEFT_TYPE_TO_CONFIG_MAPPING[kind](task_type="SEQ_CLS", **options))
    batch = finetuning.collate(finetuning.encode(pairs.select(range(3)), tokenizer))
    tuned(**batch, labels=torch.tensor([0, 1, 2])).loss.backward()
    learning = [name for name, weights in tuned.named_parameters() if weights.grad is not None]
    assert any("memory.initial" in name for name in learning) and not any("embeddings.word" in n for n in learning)
    tuned.eval().save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(models.load(f"mann:{tiny_model}", seed=1)[0], tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(**batch).logits, tuned(**batch).logits)


@pytest.mark.parametrize("trainable_layers", [0, 1])
def test_frozen_layers_run_once_and_the_memory_learns_on(trainable_layers, small, pairs):
    model = strategies.prepare(copy.deepcopy(small[0]), "frozen", {"trainable_layers": trainable_layers})
    learning = {name for name, weights in model.named_parameters() if weights.requires_grad}
    assert {name for name in learning if "memory" in name} == {n for n, _ in model.named_parameters() if "memory" in n}
    assert not any("layer.0." in name or "embeddings" in name for name in learning)
    rows = finetuning.encode(pairs, small[1])
    prefix, suffix = features.cut(model, trainable_layers)
    cached = finetuning.logits(suffix, features.cache_states(prefix, rows), 3)
    np.testing.assert_allclose(cached, finetuning.logits(model, rows, 3), atol=0.05)


def test_the_width_is_the_backbones_whatever_its_config_calls_it():
    for kind, options in (("bert", {"hidden_size": 36}), ("distilbert", {"dim": 36}), ("xlm", {"emb_dim": 36})):
        assert mann.hidden_size(AutoConfig.for_model(kind, **options)) == 36
    for name in ("dim", "d_model", "n_embd"):
        assert mann.hidden_size(type("Config", (), {name: 24})()) == 24
    with pytest.raises(InputError, match="the config of mine has none of hidden_size, dim, d_model, n_embd"):
        mann.hidden_size(type("Config", (), {"model_type": "mine"})())


def test_what_cannot_be_is_one_clear_error(small):
    model, _ = small
    with pytest.raises(InputError, match="mann: memory_slots is -1; give 0"):
        mann.MannConfig(text_config=BertConfig(), memory_slots=-1)
    with pytest.raises(InputError, match="mann: t5 does not give one state of its width a token; give another"):
        mann.MannConfig(text_config=AutoConfig.for_model("t5"))
    with pytest.raises(InputError, match="mann: token_type_ids are missing; encode pairs with the tokenizer"):
        model(input_ids=torch.ones(1, 4, dtype=torch.long))
