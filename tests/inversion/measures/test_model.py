import copy
import json
from pathlib import Path

import numpy as np
import pytest

from generators import load
from inversion import metrics
from inversion.commands.tables import quality_line
from inversion.errors import ImageError, SettingsError
from inversion.measures import diversity, reconstruction, samples, study
from inversion.measures.config import MODEL_CONVENTIONS, QualityConfig
from inversion.measures.model import measure_model, quality_summary
from tests.conftest import picture, pixels

CONFIG = QualityConfig(steps=(3, 1), samples=6, pairs=3, truncations=(0.5, 1.0), batch=4, search={"bf16": False})
WEIGHTS = np.random.default_rng(0).normal(size=(48, 128)) / 4000


def fake(image):
    """What a picture of four by four pixels looks like, as a descriptor; dark ones have no face."""
    small = np.asarray(image.resize((4, 4)), float)
    return None if small.mean() < 80 else small.ravel() @ WEIGHTS


def see_faces(patch):
    for module in (diversity, metrics, reconstruction):
        patch.setattr(module, "describe", fake)
    patch.setattr(study, "FEWEST", 3)


@pytest.fixture
def faces(monkeypatch):
    see_faces(monkeypatch)


@pytest.fixture(scope="module")
def measured(model, people, trained, tmp_path_factory):
    """The records of a whole model, and the folder of its pictures."""
    out = tmp_path_factory.mktemp("measured")
    with pytest.MonkeyPatch.context() as patch:
        see_faces(patch)
        walk = measure_model(load(model), [people], CONFIG, data=[trained], out=out, memorised=out / "m.png")
        return list(walk), out


@pytest.fixture
def whole(model):
    return load(model)


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> Path:
    return folder(tmp_path_factory.mktemp("people"), range(4))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    return folder(tmp_path_factory.mktemp("trained"), range(10, 22))


def folder(path, seeds):
    for seed in seeds:
        picture(seed).save(path / f"{seed:02}.png")
    return path


def without_times(records):
    return [{k: v for k, v in record.items() if k != "ms"} for record in records]


def by_setting(records, measure):
    return {record["setting"]: record for record in records if record["measure"] == measure}


def test_all_measures_of_a_whole_model(measured):
    records, out = measured
    assert list(dict.fromkeys(record["measure"] for record in records)) == list(MODEL_CONVENTIONS)
    assert all(not record["missing"] for record in records), records

    real = by_setting(records, "real")
    assert real["held out"]["pictures"] == 4 and real["training"]["pictures"] == 12
    assert real["held out"]["laplacian_ratio"] == 1
    assert real["training"]["laplacian_ratio"] == pytest.approx(
        real["training"]["laplacian_energy"] / real["held out"]["laplacian_energy"]
    )
    found = by_setting(records, "reconstruction")
    assert [record["steps"] for record in found.values()] == [0, 1, 3]
    assert list(found) == ["encoder alone", "default, 1 steps", "default, 3 steps"]
    assert found["default, 3 steps"]["psnr_db"] > found["encoder alone"]["psnr_db"]
    drawn = by_setting(records, "samples")
    assert drawn["truncation 0.5"]["identity_between"] < drawn["truncation 1"]["identity_between"]
    for record in drawn.values():
        assert record["frechet"] > 0 and record["frechet_to"] == "training" and record["samples"] == 6
        assert record["laplacian_to_training"] / record["laplacian_ratio"] == pytest.approx(
            1 / real["training"]["laplacian_ratio"]
        )
    between = by_setting(records, "midpoints")
    assert {record["of"] for record in between.values()} == {"encoder alone", "default, 3 steps"}
    assert all(record["sharpness"] == pytest.approx(record["laplacian_ratio"] ** 0.5) for record in between.values())
    assert records[-1]["nearest_least"] <= records[-1]["nearest_median"]
    for name in ("samples-0.5", "samples-1", "midpoints", "m"):
        assert pixels(out / f"{name}.png").std() > 10


def test_two_runs_tell_the_same(whole, people, trained, faces, measured):
    first = without_times(measured[0])
    assert without_times(measure_model(whole, [people], CONFIG, data=[trained])) == first
    other = QualityConfig(**{**vars(CONFIG), "seed": 1})
    assert without_times(measure_model(whole, [people], other, data=[trained])) != first


def test_the_training_pictures_themselves_are_memorised(whole, people, trained, faces, monkeypatch):
    from generators.pictures.sources import pictures
    from inversion.target import load_target

    copies = [load_target(whole, file.read(), align=False).image for file in pictures(trained)[:6]]
    monkeypatch.setattr(samples, "rendered", lambda generator, ws, batch: iter(copies[: len(ws)]))
    record = list(measure_model(whole, [people], CONFIG, data=[trained]))[-1]
    assert record["nearest_median"] == 0 and record["nearer_than_tenth"] == 1 and record["held_out_least"] > 0


def test_a_generator_alone_says_what_it_lacks(generator, people, faces):
    records = list(measure_model(generator, [people], CONFIG))
    assert by_setting(records, "reconstruction")["encoder alone"]["missing"] == {"encoder": "tiny has none"}
    assert list(by_setting(records, "midpoints")) == [
        f"default, 3 steps: {k}" for k in ("spherical", "linear", "pixel average")
    ]
    assert "no discriminator" in by_setting(records, "path_length")["w, full paths"]["missing"]["path_length"]
    for measure, missing in (("real", "frechet"), ("memorised", "memorised")):
        assert all("--data" in record["missing"][missing] for record in by_setting(records, measure).values())
    assert all(
        r["frechet_to"] == "held out" and r["laplacian_to_training"] is None
        for r in by_setting(records, "samples").values()
    )


def test_few_descriptors_have_no_frechet_distance(whole, people, trained, faces, monkeypatch):
    monkeypatch.setattr(study, "FEWEST", 200)
    record = by_setting(measure_model(whole, [people], CONFIG, data=[trained]), "samples")["truncation 1"]
    assert record["frechet"] is None and record["missing"]["frechet"].startswith("needs 200 descriptors")


def test_without_faces_the_identities_are_left_out(whole, people, trained, tmp_path):
    records = list(measure_model(whole, [people], CONFIG, data=[trained], out=tmp_path, memorised=tmp_path / "m.png"))
    for record in records:
        assert record.get("face_rate") is record.get("frechet") is record.get("identity_between") is None
        assert not record["missing"] or list(record["missing"].values()) == [f"no picture of {people.name} has a face"]
    assert all(record["laplacian_ratio"] > 0 for record in by_setting(records, "midpoints").values())
    assert not (tmp_path / "m.png").exists()


def test_a_model_of_other_things_is_not_looked_at_for_faces(whole, people, monkeypatch):
    monkeypatch.setattr(diversity, "describe", lambda image: pytest.fail("looked for a face"))
    whole.card = {"subject": "digits"}
    records = list(measure_model(whole, [people], CONFIG))
    assert by_setting(records, "samples")["truncation 1"]["missing"] == {"faces": "the model's subject is digits"}


def test_a_conditional_generator_draws_no_samples(generator, people, faces, monkeypatch):
    labelled = copy.copy(generator)
    monkeypatch.setattr(labelled, "c_dim", 3)
    records = list(measure_model(labelled, [people], QualityConfig(steps=(0,), pairs=1), data=[people]))
    for measure in ("samples", "path_length"):
        assert all("conditional" in str(record["missing"]) for record in by_setting(records, measure).values())
    assert records[-1]["missing"]


def test_limits_and_what_cannot_be_read(whole, trained, faces, tmp_path):
    source = folder(tmp_path, range(3))
    (source / "01.png").write_bytes(b"no picture")
    config = QualityConfig(**{**vars(CONFIG), "limit": 2, "data_limit": 5})
    records = list(measure_model(whole, [source], config, data=[trained, source]))
    real = by_setting(records, "real")
    assert (real["held out"]["pictures"], real["held out"]["failed"]) == (1, 1)
    assert real["training"]["pictures"] + real["training"]["failed"] == 5
    assert all(record["pictures"] == record["failed"] == 1 for record in by_setting(records, "reconstruction").values())
    assert all("two pictures" in r["missing"]["midpoints"] for r in by_setting(records, "midpoints").values())


def test_bad_settings_are_refused_before_the_work(whole, people):
    for name in ("samples", "pairs", "batch", "limit", "data_limit"):
        with pytest.raises(SettingsError, match=f"{name} is 0"):
            QualityConfig(**{name: 0})
    for given in ({"steps": ()}, {"steps": (-1,)}, {"truncations": ()}):
        with pytest.raises(SettingsError, match="at least one"):
            QualityConfig(**given)
    with pytest.raises(SettingsError, match="'magic'"):
        next(measure_model(whole, [people], QualityConfig(recipe="magic")))
    with pytest.raises(SettingsError, match="--data"):
        next(measure_model(whole, [people], CONFIG, memorised=Path("m.png")))
    with pytest.raises(ImageError, match="does not exist"):
        next(measure_model(whole, [people / "nowhere"], CONFIG))


def test_lines_stand_under_their_convention(measured):
    records, _ = measured
    first, second = quality_line(records[0], None), quality_line(records[1], "real")
    assert first.startswith("real: real pictures at the generator's size") and "\n  held out " in first
    assert second.startswith("  training ") and "\n" not in second
    lines = [quality_line(record, record["measure"]) for record in records]
    assert any("PSNR" in line and " dB" in line for line in lines) and any("Fréchet" in line for line in lines)
    assert not any("None" in line for line in lines)


def test_the_summary_holds_every_record(whole, people, trained, measured):
    records, _ = measured
    summary = quality_summary(whole, [people], CONFIG, records, data=[trained])
    assert sum(len(summary[measure]) for measure in MODEL_CONVENTIONS) == len(records)
    assert summary["generator"] == "tiny" and summary["data"] == [trained.name] and summary["settings"]["samples"] == 6
    assert json.loads(json.dumps(summary))["reconstruction"][0]["setting"] == "encoder alone"
