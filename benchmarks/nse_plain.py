"""The Neural Semantic Encoder as one would first write it in PyTorch: a loop over the words, a batch at a time.

What `cift.nse` is compared with. The modules bear the same names, so a model of `cift.nse` hands over its weights:
`PlainNse(model.config).load_state_dict(model.state_dict())`. Only the variant `nse`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cift.nse import NseConfig, WordTable


class PlainEncoder(nn.Module):
    def __init__(self, k: int, dropout: float) -> None:
        super().__init__()
        self.read, self.compose, self.write = nn.LSTMCell(k, k), nn.Linear(2 * k, 2 * k), nn.LSTMCell(2 * k, k)
        self.dropout = nn.Dropout(dropout)

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        """The last h, (N, k), of sentences (N, T, k), whose words come first and are True in the mask (N, T)."""
        n, steps, k = words.shape
        memory, closed = words, torch.zeros(n, steps, device=words.device).masked_fill(~mask, float("-inf"))
        o = cell_o = h = cell_h = words.new_zeros(n, k)
        for t in range(steps):
            live = mask[:, t, None]
            new_o, new_cell_o = self.read(self.dropout(words[:, t]), (o, cell_o))
            z = (torch.bmm(memory, new_o.to(memory.dtype)[..., None])[..., 0] + closed).softmax(-1)[..., None]
            read = (memory * z).sum(1)
            composed = self.compose(torch.cat([new_o, read.to(new_o.dtype)], 1))
            new_h, new_cell_h = self.write(self.dropout(composed), (h, cell_h))
            memory = torch.where(live[..., None], (1 - z) * memory + z * new_h[:, None], memory)
            o, cell_o = torch.where(live, new_o, o), torch.where(live, new_cell_o, cell_o)
            h, cell_h = torch.where(live, new_h, h), torch.where(live, new_cell_h, cell_h)
        return h


class PlainNse(nn.Module):
    def __init__(self, config: NseConfig) -> None:
        super().__init__()
        k = config.hidden_size
        self.nse = nn.Module()
        self.nse.word_embeddings = WordTable(config.vocab_size, config.embedding_size)
        self.nse.projection = nn.Identity() if config.embedding_size == k else nn.Linear(config.embedding_size, k)
        self.nse.encoder = PlainEncoder(k, config.hidden_dropout_prob)
        self.classifier = nn.Sequential(
            nn.Linear(4 * k, config.head_size),
            nn.ReLU(),
            nn.Dropout(config.hidden_dropout_prob),
            nn.Linear(config.head_size, config.num_labels),
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Logits (N, labels); padding is behind the words."""
        encoded = []
        for side in (0, 1):
            mask = (attention_mask != 0) & (token_type_ids == side)
            order = (~mask).long().argsort(dim=1, stable=True)[:, : int(mask.sum(1).max())]
            words = self.nse.projection(self.nse.word_embeddings(input_ids.gather(1, order)))
            encoded.append(self.nse.encoder(words, mask.gather(1, order)))
        p, h = encoded
        return self.classifier(torch.cat([p, h, p - h, p * h], 1))
