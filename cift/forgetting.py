"""What a sentence encoder was pre-trained for: how much of it is left after fine-tuning, and how to rehearse it.

all-MiniLM-L6-v2 learnt to find the sentence that belongs to a sentence: embeddings of the two point in similar
directions. Fine-tuning on another task has no reason to keep that (catastrophic forgetting: McCloskey & Cohen 1989).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from cift.embeddings import embed, pool
from cift.errors import Diverged, InputError
from cift.recipe import Recipe

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SCALE = 20  # of the cosines in the contrastive loss, as in sentence-transformers
HEEDED = {  # settings of a recipe that `replay` goes by
    "loss", "epochs", "learning_rate", "batch_size", "weight_decay", "warmup", "max_length", "optimizer", "betas",
    "momentum", "schedule", "restarts", "clip", "precision",
}  # fmt: skip


def reciprocal_rank(pairs: Dataset, model: str | tuple[PreTrainedModel, PreTrainedTokenizerBase] = "minilm") -> float:
    """How well a model's embeddings find the hypothesis that belongs to a premise: from 0 to 1, at best.

    For each premise all hypotheses are ranked by the cosine of their embeddings with the premise's; 1 / rank of its own
    one is averaged (mean reciprocal rank, Voorhees 1999). Of equals the worst rank counts, so that a model to which
    all sentences are alike has no success. model: as for `embeddings.embed`.
    """
    premises, hypotheses = np.split(embed([*pairs["premise"], *pairs["hypothesis"]], model), 2)
    cosines = premises @ hypotheses.T
    ranks = (cosines > np.diag(cosines)[:, None] - 1e-6).sum(axis=1)  # rounding makes no one better than its equals
    return float((1 / ranks).mean())


def contrast(premises: Tensor, hypotheses: Tensor) -> Tensor:
    """The loss of the pre-training: within a batch, premises have to pick their own hypotheses, and these theirs.

    The mean of both cross-entropies of `SCALE` times the cosines (Henderson et al. 2017, arXiv 1705.00652; in both
    directions Radford et al. 2021, CLIP, arXiv 2103.00020, as all-MiniLM-L6-v2 was trained). Both are embeddings of
    unit length, (batch, hidden).
    """
    import torch
    from torch.nn.functional import cross_entropy

    own, scores = torch.arange(len(premises), device=premises.device), SCALE * premises @ hypotheses.T
    return (cross_entropy(scores, own) + cross_entropy(scores.T, own)) / 2


def replay(
    lesson: Dataset, memory: Dataset, recipe: Recipe, seed: int = 0, model: str = "minilm"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Fine-tune all weights on a lesson and rehearse the original task meanwhile; returns classifier and tokenizer.

    Each step's loss is the recipe's, of a batch of the lesson, plus `contrast` of as many pairs from the memory, which
    holds pairs of sentences that belong together (rehearsal: Robins 1995, Connection Science 7).

    Raises InputError for a recipe with a setting that is not in `HEEDED`, for the schedule "plateau", which needs
    validation data, where lesson or memory is empty, and where training diverges.
    """
    others = {field.name for field in fields(Recipe)} - HEEDED
    ignored = sorted(name for name in others if getattr(recipe, name) != getattr(Recipe(), name))
    if ignored or recipe.schedule == "plateau":
        raise InputError(f"replay: cannot heed {', '.join(ignored) or 'schedule plateau'}; leave it out of the recipe")
    if not len(lesson) or not len(memory):
        raise InputError(f"replay: {len(lesson)} pairs in the lesson, {len(memory)} in the memory; give some of both")
    import torch
    from torch.utils.data import DataLoader

    from cift import finetuning, models, optimization
    from cift.losses import LOSSES, one_hot

    names, where = lesson.features["label"].names, finetuning.device()
    classifier: Any
    classifier, tokenizer = models.load(model, names, seed)
    classifier.to(where).train()
    rows = finetuning.encode(lesson, tokenizer, recipe.max_length)
    targets = torch.as_tensor(one_hot(lesson["label"], len(names)))
    examples: Any = [row | {"labels": target} for row, target in zip(rows, targets, strict=True)]
    order = finetuning.LengthBuckets([len(row["attention_mask"]) for row in rows], recipe.batch_size, seed)
    padded = partial(finetuning.collate, pad_id=finetuning.pad_id(classifier))
    batches: DataLoader = DataLoader(examples, recipe.batch_size, sampler=order, collate_fn=padded)
    optimizer = optimization.optimizer(classifier, recipe)
    schedule = optimization.schedule(optimizer, recipe, recipe.epochs * len(batches))
    draw = np.random.default_rng(seed)

    def embedded(texts: Sequence[str]) -> Tensor:
        batch = tokenizer(texts, padding=True, truncation=True, max_length=recipe.max_length, return_tensors="pt")
        return pool(classifier.base_model(**batch.to(where)).last_hidden_state, batch["attention_mask"])

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for epoch in range(recipe.epochs):
            order.set_epoch(epoch)
            for batch in batches:
                batch = {name: value.to(where) for name, value in batch.items()}
                wanted = batch.pop("labels")
                old = memory[draw.choice(len(memory), min(len(memory), recipe.batch_size), replace=False)]
                with torch.autocast(where.type, torch.bfloat16, enabled=finetuning.uses_bf16(recipe.precision)):
                    logits = classifier(**batch).logits
                    rehearsed = contrast(embedded(old["premise"]), embedded(old["hypothesis"]))
                loss = LOSSES[recipe.loss](logits.float(), wanted) + rehearsed
                if not loss.isfinite():
                    raise Diverged(f"replay diverged: the loss is {loss.item()}; take a lower learning_rate")
                loss.backward()
                if recipe.clip:
                    torch.nn.utils.clip_grad_norm_(classifier.parameters(), recipe.clip)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
    return classifier, tokenizer
