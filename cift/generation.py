"""Metrics of generated English text, such as hypotheses or explanations, against references, and what they miss.

ROUGE (Lin 2004; rouge-score) counts the words, word pairs and longest common subsequence that two texts share; BLEU
(Papineni et al. 2002; sacrebleu, Post 2018) their runs of one to four words; BERTScore (Zhang et al. 2020; bert-score)
matches each token with the other text's most similar one, by the cosine of their states in an encoder. None of them
looks at what follows from what: see `blind_spots`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from cift import models
from cift.errors import InputError
from cift.files import one_message
from cift.finetuning import device

ROUGE = ("rouge1", "rouge2", "rougeL")
BERTSCORE = ("bertscore_precision", "bertscore_recall", "bertscore_f1")

_VARIANTS = {  # a reference: what can become of it, by what differs
    "Three dogs chased the old man through Paris.": {
        "paraphrase, no shared word": "A trio of hounds pursued an elderly gentleman across France's capital.",
        "negation": "Three dogs never chased the old man through Paris.",
        "roles swapped": "The old man chased three dogs through Paris.",
        "number changed": "Nine dogs chased the old man through Paris.",
        "entity swapped": "Three dogs chased the old man through London.",
        "words scrambled": "Through man Paris the chased dogs old three.",
        "off topic": "Interest rates will probably rise again next spring.",
        "truncated": "Three dogs chased the old",
    },
    "Four girls taught the small boy Spanish.": {
        "paraphrase, no shared word": "A little lad learnt Castilian from a quartet of young women.",
        "negation": "Four girls never taught the small boy Spanish.",
        "roles swapped": "The small boy taught four girls Spanish.",
        "number changed": "Seven girls taught the small boy Spanish.",
        "entity swapped": "Four girls taught the small boy French.",
        "words scrambled": "Boy four Spanish the girls small taught.",
        "off topic": "Our train was late because of heavy snow.",
        "truncated": "Four girls taught the",
    },
    "The two waiters paid the tired cook on Monday.": {
        "paraphrase, no shared word": "A pair of servers gave their exhausted chef his wages as a new week began.",
        "negation": "The two waiters never paid the tired cook on Monday.",
        "roles swapped": "The tired cook paid the two waiters on Monday.",
        "number changed": "The nine waiters paid the tired cook on Monday.",
        "entity swapped": "The two waiters paid the tired cook on Friday.",
        "words scrambled": "On cook the Monday paid tired two the waiters.",
        "off topic": "Some birds can fly across whole oceans without landing.",
        "truncated": "The two waiters paid the",
    },
}
PROBES = pd.DataFrame(
    [(differs, text, reference) for reference, texts in _VARIANTS.items() for differs, text in texts.items()],
    columns=["differs", "candidate", "reference"],
)  # written for this project; only the paraphrases mean what their references mean


def score(candidates: Sequence[str], references: Sequence[str]) -> pd.DataFrame:
    """Scores of candidates, each against its own reference: one row a pair, 0 to 1 (a cosine may fall below 0).

    rouge1, rouge2, rougeL: F1 of shared words, of shared word pairs, and of the longest common subsequence; without
        stemming. ROUGE reads lower-cased a to z and digits only. rouge2 is NaN where the reference is one word.
    bleu: sentence BLEU over 100, `nrefs:1|case:mixed|eff:yes|tok:13a|smooth:exp`: the k-th order of n-grams without a
        match counts as 1 / 2^k matches, and orders that the candidate is too short for do not count.
    bertscore_precision, bertscore_recall, bertscore_f1: on minilm's last layer, texts cut after 512 tokens, without idf
        weights or rescaling. Comparable with the same encoder and layer only, so not with published BERTScores. No
        choice of minilm's layer is published; the last agrees best with people's relatedness of SICK's training pairs
        (Pearson's r .825; the fifth .742, earlier ones .65 to .71). It is the one that was trained to compare
        sentences, SNLI's and MultiNLI's among them. No network is needed where minilm is embedded.

    A candidate without text scores 0 throughout. The states of all texts are held at once, 1.5 kB a token. Raises
    InputError where there is nothing to score, candidates and references differ in number, one of them is not text, or
    a reference has no word that ROUGE can read.
    """
    from bert_score.utils import bert_cos_score_idf
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics import BLEU

    pairs, words = _checked(candidates, references)
    rouge, bleu = RougeScorer(ROUGE), BLEU(effective_order=True)
    rows = []
    for candidate, reference in pairs.itertuples(index=False):
        found = rouge.score(reference, candidate)
        rows.append({kind: found[kind].fmeasure for kind in ROUGE})
        rows[-1]["bleu"] = bleu.sentence_score(candidate, [reference]).score / 100
    table = pd.DataFrame(rows)
    table.loc[words == 1, "rouge2"] = np.nan  # for which rouge-score has 0
    table[list(BERTSCORE)] = 0.0
    said = pairs[pairs["candidate"].str.strip() != ""]  # bert-score fails on the others with transformers 5
    if len(said):
        encoder, tokenizer = _encoder()  # with "t5" in a folder's path, bert-score's own loader makes a random T5 of it
        weights = defaultdict(lambda: 1.0, {tokenizer.cls_token_id: 0.0, tokenizer.sep_token_id: 0.0})
        texts = [said[column].tolist() for column in ("reference", "candidate")]
        matched = bert_cos_score_idf(encoder, *texts, tokenizer, weights, device=device())
        table.loc[said.index, list(BERTSCORE)] = matched.double().numpy()
    return table


def corpus_bleu(candidates: Sequence[str], references: Sequence[str]) -> tuple[float, str]:
    """BLEU of all candidates together, 0 to 1, and the sacrebleu signature to publish with it.

    N-grams are counted over all pairs first: it is not the mean of `score`'s column. Raises InputError as that does.
    """
    from sacrebleu.metrics import BLEU

    (pairs, _), bleu = _checked(candidates, references), BLEU()
    found = bleu.corpus_score(pairs["candidate"].tolist(), [pairs["reference"].tolist()])
    return found.score / 100, str(bleu.get_signature())


def blind_spots() -> pd.DataFrame:
    """What the metrics miss: index what differs between `PROBES`' candidate and reference, means of `score` over three.

    With each of the three references: a paraphrase without a shared word gets 0 of ROUGE, like a sentence off topic,
    and less BLEU than that (.03 and .05 on average, for a full stop). Every metric puts a negation, another number and
    another entity above it. ROUGE-1 gives swapped roles and scrambled words full marks, BERTScore F1 .96 and .89.
    ROUGE-L hardly minds a negation (.94), BERTScore F1 little (.82, against .60 for the paraphrase); it does mind the
    topic (.08). Truncation costs BERTScore's recall (.65) more than its precision (.86).

    On SICK's test pairs, the premise as reference, ROUGE and BLEU cannot tell entailed hypotheses from contradictions
    (the entailed one is higher in 47 to 54 % of draws of one each; by BERTScore F1 in 75 %). So whether a generated
    hypothesis or explanation is right, none of them says; a model of inference or a reader must.
    """
    return score(PROBES["candidate"], PROBES["reference"]).groupby(PROBES["differs"], sort=False).mean()


@lru_cache(maxsize=1)
def _encoder() -> tuple[Any, Any]:
    """minilm without a head, and its tokenizer; kept, so that a second call does not read the weights again."""
    classifier, tokenizer = models.load("minilm")
    return classifier.base_model.eval().to(device()), tokenizer


def _checked(candidates: Sequence[str], references: Sequence[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """Columns candidate, reference; and how many words, in ROUGE's sense, each reference has."""
    from rouge_score.tokenize import tokenize

    if isinstance(candidates, str) or isinstance(references, str) or not 0 < len(candidates) == len(references):
        raise InputError(
            f"generated text: {np.size(candidates)} candidates, {np.size(references)} references; "
            "give two lists of equal length, one pair at least"
        )
    words = np.array([len(tokenize(text, None)) if isinstance(text, str) else 0 for text in references])
    faults = [f"candidate {i} is {text!r}" for i, text in enumerate(candidates) if not isinstance(text, str)]
    faults += [f"reference {i} is {list(references)[i]!r}" for i in np.flatnonzero(words == 0)]
    if faults:
        raise one_message("generated text", faults, "Give strings, and references with a word of a to z or digits")
    return pd.DataFrame({"candidate": list(candidates), "reference": list(references)}), words
