"""What is trained: exactly the parameters of the spec, in float32, and adapters that merge exactly."""

import copy
import json

import pytest
import torch
from torch import nn

from ofmu.engine.language import from_scratch, train_tokenizer
from ofmu.engine.models import LoadedModel, load_model, save_model
from ofmu.engine.networks import CNNConfig, build
from ofmu.engine.trainable import Trainable, apply_trainable, merge_adapter, parse_trainable
from ofmu.errors import UserError
from small import disturb, vit

transformers = pytest.importorskip("transformers")
CONFIG = {
    "vocab_size": 270,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "pad_token_id": 2,
}
IDS = torch.tensor([[5, 6, 7, 2]])


@pytest.fixture
def llama() -> LoadedModel:
    return LoadedModel(from_scratch({**CONFIG, "tie_word_embeddings": True}, 0), "text", source="base")


@pytest.fixture
def on_disk(tmp_path) -> LoadedModel:
    path = tmp_path / "base"
    path.mkdir()
    tokenizer = train_tokenizer(["some text"], 270)
    save_model(LoadedModel(from_scratch(CONFIG, 0), "text", tokenizer, {"max_length": 9}), path)
    return load_model(path)


def trained(loaded: LoadedModel) -> set[str]:
    return {name for name, p in loaded.module.named_parameters() if p.requires_grad}


def test_parse():
    assert parse_trainable("full") == Trainable("full")
    assert parse_trainable("top:10") == Trainable("top", 10)
    assert parse_trainable("lora:8") == Trainable("lora", 8)
    assert parse_trainable("lora:8,top:10") == Trainable("lora", 8, 10)


WRONG = (
    *("", "all", "top", "top:", "top:0", "top:-1", "top:x", "lora:1.5", "full:1", "Full"),
    *("lora:8,", ",top:2", "lora:8top:2", "lora:8,top:0", "top:2,lora:8", ","),
)


@pytest.mark.parametrize("spec", WRONG)
def test_unknown_specs_say_what_is_accepted(spec, llama):
    with pytest.raises(UserError) as error:
        apply_trainable(llama, spec)
    assert all(word in str(error.value) for word in (repr(spec), "full", "top:K", "lora:R"))


def test_full_trains_everything_even_after_freezing(llama):
    llama.module.requires_grad_(False)
    assert trained(apply_trainable(llama, "full")) == {name for name, _ in llama.module.named_parameters()}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_top_of_a_language_model_is_its_last_blocks_and_the_norm(tied, k):
    loaded = LoadedModel(from_scratch({**CONFIG, "tie_word_embeddings": tied}, 0), "text")
    blocks = tuple(f"model.layers.{i}." for i in range(3 - k, 3))
    expected = {n for n, _ in loaded.module.named_parameters() if n.startswith(blocks)} | {"model.norm.weight"}
    assert trained(apply_trainable(loaded, f"top:{k}")) == expected


def test_top_of_gpt2_that_names_things_differently():
    config = transformers.GPT2Config(
        vocab_size=32, n_embd=8, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0, n_positions=16
    )
    loaded = LoadedModel(transformers.GPT2LMHeadModel(config), "text")
    found = trained(apply_trainable(loaded, "top:1"))
    assert found == {
        n for n, _ in loaded.module.named_parameters() if n.startswith(("transformer.h.1.", "transformer.ln_f"))
    }


def test_top_beyond_the_blocks_says_how_many(llama):
    with pytest.raises(UserError, match="top:4, expected at most top:3"):
        apply_trainable(llama, "top:4")
    with pytest.raises(UserError, match="found top:5, expected at most top:4"):
        apply_trainable(LoadedModel(build("digits-cnn", CNNConfig(), 0), "image"), "top:5")


def test_top_of_image_models_is_the_last_layers():
    cnn = apply_trainable(LoadedModel(build("digits-cnn", CNNConfig(), 0), "image"), "top:2")
    assert trained(cnn) == {"linear.weight", "linear.bias", "head.weight", "head.bias"}
    assert trained(apply_trainable(LoadedModel(vit(), "image"), "top:1")) == {
        "classifier.weight",
        "classifier.bias",
    }


@pytest.mark.parametrize("spec", ["full", "top:1"])
def test_half_precision_is_converted_with_a_note(spec, llama):
    llama.module.to(torch.bfloat16)
    loaded = apply_trainable(llama, spec)
    assert {p.dtype for p in loaded.module.parameters()} == {torch.float32}
    assert "torch.bfloat16 to float32" in loaded.notes[-1]
    loaded.module(input_ids=IDS).logits.sum().backward()


def test_float64_stays_for_those_who_check_derivatives(llama):
    llama.module.double()
    loaded = apply_trainable(llama, "full")
    assert {p.dtype for p in loaded.module.parameters()} == {torch.float64}
    assert loaded.notes == ()


LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def test_lora_is_on_every_projection_and_starts_as_the_model(llama):
    before = llama.module(input_ids=IDS).logits.detach()
    loaded = apply_trainable(llama, "lora:2", seed=1)
    assert torch.equal(loaded.module(input_ids=IDS).logits, before)
    assert all(".lora_" in name for name in trained(loaded))
    assert len(trained(loaded)) == 2 * 3 * len(LINEAR)
    assert {name.split(".")[-4] for name in trained(loaded)} == set(LINEAR)
    sizes = {"in": (16, 16, 16, 16, 16, 16, 24), "out": (16, 8, 8, 16, 24, 24, 16)}
    expected = 3 * 2 * (sum(sizes["in"]) + sum(sizes["out"]))
    assert sum(p.numel() for p in loaded.module.parameters() if p.requires_grad) == expected
    assert not any(isinstance(m, nn.Dropout) and m.p for m in loaded.module.modules())


def test_lora_on_the_last_blocks_alone(llama):
    loaded = apply_trainable(llama, "lora:2,top:2")
    assert len(trained(loaded)) == 2 * 2 * len(LINEAR)
    assert all(".layers.1." in name or ".layers.2." in name for name in trained(loaded))
    with pytest.raises(UserError, match="top:4, expected at most top:3"):
        apply_trainable(LoadedModel(from_scratch(CONFIG, 0), "text"), "lora:2,top:4")
    assert trained(apply_trainable(loaded, "lora:2,top:2")) == trained(loaded)
    assert trained(apply_trainable(loaded, "lora:2")) == trained(loaded)
    with pytest.raises(UserError, match="on other blocks \\(2 of 3\\)"):
        apply_trainable(loaded, "lora:2,top:1")


def test_lora_is_decided_by_its_seed(llama):
    random_state = torch.get_rng_state()
    a, b, c = (
        apply_trainable(LoadedModel(copy.deepcopy(llama.module), "text"), "lora:2", seed) for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), random_state)
    x, y, z = (next(p for p in m.module.parameters() if p.requires_grad) for m in (a, b, c))
    assert torch.equal(x, y)
    assert not torch.equal(x, z)


def test_merging_is_w_plus_two_b_a(llama):
    w = llama.module.model.layers[0].mlp.up_proj.weight.detach().clone()
    loaded = apply_trainable(llama, "lora:2")
    disturb(loaded.module)
    layer = loaded.module.base_model.model.model.layers[0].mlp.up_proj
    expected = w + 2 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight  # α/R = 2
    logits = loaded.module(input_ids=IDS).logits.detach()
    merged = merge_adapter(loaded)
    assert type(merged.module).__name__ == "LlamaForCausalLM"
    torch.testing.assert_close(merged.module.model.layers[0].mlp.up_proj.weight, expected)
    torch.testing.assert_close(merged.module(input_ids=IDS).logits, logits)
    assert merge_adapter(merged) is merged


def test_adapter_alone_is_saved_and_comes_back_with_its_base(on_disk, tmp_path):
    loaded = apply_trainable(on_disk, "lora:2")
    disturb(loaded.module)
    target = tmp_path / "adapter"
    target.mkdir()
    save_model(loaded, target)
    assert not (target / "model.safetensors").exists()
    assert json.loads((target / "adapter_config.json").read_text())["base_model_name_or_path"] == on_disk.source
    again = load_model(target)
    assert again.source == str(target)
    assert again.settings == {"max_length": 9}
    assert again.tokenizer.encode("text") == on_disk.tokenizer.encode("text")
    loaded.module.eval()
    assert torch.equal(again.module(input_ids=IDS).logits, loaded.module(input_ids=IDS).logits)
    assert trained(apply_trainable(again, "lora:2")) == trained(loaded)
    for spec, words in (
        ("lora:3", "adapter of rank 2"),
        ("full", "merge it first"),
        ("top:1", "merge it first"),
    ):
        with pytest.raises(UserError, match=words):
            apply_trainable(again, spec)


def test_merged_model_is_saved_as_a_plain_model(on_disk, tmp_path):
    loaded = apply_trainable(on_disk, "lora:2")
    disturb(loaded.module)
    merged = merge_adapter(loaded)
    target = tmp_path / "merged"
    target.mkdir()
    save_model(merged, target)
    assert not (target / "adapter_config.json").exists()
    again = load_model(target)
    assert again.notes == ()
    state = again.module.state_dict()
    assert all(torch.equal(state[key], value) for key, value in merged.module.state_dict().items())


def test_adapter_whose_files_do_not_fit(on_disk, tmp_path):
    from safetensors.torch import load_file, save_file

    target = tmp_path / "adapter"
    target.mkdir()
    save_model(apply_trainable(on_disk, "lora:2"), target)
    weights = load_file(target / "adapter_model.safetensors")
    first = sorted(weights)[0]
    save_file({k: v for k, v in weights.items() if k != first}, target / "adapter_model.safetensors")
    with pytest.raises(UserError, match="do not fit: 1 missing keys"):
        load_model(target)
    config = json.loads((target / "adapter_config.json").read_text())
    (target / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": None}))
    with pytest.raises(UserError, match="base_model_name_or_path = None"):
        load_model(target)


def test_lora_over_a_half_precision_base_trains_in_float32(llama):
    llama.module.to(torch.bfloat16)
    loaded = apply_trainable(llama, "lora:2")
    assert {p.dtype for p in loaded.module.parameters() if p.requires_grad} == {torch.float32}
    assert "bfloat16" in loaded.notes[-1]
    loaded.module(input_ids=IDS).logits.sum().backward()


def test_lora_needs_a_transformers_model():
    with pytest.raises(UserError, match=r"needs a transformers model, found a CNN; use full or top:K"):
        apply_trainable(LoadedModel(build("digits-cnn", CNNConfig(), 0), "image"), "lora:2")
    loaded = apply_trainable(LoadedModel(vit(), "image", source="vit"), "lora:2")
    assert trained(loaded)
    assert all(".lora_" in name for name in trained(loaded))
