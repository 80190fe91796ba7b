import numpy as np
import pytest

from inversion.measures.memorised import find_neighbours, memorised_figures, write_memorised
from tests.conftest import picture, pixels


def draw(n, seed):
    return np.random.default_rng(seed).normal(size=(n, 8))


def test_copies_are_seen():
    training, held = draw(300, 0), draw(100, 1)
    copies = find_neighbours(training[[7, 3, 5]], training, held)
    assert copies.index.tolist() == [7, 3, 5]
    figures = memorised_figures(copies)
    assert figures["nearest_least"] == figures["nearest_median"] == 0 and figures["nearer_than_tenth"] == 1
    assert figures["strangers_median"] > figures["held_out_median"] > figures["held_out_least"] > 0


def test_other_people_lie_as_the_held_out_do():
    figures = memorised_figures(find_neighbours(draw(400, 2), draw(300, 0), draw(400, 1)))
    assert figures["nearer_than_tenth"] == pytest.approx(0.1, abs=0.05)
    assert figures["nearest_median"] == pytest.approx(figures["held_out_median"], rel=0.1)


def test_a_single_training_face_has_no_strangers():
    assert memorised_figures(find_neighbours(draw(3, 2), draw(1, 0), draw(2, 1)))["strangers_median"] is None


@pytest.mark.parametrize("count", [20, 3])
def test_the_picture_shows_the_nearest_first(tmp_path, count):
    found, asked = find_neighbours(draw(count, 2), draw(30, 0), draw(9, 1)), []

    def shows(kind):
        return lambda i: asked.append((kind, i)) or picture(i, 16)

    write_memorised(found, tmp_path / "m.png", sample=shows("sample"), training=shows("training"))
    shown = np.argsort(found.samples)[:12]
    assert asked == [pair for i in shown for pair in (("sample", i), ("training", found.index[i]))]
    assert pixels(tmp_path / "m.png").std() > 10 and [f.name for f in tmp_path.iterdir()] == ["m.png"]
