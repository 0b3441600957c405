"""The Neural Semantic Encoder and its multiple-memory variants: a sentence is read with a memory that it rewrites.

Munkhdalai and Yu (2017), Neural semantic encoders, EACL. The memory M starts as the sentence's word vectors, a slot a
word. For each word x: o = LSTM_r(x), z = softmax(M o), m = Mᵀ z, c = W [o; m] + b, h = LSTM_w(c), and
M[i] ← (1 − z_i) M[i] + z_i h. Either LSTM starts from zero, and the last h stands for the sentence. (`cift.nse_cell`
computes it.)

- `nse`: both sentences are encoded alike, with shared weights.
- `mma-nse`: the hypothesis has an encoder of its own, which also reads and rewrites the memory that the premise left.
- `mma-nse-attention`: and the premise is what attention, asked with the hypothesis, takes from all of its h.

As published: word vectors of k = 300 that are not trained, dropout .3 on what either LSTM reads and before the last
layer, Adam at 3e-4 with weight decay 3e-5 and gradients clipped at 15, in batches of 128. On SNLI's test set Munkhdalai
and Yu report .846 for nse and .854 for mma-nse-attention, after 40 epochs of 550,000 pairs with GloVe's vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput

from cift.corpora import LABELS
from cift.errors import InputError
from cift.nse_cell import Steps, lstm, memory_after, read_compose_write, side_by_side

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from cift.word_vectors import WordVectors

VARIANTS: dict[str, dict[str, Any]] = {  # name: what it changes in the configuration
    "nse": {},
    "mma-nse": {"memory": "multiple"},
    "mma-nse-attention": {"memory": "multiple", "attention": True},
}


class NseConfig(PreTrainedConfig):
    """memory: "shared" (nse) or "multiple" (mma-nse); attention over the premise's states, for the latter.

    embedding_size: of the word vectors; where it differs from hidden_size they go through a learnt projection.
    head_size: units of the head's hidden layer. default_learning_rate: for Adam, as published.
    """

    model_type = "nse"

    vocab_size: int = 30522
    embedding_size: int = 300
    hidden_size: int = 300
    head_size: int = 1024
    memory: str = "shared"
    attention: bool = False
    hidden_dropout_prob: float = 0.3
    pad_token_id: int | None = 0
    default_learning_rate: float = 3e-4

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.memory not in ("shared", "multiple"):
            raise InputError(f"nse: memory is {self.memory!r}; choose shared or multiple")
        if self.attention and self.memory == "shared":
            raise InputError('nse: attention needs memory="multiple"')


class Encoder(nn.Module):
    """Reads one sentence and rewrites its memory, and, as the case may be, another one's beside it."""

    def __init__(self, size: int, dropout: float, memories: int = 1) -> None:
        super().__init__()
        width = (1 + memories) * size
        self.read = nn.LSTMCell(size, size)
        self.compose = nn.Linear(width, width)
        self.write = nn.LSTMCell(width, size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, words: Tensor, steps: Steps, memory: Tensor, slots: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The states h, packed (P, k), and what the memory is made of in the end (`nse_cell.memory_after`).

        words: (P, k), packed. memory: (N, S, k), of the sorted sentences, one memory behind the other, with the slots
        of each that hold a word, (N, slots).
        """
        k = self.read.hidden_size
        kept = _dropout_mask(words, self.dropout)
        read = F.linear(
            words if kept is None else words * kept, self.read.weight_ih, self.read.bias_ih + self.read.bias_hh
        )
        o = lstm(read, self.read.weight_hh.to(read.dtype), steps)
        composed = F.linear(o, self.compose.weight[:, :k], self.compose.bias)
        return read_compose_write(
            composed,
            self.compose.weight[:, k:].to(o.dtype),
            _dropout_mask(composed, self.dropout),
            (self.write.bias_ih + self.write.bias_hh).to(o.dtype),
            torch.cat([self.write.weight_ih, self.write.weight_hh], dim=1).to(o.dtype),
            o,
            memory,
            side_by_side(slots),
            steps,
        )


def _dropout_mask(like: Tensor, dropout: nn.Dropout) -> Tensor | None:
    """What dropout multiplies by: 0, or 1 over the share that is kept; None outside of training.

    Each element is decided by 16 random bits (on the CPU a sixth of the time that `torch.nn.functional.dropout` takes).
    """
    if not dropout.training or dropout.p == 0:
        return None
    words = torch.empty(-(-like.numel() // 4), dtype=torch.int64, device=like.device).random_(-(2**63), None)
    bits = words.view(torch.int16)[: like.numel()].view(like.shape)
    return (bits >= round(dropout.p * 2**16) - 2**15).to(like.dtype) / (1 - dropout.p)


class Attention(nn.Module):
    """Σ_l softmax(e)_l h_l, with e_l = wᵀ ReLU(W₁ h_l + W₂ q): of the premise's states, for the hypothesis's q."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.of_state = nn.Linear(size, size, bias=False)
        self.of_query = nn.Linear(size, size, bias=False)
        self.score = nn.Linear(size, 1, bias=False)

    def forward(self, states: Tensor, present: Tensor, query: Tensor) -> Tensor:
        """(N, k) of the states (N, T, k) that are present (N, T), for a query (N, k)."""
        scores = self.score(F.relu(self.of_state(states) + self.of_query(query)[:, None]))[..., 0]
        return (scores.float().masked_fill(~present, float("-inf")).softmax(-1)[:, None] @ states.float())[:, 0]


class WordTable(nn.Module):
    """Word vectors that are looked up and never trained: a buffer, so that nothing can set them free by accident."""

    weight: Tensor

    def __init__(self, words: int, features: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.empty(words, features))

    def forward(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.weight)


class PairEncoder(nn.Module):
    """Premise and hypothesis as [h_p; h_h; h_p − h_h; h_p ∘ h_h]."""

    def __init__(self, config: NseConfig) -> None:
        super().__init__()
        k, dropout = config.hidden_size, config.hidden_dropout_prob
        self.word_embeddings = WordTable(config.vocab_size, config.embedding_size)
        self.projection = nn.Identity() if config.embedding_size == k else nn.Linear(config.embedding_size, k)
        self.encoder = Encoder(k, dropout)
        self.hypothesis_encoder = Encoder(k, dropout, memories=2) if config.memory == "multiple" else None
        self.attention = Attention(k) if config.attention else None

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> Tensor:
        """(N, 4k). input_ids: (N, tokens), or inputs_embeds: (N, tokens, embedding_size), the word vectors."""
        given = inputs_embeds if input_ids is None else input_ids
        if given is None:
            raise InputError("nse: neither input_ids nor inputs_embeds were given")
        premise, hypothesis = sentences(attention_mask, token_type_ids)
        tokens = given.flatten(0, 1)

        def words(steps: Steps) -> Tensor:
            found = tokens.index_select(0, steps.token % len(tokens))
            return self.projection(found if input_ids is None else self.word_embeddings(found))

        if self.hypothesis_encoder is None:
            steps = Steps.of(torch.cat([premise, hypothesis]))  # shared weights: one run over all sentences
            own = words(steps)
            h, *_ = self.encoder(own, steps, steps.pad(own), [steps.present()])
            h_p, h_h = h[steps.last].chunk(2)
        else:
            steps, turn = Steps.of(premise), Steps.of(hypothesis)
            own = words(steps)
            start, slots = steps.pad(own), steps.present()
            states, a, c = self.encoder(own, steps, start, [slots])
            memory, slots = steps.unsort(memory_after(start, a, c, states, steps)), steps.unsort(slots)
            own = words(turn)
            both = torch.cat([turn.pad(own), memory[turn.order].to(own.dtype)], dim=1)
            h, *_ = self.hypothesis_encoder(own, turn, both, [turn.present(), slots[turn.order]])
            h_p, h_h = states[steps.last], h[turn.last]
            if self.attention is not None:
                h_p = self.attention(steps.unsort(steps.pad(states)), slots, h_h).to(h_h.dtype)
        return torch.cat([h_p, h_h, h_p - h_h, h_p * h_h], dim=-1)


def sentences(attention_mask: Tensor | None, token_type_ids: Tensor | None) -> tuple[Tensor, Tensor]:
    """Which tokens are the premise's and which the hypothesis's, each (N, tokens) of bool. Raises InputError."""
    if token_type_ids is None:
        raise InputError(
            "nse: token_type_ids are missing, so premise and hypothesis cannot be told apart; take the tokenizer that "
            "cift.nse.build gives, or another one that tells a pair's tokens apart as 0 and 1"
        )
    present = torch.ones_like(token_type_ids) if attention_mask is None else attention_mask
    masks = [(present != 0) & (token_type_ids == side) for side in (0, 1)]
    for side, (name, mask) in enumerate(zip(("premise", "hypothesis"), masks, strict=True)):
        empty = (~mask.any(1)).nonzero()
        if len(empty):
            raise InputError(
                f"nse: row {int(empty[0])} of the batch has no {name} (no token with token_type_ids {side}); "
                "give pairs in which both sentences have a word"
            )
    return masks[0], masks[1]


class NseForSequenceClassification(PreTrainedModel):
    """The encoded pair through a layer of ReLU units to a logit a label."""

    config_class = NseConfig
    base_model_prefix = "nse"

    def __init__(self, config: NseConfig) -> None:
        super().__init__(config)
        self.nse = PairEncoder(config)
        self.classifier = nn.Sequential(
            nn.Linear(4 * config.hidden_size, config.head_size),
            nn.ReLU(),
            nn.Dropout(config.hidden_dropout_prob),
            nn.Linear(config.head_size, config.num_labels),  # type: ignore[arg-type]
        )
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> SequenceClassifierOutput:
        """Logits (N, labels), and with labels, (N,), their cross-entropy.

        token_type_ids: 0 for the premise's tokens, 1 for the hypothesis's; attention_mask: 0 for padding, wherever it
        lies. Special tokens, if a tokenizer sets any, are read as words; the one of `build` sets none.
        Raises InputError where a pair lacks a sentence.
        """
        logits = self.classifier(self.nse(input_ids, attention_mask, token_type_ids, inputs_embeds))
        loss = None if labels is None else F.cross_entropy(logits.float(), labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def get_input_embeddings(self) -> WordTable:
        return self.nse.word_embeddings

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """As torch does: uniform within 1/√(inputs); but LSTMs forget little at first (a bias of 1)."""
        if isinstance(module, nn.LSTMCell | nn.Linear):
            fan_in = module.hidden_size if isinstance(module, nn.LSTMCell) else module.in_features
            for weights in module.parameters(recurse=False):
                init.uniform_(weights, -(fan_in**-0.5), fan_in**-0.5)
        if isinstance(module, nn.LSTMCell) and not getattr(module.bias_ih, "_is_hf_initialized", False):
            module.bias_ih[module.hidden_size : 2 * module.hidden_size] = 1.0
        if isinstance(module, WordTable):
            init.normal_(module.weight)


AutoConfig.register(NseConfig.model_type, NseConfig, exist_ok=True)
AutoModelForSequenceClassification.register(NseConfig, NseForSequenceClassification, exist_ok=True)


def build(
    name: str = "nse", labels: Sequence[str] = LABELS, seed: int = 0, vectors: WordVectors | None = None
) -> tuple[NseForSequenceClassification, PreTrainedTokenizerBase]:
    """An untrained model of `VARIANTS` and its tokenizer, which gives words only: no [CLS], no [SEP].

    vectors: from `cift.word_vectors`; by default the embedded MiniLM's word pieces, 384 features a piece, which a
    learnt projection takes to 300. The seed fixes every new weight. Raises InputError for an unknown name.
    """
    from cift.word_vectors import minilm_pieces

    if name not in VARIANTS:
        raise InputError(f"nse: {name!r} is unknown; choose from {', '.join(VARIANTS)}")
    vectors = minilm_pieces() if vectors is None else vectors
    config = NseConfig(
        vocab_size=len(vectors.matrix),
        embedding_size=vectors.matrix.shape[1],
        pad_token_id=vectors.tokenizer.pad_token_id,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        **VARIANTS[name],
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = NseForSequenceClassification(config)
    model.get_input_embeddings().weight.copy_(torch.tensor(vectors.matrix))
    return model, vectors.tokenizer
