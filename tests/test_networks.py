"""Our image networks: pinned sizes, the prototype's exact architecture, and rebuilding from a config."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ofmu.engine.networks import NETWORKS, CNNConfig, ResNetConfig, build, network_name
from ofmu.errors import UserError


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_default_cnn_is_the_plain_sequential_bit_for_bit():
    torch.manual_seed(7)
    plain = nn.Sequential(
        *(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.SiLU(),
            nn.AvgPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.SiLU(),
        ),
        *(nn.Flatten(), nn.Linear(256, 64), nn.SiLU(), nn.Linear(64, 10)),
    )
    x = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(build("digits-cnn", CNNConfig(), seed=7)(x), plain(x))


def test_a_stem_of_stride_two_halves_every_side_and_adds_no_parameter():
    plain, strided = (build("cifar-resnet", ResNetConfig(width=8, blocks=1, stem=s), 0) for s in (1, 2))
    assert count(plain) == count(strided)
    sides = []
    for model in (plain, strided):
        model.blocks.register_forward_hook(lambda module, given, out: sides.append(out.shape[-1]))
        assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert sides == [8, 4]
    again = build("cifar-resnet", json.loads(json.dumps(strided.config())), 0)
    assert again.conv.stride == (2, 2)
    with pytest.raises(UserError, match=r"stem: found 0"):
        ResNetConfig(stem=0)


def test_published_parameter_counts():
    assert count(build("digits-cnn", CNNConfig(), 0)) == 80 + 1168 + 256 * 64 + 64 + 650
    for norm in (
        "group",
        "batch",
    ):  # He et al. 2016, table 6: ResNet-20 has 0.27 M, ResNet-56 0.85 M parameters
        assert count(build("cifar-resnet", ResNetConfig(norm=norm), 0)) == 269_722
        assert count(build("cifar-resnet", ResNetConfig(norm=norm, blocks=9), 0)) == 853_018


def test_resnet_shortcut_passes_the_image_when_the_branch_is_silent():
    net = build("cifar-resnet", ResNetConfig(blocks=1, width=8, activation="relu"), 0)
    block = net.blocks[1]  # 8 → 16 channels, half the size
    nn.init.zeros_(block.norm2.weight)
    x = torch.rand(2, 8, 6, 6)
    y = block(x)
    assert y.shape == (2, 16, 3, 3)
    assert torch.equal(y[:, :8], x[:, :, ::2, ::2])
    assert torch.equal(y[:, 8:], torch.zeros(2, 8, 3, 3))


def test_group_norm_network_has_no_buffers_and_batch_norm_has():
    assert not list(build("cifar-resnet", ResNetConfig(blocks=1), 0).buffers())
    assert list(build("cifar-resnet", ResNetConfig(blocks=1, norm="batch"), 0).buffers())


configs = st.one_of(
    st.builds(
        lambda **c: ("digits-cnn", CNNConfig(**c)),
        classes=st.integers(2, 5),
        channels=st.integers(1, 3),
        size=st.integers(2, 13),
        widths=st.tuples(st.integers(1, 4), st.integers(1, 4)),
        hidden=st.integers(1, 6),
        activation=st.sampled_from(["silu", "relu"]),
    ),
    st.builds(
        lambda **c: ("cifar-resnet", ResNetConfig(**c)),
        classes=st.integers(2, 5),
        channels=st.integers(1, 3),
        size=st.integers(4, 13),
        blocks=st.integers(1, 2),
        width=st.sampled_from([2, 4]),
        groups=st.sampled_from([1, 2]),
        norm=st.sampled_from(["group", "batch"]),
    ),
)


@settings(max_examples=25, deadline=None)
@given(configs, st.integers(0, 2**31))
def test_rebuilt_exactly_from_its_config_through_json(named, seed):
    name, config = named
    net = build(name, config, seed).eval()
    again = build(name, json.loads(json.dumps(net.config())), seed + 1).eval()
    again.load_state_dict(net.state_dict())
    x = torch.rand(2, config.channels, config.size, config.size)
    assert network_name(again) == name
    assert net(x).shape == (2, config.classes)
    assert torch.equal(net(x), again(x))


@pytest.mark.parametrize("name", list(NETWORKS))
def test_seed_decides_alone_and_leaves_the_global_state(name):
    config = NETWORKS[name].Config()
    before = torch.get_rng_state()
    a, b, c = build(name, config, 1), build(name, config, 1), build(name, config, 2)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(next(a.parameters()), next(c.parameters()))


@pytest.mark.parametrize(
    ("name", "config", "words"),
    [
        ("resnet99", {}, ["resnet99", "digits-cnn", "cifar-resnet"]),
        ("digits-cnn", {"clases": 3}, ["clases", "classes"]),
        ("digits-cnn", {"classes": 1}, ["classes", "≥ 2"]),
        ("digits-cnn", {"widths": [8]}, ["widths", "two integers"]),
        ("digits-cnn", {"activation": "tanh"}, ["tanh", "silu"]),
        ("cifar-resnet", {"width": 12, "groups": 8}, ["groups", "divisor", "12"]),
        ("cifar-resnet", {"norm": "layer"}, ["layer", "group"]),
        ("cifar-resnet", CNNConfig(), ["CNNConfig", "ResNetConfig"]),
    ],
)
def test_wrong_input_is_named(name, config, words):
    with pytest.raises(UserError) as error:
        build(name, config, 0)
    assert all(word in str(error.value) for word in words)


def test_network_name_of_a_stranger_is_none():
    assert network_name(nn.Linear(2, 2)) is None
