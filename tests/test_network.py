"""The networks: layer for layer what they claim to be, and every part of them learns."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clearswap.core.expression import COEFFICIENTS, MEASURES
from clearswap.core.losses import dissimilarity, weighted_l1
from clearswap.core.modern import LatentNorm, ModernNet, ReconstructBoth, Residual, Shown, Told, build, map_sides
from clearswap.core.network import PRESETS, Drawn, ModelConfig, Side, classic_decoder, classic_encoder
from clearswap.errors import OptionError


def layers(net: nn.Module) -> list[tuple[object, ...]]:
    """Every layer with what defines it, in order."""
    found: list[tuple[object, ...]] = []
    for part in net.modules():
        if isinstance(part, nn.Conv2d):
            found.append(("conv", part.in_channels, part.out_channels, *part.kernel_size, *part.stride, *part.padding))
        elif isinstance(part, nn.Linear):
            found.append(("linear", part.in_features, part.out_features))
        elif isinstance(part, nn.LeakyReLU):
            found.append(("leaky", part.negative_slope))
        elif isinstance(part, nn.PixelShuffle):
            found.append(("shuffle", part.upscale_factor))
        elif not list(part.children()):
            found.append((type(part).__name__.lower(),))
    return found


def halve(inputs: int, outputs: int) -> list[tuple[object, ...]]:
    return [("conv", inputs, outputs, 5, 5, 2, 2, 2, 2), ("leaky", 0.1)]


def upscale(inputs: int, outputs: int) -> list[tuple[object, ...]]:
    return [("conv", inputs, 4 * outputs, 3, 3, 1, 1, 1, 1), ("leaky", 0.1), ("shuffle", 2)]


def test_classic_is_the_well_known_network_layer_for_layer() -> None:
    assert layers(classic_encoder()) == [
        *halve(3, 128),
        *halve(128, 256),
        *halve(256, 512),
        *halve(512, 1024),
        ("flatten",),
        ("linear", 16384, 1024),
        ("linear", 1024, 16384),
        ("unflatten",),
        *upscale(1024, 512),
    ]
    assert layers(classic_decoder()) == [
        *upscale(512, 256),
        *upscale(256, 128),
        *upscale(128, 64),
        ("conv", 64, 3, 5, 5, 1, 1, 2, 2),
        ("sigmoid",),
    ]


def test_classic_has_the_number_of_parameters_it_is_known_for() -> None:
    with torch.device("meta"):
        net = build(PRESETS["classic"])
    convolutions = sum(5 * 5 * i * o + o for i, o in ((3, 128), (128, 256), (256, 512), (512, 1024)))
    dense = (16384 * 1024 + 1024) + (1024 * 16384 + 16384)
    decoder = sum(9 * i * 4 * o + 4 * o for i, o in ((512, 256), (256, 128), (128, 64))) + 25 * 64 * 3 + 3
    count = sum(p.numel() for p in net.parameters())
    assert count == convolutions + dense + (9 * 1024 * 2048 + 2048) + 2 * decoder
    assert f"{count / 1e6:.1f}" == "82.1"


def test_classic_shapes_on_the_way() -> None:
    with torch.device("meta"):
        encoder, decoder, x = classic_encoder(), classic_decoder(), torch.zeros(2, 3, 64, 64)
    shapes = [tuple((x := layer(x)).shape[1:]) for layer in [*encoder.children(), *decoder.children()]]
    assert shapes[:4] == [(128, 32, 32), (256, 16, 16), (512, 8, 8), (1024, 4, 4)]
    assert shapes[4:9] == [(16384,), (1024,), (16384,), (1024, 4, 4), (512, 8, 8)]
    assert shapes[9:] == [(256, 16, 16), (128, 32, 32), (64, 64, 64), (3, 64, 64), (3, 64, 64)]


SIDES: tuple[Side, Side] = ("a", "b")


def small(name: str) -> ModelConfig:
    """A preset that a test can afford: as deep, but narrow."""
    config = PRESETS[name]
    return config if name in ("classic", "lite") else replace(config, width=0.25)


NAMES = pytest.mark.parametrize("name", list(PRESETS))


@NAMES
def test_shape_and_range_come_out_as_they_went_in(name: str) -> None:
    config = small(name)
    net = build(config)
    faces = torch.rand(2, 3, config.size, config.size)
    with torch.inference_mode():
        for seen in SIDES:
            for drawn in SIDES:
                out = net(faces, torch.randn(2, MEASURES), seen, drawn)
                assert (out.mask is not None) == (out.expression is not None) == config.masks
                for picture, channels in ((out.patch, 3), (out.mask, 1)):
                    if picture is not None:
                        assert picture.shape == (2, channels, config.size, config.size)
                        assert picture.min() >= 0
                        assert picture.max() <= 1


@NAMES
def test_gradients_reach_every_parameter(name: str) -> None:
    config = small(name)
    net = build(config)
    faces = [torch.rand(4, 3, config.seen, config.seen) for _ in "ab"]
    expressions, noise = [torch.randn(4, MEASURES) for _ in "ab"], [torch.randn(4, config.latent) for _ in "ab"]
    told = [Told(e, x, torch.ones(4, 1)) for e, x in zip(expressions, noise, strict=True)]
    drawn: list[Drawn] = ReconstructBoth(net)(faces, told)
    parts = [part for out in drawn for part in out if part is not None]
    sum(part.mean() for part in parts).backward()
    dead = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


@NAMES
def test_one_side_does_not_touch_the_others_decoder(name: str) -> None:
    config = small(name)
    net = build(config)
    net(torch.rand(2, 3, config.size, config.size), torch.randn(2, MEASURES), "a", "a").patch.mean().backward()
    assert all(p.grad is not None for p in [*net.encoder.parameters(), *net.decoder_a.parameters()])
    assert all(p.grad is None for p in net.decoder_b.parameters())


def test_who_is_seen_chooses_the_norm_and_who_is_drawn_the_decoder() -> None:
    config = PRESETS["lite"]
    net, faces, expression = build(config), torch.rand(3, 3, config.size, config.size), torch.randn(3, MEASURES)
    assert isinstance(net, ModernNet)
    for _ in range(3):  # so that the two norms differ
        net(faces, expression, "a", "a")
    net.eval()
    with torch.inference_mode():
        read, maps = net.encoder(faces)
        pairs: list[tuple[Side, LatentNorm]] = [("a", net.norm_a), ("b", net.norm_b)]
        for seen, norm in pairs:
            for drawn in SIDES:
                said = expression if seen == drawn else net.translated(expression, seen, drawn)
                folded = net.common(torch.cat([said, norm(read[:, MEASURES:])], 1))
                assert torch.equal(net(faces, expression, seen, drawn).patch, net.decoder(drawn)(folded))
            mask = F.interpolate(net.mask(maps), (config.size, config.size), mode="bilinear")
            assert torch.equal(net(faces, expression, seen, "b").mask, mask)
        own = net(faces, expression, "a", "a").patch
        assert not torch.equal(own, net(faces, expression, "a", "b").patch)
        assert not torch.equal(own, net(faces, expression, "b", "a").patch)
        assert not torch.equal(own, net(faces, -expression, "a", "a").patch)


def test_nobody_is_asked_for_what_their_footage_never_showed() -> None:
    generator = torch.Generator().manual_seed(0)
    few = torch.randn(3, MEASURES, generator=generator)
    footage = 0.5 + torch.rand(200, 3, generator=generator) @ few  # three things, in any mixture
    shown = Shown()
    shown.learn(footage[:, None].expand(-1, 2, -1))
    usual = footage[((footage > shown.low) & (footage < shown.high)).all(1)][:5]
    assert torch.allclose(shown(usual), usual, atol=1e-4)
    foreign = shown(10 * torch.randn(50, MEASURES, generator=generator))
    assert (foreign >= footage.amin(0) - 1).all()
    assert (foreign <= footage.amax(0) + 1).all()
    off = torch.linalg.lstsq(few.T, (foreign - 0.5).T).solution.T @ few - (foreign - 0.5)
    assert off.abs().max() < 1e-3  # nothing but these three, mixed
    config = PRESETS["lite"]
    net, faces = build(config).eval(), torch.rand(1, 3, config.size, config.size)
    assert isinstance(net, ModernNet)
    net.shown_b.learn(footage[:, None].expand(-1, 2, -1))
    with torch.inference_mode():
        asked, other = torch.full((1, MEASURES), 9.0), torch.full((1, MEASURES), 90.0)
        assert torch.allclose(net(faces, asked, "a", "b").patch, net(faces, other, "a", "b").patch, atol=1e-5)
        assert not torch.allclose(net(faces, asked, "b", "b").patch, net(faces, other, "b", "b").patch, atol=1e-3)


def test_who_frowns_by_nature_does_not_make_the_other_frown() -> None:
    brow, smile, jaw = (COEFFICIENTS.index(name) for name in ("browDownLeft", "mouthSmileLeft", "jawOpen"))
    acting = torch.zeros(100, 2, MEASURES)
    acting[60:, :, [brow, smile, jaw]] = 2.0  # they do nothing in most frames, or all three at once
    frowning, smiling = acting.clone(), acting.clone()
    frowning[..., brow] += 1.5
    smiling[..., smile] += 3.0  # nobody's mouth is made so: this one always smiles
    net = build(PRESETS["lite"].with_base())
    assert isinstance(net, ModernNet)
    net.shown_a.learn(acting)
    net.shown_b.learn(frowning)
    assert torch.allclose(net.translated(frowning[:, 0], "b", "a"), acting[:, 0], atol=1e-5)
    assert torch.allclose(net.translated(acting[:, 0], "a", "b"), frowning[:, 0], atol=1e-5)
    net.shown_b.learn(smiling)
    assert (net.translated(smiling[:, 0], "b", "a")[:, smile] > 1).all()  # it would be 0, were that called rest


def test_a_face_that_is_forgotten_is_drawn_by_its_expression_alone() -> None:
    config = PRESETS["lite"]
    net, expressions = build(config), [torch.randn(1, MEASURES).expand(2, -1) for _ in "ab"]
    noise, faces = [torch.randn(2, config.latent) for _ in "ab"], [torch.rand(2, 3, 96, 96) for _ in "ab"]
    told = [Told(expressions[i], noise[i], kept) for i, kept in enumerate((torch.zeros(2, 1), torch.ones(2, 1)))]
    drawn: list[Drawn] = ReconstructBoth(net)(faces, told)
    assert torch.equal(drawn[0].patch[0], drawn[0].patch[1])
    assert not torch.equal(drawn[1].patch[0], drawn[1].patch[1])


def test_classic_is_encoder_and_decoder_and_nothing_else() -> None:
    net, faces = build(PRESETS["classic"]), torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        drawn = net(faces, torch.randn(2, MEASURES), "b", "a")
        assert torch.equal(drawn.patch, net.decoder_a(net.encoder(faces)))


def test_a_level_brings_its_persons_latents_to_zero_mean_and_unit_spread() -> None:
    level, other = LatentNorm(24), LatentNorm(24)
    latents = 3 + 2 * torch.randn(64, 24, generator=torch.Generator().manual_seed(0))
    for _ in range(300):
        in_training = level(latents)
    assert in_training.mean(0).abs().max() < 1e-5
    level.eval()
    levelled = level(latents)
    assert levelled.mean(0).abs().max() < 0.05
    assert (levelled.std(0) - 1).abs().max() < 0.05
    assert torch.allclose(other.eval()(latents), latents, atol=1e-3)  # the other person's knows nothing of it


def test_noise_reaches_the_latent_in_training() -> None:
    norm, latents = LatentNorm(8), torch.randn(4, 8)
    noise = torch.randn(4, 8)
    assert torch.allclose(norm(latents, noise) - norm(latents), 0.5 * noise, atol=1e-6)


@pytest.mark.parametrize("size", [0, 8, 98, 100, 120, 516, 640, 1024])
def test_a_size_that_does_not_halve_evenly_is_refused(size: int) -> None:
    with pytest.raises(OptionError, match=f"{size} .*is not possible"):
        build(replace(PRESETS["lite"], seen=size))


def test_a_face_that_the_maps_do_not_fold_into_is_refused() -> None:
    with pytest.raises(OptionError, match="Faces of 200 pixels are not possible; give a multiple of 24"):
        build(replace(PRESETS["lite"], size=200))


@pytest.mark.parametrize("seen", [64, 96, 128, 192, 256, 512])
@pytest.mark.parametrize("times", [1, 1.5, 2])
def test_the_sizes_that_the_refusal_names_are_possible(seen: int, times: float) -> None:
    size = int(times * seen)
    config = replace(PRESETS["lite"], seen=seen, size=size, width=0.125)
    out = build(config).eval()(torch.rand(1, 3, size, size), torch.randn(1, MEASURES), "b", "a")
    assert out.patch.shape == (1, 3, size, size)


def test_larger_pictures_are_halved_more_often() -> None:
    assert [map_sides(size) for size in (96, 128, 256)] == [[24, 12, 6], [32, 16, 8], [64, 32, 16, 8]]
    assert map_sides(512)[-1] == 8


@NAMES
def test_the_network_starts_with_a_signal_that_depends_on_the_face(name: str) -> None:
    """A badly begun network gives one grey for all faces and takes long to leave it."""
    config = small(name)
    net = build(config)
    with torch.inference_mode():
        found = net.encoder(torch.rand(8, 3, config.size, config.size).round())
    latents = found if isinstance(found, torch.Tensor) else found[0]
    assert latents.std(0).mean() > 1e-4


def test_a_residual_of_zero_weights_changes_nothing() -> None:
    block = Residual(8)
    nn.init.zeros_(block.body[-1].weight)
    nn.init.zeros_(block.body[-1].bias)
    x = torch.rand(1, 8, 6, 6)
    assert torch.equal(block(x), x)


def test_the_loss_is_the_weighted_mean_difference() -> None:
    output, target = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    target[0, :, :2] = 0.5
    even = torch.ones(2, 1, 4, 4)
    assert float(weighted_l1(output, target, even)) == pytest.approx(float((output - target).abs().mean()))
    upper = torch.zeros(2, 1, 4, 4)
    upper[:, :, :2] = torch.tensor([3.0, 7.0])[:, None, None, None]
    assert float(weighted_l1(output, target, upper)) == pytest.approx(0.25)  # each picture counts alike
    assert float(weighted_l1(output, target, 0 * even)) == 0


def test_dissimilarity_is_nothing_for_equals_and_sees_blur_where_it_counts() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(2, 3, 48, 48, generator=generator)
    blurred, even = F.avg_pool2d(target, 5, 1, 2), torch.ones(2, 1, 48, 48)
    assert float(dissimilarity(target, target, even)) == pytest.approx(0, abs=1e-5)
    assert 0.2 < float(dissimilarity(blurred, target, even)) <= 1
    half = target.clone()
    half[..., 24:] = blurred[..., 24:]
    left, right = even.clone(), even.clone()
    left[..., 16:], right[..., :32] = 0, 0
    assert float(dissimilarity(half, target, left)) < 0.02 < float(dissimilarity(half, target, right))


def test_a_seed_gives_the_same_weights_whatever_other_threads_draw() -> None:
    """Torch draws first weights from one generator for all threads."""
    config, before = replace(PRESETS["lite"], size=48, seen=48, width=0.25), torch.random.get_rng_state()
    alone = [build(config, seed).state_dict() for seed in range(4)]
    assert torch.equal(torch.random.get_rng_state(), before)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: build(config, seed % 4).state_dict(), range(12)))
    for number, weights in enumerate(together):
        assert all(torch.equal(weights[name], tensor) for name, tensor in alone[number % 4].items())
    assert not all(torch.equal(alone[0][name], alone[1][name]) for name in alone[0])
