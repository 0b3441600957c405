"""The original task: scored as its definition says, trained as it was trained, and kept by replay."""

import numpy as np
import pytest

from cift import finetuning, forgetting, models
from cift.corpora import load_corpus
from cift.embeddings import embed
from cift.errors import InputError
from cift.recipe import Recipe


@pytest.fixture(scope="module")
def entailed():
    """40 pairs of sentences that belong together."""
    scenes = load_corpus("scenes", "train").select(range(400)).filter(lambda label: label == 0, input_columns="label")
    return scenes.select(range(40))


def test_the_rank_is_that_of_a_premises_own_hypothesis(entailed, tiny_model):
    few = entailed.select(range(6))
    premises, hypotheses = embed(few["premise"][:], tiny_model), embed(few["hypothesis"][:], tiny_model)
    ranks = [sum(p @ h >= p @ hypotheses[i] for h in hypotheses) for i, p in enumerate(premises)]
    assert forgetting.reciprocal_rank(few, tiny_model) == pytest.approx(np.mean([1 / rank for rank in ranks]))


def test_a_model_to_which_all_sentences_are_alike_finds_nothing(entailed, tiny_model):
    import torch

    model, tokenizer = models.load(tiny_model)
    with torch.no_grad():
        for weights in model.base_model.parameters():
            weights.zero_()
        model.base_model.encoder.layer[-1].output.LayerNorm.bias.fill_(1)
    assert forgetting.reciprocal_rank(entailed, (model, tokenizer)) == pytest.approx(1 / len(entailed))


def test_the_contrast_is_least_where_each_premise_is_nearest_to_its_own():
    import torch

    apart, turned = torch.eye(3), torch.eye(3).roll(1, 0)
    assert forgetting.contrast(apart, apart) == pytest.approx(np.log(1 + 2 * np.exp(-20)), abs=1e-6)
    assert forgetting.contrast(apart, turned) == pytest.approx(20, abs=1e-3)
    assert forgetting.contrast(apart, torch.ones(3, 3)) == pytest.approx(np.log(3))
    one, two = torch.tensor([[1.0, 0.0]] * 2), torch.eye(2)  # the second premise picks wrongly, hypotheses cannot tell
    for pair in ((one, two), (two, one)):
        assert forgetting.contrast(*pair) == pytest.approx((20 / 2 + np.log(2)) / 2)


def test_replay_learns_the_lesson_and_keeps_the_original_task(pairs, entailed, tiny_model):
    recipe = Recipe(epochs=30, batch_size=16, learning_rate=3e-3, clip=None)
    plain = finetuning.fine_tune(pairs, recipe, model=tiny_model)[:2]
    rehearsed = forgetting.replay(pairs, entailed, recipe, model=tiny_model)
    scores = [forgetting.reciprocal_rank(entailed, model) for model in (plain, rehearsed)]
    assert scores[1] > scores[0] + 0.3
    model, tokenizer = rehearsed
    answers = finetuning.predict(model, finetuning.encode(pairs, tokenizer), pairs)
    assert (answers["predicted"] == answers["label"]).mean() > 0.9


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dropout": 0.5, "accumulation": 2}, "replay: cannot heed accumulation, dropout; leave it out"),
        ({"strategy": "lora"}, "cannot heed strategy"),
        ({"schedule": "plateau"}, "cannot heed schedule plateau"),
        ({"learning_rate": 1e38, "clip": None, "warmup": 0.0}, "replay diverged: the loss is nan"),
    ],
)
def test_replay_refuses_what_it_cannot_do(settings, words, pairs, entailed, tiny_model):
    with pytest.raises(InputError, match=words):
        forgetting.replay(pairs, entailed, Recipe(**settings), model=tiny_model)


def test_replay_needs_pairs_of_both_tasks(pairs, entailed, tiny_model):
    with pytest.raises(InputError, match="48 pairs in the lesson, 0 in the memory"):
        forgetting.replay(pairs, entailed.select([]), Recipe(), model=tiny_model)


def test_replay_pads_with_the_models_own_token(pairs, entailed, tiny_model, monkeypatch):
    given, collate = set(), finetuning.collate
    monkeypatch.setattr(finetuning, "pad_id", lambda model: 7)
    monkeypatch.setattr(finetuning, "collate", lambda rows, pad_id=0: given.add(pad_id) or collate(rows, pad_id))
    forgetting.replay(pairs, entailed, Recipe(epochs=1), model=tiny_model)
    assert given == {7}


def test_replay_gives_the_same_weights_again(pairs, entailed, tiny_model):
    recipe = Recipe(epochs=1, batch_size=16)
    first, second = (forgetting.replay(pairs, entailed, recipe, 3, tiny_model)[0].state_dict() for _ in range(2))
    assert all(weights.equal(second[name]) for name, weights in first.items())
