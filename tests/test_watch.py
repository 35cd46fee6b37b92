"""Choices are seen wherever they are made of what depends on the parameters, and nowhere else."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ofmu.benchmarks.accuracy.problems import IMAGES, problem
from ofmu.core.backend import choose
from ofmu.core.graphs import held_kinks
from ofmu.core.kinks import hold
from ofmu.core.watch import TO_INTEGERS, kinks
from ofmu.losses import class_nll, token_nll
from small import LLAMA, vit


class Around(nn.Module):
    """One operation between two layers."""

    def __init__(self, part):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.part = nn.Linear(4, 6), nn.Linear(6, 3), part

    def forward(self, x):
        return self.last(self.part(self.first(x)))


BATCH = problem(IMAGES[0]).forget
EDGES = torch.tensor([-0.5, 0.0, 0.5])


def _run(part) -> None:
    net = Around(part)
    torch.autograd.grad(class_nll(net, BATCH).sums()[0], list(net.parameters()))


class Sign(torch.autograd.Function):
    """A sign whose gradient is passed on: it chooses where no graph is made."""

    @staticmethod
    def forward(ctx, x):
        half = x / 2
        return torch.where(half > 0, half, -half)

    @staticmethod
    def backward(ctx, grad):
        return grad


@torch.no_grad()
def _largest(x: Tensor) -> Tensor:
    return F.one_hot((2 * x).argmax(1), 6).to(x)


@pytest.mark.parametrize(
    ("part", "found"),
    [
        (lambda x: torch.where(x.detach() > 0, x, 0.1 * x), "gt"),
        (lambda x: x * (x.detach().view(-1, 2, 3).sum(1, keepdim=True) <= 0).repeat(1, 2, 1).flatten(1), "le"),
        (torch.frac, "frac"),
        (lambda x: x - x.detach().floor(), "floor"),
        (lambda x: x * torch.div(x.detach(), 0.1, rounding_mode="floor"), "floor_divide"),
        (lambda x: x * (10 * x.detach()).long(), TO_INTEGERS),
        (lambda x: x * torch.bucketize(x.detach(), EDGES), "bucketize"),
        (lambda x: x * torch.searchsorted(EDGES, x), "searchsorted"),
        (lambda x: x * _largest(x), "argmax"),
        (lambda x: x * (torch.cat([x[:, :3].detach(), torch.zeros(len(x), 3)], 1) < 0), "lt"),
        (lambda x: x.gather(1, x.detach().topk(6).indices), "topk"),
        (Sign.apply, "gt"),
        # the second mask is made with the first, which nobody holds
        (lambda x: x * hold(torch.where(x.detach() > 0, x.detach(), 0.0) < 0.5), "gt"),
        (lambda x: checkpoint(lambda y: y * hold(y.detach() > 0), x, use_reentrant=False), "gt"),
    ],
)
def test_a_choice_by_detached_values_is_a_choice(part, found):
    assert kinks(lambda: _run(part)) == {found}
    with pytest.raises(ValueError, match=f"found {found}, whose branch cannot be held"):
        held_kinks(lambda _: _run(part))
    assert choose(Around(part), class_nll, BATCH).name == "exact"


@pytest.mark.parametrize(
    "part",
    [
        lambda x: x * hold(x.detach() > 0),
        lambda x: x * hold(x > 0),
        lambda x: x * hold((x.detach() > 0) & ~(x.detach() >= 1)).float(),
        lambda x: x * hold((x.detach() > 0).float()),
        lambda x: x + hold(torch.bucketize(x.detach(), EDGES)),
        lambda x: x * (torch.arange(6) > 2),  # by place
        lambda x: x * (torch.ones_like(x).cumsum(1) > 2),
        lambda x: x * (x.new_zeros(6) >= 0),
        lambda x: torch.where(torch.isnan(x.detach()), 0.0, x),
        lambda x: (x - x.detach().amax(1, keepdim=True)).exp(),  # a softmax: what is detached bends, but jumps not
        lambda x: x.logcumsumexp(1),  # torch's own formula compares in its backward
        lambda x: x.flatten(1).softmax(1).cumprod(1),
    ],
)
def test_what_is_held_or_does_not_depend_on_the_parameters_is_none(part):
    assert kinks(lambda: _run(part)) == frozenset()


def test_padded_answers_and_usual_networks_are_smooth():
    import transformers

    for name in ("Llama, eager", "Llama, SDPA", "LoRA, rank 2", "words"):
        given = problem(name)
        assert len(set(given.forget.inputs["attention_mask"].sum(1).tolist())) > 1
        assert kinks(lambda given=given: token_nll(given.model, given.forget)) == frozenset(), name
    shape = {k: v for k, v in LLAMA.items() if k not in ("num_key_value_heads", "bos_token_id", "eos_token_id")}
    bert = transformers.BertForMaskedLM(transformers.BertConfig(**shape)).eval()
    ids, mask = torch.full((2, 5), 4), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    image = torch.randn(2, 3, 8, 8)
    for net, run in ((bert, lambda: bert(ids, attention_mask=mask)), (seen := vit().eval(), lambda: seen(image))):
        assert kinks(lambda net=net, run=run: run().logits.square().sum().backward()) == frozenset(), type(net)
