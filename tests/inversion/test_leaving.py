"""Images whose patience has run out leave the batch; and steps that share what does not move."""

from dataclasses import replace

import pytest
import torch

from inversion.config import LatentSpace
from inversion.guess import random_guess
from inversion.latent import Part, sample_latent
from inversion.loop import OPTIMIZERS, descend, optimize
from inversion.losses import TermContext, objective, objectives
from tests.conftest import tiny_mobile
from tests.inversion.descents import PIXEL, settings, targets


def terms_of(generator, images, init):
    start = {"init_ws": init.to_ws(generator), "init_noise": init.noise}
    loss = {"pixel": 1.0, "anchor": 0.01, "detail": 0.01}
    return objectives(loss, TermContext(generator=generator, target=images, **start))


def same(steps, i, alone):
    """The last step of a batch tells of image i what that of the image alone does."""
    step, other = steps[-1], alone[-1]
    torch.testing.assert_close(step.latent.code[i], other.latent.code[0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(step.total[i], other.total[0], rtol=1e-3, atol=1e-6)
    for a, b in zip(step.latent.noise, other.latent.noise, strict=True):
        torch.testing.assert_close(a[i], b[0], rtol=1e-2, atol=1e-3)


@pytest.fixture
def drawn(generator, monkeypatch):
    """How many pictures each call of the generator drew."""
    counts, whole = [], generator.synthesis

    def counting(ws, noise=(), **more):
        counts.append(len(ws))
        return whole(ws, noise, **more)

    monkeypatch.setattr(generator, "synthesis", counting)
    return counts


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("changes", [{}, {"optimize_noise": True, "w_jitter": 0.02, "detail": 0.4}, {"detail": 0.8}])
def test_the_rows_that_go_on_go_as_they_would_alone(generator, name, changes):
    images, config = targets(generator, 4), settings(steps=6, optimizer=name, lr_rampup=0.0, **changes)
    init = random_guess(generator, 4, config.space, 0)
    rows = iter([None, None, None, torch.tensor([1, 3]), None, torch.tensor([1])])
    terms = terms_of(generator, images, init)
    steps = list(optimize(generator, init, terms, config, leave=lambda: next(rows, None)))
    assert [len(step.latent) for step in steps] == [4, 4, 4, 4, 2, 2, 1]
    for step, i, image in ((steps[5], 0, 1), (steps[5], 1, 3), (steps[6], 0, 3)):
        one = init.split()[image]
        alone = list(optimize(generator, one, terms_of(generator, images[image : image + 1], one), config))
        same([step], i, alone[: step.index + 1])


def test_images_without_gain_leave_and_all_end_as_they_would_alone(generator, drawn):
    truth = sample_latent(generator, batch=4, seed=1)
    code = random_guess(generator, 4, LatentSpace.W_PLUS, 0).code.clone()
    code[[0, 2, 3]] = truth.code[[0, 2, 3]]  # they start where they should end, and so gain nothing
    images, init = generator.synthesis(truth.code, truth.noise), replace(truth, code=code)
    images[3] += 0.5  # but for this one
    config = settings(steps=9, patience=3, lr_rampup=0.0, detail=0.3)
    together = list(descend(generator, init, terms_of(generator, images, init), config))
    assert drawn[-10:] == [4] * 4 + [2] * 6
    assert [len(step.latent) for step in together] == [4] * 10
    for i, one in enumerate(init.split()):
        alone = list(descend(generator, one, terms_of(generator, images[i : i + 1], one), config))
        assert len(alone) == (4 if i in (0, 2) else 10)
        same(together, i, alone)


def test_an_image_that_is_done_stays_so_where_the_size_changes():
    g = tiny_mobile()
    config = settings(steps=40, coarse=((0.05, 8), (0.1, 16)), patience=1, lr=1e-9)  # nothing gains
    init = random_guess(g, 3, config.space, 0)
    ends = []
    for some in (init.split()[0], init):
        steps = descend(g, some, terms_of(g, targets(g)[: len(some)], some), config)
        ends.append([(step.index, step.size) for step in steps])
    assert ends == 2 * [[(0, 8), (1, 8)]]


def test_local_edits_of_the_start_go_with_their_images(generator):
    images, config = targets(generator, 2), settings(steps=4)
    init = random_guess(generator, 2, config.space, 0)
    mask = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])
    init = replace(init, parts=(Part(mask, torch.ones(2, generator.num_ws, generator.w_dim)),))
    terms = objectives(PIXEL, TermContext(generator=generator, target=images))
    rows = iter([None, torch.tensor([1])])
    steps = list(optimize(generator, init, terms, config, leave=lambda: next(rows, None)))
    assert [len(step.latent) for step in steps] == [2, 2, 1, 1, 1]
    assert torch.equal(steps[-1].latent.parts[0].mask, mask[1:])
    assert [len(one.parts) for one in init.split()] == [0, 1]


@pytest.mark.parametrize(
    "changes",
    [
        {"detail": 0.5},
        {"optimize_noise": True},
        {"optimize_noise": True, "detail": 0.5},
        {"detail": 0.5, "returns": "last"},
    ],
)
def test_the_steps_that_are_given_keep_their_values(generator, changes):
    config = settings(lr_rampup=0.0, **changes)
    init = random_guess(generator, 3, LatentSpace.W_PLUS, 0)
    terms = objective(PIXEL, TermContext(generator=generator, target=targets(generator)))
    given = []
    for step in descend(generator, init, terms, config):
        values = [step.latent.code, *step.latent.noise, step.total]
        given.append((values, [value.clone() for value in values]))
    assert all(map(torch.equal, values, then) for values, then in given)
    assert not torch.equal(given[0][1][1], given[-1][1][1])  # the noise has moved


def test_noise_that_does_not_move_is_not_copied(generator):
    init = random_guess(generator, 1, LatentSpace.W_PLUS, 0)
    terms = objective(PIXEL, TermContext(generator=generator, target=targets(generator, 1)))
    steps = list(optimize(generator, init, terms, settings(detail=0.25)))
    assert all(step.latent.noise[0] is steps[0].latent.noise[0] for step in steps[:9])
    assert len({step.latent.noise[0].data_ptr() for step in steps[9:]}) == 4
