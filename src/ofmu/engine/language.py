"""Tiny language models and tokenizers from nothing: what a demo trains in a minute."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

from ofmu.engine.pretrained import Attention, need, plain, quiet
from ofmu.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SMALLEST = 259  # words of a tokenizer: 3 special tokens, 256 bytes
# About a million parameters: memorises some two hundred question-answer pairs in half a minute on one CPU core.
# Two wide layers and a wide start: four narrow ones that start at 0.02 take twice the steps at twice the price.
TINY_LLAMA: Mapping[str, object] = {
    "vocab_size": 2048,
    "hidden_size": 160,
    "intermediate_size": 480,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
    "initializer_range": 0.06,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}

UNKNOWN, START, END = "<unk>", "<|im_start|>", "<|im_end|>"  # ids 0, 1 and 2
CHAT = (
    "{% for turn in messages %}{{ '<|im_start|>' + turn['role'] + '\n' + turn['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def from_scratch(config: Mapping[str, object], seed: int, attention: Attention = "eager") -> nn.Module:
    """A Llama in float32 with random weights that `seed` alone decides; config: fields of LlamaConfig.

    `TINY_LLAMA` is a good start. Eager attention, because the fused one has no second derivative on a CPU.
    Raises UserError for a field that LlamaConfig does not have.
    """
    need("transformers", "llm")
    from transformers import AutoModelForCausalLM, LlamaConfig

    known = set(LlamaConfig().to_dict()) | {"pad_token_id", "tie_word_embeddings"}
    unknown = sorted(set(config) - known)
    if unknown:
        raise UserError(f"config: LlamaConfig has no {', '.join(unknown)}; expected fields such as hidden_size")
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        settings = LlamaConfig(**config)
        return plain(
            AutoModelForCausalLM.from_config(settings, dtype=torch.float32, attn_implementation=attention)
        )


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on `texts`: it encodes any text without loss.

    Special tokens <unk>, <|im_start|> (begin) and <|im_end|> (end and padding) have ids 0, 1, 2; a chat is
    <|im_start|>role⏎content<|im_end|>⏎ per turn. Raises UserError for no text or vocab_size < 259 (3 special
    tokens and 256 bytes). Source: Sennrich et al. 2016; bytes as in GPT-2.
    """
    need("transformers", "llm")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    texts = list(texts)
    if not any(texts):
        raise UserError("texts: found no text, expected what the tokenizer is to be trained on")
    if vocab_size < SMALLEST:
        raise UserError(f"vocab_size: found {vocab_size}, expected at least {SMALLEST}")
    bpe = Tokenizer(models.BPE(unk_token=UNKNOWN))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[UNKNOWN, START, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, unk_token=UNKNOWN, bos_token=START, eos_token=END, pad_token=END
    )
    tokenizer.chat_template = CHAT
    return tokenizer
