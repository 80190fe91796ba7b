import json
import os
from pathlib import Path

import pytest

from generators.pictures.sources import lone_file
from inversion.batch import invert_files
from inversion.config import InvertConfig
from inversion.errors import WriteError
from inversion.files.latent_file import read_bundle
from inversion.files.outputs import ENDS, Stems, stems
from inversion.inverter import Inverter
from tests.conftest import picture


def inverted(generator, photos, out, **more):
    inverter = Inverter(generator, InvertConfig(steps=0), align=False)
    return list(invert_files(inverter, [lone_file(Path(photo)) for photo in photos], out, **more))


def names(records) -> list[str]:
    return [Path(record["latent"]).name.removesuffix(".latent.safetensors") for record in records]


def photo(folder: Path, name: str, seed: int) -> Path:
    folder.mkdir(exist_ok=True)
    picture(seed).save(folder / name)
    return folder / name


def report(out: Path) -> list[dict]:
    return json.loads((out / "report.json").read_text())


def test_a_second_persons_photograph_of_one_name_is_numbered_and_the_report_extended(generator, tmp_path):
    first, second = photo(tmp_path / "1", "face.png", 1), photo(tmp_path / "2", "face.png", 2)
    out = tmp_path / "out"
    assert names(inverted(generator, [first], out)) == ["face"]
    before = (out / "face.latent.safetensors").read_bytes()
    assert names(inverted(generator, [second], out)) == ["face-2"]
    assert (out / "face.latent.safetensors").read_bytes() == before
    assert [record["latent"] for record in report(out)] == ["face.latent.safetensors", "face-2.latent.safetensors"]


def test_two_calls_at_once_number_their_results_and_extend_one_report(generator, tmp_path):
    mine, theirs = ([photo(tmp_path / who, f"{name}.png", i) for name in "ab"] for i, who in enumerate(("1", "2")))
    out, inverter = tmp_path / "out", Inverter(generator, InvertConfig(steps=0), align=False, batch=1)
    slow = invert_files(inverter, [lone_file(path) for path in mine], out)
    first = next(slow)
    assert names(inverted(generator, theirs, out)) == ["a-2", "b"]
    kept = (out / "b.latent.safetensors").read_bytes()
    assert names([first, *slow]) == ["a", "b-2"] and (out / "b.latent.safetensors").read_bytes() == kept
    assert sorted(record["latent"].split(".")[0] for record in report(out)) == ["a", "a-2", "b", "b-2"]


def test_the_same_photograph_again_takes_its_own_place(generator, tmp_path):
    photos = [photo(tmp_path / str(i), "face.png", i) for i in range(3)]
    for asked, wanted in ((photos, ["face", "face-2", "face-3"]), (photos[::-1], ["face-3", "face-2", "face"])):
        assert names(inverted(generator, asked, tmp_path / "out")) == wanted
    assert len(report(tmp_path / "out")) == 3


def test_another_face_of_one_photograph_is_another_person(generator, tmp_path):
    (tmp_path / "g.png").write_bytes(b"")
    found = Stems(tmp_path / "out", [])
    found.earlier = {"hash": [("g", 1), ("g-2", 2)]}
    assert [found.give("g.png", "hash", face) for face in (2, 1, 3)] == ["g-2", "g", "g-3"]


def test_what_a_stranger_left_under_our_names_stays(generator, tmp_path):
    out, me = tmp_path / "out", photo(tmp_path, "me.png", 1)
    out.mkdir()
    (out / "me.target.png").write_text("mine")
    (out / "me-2.latent.safetensors").mkdir()
    assert names(inverted(generator, [me], out)) == ["me-3"]
    assert (out / "me.target.png").read_text() == "mine"


@pytest.mark.parametrize("name", ["人" * 80, "n" * 250, "é" * 123])
def test_a_name_too_long_for_our_endings_is_cut_between_letters(generator, tmp_path, name):
    (tmp_path / "out").mkdir()
    first, second = stems([f"1/{name}.png", f"2/{name}.png"], tmp_path / "out")
    assert name.startswith(first) and second == f"{first}-2"
    assert max(len(os.fsencode(f"{second}{end}")) for end in ENDS) <= 255


def test_one_result_that_cannot_be_written_is_its_own_error(generator, tmp_path, monkeypatch):
    from inversion import batch

    photos = [photo(tmp_path, f"{name}.png", i) for i, name in enumerate("abc")]
    write = batch.write_image

    def refuse_b(image, path):
        if path.name.startswith("b."):
            raise WriteError(f"{path} cannot be written")
        write(image, path)

    monkeypatch.setattr(batch, "write_image", refuse_b)
    records = inverted(generator, photos, tmp_path / "out")
    assert ["error" in record for record in records] == [False, True, False]
    assert ["error" in record for record in report(tmp_path / "out")] == [False, True, False]


def test_stems_are_found_in_linear_time(tmp_path, monkeypatch):
    looks = []
    taken = Stems.taken
    monkeypatch.setattr(Stems, "taken", lambda self, *args: looks.append(1) or taken(self, *args))
    assert stems([f"/p/{i}/face.jpg" for i in range(300)], tmp_path)[-1] == "face-300"
    assert len(looks) == 300


def test_no_photograph_that_is_read_and_no_start_is_replaced(generator, tmp_path):
    first = photo(tmp_path, "me.jpg", 1)
    inverted(generator, [first], tmp_path)
    before = (tmp_path / "me.png").read_bytes()
    assert names(inverted(generator, [tmp_path / "me.png", first], tmp_path)) == ["me-2", "me-3"]
    assert (tmp_path / "me.png").read_bytes() == before
    spare = [tmp_path / "me.latent.safetensors"]
    assert names(inverted(generator, [first], tmp_path, spare=spare)) == ["me-3"]


def test_folders_of_photographs_stay_out_of_what_is_passed_on(generator, tmp_path):
    me, broken = photo(tmp_path / "secret", "me.png", 1), tmp_path / "secret" / "broken.png"
    broken.write_bytes(b"x")
    records = inverted(generator, [me, broken], tmp_path / "out")
    assert records[0]["file"] == str(me)  # what is told to the caller is whole
    assert "secret" not in (tmp_path / "out" / "report.json").read_text()
    assert b"secret" not in (tmp_path / "out" / "me.latent.safetensors").read_bytes()
    history = read_bundle(tmp_path / "out" / "me.latent.safetensors").history
    assert history["photograph"] == "me.png" and report(tmp_path / "out")[0]["photograph_sha256"]


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 100_000, '{"a": 1}'])
def test_a_report_that_is_none_of_ours_is_told_before_the_search(generator, tmp_path, text):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(WriteError, match="is no report of earlier results"):
        inverted(generator, [photo(tmp_path, "me.png", 1)], tmp_path)
    assert (tmp_path / "report.json").read_text() == text
