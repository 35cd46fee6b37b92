"""Models from disk or the hub, and back to disk in standard formats; safetensors only, both ways."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch.nn import Module

from ofmu.engine.locate import Location, locate, read_json
from ofmu.engine.networks import build, network_name
from ofmu.engine.pretrained import (
    SETTINGS,
    Attention,
    check_keys,
    clear_errors,
    load_gguf,
    load_pretrained,
    need,
    plain,
    quiet,
    quiet_peft,
)
from ofmu.errors import UserError
from ofmu.tasks import Kind


@dataclass(frozen=True)
class LoadedModel:
    """A model with all that it takes to feed it.

    tokenizer: transformers' (None for images). settings: plain data, image normalisation (image_mean,
    image_std, size …) or settings of the text encoder. source: what `load_model` was given. notes: what a
    user should hear about how it was loaded.
    """

    module: Module
    kind: Kind
    tokenizer: Any = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    notes: tuple[str, ...] = ()


def load_model(
    path_or_id: str | Path, dtype: torch.dtype = torch.float32, attention: Attention = "sdpa"
) -> LoadedModel:
    """The model at a directory, a .gguf file, "package:NAME" (see `locate`) or a hub id, in eval mode.

    Directories: an ofmu network, a transformers causal LM or image classifier, or a PEFT adapter with its
    base. attention: "sdpa" is faster, "eager" can be differentiated twice on a CPU. Code that comes with a
    model is never run. Raises UserError if there is no such model, for pickled weights, and if weights and
    config do not fit.
    """
    if attention not in ("sdpa", "eager"):
        raise UserError(f"attention: found {attention!r}, expected 'sdpa' or 'eager'")
    source = str(path_or_id)
    place = locate(source)
    if place.form == "network":
        loaded = _load_network(place, dtype)
    elif place.form == "adapter":
        loaded = _load_adapter(place, dtype, attention)
    elif place.form == "gguf":
        loaded = LoadedModel(**load_gguf(Path(place.path), dtype, attention)._asdict())
    else:
        loaded = LoadedModel(**load_pretrained(place, dtype, attention)._asdict())
    return replace(loaded, module=plain(loaded.module).eval(), source=source)


def save_model(loaded: LoadedModel, directory: str | Path) -> None:
    """Write a model into an existing directory, so that `load_model` gives it back bit for bit.

    Our networks: config.json and model.safetensors. transformers models: `save_pretrained` with the
    tokenizer. A model under an adapter: the adapter alone (`merge_adapter` first for a whole model). Raises
    UserError for a directory that is missing and for a module of any other kind.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise UserError(f"directory: {directory} does not exist; make it first")
    name = network_name(loaded.module)
    if name is not None:
        _save_network(loaded.module, name, directory)
    elif hasattr(loaded.module, "peft_config"):
        # "auto" would ask the hub whether the vocabulary has grown
        loaded.module.save_pretrained(str(directory), save_embedding_layers=False)  # type: ignore[operator]
    elif hasattr(loaded.module, "save_pretrained"):
        with quiet():
            loaded.module.save_pretrained(str(directory))  # type: ignore[operator]
    else:
        raise UserError(
            f"model: found a {type(loaded.module).__name__}, expected a transformers "
            "model or one of ofmu's networks"
        )
    if loaded.tokenizer is not None:
        loaded.tokenizer.save_pretrained(str(directory))
    if loaded.settings:
        _write_json(directory / SETTINGS[loaded.kind], loaded.settings)


def _load_network(place: Location, dtype: torch.dtype) -> LoadedModel:
    from safetensors.torch import load_file

    path = Path(place.path)
    config = read_json(path / "config.json")
    name = str(config.pop("ofmu_network"))
    with clear_errors(place.path):
        module = build(name, config, seed=0).to(dtype)
        module.load_state_dict(load_file(path / "model.safetensors"))
    return LoadedModel(module, "image", settings=_settings(path, "image"))


def _save_network(module: Module, name: str, directory: Path) -> None:
    from safetensors.torch import save_file

    _write_json(directory / "config.json", {"ofmu_network": name, **module.config()})  # type: ignore[operator]
    state = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
    save_file(state, directory / "model.safetensors", metadata={"format": "pt"})


def _load_adapter(place: Location, dtype: torch.dtype, attention: Attention) -> LoadedModel:
    need("peft", "llm")
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    path = Path(place.path)
    base = load_model(_base(path), dtype, attention)
    with clear_errors(place.path), quiet_peft():
        module = PeftModel.from_pretrained(base.module, place.path, is_trainable=True)
        with safe_open(path / "adapter_model.safetensors", "pt") as file:
            missing = set(get_peft_model_state_dict(module, save_embedding_layers=False)) - set(file.keys())
        check_keys(place.path, {"missing_keys": missing})
        tokenizer = base.tokenizer
        if (path / "tokenizer_config.json").exists():
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(place.path)
    settings = _settings(path, base.kind) or base.settings
    return replace(base, module=module, tokenizer=tokenizer, settings=settings)


def _base(path: Path) -> str:
    base = read_json(path / "adapter_config.json").get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise UserError(
            f"model: {path}/adapter_config.json has base_model_name_or_path = {base!r}, expected the "
            "directory or id of the model that the adapter was trained on"
        )
    return base


def _settings(path: Path, kind: Kind) -> dict[str, Any]:
    file = path / SETTINGS[kind]
    return read_json(file) if file.exists() else {}


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(dict(value), indent=2) + "\n", encoding="utf-8")
