"""What a language model answers: greedy generation from prompts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import Module

from ..data.encode import Encoder
from ..data.records import Record


@torch.no_grad()
def answer(model: Module, encoder: Encoder, records: Sequence[Record], longest: int = 64) -> list[str]:
    """The greedy answer to each record's prompt, at most `longest` tokens, special tokens left out.

    Prompts are generated from one by one: padding on the left would need its own positions, and a few dozen
    answers do not repay it.
    """
    tokenizer = encoder.tokenizer
    device = next(model.parameters()).device
    said = []
    for record in records:
        prompt = torch.tensor([encoder.prompt(record)], device=device)
        out = model.generate(  # type: ignore[operator]
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=longest,
            do_sample=False,
            pad_token_id=tokenizer.eos_token_id,
        )
        said.append(tokenizer.decode(out[0, prompt.shape[1] :], skip_special_tokens=True).strip())
    return said
