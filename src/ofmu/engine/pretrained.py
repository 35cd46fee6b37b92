"""Pretrained models by way of transformers: a directory, the hub, or a GGUF file."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from ofmu.engine.locate import Location, hint, read_json
from ofmu.errors import UserError
from ofmu.tasks import Kind

Attention = Literal["sdpa", "eager"]

# where the settings of a model's inputs are kept; for images in the file that transformers reads too
SETTINGS = {"image": "preprocessor_config.json", "text": "ofmu.json"}


class Pretrained(NamedTuple):
    """What loading gives: see `ofmu.engine.models.LoadedModel`."""

    module: nn.Module
    kind: Kind
    tokenizer: Any
    settings: Mapping[str, Any]
    notes: tuple[str, ...]


def load_pretrained(place: Location, dtype: torch.dtype, attention: Attention) -> Pretrained:
    """A transformers causal language model or image classifier from a directory or the hub.

    Weights on disk that the model does not use are noted; weights that it lacks raise a UserError.
    """
    need("transformers", "llm")
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageClassification, AutoTokenizer

    with quiet(), clear_errors(place.path, hub=place.form == "hub"):
        config = AutoConfig.from_pretrained(place.path, trust_remote_code=False)
        kind = kind_of(config, place.path)
        auto = AutoModelForCausalLM if kind == "text" else AutoModelForImageClassification
        # a convolutional classifier knows no fused attention, and refuses even the word
        chosen = {"attn_implementation": attention} if kind == "text" or attention == "eager" else {}
        module, info = auto.from_pretrained(
            place.path, config=config, dtype=dtype, use_safetensors=True, output_loading_info=True, **chosen
        )
        check_keys(place.path, info)
        tokenizer = AutoTokenizer.from_pretrained(place.path) if kind == "text" else None
        settings = _settings(place.path, kind)
    spare = sorted(info["unexpected_keys"])
    notes = (f"{len(spare)} weights on disk are not used by the model: {spare[0]}, …",) if spare else ()
    return Pretrained(module, kind, tokenizer, settings, notes)


def load_gguf(file: Path, dtype: torch.dtype, attention: Attention) -> Pretrained:
    """The language model in a GGUF file, as a plain model without a trace of quantisation.

    transformers dequantises the weights but keeps the attributes of a quantised model, which then refuses to
    be saved. Raises UserError if a weight is not in `dtype` afterwards.
    """
    need("transformers", "llm")
    need("gguf", "llm")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    # the conversion's bar goes past transformers' own switch for bars, straight to stderr
    with quiet(), clear_errors(str(file)), open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        module = AutoModelForCausalLM.from_pretrained(**where, dtype=dtype, attn_implementation=attention)
        tokenizer = AutoTokenizer.from_pretrained(**where)
    for name in ("hf_quantizer", "is_quantized", "quantization_method"):
        module.__dict__.pop(name, None)
    for name in ("quantization_config", "_model_name_or_path", "_pre_quantization_dtype"):
        module.config.__dict__.pop(name, None)
    odd = sorted(name for name, p in module.named_parameters() if p.dtype != dtype)
    if odd:
        raise UserError(f"model: {file} still has quantised weights ({odd[0]}, …); expected {dtype}")
    return Pretrained(module, "text", tokenizer, {}, ())


def kind_of(config: Any, source: str) -> Kind:
    """What a transformers config says that the model is for; raises UserError for anything else."""
    from transformers.models.auto import modeling_auto as auto

    classes = list(config.architectures or [])
    if not classes:  # written without a class: what the model type can be
        for table in (
            auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
            auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
        ):
            classes += [str(table[config.model_type])] if config.model_type in table else []
    if any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in classes):
        return "text"
    if any(name.endswith("ForImageClassification") for name in classes):
        return "image"
    raise UserError(
        f"model: {source} is a {', '.join(classes) or config.model_type}, expected a causal "
        "language model or an image classifier"
    )


def check_keys(source: str, info: Mapping[str, Any]) -> None:
    """Raise a UserError if weights were missing or of another shape when a model was loaded."""
    for what in ("missing_keys", "mismatched_keys"):
        if info.get(what):
            names = sorted(map(str, info[what]))
            raise UserError(
                f"model: {source}: weights and config do not fit: {len(names)} {what.replace('_', ' ')} "
                f"({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
            )


def _settings(source: str, kind: Kind) -> dict[str, Any]:
    from transformers.utils import cached_file

    file = cached_file(source, SETTINGS[kind], _raise_exceptions_for_missing_entries=False)
    return read_json(Path(file)) if file else {}


def need(package: str, extra: str) -> None:
    """Raise a UserError that names the extra if an optional package is not installed."""
    if importlib.util.find_spec(package) is None:
        raise UserError(f'this needs the package {package}; install it with: pip install "ofmu[{extra}]"')


def plain(module: nn.Module) -> nn.Module:
    """Make a module fit to be trained and differentiated, in place.

    Embeddings lose their padding_idx: models pad with the end token, and `padding_idx` would drop the
    gradient of every real end token along with that of the padding (which no loss counts anyway). The
    key-value cache is switched off.
    """
    for part in module.modules():
        if isinstance(part, nn.Embedding):
            part.padding_idx = None
    if hasattr(getattr(module, "config", None), "use_cache"):
        module.config.use_cache = False  # type: ignore[union-attr]
    return module


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no warnings from transformers and the hub; what matters is raised or noted."""
    from transformers.utils import logging as theirs

    hub = logging.getLogger("huggingface_hub")
    level, bars, hub_level = theirs.get_verbosity(), theirs.is_progress_bar_enabled(), hub.level
    theirs.set_verbosity_error()
    theirs.disable_progress_bar()
    hub.setLevel(logging.ERROR)
    try:
        yield
    finally:
        theirs.set_verbosity(level)
        hub.setLevel(hub_level)
        if bars:
            theirs.enable_progress_bar()


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Without warnings of PEFT that help no user: an old name of transformers that it uses, and missing keys.

    Missing keys are raised by `check_keys`, by name.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        warnings.filterwarnings("ignore", message="Found missing adapter keys")
        yield


@contextmanager
def clear_errors(source: str, hub: bool = False) -> Iterator[None]:
    """Any failure to read a model becomes one line that names it."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
        said = " ".join(str(error).split())[:300]
        if hub:
            first = re.split(r"(?<=[a-z])[.,](?= )", said)[0]  # the rest is advice on the library's cache
            raise UserError(
                f"model: {source} is no local directory{hint(Path(source))}, and the hub did not give it "
                f"({first}); give a model's directory, or check the id and the connection"
            ) from error
        raise UserError(f"model: {source} cannot be loaded: {said}") from error
