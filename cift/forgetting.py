"""What a sentence encoder was pre-trained for: how much of it is left after fine-tuning, and how to rehearse it.

all-MiniLM-L6-v2 learnt to find the sentence that belongs to a sentence: embeddings of the two point in similar
directions. Fine-tuning on another task has no reason to keep that (catastrophic forgetting: McCloskey & Cohen 1989).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cift.embeddings import embed, pool
from cift.recipe import Recipe

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SCALE = 20  # of the cosines in the contrastive loss, as in sentence-transformers


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
    """The loss of the pre-training: within a batch, each premise has to pick its own hypothesis.

    Cross-entropy of `SCALE` times the cosines (Henderson et al. 2017, arXiv 1705.00652). Both are embeddings of unit
    length, (batch, hidden).
    """
    import torch

    own = torch.arange(len(premises), device=premises.device)
    return torch.nn.functional.cross_entropy(SCALE * premises @ hypotheses.T, own)


def replay(
    lesson: Dataset, memory: Dataset, recipe: Recipe, seed: int = 0, model: str = "minilm"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Fine-tune all weights on a lesson and rehearse the original task meanwhile; returns classifier and tokenizer.

    Each step's loss is the recipe's, of a batch of the lesson, plus `contrast` of as many pairs from the memory, which
    holds pairs of sentences that belong together (rehearsal: Robins 1995, Connection Science 7). Of the recipe, loss,
    optimizer, schedule, clipping, batches, epochs, max_length and precision count.
    """
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
    batches: DataLoader = DataLoader(examples, recipe.batch_size, sampler=order, collate_fn=finetuning.collate)
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
                (LOSSES[recipe.loss](logits.float(), wanted) + rehearsed).backward()
                if recipe.clip:
                    torch.nn.utils.clip_grad_norm_(classifier.parameters(), recipe.clip)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
    return classifier, tokenizer
