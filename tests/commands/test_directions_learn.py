"""`latent directions learn`, `report` and `attributes`, by the real latent line."""

import json

import numpy as np
import pytest

from generators import load
from inversion.attributes.seen import Seen
from inversion.directions import effects, learn
from inversion.directions.store import load_directions
from inversion.faces.detect import Face
from inversion.files.latent_file import save
from inversion.latent import sample_latent


@pytest.fixture(autouse=True)
def faces(monkeypatch):
    """Every picture counts as a face with the same landmarks."""
    points = np.random.default_rng(0).uniform(2, 14, (68, 2))

    def see(image):
        return Seen(pixels=np.array(image.convert("RGB")), face=Face(box=(1.0, 1.0, 15.0, 15.0), landmarks=points))

    monkeypatch.setattr(learn, "see", see)
    monkeypatch.setattr(effects, "see", see)
    monkeypatch.setattr(effects, "descriptor", lambda pixels, face: pixels.reshape(-1)[:128] / 2000)


def learned(latent, tmp_path, *more):
    out = tmp_path / "found.directions.safetensors"
    names = ["--of", "skin_light,background", "--not", "skin_light,background", "--samples", 60]
    result = latent("directions", "learn", "-o", out, *names, *more)
    assert result.exit_code == 0, result.output
    return out, result


def test_learn_writes_a_direction_for_each_name_and_tells_how_well(latent, tmp_path):
    out, result = learned(latent, tmp_path)
    found = load_directions(out)
    assert set(found) == {"skin_light", "background"}
    made = found["background"].made
    assert made["not"] == ["skin_light"] and made["samples"] == 60 and made["method"] == "ridge"
    assert "R²" in result.stdout and "of 60" in result.stdout and "its own" in result.stdout
    svm, result = learned(latent, tmp_path, "--method", "svm", "--json")
    assert [json.loads(line)["method"] for line in result.stdout.splitlines()] == ["svm", "svm"]


def test_report_measures_and_keeps_what_it_measured(latent, tmp_path):
    file, _ = learned(latent, tmp_path)
    out, sheet = tmp_path / "kept.directions.safetensors", tmp_path / "sheet.png"
    names = ["--attributes", "skin_light,background", "-n", 3]
    result = latent("directions", "report", "--directions", file, *names, "-o", out, "--sheet", sheet)
    assert result.exit_code == 0, result.output
    rows = [line.split()[0] for line in result.stdout.splitlines()]
    assert rows[1:3] == ["skin_light", "background"] and "safe" in rows and sheet.is_file()
    kept = load_directions(out)
    assert set(kept["skin_light"].effects) == {"skin_light", "background"}
    assert kept["skin_light"].made["measured"]["faces"] == 3


def test_report_after_an_undo_as_json(latent, tmp_path):
    file, _ = learned(latent, tmp_path)
    more = ["--attributes", "skin_light,background", "-n", 3, "--undo", "background", "--json"]
    result = latent("directions", "report", "skin_light", "--directions", file, *more)
    assert result.exit_code == 0, result.output
    (told,) = map(json.loads, result.stdout.splitlines())
    assert told["name"] == "skin_light" and set(told["undone"]) == {"background"}
    assert abs(told["effects"]["background"]) < abs(told["effects"]["skin_light"])


def test_attributes_are_listed_with_units(latent):
    result = latent("directions", "attributes", "--json")
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert {"age", "gender", "smile", "yaw", "hair_dark"} <= {one["name"] for one in told}
    assert all(one["unit"] and one["meaning"] for one in told)
    assert "Degrees by which the face looks up." in latent("directions", "attributes").stdout


def examples(tmp_path, generator, counts):
    """Folders of saved latents that have it, and have it not."""
    latents = sample_latent(generator, batch=sum(counts)).split()
    order = sorted(latents, key=lambda one: float(one.code[0, 0, 0]))
    for name, part in (("without", order[: counts[0]]), ("with", order[counts[0] :])):
        (tmp_path / name).mkdir()
        for i, one in enumerate(part):
            save(one, tmp_path / name / f"{i}.latent.safetensors", generator, {})


def test_examples_in_two_folders(latent, model, tmp_path):
    generator = load(model)
    examples(tmp_path, generator, (12, 14))
    out = tmp_path / "first.directions.safetensors"
    sources = ["--with", tmp_path / "with", "--without", tmp_path / "without"]
    result = latent("directions", "learn", *sources, "-o", out, "--name", "first")
    assert result.exit_code == 0, result.output
    direction = load_directions(out)["first"]
    assert direction.shift[0, 0] > 0 and direction.made["samples"] == 26
    assert "told right" in result.stdout


def test_a_table_of_numbers(latent, model, tmp_path):
    generator = load(model)
    latents = sample_latent(generator, batch=24).split()
    rows = ["file,number"]
    for i, one in enumerate(latents):
        save(one, tmp_path / f"{i}.latent.safetensors", generator, {})
        rows.append(f"{i}.latent.safetensors,{float(one.code[0, 0, 1])}")
    (tmp_path / "table.csv").write_text("\n".join(rows))
    out = tmp_path / "x.directions.safetensors"
    result = latent("directions", "learn", "--table", tmp_path / "table.csv", "-o", out)
    assert result.exit_code == 0, result.output
    assert load_directions(out)["table"].shift[0, 1] > 0


@pytest.mark.parametrize(
    ("counts", "message"),
    [((9, 12), "9 and 12 of a kind came; a direction takes 10 of each, or more"), ((0, 12), "12 examples of one kind")],
)
def test_too_few_examples_are_refused_in_one_line(latent, model, tmp_path, counts, message):
    examples(tmp_path, load(model), counts)
    sources = ["--with", tmp_path / "with", *(["--without", tmp_path / "without"] if counts[0] else [])]
    result = latent("directions", "learn", *sources, "-o", tmp_path / "x.directions.safetensors")
    assert result.exit_code == 1 and message in result.stderr and len(result.stderr.splitlines()) <= 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a.png,1\nb.png,", "row 2: no number follows b.png"),
        ("a.png,1\nnone.png,2", "row 2: there is no"),
        ("a.png,nan", "row 1: no number follows a.png"),
    ],
)
def test_a_broken_table_is_told_by_its_row(latent, tmp_path, rows, message):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "table.csv").write_text(rows)
    out = tmp_path / "x.directions.safetensors"
    result = latent("directions", "learn", "--table", tmp_path / "table.csv", "-o", out)
    assert result.exit_code == 1 and message in result.stderr, result.output


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "say what to learn from"),
        (["--of", "smile", "--with", "x"], "say what to learn from"),
        (["--of", "smlie"], "no attribute is called 'smlie'; choose of smile"),
        (["--table", "x.csv", "--with", "y"], "give --table, or --with and --without"),
        (["--with", "x", "--not", "age"], "--not and --between go with --of"),
        (["--of", "smile,yaw", "--name", "x"], "--name is for one direction"),
    ],
)
def test_unclear_wishes_are_refused(latent, tmp_path, more, message):
    result = latent("directions", "learn", *more, "-o", tmp_path / "x.directions.safetensors")
    assert result.exit_code and message in result.stderr, result.output


def test_the_output_is_checked_before_the_work(latent, tmp_path):
    result = latent("directions", "learn", "--of", "smile", "-o", tmp_path / "x.pt")
    assert result.exit_code == 1 and "x.pt should end in .directions.safetensors" in result.stderr
