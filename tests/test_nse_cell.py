"""The recurrence: its gradients are those of its values, and its steps are those of the sentences."""

import weakref

import pytest
import torch

from cift.nse_cell import Steps, lstm, read_compose_write, side_by_side


def mask_of(lengths):
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def test_steps_hold_every_token_once_longest_sentence_first():
    mask = torch.tensor([[0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 1]], dtype=torch.bool)
    steps = Steps.of(mask)
    assert steps.order.tolist() == [1, 0, 2] and steps.live == [3, 2, 1, 1]
    assert steps.token.tolist() == [4, 1, 11, 5, 2, 6, 7]  # places in the flattened mask, step by step
    packed = torch.arange(7.0)[:, None]
    assert steps.pad(packed)[..., 0].tolist() == [[0, 3, 5, 6], [1, 4, 0, 0], [2, 0, 0, 0]]
    assert torch.equal(steps.pack(steps.pad(packed)), packed)
    assert steps.last.tolist() == [4, 6, 2]
    assert torch.equal(steps.unsort(steps.present()), mask_of([2, 4, 1]))


def test_an_lstm_over_sentences_is_torchs_lstm_over_a_packed_sequence():
    torch.manual_seed(0)
    mask = mask_of([3, 5, 1])
    steps, reference, words = Steps.of(mask), torch.nn.LSTM(4, 6), torch.randn(9, 4)
    inputs = torch.nn.functional.linear(words, reference.weight_ih_l0, reference.bias_ih_l0 + reference.bias_hh_l0)
    packed = torch.nn.utils.rnn.PackedSequence(words, torch.tensor(steps.live))
    expected = reference(packed)[0].data
    torch.testing.assert_close(lstm(inputs, reference.weight_hh_l0, steps), expected, atol=1e-6, rtol=1e-5)


def test_the_gradient_of_the_lstm():
    torch.manual_seed(0)
    steps = Steps.of(mask_of([2, 4, 1]))
    inputs = torch.randn(7, 12, dtype=torch.double, requires_grad=True)
    weight = torch.randn(12, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda i, w: lstm(i, w, steps), (inputs, weight))


@pytest.mark.parametrize("others, dropout", [((), False), ((), True), ((4, 1, 2), True)])
def test_the_gradient_of_reading_composing_and_writing(others, dropout):
    torch.manual_seed(0)
    steps, k = Steps.of(mask_of([2, 3, 1])), 2
    slots = [steps.present()] + ([mask_of(list(others))] if others else [])
    closed, width = side_by_side(slots), (1 + len(slots)) * k

    def tensor(*shape):
        return torch.randn(*shape, dtype=torch.double, requires_grad=True)

    inputs = (
        tensor(6, width),
        tensor(width, len(slots) * k),
        tensor(4 * k),
        tensor(4 * k, width + k),
        tensor(6, k),
        tensor(3, closed.shape[-1], k),
    )
    kept = torch.randint(2, (6, width)) * 2.0 if dropout else None

    def run(composed, compose, bias, weight, queries, start):
        return read_compose_write(
            composed, compose, None if kept is None else kept.double(), bias, weight, queries, start, closed, steps
        )

    assert torch.autograd.gradcheck(run, inputs)
    kept_alive = weakref.ref(run(*inputs)[0].grad_fn)
    assert kept_alive() is None  # no cycle of references, which would keep every batch in memory
