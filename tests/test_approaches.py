"""Similarity, retrieval, prompting and fine-tuning: each answers in the same form, and as its definition says."""

import numpy as np
import pytest

from cift import approaches, evaluation
from cift.corpora import LABELS, load_corpus
from cift.embeddings import embed
from cift.errors import InputError


@pytest.fixture(scope="module")
def scenes():
    return load_corpus("scenes", "train").select(range(200)), load_corpus("scenes", "test").select(range(100))


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    """Folder of a causal model with random weights and a byte-level tokenizer of its own."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("writer")
    bytes_only = ByteLevelBPETokenizer()
    bytes_only.train_from_iterator(["entailment neutral contradiction"], vocab_size=300, show_progress=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_only._tokenizer)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **size)).save_pretrained(folder)
    return str(folder)


def test_the_most_similar_third_is_called_entailment(scenes):
    _, test = scenes
    found = approaches.similarity(test)(test)
    premise, hypothesis = embed(list(test["premise"])), embed(list(test["hypothesis"]))
    rank = (premise * hypothesis).sum(axis=1).argsort().argsort() / len(test)
    wanted = np.where(rank >= 2 / 3, "entailment", np.where(rank >= 1 / 3, "neutral", "contradiction"))
    assert (found["predicted"] == wanted).mean() >= 0.98  # the two pairs at the borders may fall either way
    assert list(found.columns) == ["item_id", "label", *(f"logit_{label}" for label in LABELS), "predicted"]


def test_a_known_pair_is_its_own_nearest_neighbour(scenes):
    known, _ = scenes
    assert evaluation.accuracy(approaches.retrieval(known, k=1)(known)) == 1.0
    assert (approaches.neighbours(known)(known, 1)[:, 0] == np.arange(len(known))).mean() > 0.98  # but for twins


def test_retrieval_looks_at_what_changes_between_the_sentences(scenes):
    known, test = scenes
    found = approaches.retrieval(known)(test)
    shares = np.exp(found.filter(like="logit_").to_numpy())
    assert np.allclose(shares.sum(axis=1), 1)
    assert np.allclose(shares * 16 % 1, 1 / 3)  # fifteen votes, and one that the three labels share


@pytest.mark.parametrize("way", [approaches.retrieval, approaches.fine_tuning])
def test_nothing_to_learn_from_is_said_so(way, scenes):
    with pytest.raises(InputError, match="at least one"):
        way(scenes[0].select([]))


def test_fine_tuning_learns_what_can_be_learnt(pairs, monkeypatch):
    monkeypatch.setattr(approaches, "STEPS", 24)
    found = approaches.fine_tuning(pairs)(pairs)
    assert evaluation.accuracy(found) > 0.9


def test_a_label_scores_the_mean_log_probability_of_its_tokens(scenes, writer):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    known, test = scenes
    pair = test.select([0])
    found = approaches.prompting(known.select([]), writer)(pair)
    tokenizer, model = AutoTokenizer.from_pretrained(writer), AutoModelForCausalLM.from_pretrained(writer)
    words = approaches.prompt(pair[0], LABELS)
    assert words.endswith(f"Hypothesis: {pair[0]['hypothesis']}\nAnswer:")
    for label in LABELS:
        start, whole = (tokenizer(text, return_tensors="pt")["input_ids"] for text in (words, f"{words} {label}"))
        n = start.shape[1]
        logs = model(whole).logits[0, n - 1 : -1].log_softmax(-1).gather(1, whole[0, n:, None])
        with torch.no_grad():
            assert np.isclose(found[f"logit_{label}"][0], logs.mean().item(), atol=0.02)  # bf16 where there is some


def test_the_nearest_example_stands_last_in_the_prompt(scenes, writer, monkeypatch):
    known, test = scenes
    seen = []
    real = approaches.prompt
    monkeypatch.setattr(approaches, "prompt", lambda *given: seen.append(given) or real(*given))
    approaches.prompting(known, writer, shots=3)(test.select([0]))
    nearest = approaches.neighbours(known)(test.select([0]), 3)[0]
    assert [shot["item_id"] for shot in seen[0][2]] == [known[int(i)]["item_id"] for i in nearest[::-1]]


def test_chat_models_are_asked_in_their_own_form(scenes, writer):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(writer)
    tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
    known, test = scenes
    words = approaches.prompt(test[0], LABELS, [known[0]], tokenizer)
    assert words.count("<user>") == 2 and words.count("<assistant>") == 2 and words.endswith("<assistant>")
    assert f"<assistant>{LABELS[known[0]['label']]}<user>" in words


def test_a_model_that_cannot_be_had_is_one_clear_error(scenes):
    with pytest.raises(InputError, match="no-such/model.*cannot be loaded as a causal language model"):
        approaches.prompting(scenes[0], "no-such/model")


def test_a_cell_is_measured_in_a_process_of_its_own():
    found = approaches.measure("retrieval", "scenes", 64, seed=0, test_pairs=200)
    assert 0.3 < found["accuracy"] < 0.6
    assert found["train_seconds"] > 0 and found["latency_ms"] > 0 and 200 < found["memory_mb"] < 3000
    with pytest.raises(InputError, match="approach 'magic': unknown; choose from similarity"):
        approaches.measure("magic", "scenes", 8, seed=0)


def test_a_study_keeps_its_finished_cells(monkeypatch):
    monkeypatch.setattr(approaches, "SIZES", (0, 8))
    asked = []
    monkeypatch.setattr(approaches, "measure", lambda *cell: asked.append(cell) or {"n": cell[2], "accuracy": 0.5})
    first = approaches.study(["scenes"], [0, 1])
    assert [cell[:4] for cell in asked] == [
        (way, "scenes", n, seed)
        for seed in (0, 1)
        for way, n in (("similarity", 0), ("retrieval", 8), ("fine-tuning", 8))
    ]
    again = approaches.study(["scenes"], [0, 1])
    assert len(asked) == 6 and again["results"] == first["results"]
    assert set(first["run"]) >= {"date", "machine", "versions", "data", "seeds"}
