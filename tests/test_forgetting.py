"""The original task: scored as its definition says, trained as it was trained, and kept by replay."""

import numpy as np
import pytest

from cift import finetuning, forgetting, models
from cift.corpora import load_corpus
from cift.embeddings import embed
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


def test_replay_learns_the_lesson_and_keeps_the_original_task(pairs, entailed, tiny_model):
    recipe = Recipe(epochs=30, batch_size=16, learning_rate=3e-3, clip=None)
    plain = finetuning.fine_tune(pairs, recipe, model=tiny_model)[:2]
    rehearsed = forgetting.replay(pairs, entailed, recipe, model=tiny_model)
    scores = [forgetting.reciprocal_rank(entailed, model) for model in (plain, rehearsed)]
    assert scores[1] > scores[0] + 0.3
    model, tokenizer = rehearsed
    answers = finetuning.predict(model, finetuning.encode(pairs, tokenizer), pairs)
    assert (answers["predicted"] == answers["label"]).mean() > 0.9


def test_replay_gives_the_same_weights_again(pairs, entailed, tiny_model):
    recipe = Recipe(epochs=1, batch_size=16)
    first, second = (forgetting.replay(pairs, entailed, recipe, 3, tiny_model)[0].state_dict() for _ in range(2))
    assert all(weights.equal(second[name]) for name, weights in first.items())
