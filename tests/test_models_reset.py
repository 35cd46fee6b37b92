"""Which layers a model has, and that resetting the last k changes those and nothing else."""

import copy

import pytest
import torch
from torch import nn

from ofmu.engine.networks import CNNConfig, ResNetConfig, build
from ofmu.engine.reset import last_layers, parameterised_layers, reset_last
from ofmu.errors import UserError
from small import vit

transformers = pytest.importorskip("transformers")


def cnn() -> nn.Module:
    return build("digits-cnn", CNNConfig(widths=(2, 3), hidden=4), 0)


def resnet() -> nn.Module:
    return build("cifar-resnet", ResNetConfig(blocks=1, width=4, groups=2, norm="batch", size=8), 0)


def llama(tied: bool = True) -> nn.Module:
    config = transformers.LlamaConfig(
        vocab_size=32, hidden_size=8, intermediate_size=12, num_hidden_layers=3, num_attention_heads=2
    )
    config.tie_word_embeddings = tied
    return transformers.LlamaForCausalLM(config)


def hf_resnet() -> nn.Module:
    config = transformers.ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", num_labels=3
    )
    return transformers.ResNetForImageClassification(config)


def names(module: nn.Module) -> list[list[str]]:
    return [[name for name, _ in layer] for layer in parameterised_layers(module)]


def test_layers_of_each_kind_of_model():
    assert names(cnn()) == [["conv1"], ["conv2"], ["linear"], ["head"]]
    assert names(resnet())[:2] == [["conv", "norm"], ["blocks.0.conv1", "blocks.0.norm1"]]
    assert len(names(resnet())) == 6 * 1 + 2
    assert names(llama()) == [
        ["model.embed_tokens"],
        ["model.layers.0"],
        ["model.layers.1"],
        ["model.layers.2", "model.norm"],
    ]
    assert names(llama(tied=False))[-2:] == [["model.layers.2", "model.norm"], ["lm_head"]]
    assert names(vit()) == [
        ["vit.embeddings"],
        ["vit.layers.0"],
        ["vit.layers.1", "vit.layernorm"],
        ["classifier"],
    ]
    assert names(hf_resnet())[0] == ["resnet.embedder.embedder"]
    assert names(hf_resnet())[-1] == ["classifier.1"]


MODELS = [cnn, resnet, llama, lambda: llama(tied=False), vit, hf_resnet]


@pytest.mark.parametrize("make", MODELS)
def test_layers_cover_every_parameter_once(make):
    module = make()
    ids = [id(p) for layer in parameterised_layers(module) for _, m in layer for p in m.parameters()]
    assert len(ids) == len(set(ids))
    assert set(ids) == {id(p) for p in module.parameters()}


def shift(module: nn.Module) -> None:
    """Away from every initial value, zeros and ones of norms included."""
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.add_(0.37)


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("k", [1, 2, 3])
def test_reset_changes_the_last_k_and_nothing_else(make, k):
    module = make()
    shift(module)
    before = copy.deepcopy(module.state_dict())
    random_state = torch.get_rng_state()
    reset = reset_last(module, k, seed=3)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert reset == [name for layer in last_layers(module, k) for name, _ in layer]
    fresh = tuple(name + "." for name in reset)
    parameters = {name for name, _ in module.named_parameters()}
    for key, now in module.state_dict().items():
        if key.startswith(fresh) and key in parameters:
            assert not torch.equal(now, before[key]), key
        elif not key.startswith(fresh):
            assert torch.equal(now, before[key]), key


@pytest.mark.parametrize("make", MODELS)
def test_reset_is_decided_by_the_seed_alone(make):
    module = make()
    states = []
    for seed in (1, 1, 2):
        torch.rand(3)
        reset_last(module, 1, seed)
        states.append(copy.deepcopy(module.state_dict()))
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert any(not torch.equal(states[0][key], states[2][key]) for key in states[0])


def test_reset_keeps_the_scale_of_the_models_own_initialisation():
    module = llama()
    shift(module)
    reset_last(module, 3, seed=0)
    weight = torch.cat([p.flatten() for n, p in module.named_parameters() if "proj" in n])
    assert weight.std().item() == pytest.approx(0.02, rel=0.1)  # LlamaConfig.initializer_range
    assert torch.equal(module.model.norm.weight, torch.ones(8))


def test_reset_after_loading_from_disk_really_resets(tmp_path):
    llama().save_pretrained(tmp_path)
    module = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    before = module.model.layers[2].mlp.up_proj.weight.clone()
    reset_last(module, 1, seed=0)
    assert not torch.equal(module.model.layers[2].mlp.up_proj.weight, before)


def test_reset_restarts_running_statistics_of_the_reset_norm_only():
    module = resnet()
    shift(module)
    reset_last(module, 2, seed=0)
    assert torch.equal(module.blocks[2].norm2.running_mean, torch.zeros(16))
    assert module.blocks[2].norm1.running_mean[0].item() == pytest.approx(0.37)


@pytest.mark.parametrize("k", [0, 5, -1])
def test_k_out_of_range_says_the_range(k):
    with pytest.raises(UserError, match=rf"found {k}, expected 1 to 4 .*conv1, conv2, linear, head"):
        reset_last(cnn(), k, seed=0)


def test_a_layer_that_cannot_be_initialised_is_refused():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(2, 2))

    with pytest.raises(UserError, match="Odd"):
        reset_last(nn.Sequential(nn.Linear(2, 2), Odd()), 1, seed=0)
    with pytest.raises(UserError, match="no parameterised layers"):
        parameterised_layers(nn.ReLU())
