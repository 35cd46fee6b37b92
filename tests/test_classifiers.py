"""Classifiers by name: pinned sizes, seeds, shapes, features; augmentation and recipes of the CIFAR protocols."""

import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ofmu.engine.augment import crop_flip
from ofmu.engine.classifiers import OWN, build_classifier
from ofmu.engine.features import penultimate
from ofmu.engine.networks import VGGConfig, build
from ofmu.engine.training import Recipe, trained
from ofmu.errors import UserError
from ofmu.losses import class_logits, class_nll
from ofmu.tasks import TensorSamples


def count(model):
    return sum(p.numel() for p in model.parameters())


def samples(n, channels, size, classes=3):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(n, channels, size, size, generator=generator)
    return TensorSamples(pixels, torch.arange(n) % classes, [f"s/{i}" for i in range(n)])


@pytest.mark.parametrize("name", OWN)
def test_our_networks_read_small_images_of_any_kind(name):
    for channels, size in ((1, 8), (3, 28)):
        if name == "vgg16-bn" and size == 28:
            continue  # 15 million parameters
        model = build_classifier(name, 5, channels, size, 0).eval()
        assert class_logits(model, samples(2, channels, size).batch([0, 1])).shape == (2, 5)


def test_vgg_has_the_published_size():
    with torch.device("meta"):
        assert count(build("cifar-vgg", VGGConfig(), 0)) == 14_728_266


def test_group_norm_makes_vgg_free_of_buffers():
    assert not list(build("cifar-vgg", VGGConfig(width=8, norm="group", activation="silu"), 0).buffers())
    with pytest.raises(UserError, match="groups: found 8, expected a divisor of width = 12"):
        VGGConfig(width=12, norm="group")


@pytest.mark.slow
def test_resnet18_is_that_of_cifar_on_small_images_and_the_ordinary_one_on_large():
    pytest.importorskip("transformers")
    small, large = (build_classifier("resnet18", 10, 3, size, 0) for size in (32, 224))
    assert count(small) == 11_173_962  # the CIFAR ResNet-18 of common code
    assert small.resnet.embedder.embedder.convolution.stride == (1, 1)
    assert large.resnet.embedder.embedder.convolution.stride == (2, 2)
    logits = class_logits(small.eval(), samples(2, 3, 32).batch([0, 1]))
    assert logits.shape == (2, 10)
    again = build_classifier("resnet18", 10, 3, 32, 0)
    assert all(torch.equal(a, b) for a, b in zip(small.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(
    ("name", "classes", "size", "published"),
    [
        ("resnet50", 1000, 224, 25_557_032),
        ("resnet50", 10, 32, 23_520_842),  # CIFAR's stem
        ("vit", 1000, 224, 86_567_656),  # ViT-B/16
        ("swin-tiny", 1000, 224, 28_288_354),
    ],
)
def test_large_models_have_the_published_sizes(name, classes, size, published):
    pytest.importorskip("transformers")
    with torch.device("meta"):
        assert count(build_classifier(name, classes, 3, size, 0)) == published


def test_a_vision_transformer_fits_small_images():
    pytest.importorskip("transformers")
    model = build_classifier("vit-tiny", 7, 1, 28, 0).eval()
    assert class_logits(model, samples(2, 1, 28).batch([0, 1])).shape == (2, 7)
    with pytest.raises(UserError, match="images are 8 pixels wide, expected at least 28"):
        build_classifier("swin-tiny", 7, 1, 8, 0)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet19", "did you mean 'resnet18'?"),
        ("hub:no/such/model", "no image classifier of transformers' there"),
    ],
)
def test_a_wrong_name_is_named(name, words, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError) as error:
        build_classifier(name, 3, 3, 32, 0)
    assert words in str(error.value)


def test_without_timm_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"timm:vit_tiny.*pip install timm"):
        build_classifier("timm:vit_tiny", 3, 3, 32, 0)


def test_timm_is_asked_for_the_name_with_our_classes_channels_and_size(monkeypatch):
    asked = []

    def vit(num_classes, in_chans, img_size=224):
        return nn.Linear(img_size, num_classes)

    def resnet(num_classes, in_chans):
        return nn.Linear(1, num_classes)

    def swin(num_classes, in_chans, img_size=224):
        raise AssertionError("Input image height must be divisible by the window")

    def create_model(name, pretrained=False, **given):
        asked.append((name, pretrained, given))
        if name == "none":
            raise RuntimeError("Unknown model (none)")
        return {"vit_tiny": vit, "resnet18": resnet, "swin": swin}[name](**given)

    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=create_model))
    assert build_classifier("timm:vit_tiny", 7, 2, 32, 0).weight.shape == (7, 32)
    assert asked == [("vit_tiny", False, {"num_classes": 7, "in_chans": 2, "img_size": 32})]
    assert build_classifier("timm:resnet18", 7, 2, 32, 0).weight.shape == (7, 1)  # it takes no size
    assert asked[-1] == ("resnet18", False, {"num_classes": 7, "in_chans": 2})
    for name, words in (("none", "Unknown model"), ("swin", "divisible")):
        with pytest.raises(UserError, match=f"--model timm:{name}, images of 32 pixels: .*{words}"):
            build_classifier(f"timm:{name}", 7, 2, 32, 0)


def test_a_timm_model_reads_small_grey_images():
    pytest.importorskip("timm", exc_type=ImportError)
    model = build_classifier("timm:resnet18", 5, 1, 32, 0).eval()
    assert class_logits(model, samples(2, 1, 32).batch([0, 1])).shape == (2, 5)


def test_features_are_what_the_last_layer_reads():
    data = samples(7, 1, 8)
    model = build_classifier("cnn", 3, 1, 8, 0).train()
    found = penultimate(model, data, batch=4)
    assert model.training
    assert torch.allclose(model.head(found), model.eval()(data.pixels), atol=1e-6)
    with pytest.raises(UserError, match="no linear layer"):
        penultimate(nn.Conv2d(1, 3, 8), data)


def test_a_crop_is_a_window_of_the_padded_image_mirrored_or_not():
    pixels = torch.arange(1.0, 2 * 3 * 5 * 5 + 1).reshape(2, 3, 5, 5)
    data = TensorSamples(pixels, torch.tensor([0, 1]), ["a", "b"])
    windows = []
    for mirrored in (pixels, pixels.flip(3)):
        padded = nn.functional.pad(mirrored, (2, 2, 2, 2))
        windows += [padded[:, :, y : y + 5, x : x + 5] for y in range(5) for x in range(5)]
    seen = set()
    for seed in range(150):
        torch.manual_seed(seed)
        batch = crop_flip(data.batch([0, 1]), padding=2)
        found = [
            next(k for k, window in enumerate(windows) if torch.equal(window[i], batch.inputs["pixel_values"][i]))
            for i in range(2)
        ]
        seen.update(found)
        assert torch.equal(batch.labels, data.labels)
    assert len(seen) > 45  # of 50: every window comes, plain and mirrored


def test_the_rate_falls_to_a_tenth_at_each_drop():
    recipe = Recipe(schedule="steps", drops=(0.5, 0.75))
    factors = [recipe.factor(step, 100) for step in (0, 49, 50, 74, 75, 99)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_sgd_steps_by_its_rule():
    data = samples(6, 1, 4)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    first = [p.detach().clone() for p in model.parameters()]
    # two full-batch steps by hand: v ← .9 v + g + .1 θ, θ ← θ − .5 v
    theta = [p.clone().requires_grad_() for p in first]
    velocity = [torch.zeros_like(p) for p in theta]
    for _ in range(2):
        logits = data.pixels.flatten(1) @ theta[0].T + theta[1]
        grads = torch.autograd.grad(nn.functional.cross_entropy(logits, data.labels), theta)
        velocity = [0.9 * v + g + 0.1 * p.detach() for v, g, p in zip(velocity, grads, theta, strict=True)]
        theta = [(p - 0.5 * v).detach().requires_grad_() for p, v in zip(theta, velocity, strict=True)]
    trained(model, data, class_nll, Recipe(2, 6, 0.5, "sgd", 0.1))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(model.parameters(), theta, strict=True))


def test_augmentation_changes_training_and_not_what_is_measured():
    data = samples(12, 1, 8)
    models = [build_classifier("cnn", 3, 1, 8, 0) for _ in range(3)]
    for model, augment in zip(models, (False, True, True), strict=True):
        trained(model, data, class_nll, Recipe(1, 4, 1e-2, augment=augment))
    plain, once, again = (list(model.parameters()) for model in models)
    assert not torch.equal(plain[0], once[0])
    assert torch.equal(once[0], again[0])  # the seed decides the crops
