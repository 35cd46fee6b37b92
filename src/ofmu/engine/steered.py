"""Which layer of a language model representation methods steer."""

from __future__ import annotations

from torch import nn

from ofmu.errors import UserError

DEPTH = 0.22  # layer 7 of 32, where RMU's authors steer Zephyr-7B
TRAINED = 3  # blocks up to and with the steered one that are to be trained, as theirs


def steered_layer(module: nn.Module) -> str:
    """The name of the block at about a fifth of the depth, or above, so that three trained ones reach it.

    Under --trainable top:K that is the third of the last K. Raises UserError for a model without a list of blocks
    and for one that trains none of them.
    """
    lists = (
        (name, part) for name, part in module.named_modules() if isinstance(part, nn.ModuleList) and len(part)
    )
    name, blocks = next(lists, ("", None))
    if blocks is None:
        raise UserError(f"layer: {type(module).__name__} has no list of blocks, expected a language model")
    trained = [i for i, block in enumerate(blocks) if any(p.requires_grad for p in block.parameters())]
    if not trained:
        raise UserError("layer: no block of the model is trained, so nothing could move its output; train some")
    least = min(trained[0] + TRAINED - 1, trained[-1])
    return f"{name}.{max(int(DEPTH * len(blocks)), least)}"
