import os
import shutil
import zipfile

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf

from generators.pictures.digits import digits
from generators.pictures.image import read_image
from inversion.config import LatentSpace, settings_for
from inversion.errors import FaceError, ImageError, SettingsError
from inversion.files.latent_file import save
from inversion.inverter import Inverter
from inversion.latent import Latent, sample_latent
from inversion.library.index import INDEX, Measure, parse, places, update
from inversion.library.nearest import by_code, contact_sheet, mahalanobis, nearest_to
from inversion.target import load_target
from inversion.watch import Watch
from tests.conftest import tiny_generator
from tests.plain_generator import Flat


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path):
    """Twelve digits in folders of their labels."""
    home = tmp_path / "library"
    for digit in digits()[:12]:
        (home / str(digit.label)).mkdir(parents=True, exist_ok=True)
        (home / digit.name).write_bytes(digit.png())
    return home


def inverter(generator, **more) -> Inverter:
    align = more.pop("align", True)
    return Inverter(generator, settings_for(generator, **more), align=align)


class Told(Watch):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


def encoded(generator, folder, **more) -> int:
    """How many pictures an update encodes."""
    before = generator.encoder.seen
    rows = update(folder, by_code(inverter(generator)), **more)
    assert all(row.numbers is not None or row.error for row in rows.values())
    return generator.encoder.seen - before


# The index


def test_only_new_and_changed_files_are_encoded_and_removed_ones_leave(folder):
    generator = Flat()
    assert encoded(generator, folder) == 12 and encoded(generator, folder) == 0
    files = sorted(folder.rglob("*.png"))
    files[0].write_bytes(files[5].read_bytes() + b"x")  # another content
    assert encoded(generator, folder) == 1
    os.utime(files[1], ns=(1, 1))  # touched alone
    files[2].rename(folder / "renamed.png")
    shutil.copy(files[3], folder / "copy.png")
    assert encoded(generator, folder) == 0
    files[4].unlink()
    assert encoded(generator, folder) == 0
    (table,) = parse(folder / INDEX).values()
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")}
    assert set(table) == found and len(found) == 12


def test_the_index_holds_what_the_encoder_says(folder):
    generator = Flat()
    encoded(generator, folder)
    assert (folder / INDEX).stat().st_mode & 0o777 == 0o600  # it tells of faces
    (table,) = parse(folder / INDEX).values()
    for name, row in table.items():
        wanted = generator.encoder(load_target(generator, folder / name).image).flatten()
        torch.testing.assert_close(row.numbers, wanted)


def test_another_generator_or_encoder_has_its_own_table_and_takes_none_away(folder):
    one, other = Flat(), Flat()
    other.encoder.axes.mul_(2)  # the same images from the same codes, but other codes
    assert one.sha256() == other.sha256()
    assert encoded(one, folder) == 12 and encoded(other, folder) == 12
    assert encoded(one, folder) == 0 and encoded(other, folder) == 0
    for numbers in (4, 5, 6, 7):
        encoded(Flat(numbers), folder)
    assert len(parse(folder / INDEX)) == 4 and encoded(one, folder) == 12


def test_a_damaged_index_is_made_again_with_a_word(folder):
    generator, told = Flat(), Told()
    encoded(generator, folder)
    whole = (folder / INDEX).read_bytes()
    for damage in (
        whole[:-7],
        b"",
        b"nonsense",
        whole.replace(b"latent-index-1", b"latent-index-9"),
        whole.replace(b"0.png", b"\\u00."),
    ):
        (folder / INDEX).write_bytes(damage)
        told.lines.clear()
        assert encoded(generator, folder, watch=told) == 12
        assert len(told.lines) == 1 and "damaged" in told.lines[0] and INDEX in told.lines[0]
    assert encoded(generator, folder, watch=told) == 0 and len(told.lines) == 1


def test_ctrl_c_keeps_what_was_encoded(folder):
    generator = Flat()

    class Stopping(Watch):
        def counted(self, items, what, total):
            for i, item in enumerate(items):
                if i == 2:
                    raise KeyboardInterrupt
                yield item

    with pytest.raises(KeyboardInterrupt):
        encoded(generator, folder, batch=3, watch=Stopping())
    assert generator.encoder.seen == 6 and encoded(generator, folder) == 6
    assert not list(folder.glob(".*.tmp*"))


def test_where_the_folder_cannot_be_written_to_the_index_is_in_the_cache(folder, cache):
    (folder / INDEX).mkdir()  # nobody can write a file there
    generator = Flat()
    assert encoded(generator, folder) == 12 and encoded(generator, folder) == 0
    assert [path for path in places(folder) if path.is_file()] == list((cache / "indexes").iterdir())


def test_where_no_place_can_be_written_to_it_is_said(folder, monkeypatch):
    told = Told()
    (folder / INDEX).mkdir()
    monkeypatch.setenv("LATENT_CACHE", str(folder / "0" / "0000.png"))  # a file, so no folder
    assert encoded(Flat(), folder, watch=told) == 12
    assert len(told.lines) == 1 and "cannot be kept" in told.lines[0]


def test_a_zip_and_the_digits_are_indexed_in_the_cache(folder, tmp_path, cache, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("some.zip", "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, file.relative_to(folder))
    generator = Flat()
    assert encoded(generator, "some.zip") == 12 and encoded(generator, "some.zip") == 0
    assert encoded(generator, "digits") == 1797 and encoded(generator, "digits") == 0
    assert len(list((cache / "indexes").iterdir())) == 2


def test_bad_files_are_remembered_and_tried_again_when_they_change(folder):
    (folder / "bad.png").write_text("no picture")
    generator, looked = Flat(), []
    measure = by_code(inverter(generator))
    watched = Measure(measure.key, lambda images: looked.append(len(images)) or measure.of(images))
    rows = update(folder, watched)
    assert "bad.png is not a" in str(rows["bad.png"].error) and looked == [13]
    assert update(folder, watched)["bad.png"].error == rows["bad.png"].error and looked == [13]
    (folder / "bad.png").write_bytes(digits()[20].png())
    assert update(folder, watched)["bad.png"].numbers is not None and looked == [13, 1]


# Search


def test_the_nearest_of_known_codes(folder):
    generator = Flat()
    picture = digits()[0]
    found = nearest_to(str(folder / picture.name), folder, inverter(generator), count=3)
    codes = {d.name: generator.encoder(load_target(generator, folder / d.name).image).flatten() for d in digits()[:12]}
    own = codes.pop(picture.name)
    wanted = sorted((float((code - own).norm()), name) for name, code in codes.items())[:3]
    assert [name for name, _ in found.nearest] == [name for _, name in wanted]
    assert [far for _, far in found.nearest] == pytest.approx([far for far, _ in wanted], abs=1e-5)
    assert found.searched == 11 and found.skipped == {}


def test_a_copy_of_the_query_is_found_but_not_the_query_itself(folder):
    shutil.copy(folder / digits()[0].name, folder / "twin.png")
    found = nearest_to(str(folder / digits()[0].name), folder, inverter(Flat()), count=1)
    assert found.nearest[0] == ("twin.png", pytest.approx(0, abs=1e-5)) and len(found.nearest) == 1


def test_a_latent_is_a_query_too(folder, tmp_path):
    generator = Flat()
    code = generator.encoder(load_target(generator, folder / digits()[4].name).image)
    path = tmp_path / "q.latent.safetensors"
    save(Latent(code, LatentSpace.W_PLUS, ()), path, generator)
    found = nearest_to(str(path), folder, inverter(generator), count=1)
    assert found.nearest[0][0] == digits()[4].name and found.nearest[0][1] == pytest.approx(0, abs=1e-5)


def test_a_generator_without_an_encoder_is_inverted(folder):
    generator = tiny_generator()
    generator.card["subject"] = "digit"
    found = nearest_to(str(folder / digits()[0].name), folder, inverter(generator, steps=2), count=2)
    assert len(found.nearest) == 2 and settings_for(generator).steps > 0


def test_pictures_without_a_face_are_told_and_skipped(folder):
    generator = tiny_generator()  # three channels and no other word: faces
    with pytest.raises(FaceError):
        nearest_to(str(folder / digits()[0].name), folder, inverter(generator))
    query = str(folder / digits()[0].name)
    with pytest.raises(FaceError):
        nearest_to(query, folder, inverter(generator, align=False), metric="identity")
    found = nearest_to(query, folder, inverter(generator, align=False, steps=1), count=2)
    assert found.searched == 11 and not found.skipped


def test_identity_search_finds_the_person(shared, tmp_path):
    photos = sorted((shared / "photos").glob("*.jpg"))[:3] or sorted((shared / "photos").glob("*.png"))[:3]
    home = tmp_path / "people"
    home.mkdir()
    for i, photo in enumerate(photos):
        read_image(photo).save(home / f"{i}.png")
    digit = digits()[0]
    (home / "digit.png").write_bytes(digit.png())
    small = read_image(photos[1])
    small.resize((small.width * 3 // 4, small.height * 3 // 4)).save(tmp_path / "query.png")
    found = nearest_to(str(tmp_path / "query.png"), home, inverter(tiny_generator()), metric="identity")
    assert found.nearest[0][0] == "1.png" and found.nearest[0][1] < 0.3
    assert "digit.png; use a larger" in found.skipped["digit.png"]


def test_whitened_distance_is_scikit_learns():
    spread = torch.tensor([9.0, 3, 1, 1, 1, 1])
    table = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)) * spread
    for rows in (table, table.repeat(1, 12) + 0.01 * torch.randn(40, 72, generator=torch.Generator().manual_seed(1))):
        theirs = LedoitWolf().fit(rows.double().numpy())
        query = rows[3] + 0.5
        theirs.location_ = query.double().numpy()
        wanted = torch.from_numpy(theirs.mahalanobis(rows.double().numpy()) ** 0.5).float()
        torch.testing.assert_close(mahalanobis(query, rows), wanted, rtol=1e-4, atol=1e-4)


def test_whitened_distance_does_not_care_for_units():
    table = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0))
    scaled = table * torch.tensor([3.0, 1.0, 0.5])
    assert torch.equal(mahalanobis(scaled[0], scaled).argsort()[:20], mahalanobis(table[0], table).argsort()[:20])
    with pytest.raises(SettingsError, match="3 pictures that differ"):
        mahalanobis(table[0], table[:1].repeat(5, 1))


def test_what_cannot_be_searched(folder, tmp_path):
    query = str(folder / digits()[0].name)
    with pytest.raises(SettingsError, match="choose raw"):
        nearest_to(query, folder, inverter(Flat()), metric="cosine")
    with pytest.raises(ImageError, match="does not exist"):
        nearest_to(str(tmp_path / "nobody.png"), folder, inverter(Flat()))
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(query, alone / "me.png")
    with pytest.raises(ImageError, match="can be compared"):
        nearest_to(str(alone / "me.png"), alone, inverter(Flat()))


def test_the_sheet_shows_the_query_first(folder):
    found = nearest_to(str(folder / digits()[0].name), folder, inverter(Flat()), count=3)
    page = contact_sheet(found)
    assert page.width > 2 * 192
    tile = np.asarray(page.crop((8, 8, 200, 200)).resize((8, 8)).convert("L"), dtype=float)
    assert np.abs(tile - digits()[0].pixels).mean() < 20


def test_a_latent_of_several_images_is_no_query(folder, tmp_path):
    generator = Flat()
    save(sample_latent(generator, batch=2), tmp_path / "two.latent.safetensors", generator)
    with pytest.raises(SettingsError, match="2 latents"):
        nearest_to(str(tmp_path / "two.latent.safetensors"), folder, inverter(generator))
