"""What a model puts out at the labels: the logits of a classifier, or those of the answer tokens."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Module

from ..core.terms import Terms
from ..tasks import IGNORE, Batch


def class_logits(model: Module, batch: Batch) -> Tensor:
    """[b, classes]: the logits of an image classifier (a plain module, or one of transformers')."""
    out = model(batch.inputs["pixel_values"])
    return full(out if isinstance(out, Tensor) else out.logits)


def full(logits: Tensor) -> Tensor:
    """Half-precision logits (bf16 weights, autocast) as float32: a softmax over them is not to be trusted."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def _chooses(model: Module) -> bool:
    """Whether the output layer can be computed at some positions alone: transformers' models that take a mask."""
    inner = getattr(model, "get_base_model", lambda: model)()
    return hasattr(inspect.getmodule(type(inner)), "slice_logits_to_keep")


def pass_through(model: Module, inputs: Mapping[str, Tensor]) -> None:
    """Run a language model for what hooks on its layers see: of the logits, as few as it allows are computed."""
    kept = {"logits_to_keep": 1} if _chooses(model) else {}
    model(**inputs, use_cache=False, **kept)


def answer_logits(model: Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """(logits [n, vocabulary] in float32, labels [b, t]): one row for every label that is a token, in its order.

    labels holds the token that each position predicts, IGNORE where none is. The output layer, which has a
    quarter of a small model's weights, is computed at answer positions alone where the model allows it.
    """
    labels = batch.labels[:, 1:]
    answers = labels != IGNORE
    if _chooses(model):
        keep = F.pad(answers, (0, 1))  # the last position predicts nothing that is known
        return full(model(**batch.inputs, use_cache=False, logits_to_keep=keep).logits), labels
    return full(model(**batch.inputs, use_cache=False).logits[:, :-1][answers]), labels


def placed(values: Tensor, labels: Tensor) -> Terms:
    """[n] values as terms [b, t] at the labels that they belong to; each sample's weights add up to 1."""
    answers = labels != IGNORE
    placed = values.new_zeros(labels.shape)
    placed[answers] = values
    return Terms(placed, answers.to(values.dtype) / answers.sum(1, keepdim=True).clamp_min(1))
