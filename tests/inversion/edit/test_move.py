from dataclasses import replace

import pytest
import torch

from generators.errors import GeneratorError
from generators.stylegan2 import StyleGAN2, StyleGAN2Config
from inversion.config import LatentSpace
from inversion.edit.mix import blend, crossover, mix, mix_noise
from inversion.edit.move import apply_direction, interpolate, path, truncate
from inversion.errors import SettingsError, SpaceMismatch
from inversion.latent import Latent, sample_latent, synthesize

NAN = float("nan")


def random(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def trio(generator):
    """Three w_plus latents with noise of their own."""
    return [Latent(random(1, 6, 8, seed=i), LatentSpace.W_PLUS, generator.sample_noise(1, i)) for i in range(3)]


def same(a, b):
    return torch.equal(a.code, b.code) and all(map(torch.equal, a.noise, b.noise))


@pytest.mark.parametrize("kind", ["linear", "spherical"])
def test_the_ends_of_an_interpolation_are_exact(trio, kind):
    a, b, _ = trio
    assert same(interpolate(a, b, 0.0, kind=kind), a)
    assert same(interpolate(a, b, 1.0, kind=kind), b)
    assert not same(interpolate(a, b, 0.5, kind=kind), a)


@pytest.mark.parametrize("t", [-0.5, 0.25, 2.0])
def test_linear_is_the_straight_line(trio, t):
    a, b, _ = trio
    torch.testing.assert_close(interpolate(a, b, t).code, (1 - t) * a.code + t * b.code)


def test_spherical_turns_by_the_angle():
    def z(x, y):
        return Latent(torch.tensor([[x, y]]), LatentSpace.Z, ())

    third = interpolate(z(1.0, 0.0), z(0.0, 3.0), 1 / 3, kind="spherical").code
    torch.testing.assert_close(third, torch.tensor([[3**0.5 / 2, 0.5]]) * 5 / 3)  # 30 degrees, a third of the way to 3
    beyond = interpolate(z(1.0, 0.0), z(0.0, 1.0), 2.0, kind="spherical").code
    torch.testing.assert_close(beyond, torch.tensor([[-1.0, 0.0]]))
    for end in [z(1.0, 0.0), z(3.0, 0.0), z(-1.0, 0.0), z(0.0, 0.0)]:  # no arc: the straight line
        torch.testing.assert_close(
            interpolate(z(1.0, 0.0), end, 0.25, kind="spherical").code, z(1.0, 0.0).code.lerp(end.code, 0.25)
        )


def test_spherical_about_a_center_keeps_the_distance_from_it(trio):
    a, b, _ = trio
    center = random(8, seed=9)
    b = replace(
        b,
        code=center
        + (b.code - center)
        * (a.code - center).norm(dim=-1, keepdim=True)
        / (b.code - center).norm(dim=-1, keepdim=True),
    )
    half = interpolate(a, b, 0.5, kind="spherical", center=center)
    torch.testing.assert_close((half.code - center).norm(dim=-1), (a.code - center).norm(dim=-1))
    with pytest.raises(SettingsError, match=r"center is \(3,\).*\(8,\) or \(6, 8\)"):
        interpolate(a, b, 0.5, kind="spherical", center=torch.zeros(3))


def test_noise_keeps_its_power():
    maps = [random(1, 1, 256, 256, seed=seed) for seed in range(2)]
    a, b = (Latent(torch.zeros(1, 2), LatentSpace.Z, (m,)) for m in maps)
    mixed = interpolate(a, b, 0.3).noise[0]
    torch.testing.assert_close(mixed, (0.7 * maps[0] + 0.3 * maps[1]) / (0.7**2 + 0.3**2) ** 0.5, atol=0.05, rtol=0)
    assert abs(mixed.square().mean() - 1) < 0.01
    assert torch.equal(interpolate(a, replace(a, code=b.code + 1), 0.3).noise[0], maps[0])
    near = replace(a, noise=(maps[0] + 1e-3 * maps[1],))  # almost the same noise: no jump in power
    torch.testing.assert_close(interpolate(a, near, 0.5).noise[0], maps[0], atol=0.01, rtol=0)
    silent = replace(a, noise=(torch.zeros_like(maps[0]),))
    assert interpolate(silent, replace(silent, code=a.code + 1), 0.5).noise[0].abs().max() == 0
    opposite = interpolate(a, replace(a, noise=(-maps[0],)), 0.5).noise[0]
    assert opposite.isfinite().all()


@pytest.mark.parametrize("call", [{"t": NAN}, {"t": float("inf")}, {"t": 0.5, "kind": "cubic"}])
def test_interpolate_refuses(trio, call):
    with pytest.raises(SettingsError, match="-100 to 100|linear or spherical"):
        interpolate(trio[0], trio[1], **call)


def test_latents_must_fit_each_other(generator, trio):
    a, b, _ = trio
    with pytest.raises(SpaceMismatch, match="w_plus and w"):
        interpolate(a, Latent(a.code[:, 0], LatentSpace.W, a.noise), 0.5)
    with pytest.raises(SpaceMismatch, match=r"\(1, 6, 8\) and \(1, 4, 8\)"):
        blend([a, replace(b, code=b.code[:, :4])])
    with pytest.raises(SpaceMismatch, match="noise maps"):
        blend([a, replace(b, noise=b.noise[:2])])


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("frames", [3, 4, 10, 31])
def test_a_path_hits_every_latent(trio, frames, loop):
    walk = path(trio, frames, loop=loop)
    assert len(walk) == frames
    assert same(walk[0], trio[0])
    hits = [i for i, latent in enumerate(walk) for stop in trio if same(latent, stop)]
    assert len(hits) == 3
    assert loop or same(walk[-1], trio[-1])


def test_a_path_with_ease_starts_slowly(trio):
    first = [(path(trio[:2], 11, ease=ease)[1].code - trio[0].code).norm() for ease in (True, False)]
    torch.testing.assert_close(first[0] / first[1], torch.tensor(0.28), atol=1e-4, rtol=0)  # 3 t - 2 t^2 at 0.1


@pytest.mark.parametrize("count, frames", [(1, 10), (0, 10), (3, 2), (2, 1), (2, 0)])
def test_a_path_needs_latents_and_frames(trio, count, frames):
    with pytest.raises(SettingsError, match="at least"):
        path(trio[:count], frames)


def test_blend_is_the_weighted_mean(trio):
    a, b, c = trio
    assert torch.equal(blend([a, b]).code, (a.code + b.code) / 2)
    assert torch.equal(blend([a, b], [0.25, 0.75]).code, 0.25 * a.code + 0.75 * b.code)
    torch.testing.assert_close(blend(trio, [2.0, 1.0, 1.0]).code, (2 * a.code + b.code + c.code) / 4)
    assert same(blend(trio, [0.0, 7.0, 0.0]), b)
    assert same(blend([a]), a)
    torch.testing.assert_close(blend([a, b], [0.7, 0.3]).noise, interpolate(a, b, 0.3).noise)


def test_a_batch_blends_image_by_image(generator, trio):
    pairs = [
        Latent(torch.cat([x.code, y.code]), x.space, tuple(map(lambda *n: torch.cat(n), x.noise, y.noise)))
        for x, y in [(trio[0], trio[1]), (trio[2], trio[0])]
    ]
    for whole, parts in zip(blend(pairs).split(), [(trio[0], trio[2]), (trio[1], trio[0])], strict=True):
        torch.testing.assert_close(whole.noise, blend(parts).noise)
        assert torch.equal(whole.code, blend(parts).code)


@pytest.mark.parametrize("weights", [[1.0], [1.0] * 4, [1.0, -1.0, 1.0], [0.0] * 3, [NAN, 1.0, 1.0], [1e308] * 3, []])
def test_blend_refuses_weights(trio, weights):
    with pytest.raises(SettingsError, match="weights"):
        blend(trio, weights)


def test_blend_of_nothing():
    with pytest.raises(SettingsError, match="at least one"):
        blend([])


def test_crossover_takes_styles_of_a_resolution(generator, trio):
    a, b, _ = trio
    assert generator.ws_resolutions == (4, 8, 8, 16, 16, 16)
    mixed = crossover(generator, a, b, low=8, high=8)
    assert torch.equal(mixed.code[:, 1:3], b.code[:, 1:3])
    assert torch.equal(mixed.code[:, [0, 3, 4, 5]], a.code[:, [0, 3, 4, 5]])
    assert mixed.noise is a.noise  # whose styles act at 16 px
    assert crossover(generator, a, b, low=16, high=64).noise is b.noise
    assert same(crossover(generator, a, b, low=4, high=16), b)
    assert not torch.equal(a.code, mixed.code)


def test_crossover_refuses(generator, trio):
    a, b, _ = trio
    with pytest.raises(GeneratorError, match="no layer at 64 to 128 px"):
        crossover(generator, a, b, low=64, high=128)
    z = Latent(random(1, 8, seed=0), LatentSpace.Z, a.noise)
    with pytest.raises(SpaceMismatch, match="to_w_plus"):
        crossover(generator, z, z, low=4, high=8)
    short = replace(a, code=a.code[:, :4])
    with pytest.raises(SpaceMismatch, match=r"\(1, 4, 8\); tiny takes \(batch, 6, 8\)"):
        crossover(generator, short, short, low=4, high=8)


def test_mix_by_the_three_bands(generator, trio):
    a, b, c = trio
    mixed = mix(generator, a, b)
    assert torch.equal(mixed.code[:, :3], a.code[:, :3]) and torch.equal(mixed.code[:, 3:], b.code[:, 3:])
    assert same(mix(generator, a, a, a), a)
    assert same(mix(generator, a, b, a), mixed)
    with pytest.raises(SettingsError, match="tiny has no fine layers.*coarse or middle"):
        mix(generator, a, b, c)


def test_mix_means_the_same_at_any_size():
    with torch.random.fork_rng():
        large = StyleGAN2(StyleGAN2Config(img_resolution=128, w_dim=8, channels=(2,) * 6, mapping_layers=1))
    parts = [Latent(torch.full((1, 12, 8), float(i)), LatentSpace.W_PLUS, large.sample_noise(1, i)) for i in range(3)]
    origin = mix(large, *parts).code[0, :, 0].int().tolist()
    assert origin == [{4: 0, 8: 0, 16: 1, 32: 1, 64: 2, 128: 2}[r] for r in large.ws_resolutions]


def test_truncate_moves_towards_the_average(generator, trio):
    a = trio[0]
    assert torch.equal(truncate(generator, a, 1.0).code, a.code)
    assert torch.equal(truncate(generator, a, 0.0).code, generator.w_avg.expand(1, 6, 8))
    half = truncate(generator, a, 0.5)
    torch.testing.assert_close(half.code - generator.w_avg, (a.code - generator.w_avg) / 2)
    fixed = generator.fixed_noise(1)
    expected = mix_noise([fixed, a.noise], [0.5, 0.5])
    assert all(map(torch.equal, half.noise, expected)) and not torch.equal(half.noise[0], a.noise[0])
    assert all(map(torch.equal, truncate(generator, a, 0.0).noise, fixed))
    assert truncate(generator, a, 1.0).noise is a.noise and truncate(generator, a, 1.5).noise is a.noise
    plain = replace(a, noise=fixed)
    assert all(map(torch.equal, truncate(generator, plain, 0.5).noise, fixed))
    with pytest.raises(SpaceMismatch, match="to_w_plus"):
        truncate(generator, Latent(random(1, 8, seed=0), LatentSpace.Z, a.noise), 0.5)
    with pytest.raises(SettingsError, match="psi is nan"):
        truncate(generator, a, NAN)


def test_apply_direction(generator, trio):
    a, direction = trio[0], random(8, seed=4)
    before = a.code.clone()
    moved = apply_direction(a, direction, 2.0)
    torch.testing.assert_close(moved.code - a.code, 2 * direction.expand(1, 6, 8))
    assert torch.equal(a.code, before)
    torch.testing.assert_close(apply_direction(moved, direction, -2.0).code, a.code)
    some = apply_direction(a, direction, 2.0, layers=[0, 3])
    assert torch.equal(some.code[:, [0, 3]], moved.code[:, [0, 3]])
    assert torch.equal(some.code[:, [1, 2, 4, 5]], a.code[:, [1, 2, 4, 5]])
    layered = random(6, 8, seed=5)
    torch.testing.assert_close(apply_direction(a, layered, 0.5).code, a.code + layered / 2)
    w = Latent(a.code[:, 0], LatentSpace.W, a.noise)
    torch.testing.assert_close(
        synthesize(generator, apply_direction(w, direction, 1.0)),
        synthesize(generator, apply_direction(w.to_w_plus(generator), direction, 1.0)),
    )


def test_apply_direction_refuses(trio):
    a, direction = trio[0], torch.ones(8)
    with pytest.raises(SettingsError, match=r"direction is \(7,\); a latent of \(1, 6, 8\) takes \(8,\) or \(6, 8\)"):
        apply_direction(a, torch.ones(7), 1.0)
    with pytest.raises(SettingsError, match="no layer 6: the latent has layers 0 to 5"):
        apply_direction(a, direction, 1.0, layers=[0, 6])
    with pytest.raises(SettingsError, match="strength is nan"):
        apply_direction(a, direction, NAN)
    for space, shape, layers in [("z", (8,), None), ("w", (8,), [0]), ("w", (6, 8), None)]:
        with pytest.raises(SpaceMismatch, match="to_w_plus"):
            apply_direction(Latent(a.code[:, 0], LatentSpace(space), a.noise), torch.ones(shape), 1.0, layers)


@pytest.mark.parametrize("factor", [1e30, -1e5, float("inf"), NAN])
def test_a_factor_with_which_nothing_can_be_drawn(generator, factor):
    w = sample_latent(generator)
    for call in (lambda: truncate(generator, w, factor), lambda: sample_latent(generator, truncation_psi=factor)):
        with pytest.raises(SettingsError, match="give a number from -100 to 100"):
            call()
