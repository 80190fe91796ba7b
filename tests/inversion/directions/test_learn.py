import numpy as np
import pytest
import torch
from PIL import Image

from generators.base import Generator
from inversion.attributes import ATTRIBUTES
from inversion.directions import learn as module
from inversion.directions.direction import move
from inversion.directions.learn import (
    Labels,
    LearnConfig,
    boundary,
    label,
    learn,
    learn_from_examples,
    look,
    places_of,
    regression,
    without,
)
from inversion.errors import Note, SettingsError
from inversion.latent import sample_latent, synthesize
from tests.conftest import tiny_generator


class Paint(Generator):
    """One colour over all of the picture: three numbers of w, which vary together, and two that do nothing."""

    name = "paint"
    MIX = torch.tensor(
        [[0.2, 0, 0, 0, 0], [0.1, 0.1, 0, 0, 0], [0, 0.1, 0.1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0.5, 2]]
    )

    def __init__(self) -> None:
        super().__init__()
        self.z_dim = self.w_dim = 5
        self.num_ws, self.ws_resolutions, self.img_resolution, self.img_channels = 2, (4, 8), 8, 3
        self.register_buffer("w_avg", torch.zeros(5))

    def map_z(self, z, c):
        return z @ self.MIX.T

    def draw(self, ws, noise, size):
        return (ws.mean(dim=1)[:, :3, None, None]).expand(-1, 3, 8, 8)


def red(image: Image.Image) -> float:
    return float(np.asarray(image)[..., 0].mean())


def green(image: Image.Image) -> float | None:
    return float(np.asarray(image)[..., 1].mean())


FEW = LearnConfig(samples=300, truncation=1.0)


@pytest.fixture(scope="module")
def paint():
    return Paint().eval()


@pytest.fixture(scope="module")
def labels(paint):
    return label(paint, {"red": red, "green": green}, FEW)


def colour(generator, latent):
    return synthesize(generator, latent).mean(dim=(2, 3))[0]


def test_a_label_is_what_the_function_says_of_each_sample(paint, labels):
    codes = sample_latent(paint, batch=300).code
    expected = (codes[:, 0, 0] * 127.5 + 127.5).clamp(0, 255)
    np.testing.assert_allclose(labels.values["red"], expected, atol=0.6)
    np.testing.assert_allclose(labels.places, paint.statistics().enter(codes[:, 0]), atol=1e-5)


@pytest.mark.parametrize("method", ["ridge", "svm", "means"])
def test_a_direction_raises_what_it_was_learned_from(paint, labels, method):
    (direction,) = learn(paint, labels, ["red"], config=LearnConfig(method=method))
    latent = sample_latent(paint, seed=5)
    assert colour(paint, move(paint, latent, direction, 1.0))[0] > colour(paint, latent)[0] + 0.1
    assert direction.made["score"] > 0.9 and direction.made["samples"] == 300
    assert direction.made["method"] == method


def test_between_goes_from_samples_beyond_one_value_to_those_beyond_another(paint, labels):
    reds = labels.values["red"]
    config = LearnConfig(method="means", between=(140.0, 110.0))
    (direction,) = learn(paint, labels, ["red"], config=config)
    w = sample_latent(paint, batch=300).code[:, 0]
    way = w[reds <= 110].mean(dim=0) - w[reds >= 140].mean(dim=0)
    assert torch.nn.functional.cosine_similarity(way, direction.shift[0], dim=0) > 0.9999
    assert direction.made["between"] == [140.0, 110.0] and direction.made["samples"] < 300
    assert direction.made["score"] > 0.9
    with pytest.raises(SettingsError, match="red is so in 0 and .* samples; 10 of each"):
        learn(paint, labels, ["red"], config=LearnConfig(method="means", between=(999.0, 110.0)))
    with pytest.raises(SettingsError, match="a regression is over all samples"):
        LearnConfig(between=(1.0, 2.0))
    with pytest.raises(SettingsError, match="give two different numbers"):
        LearnConfig(method="svm", between=(1.0, 1.0))


def test_what_shall_not_move_does_not(paint, labels):
    latent = sample_latent(paint, seed=5)
    (plain,) = learn(paint, labels, ["red"], config=FEW)
    (apart,) = learn(paint, labels, ["red"], apart=["green"], config=FEW)
    moved = [colour(paint, move(paint, latent, one, 1.0)) - colour(paint, latent) for one in (plain, apart)]
    assert moved[0][1] > 0.05, "red and green vary together"
    assert abs(moved[1][1]) < 0.002 and moved[1][0] > 0.08
    assert apart.made["not"] == ["green"] and 0 < apart.made["own"] < 1 == plain.made["own"]


def test_its_own_name_and_repeats_among_the_others_are_left_out(paint, labels):
    (once,) = learn(paint, labels, ["red"], apart=["green"], config=FEW)
    (again,) = learn(paint, labels, ["red"], apart=["red", "green", "green"], config=FEW)
    assert torch.equal(again.shift, once.shift)
    assert learn(paint, labels, ["red", "green"], apart=["red", "green"], config=FEW)[0].made == once.made


def test_the_same_seed_gives_the_same_labels_and_direction(paint, labels):
    again = label(paint, {"red": red}, FEW)
    np.testing.assert_array_equal(again.values["red"], labels.values["red"])
    assert torch.equal(
        learn(paint, again, ["red"], config=FEW)[0].shift, learn(paint, labels, ["red"], config=FEW)[0].shift
    )


def test_a_direction_that_is_nearly_the_others_is_told(paint, labels):
    twin = Labels(labels.places, {"red": labels.values["red"], "twin": labels.values["red"] + labels.places[:, 4]})
    with pytest.warns(Note, match=r"red has \d+% of its own beside twin"):
        learn(paint, twin, ["red"], apart=["twin"], config=FEW)


def test_samples_without_a_value_are_left_out(paint, labels):
    values = labels.values["red"].copy()
    values[:100] = np.nan
    (direction,) = learn(paint, Labels(labels.places, {"red": values}), ["red"], config=FEW)
    assert direction.made["samples"] == 200
    with pytest.raises(SettingsError, match="red could be told of 40 of 300 samples; 50 are needed"):
        values[:260] = np.nan
        learn(paint, Labels(labels.places, {"red": values}), ["red"], config=FEW)


def test_labels_that_teach_nothing_are_refused(paint, labels):
    with pytest.raises(SettingsError, match="flat is 3 for every sample"):
        learn(paint, Labels(labels.places, {"flat": np.full(300, 3.0)}), ["flat"])
    with pytest.raises(SettingsError, match="no label 'blue'; there are red, green"):
        learn(paint, labels, ["red"], apart=["blue"])


def test_settings_have_ranges():
    with pytest.raises(SettingsError, match="samples is 10"):
        LearnConfig(samples=10)
    with pytest.raises(SettingsError, match="method is 'forest'"):
        LearnConfig(method="forest")


def test_attributes_share_one_look_at_the_face(monkeypatch):
    looks = []
    monkeypatch.setattr(module, "see", lambda image: looks.append(image))
    found = look(Image.new("RGB", (8, 8)), {"smile": ATTRIBUTES["smile"], "yaw": ATTRIBUTES["yaw"], "red": red})
    assert found == {"smile": None, "yaw": None, "red": 0.0} and len(looks) == 1
    look(Image.new("RGB", (8, 8)), {"red": red})
    assert len(looks) == 1, "nobody asked for a face"


def test_without_is_a_projection():
    away = np.array([[1.0, 0, 0], [1.0, 1.0, 0]])
    np.testing.assert_allclose(without(np.array([1.0, 2.0, 3.0]), away), [0, 0, 3], atol=1e-12)


def test_a_regression_finds_weights_and_how_well_they_tell():
    rng = np.random.default_rng(0)
    places = rng.normal(size=(800, 6))
    weights = np.array([2.0, 0, -1, 0, 0, 0])
    clear = regression(places, places @ weights)
    np.testing.assert_allclose(clear.weights * clear.spread, weights, atol=0.1)
    assert clear.score > 0.98
    half = regression(places, places @ weights + rng.normal(size=800) * 5**0.5)
    assert half.score == pytest.approx(0.5, abs=0.08)
    assert regression(places, rng.normal(size=800)).score < 0.02


def test_a_boundary_tells_kinds_apart_and_chance_is_a_half():
    rng = np.random.default_rng(0)
    places = rng.normal(size=(300, 6))
    found = boundary(places, places[:, 1] > 0)
    assert found.score > 0.9 and np.argmax(np.abs(found.weights)) == 1 and found.weights[1] > 0
    assert boundary(places, rng.normal(size=300) > 0).score == pytest.approx(0.5, abs=0.12)


def examples(generator, count=40):
    codes = sample_latent(generator, batch=count, seed=3).code
    return codes, codes[:, 0, 0]


def test_examples_of_two_kinds_give_the_way_from_one_to_the_other(paint):
    codes, first = examples(paint)
    direction = learn_from_examples(paint, "red", codes, (first > 0).float().tolist())
    latent = sample_latent(paint, seed=5)
    assert colour(paint, move(paint, latent, direction, 1.0))[0] > colour(paint, latent)[0] + 0.05
    assert 0.75 < direction.made["score"] <= 1 and direction.made["method"] == "svm"


def test_examples_with_numbers_are_regressed(paint):
    codes, first = examples(paint)
    direction = learn_from_examples(paint, "red", codes, first.tolist())
    assert direction.made["method"] == "ridge" and direction.made["score"] > 0.9


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0] * 12, "12 examples of one kind came"),
        ([0.0] * 9 + [1.0] * 30, "9 and 30 of a kind came; a direction takes 10 of each"),
        ([float(i) for i in range(19)], "19 examples came"),
        ([0.0, float("nan")] * 20, "no number"),
    ],
)
def test_too_few_examples_are_refused(paint, values, message):
    codes = sample_latent(paint, batch=len(values)).code
    with pytest.raises(SettingsError, match=message):
        learn_from_examples(paint, "x", codes, values)


def test_as_many_values_as_codes(paint):
    with pytest.raises(SettingsError, match="4 codes and 3 values"):
        learn_from_examples(paint, "x", sample_latent(paint, batch=4).code, [1.0, 2.0, 3.0])


def test_codes_of_several_styles_count_by_their_mean():
    generator = tiny_generator()
    w = generator.sample_w(3)
    ws = torch.stack([w - 1, w, w + 1], dim=1)
    np.testing.assert_allclose(places_of(generator, ws), places_of(generator, w), atol=1e-4)
