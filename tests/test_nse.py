"""The Neural Semantic Encoder: equal to its equations, word by word; independent of the batch; trained and kept."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cift import finetuning, nse
from cift.errors import InputError

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))


def small(name, embedding_size=12, **changes):
    torch.manual_seed(0)
    config = nse.NseConfig(
        vocab_size=50,
        embedding_size=embedding_size,
        hidden_size=12,
        head_size=16,
        num_labels=3,
        **nse.VARIANTS[name],
        **changes,
    )
    model = nse.NseForSequenceClassification(config)
    with torch.no_grad():
        for weights in model.parameters():
            weights *= 2  # so that gates close and memories are read in one place
    return model


def batch(lengths=((7, 3), (2, 5), (4, 4), (1, 1))):
    """Pairs of random words; the premise's, the hypothesis's, then padding."""
    torch.manual_seed(1)
    width = max(p + h for p, h in lengths)
    ids = torch.randint(1, 50, (len(lengths), width))
    place = torch.arange(width)
    p, h = (torch.tensor(side)[:, None] for side in zip(*lengths, strict=True))
    return {
        "input_ids": ids,
        "attention_mask": (place < p + h).long(),
        "token_type_ids": ((place >= p) & (place < p + h)).long(),
    }


# the equations, literally: one pair, one word, one gate at a time


def lstm_cell(x, h, c, cell):
    gates = cell.weight_ih @ x + cell.bias_ih + cell.weight_hh @ h + cell.bias_hh
    i, f, g, o = gates.chunk(4)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def encode_literally(words, encoder, other=None):
    """All h of one sentence, and its memory and the other one at the end; words (L, k)."""
    k = words.shape[1]
    memories = [words] if other is None else [words, other]
    o = cell_o = h = cell_h = torch.zeros(k)
    states = []
    for x in words:
        o, cell_o = lstm_cell(x, o, cell_o, encoder.read)
        z = [torch.softmax(memory @ o, 0) for memory in memories]
        m = [memory.T @ z_j for memory, z_j in zip(memories, z, strict=True)]
        c = encoder.compose.weight @ torch.cat([o, *m]) + encoder.compose.bias
        h, cell_h = lstm_cell(c, h, cell_h, encoder.write)
        memories = [
            torch.stack([(1 - z_i) * slot + z_i * h for z_i, slot in zip(z_j, memory, strict=True)])
            for z_j, memory in zip(z, memories, strict=True)
        ]
        states.append(h)
    return torch.stack(states), memories


def logits_literally(model, ids, mask, types):
    parts = model.nse
    table, present = parts.word_embeddings.weight, mask == 1
    p, h = (torch.stack([parts.projection(table[i]) for i in ids[present & (types == side)]]) for side in (0, 1))
    states, memories = encode_literally(p, parts.encoder)
    h_p = states[-1]
    if parts.hypothesis_encoder is None:
        h_h = encode_literally(h, parts.encoder)[0][-1]
    else:
        h_h = encode_literally(h, parts.hypothesis_encoder, memories[0])[0][-1]
    if parts.attention is not None:
        w, w1, w2 = parts.attention.score.weight[0], parts.attention.of_state.weight, parts.attention.of_query.weight
        e = torch.stack([w @ torch.relu(w1 @ h_l + w2 @ h_h) for h_l in states])
        h_p = (torch.softmax(e, 0)[:, None] * states).sum(0)
    hidden, _, _, last = model.classifier
    features = torch.cat([h_p, h_h, h_p - h_h, h_p * h_h])
    return last.weight @ torch.relu(hidden.weight @ features + hidden.bias) + last.bias


@pytest.mark.parametrize("name", nse.VARIANTS)
@pytest.mark.parametrize("embedding_size", [12, 8])
def test_the_model_is_its_equations(name, embedding_size):
    model, inputs, labels = small(name, embedding_size).eval(), batch(), torch.tensor([0, 2, 1, 1])
    output = model(**inputs, labels=labels)
    expected = torch.stack([logits_literally(model, *row) for row in zip(*inputs.values(), strict=True)])
    torch.testing.assert_close(output.logits, expected, atol=1e-5, rtol=0)
    found = torch.autograd.grad(output.loss, model.parameters())
    wanted = torch.autograd.grad(torch.nn.functional.cross_entropy(expected, labels), model.parameters())
    for one, other, (weights, _) in zip(found, wanted, model.named_parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5, msg=lambda m, w=weights: f"{w}: {m}")
        assert other.abs().max() > 1e-6, weights  # or the comparison would say nothing


@pytest.mark.parametrize("name", nse.VARIANTS)
def test_a_pair_alone_and_in_a_batch(name):
    model, inputs = small(name).eval(), batch()
    together = model(**inputs).logits
    for i, (p, h) in enumerate([(7, 3), (2, 5), (4, 4), (1, 1)]):
        alone = {key: value[i : i + 1, : p + h] for key, value in inputs.items()}
        torch.testing.assert_close(model(**alone).logits[0], together[i], atol=1e-5, rtol=0)


def test_padding_may_lie_anywhere_and_hold_anything():
    model, inputs = small("mma-nse-attention").eval(), batch()
    expected = model(**inputs).logits
    inputs["input_ids"] = torch.where(inputs["attention_mask"] == 0, 9, inputs["input_ids"])
    spare = 10 - inputs["attention_mask"].sum(1)
    place = (torch.arange(10) - spare[:, None]) % 10
    in_front = {key: value.gather(1, place) for key, value in inputs.items()}
    torch.testing.assert_close(model(**in_front).logits, expected, atol=1e-5, rtol=0)
    whole = spare == 0
    del inputs["attention_mask"]
    torch.testing.assert_close(model(**inputs).logits[whole], expected[whole], atol=1e-5, rtol=0)


def test_inputs_may_be_word_vectors():
    model, inputs = small("nse", embedding_size=8).eval(), batch()
    expected = model(**inputs).logits
    vectors = model.get_input_embeddings()(inputs.pop("input_ids")).requires_grad_()
    found = model(inputs_embeds=vectors, **inputs).logits
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    touched = vectors.grad.abs().sum(-1) > 0
    assert torch.equal(touched, inputs["attention_mask"] == 1)


def test_dropout_acts_in_training_only_and_follows_the_seed():
    model, inputs = small("nse"), batch()

    def logits(seed, training):
        torch.manual_seed(seed)
        return model.train(training)(**inputs).logits

    assert torch.equal(logits(0, True), logits(0, True)) and not torch.equal(logits(0, True), logits(1, True))
    assert torch.equal(logits(0, False), logits(1, False))
    mask = nse._dropout_mask(torch.empty(1000, 1001), torch.nn.Dropout(0.3))
    assert sorted(mask.unique().tolist()) == pytest.approx([0, 1 / 0.7])
    assert mask.mean().item() == pytest.approx(1, abs=0.004)  # 6 standard errors
    assert nse._dropout_mask(mask, torch.nn.Dropout(0)) is None


def test_the_plain_version_of_the_benchmark_computes_the_same():
    from nse_plain import PlainNse

    model, inputs = small("nse", embedding_size=8).eval(), batch()
    plain = PlainNse(model.config).eval()
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(plain(**inputs), model(**inputs).logits, atol=1e-5, rtol=0)


def test_bf16_is_near_fp32_and_its_gradients_are_fp32():
    model, inputs = small("mma-nse-attention", embedding_size=8), batch()
    labels = torch.tensor([0, 2, 1, 1])
    model.eval()
    exact = model(**inputs, labels=labels)
    wanted = torch.autograd.grad(exact.loss, list(model.parameters()))
    with torch.autocast("cpu", torch.bfloat16):
        output = model(**inputs, labels=labels)
    found = torch.autograd.grad(output.loss, list(model.parameters()))
    assert output.logits.dtype == torch.bfloat16 and {grad.dtype for grad in found} == {torch.float32}
    torch.testing.assert_close(output.logits.float(), exact.logits, atol=0.05, rtol=0)
    one, other = (torch.cat([grad.flatten() for grad in grads]) for grads in (found, wanted))
    assert torch.nn.functional.cosine_similarity(one, other, dim=0) > 0.99


def test_missing_sentences_are_one_clear_error():
    model, inputs = small("nse"), batch()
    with pytest.raises(InputError, match="token_type_ids are missing, so premise and hypothesis cannot be told apart"):
        model(input_ids=inputs["input_ids"])
    with pytest.raises(InputError, match="neither input_ids nor inputs_embeds"):
        model()
    inputs["token_type_ids"][2] = 0
    with pytest.raises(InputError, match="row 2 of the batch has no hypothesis .*both sentences have a word"):
        model(**inputs)
    inputs["attention_mask"][1] = 0
    with pytest.raises(InputError, match="row 1 of the batch has no premise"):
        model(**inputs)


def test_configurations_that_cannot_be_meant():
    with pytest.raises(InputError, match="memory is 'both'; choose shared or multiple"):
        nse.NseConfig(memory="both")
    with pytest.raises(InputError, match='attention needs memory="multiple"'):
        nse.NseConfig(attention=True)
    with pytest.raises(InputError, match="'nse-2' is unknown; choose from nse, mma-nse, mma-nse-attention"):
        nse.build("nse-2")


def test_word_vectors_are_never_trained_and_a_new_memory_forgets_little():
    model = nse.NseForSequenceClassification(nse.NseConfig(vocab_size=50, hidden_size=12, embedding_size=12))
    assert not any("embeddings" in name for name, _ in model.named_parameters())
    assert "nse.word_embeddings.weight" in model.state_dict()
    for cell in (model.nse.encoder.read, model.nse.encoder.write):
        assert torch.equal(cell.bias_ih[12:24], torch.ones(12))
        assert 0 < cell.weight_ih.abs().max() <= 12**-0.5


@pytest.fixture(scope="module")
def built():
    return nse.build("mma-nse-attention", seed=1)


def test_built_models_are_seeded_and_leave_the_random_state_alone(built):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    (same, tokenizer), (other, _) = nse.build("mma-nse-attention", seed=1), nse.build("mma-nse-attention", seed=2)
    assert torch.rand(1) == expected
    states = [model.state_dict() for model in (built[0], same, other)]
    assert all(torch.equal(one, two) for one, two in zip(states[0].values(), states[1].values(), strict=True))
    assert not torch.equal(states[0]["classifier.0.weight"], states[2]["classifier.0.weight"])
    assert same.config.id2label == {0: "entailment", 1: "neutral", 2: "contradiction"}
    assert same.config.default_learning_rate == 3e-4 and same.config.hidden_size == 300
    cut = tokenizer("A cat sleeps.", "It rests.")
    assert tokenizer.convert_ids_to_tokens(cut["input_ids"]) == "a cat sleeps . it rests .".split()
    assert cut["token_type_ids"] == [0, 0, 0, 0, 1, 1, 1]
    assert tokenizer("cat", "cat", truncation=True, max_length=128)["input_ids"] == [cut["input_ids"][1]] * 2


def test_a_kept_model_comes_back_by_the_auto_classes_and_answers_in_a_pipeline(built, tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    model, tokenizer = built
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert isinstance(again, nse.NseForSequenceClassification) and again.config.attention
    for one, other in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert [name for name, _ in again.named_parameters()] == [name for name, _ in model.named_parameters()]
    classify = pipeline("text-classification", model=again, tokenizer=AutoTokenizer.from_pretrained(tmp_path))
    pair = {"text": "A cat sleeps.", "text_pair": "An animal rests."}
    answers = classify([pair, {"text": "Yes", "text_pair": "No, it does not."}], top_k=None, batch_size=2)
    inputs = tokenizer(pair["text"], pair["text_pair"], return_tensors="pt")
    expected = model.eval()(**inputs).logits.softmax(-1)[0].tolist()
    found = {answer["label"]: answer["score"] for answer in answers[0]}
    assert [found[label] for label in ("entailment", "neutral", "contradiction")] == pytest.approx(expected, abs=1e-5)


@pytest.fixture
def learner(built, pairs):
    """A narrow mma-nse over the embedded word pieces, and 48 pairs for it."""
    table, tokenizer = built[0].get_input_embeddings().weight, built[1]
    torch.manual_seed(0)
    config = nse.NseConfig(
        vocab_size=len(table),
        embedding_size=table.shape[1],
        hidden_size=32,
        head_size=64,
        memory="multiple",
        num_labels=3,
    )
    model = nse.NseForSequenceClassification(config)
    model.get_input_embeddings().weight.copy_(table)
    return model, finetuning.encode(pairs, tokenizer)


def test_it_learns_under_the_trainer_of_transformers(learner, pairs, tmp_path):
    from transformers import Trainer, TrainingArguments

    model, rows = learner
    labels = [{"labels": torch.tensor(label)} for label in pairs["label"]]

    def collate(examples):
        batch = finetuning.collate([{k: v for k, v in row.items() if k != "labels"} for row in examples])
        return batch | {"labels": torch.stack([row["labels"] for row in examples])}

    arguments = TrainingArguments(
        str(tmp_path),
        num_train_epochs=10,
        per_device_train_batch_size=8,
        learning_rate=1e-2,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        use_cpu=True,
        seed=0,
    )
    examples = [row | label for row, label in zip(rows, labels, strict=True)]
    trainer = Trainer(model, arguments, train_dataset=examples, data_collator=collate)
    table = model.get_input_embeddings().weight.clone()
    trainer.train()
    assert torch.equal(model.get_input_embeddings().weight, table)
    outcome = trainer.predict(examples)
    assert (outcome.predictions.argmax(1) == np.array(pairs["label"])).mean() > 0.9
    assert outcome.metrics["test_loss"] < 0.4


def test_it_learns_by_our_own_recipe(learner, pairs):
    from cift.losses import one_hot

    model, rows = learner
    recipe = finetuning.Recipe(epochs=15, learning_rate=1e-2, batch_size=8)
    finetuning.train(model, rows, one_hot(pairs["label"], 3), recipe, seed=0)
    predictions = finetuning.predict(model, rows, pairs)
    assert (predictions["predicted"] == predictions["label"]).mean() > 0.9


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
@pytest.mark.parametrize("name", nse.VARIANTS)
def test_the_gpu_gives_the_cpus_logits_and_gradients(name):
    model, inputs, labels = small(name, embedding_size=8).eval(), batch(), torch.tensor([0, 2, 1, 1])
    results = []
    for where in ("cpu", "cuda"):
        model.to(where)
        output = model(**{key: value.to(where) for key, value in inputs.items()}, labels=labels.to(where))
        grads = torch.autograd.grad(output.loss, list(model.parameters()))
        results.append([output.logits.detach().cpu(), *(grad.cpu() for grad in grads)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)
