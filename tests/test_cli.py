import copy
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file, save_file

from cli import main
from generators import load
from generators.discriminator import Discriminator, DiscriminatorConfig
from generators.encoder import Encoder, EncoderConfig
from generators.files import save_model
from inversion.bundle import load_latent, read_bundle, save
from inversion.latent import sample_latent

PARTS = ("encoder", "discriminator")
ROOT = Path(__file__).resolve().parents[1]


def picture(seed: int, size: int = 24) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    return small.resize((size, size), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def model(generator, tmp_path_factory) -> str:
    """The tiny generator as a file, with an encoder and a discriminator."""
    whole, sizes = copy.deepcopy(generator), {"img_resolution": 16, "channels": (8, 8, 8)}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        whole.encoder = Encoder(EncoderConfig(num_ws=whole.num_ws, w_dim=8, hidden=16, **sizes))
        whole.discriminator = Discriminator(DiscriminatorConfig(**sizes))
    whole.card = {"licence": "CC0", "data": ["noise"]}
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(whole, path)
    return str(path)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("photos")
    for i, name in enumerate("abc"):
        picture(i).save(folder / f"{name}.png")
    return [str(folder / f"{name}.png") for name in "abc"]


@pytest.fixture(scope="module")
def latents(model, tmp_path_factory) -> list[str]:
    folder, g = tmp_path_factory.mktemp("latents"), load(model)
    paths = [str(folder / f"{name}.latent.safetensors") for name in "abc"]
    for latent, path in zip(sample_latent(g, batch=3, seed=5).split(), paths, strict=True):
        save(latent, path, g)
    return paths


@pytest.fixture
def latent(model, monkeypatch, tmp_path):
    """The command line in this process, its cache in tmp_path."""
    monkeypatch.setenv("LATENT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LATENT_GENERATOR", model)
    return lambda *args, **more: CliRunner().invoke(main, [str(a) for a in args], **more)


def objects(result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def refused(result, *words: str, status: int = 1) -> None:
    """One line on standard error, with these words in it, and the right status."""
    lines = [line for line in result.stderr.splitlines() if not line.startswith("objective:")]
    assert result.exit_code == status, result.output
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    assert all(word in lines[0] for word in words), lines[0]


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


# Start


def test_help_loads_no_torch():
    code = """
import sys
from click.testing import CliRunner
from cli import main
for args in [["--help"], *([name, "--help"] for name in main.commands)]:
    assert CliRunner().invoke(main, args).exit_code == 0
print([name for name in ("torch", "numpy", "PIL", "dlib") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_has_an_example_that_parses(name):
    text = CliRunner().invoke(main, [name, "--help"]).output
    example = re.search(r"Example: latent (.*)", text, re.S)
    assert example is not None
    first, *args = example[1].split()
    assert first == name
    main.commands[name].make_context(name, args)


# Invert


def test_invert_writes_what_it_reports(latent, photos, tmp_path):
    out = tmp_path / "new" / "out"
    result = latent("invert", *photos, "-o", out, "--no-align", "--steps", 3, "--batch", 2, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads((out / "report.json").read_text())
    assert objects(result) == report and [r["file"] for r in report] == photos
    for record, name in zip(report, "abc", strict=True):
        assert record["latent"] == str(out / f"{name}.latent.safetensors")
        assert record["steps"] == 3 and record["seconds"] > 0 and record["peak_memory_mb"] > 10
        assert record["identity"] is None and set(record["losses"]) == {"pixel", "laplacian", "features", "anchor"}
        difference = (pixels(out / f"{name}.png") - pixels(out / f"{name}.target.png").astype(float)) / 127.5
        assert record["psnr_db"] == pytest.approx(10 * np.log10(4 / np.mean(difference**2)), abs=0.1)
        assert read_bundle(record["latent"]).history["photograph"] == record["file"]
    assert result.stderr.count("objective:") == 1 and "the model's discriminator; LPIPS not needed" in result.stderr
    assert not list(out.glob(".*"))


def test_a_rendered_latent_is_the_reconstruction_bit_for_bit(latent, photos, tmp_path):
    latent("invert", photos[0], "-o", tmp_path, "--no-align", "--steps", 1, "--noise")
    assert latent("render", tmp_path / "a.latent.safetensors", "-o", tmp_path / "again.png").exit_code == 0
    np.testing.assert_array_equal(pixels(tmp_path / "again.png"), pixels(tmp_path / "a.png"))


def test_no_steps_is_the_first_guess(latent, model, photos, tmp_path):
    latent("invert", photos[0], "-o", tmp_path, "--no-align", "--steps", 0)
    g = load(model)
    target = torch.from_numpy(pixels(tmp_path / "a.target.png") / 127.5 - 1).float().permute(2, 0, 1)[None]
    assert g.encoder is not None
    found = load_latent(tmp_path / "a.latent.safetensors", g).code
    torch.testing.assert_close(found, g.encoder(target), atol=1e-3, rtol=1e-3)


def test_settings_reach_the_search(latent, photos, latents, tmp_path):
    given = ["--lr", 0.02, "--space", "w", "--loss", "l1=2", "--restarts", 2, "--patience", 9, "--optimizer", "sgd"]
    result = latent("invert", photos[0], "-o", tmp_path, "--no-align", "--steps", 2, *given, "--budget", "2m")
    assert result.exit_code == 0, result.output
    settings = read_bundle(tmp_path / "a.latent.safetensors").history["settings"]
    wanted = {"lr": 0.02, "space": "w", "loss": {"l1": 2.0}, "restarts": 2, "start": "random", "patience": 9}
    assert settings == settings | wanted | {"steps": 2, "optimizer": "sgd", "optimize_noise": False, "seed": 0}
    result = latent("invert", *photos, "-o", tmp_path, "--no-align", "--steps", 0, "--init", latents[0])
    assert result.exit_code == 0, result.output
    for name in "abc":
        torch.testing.assert_close(read_bundle(tmp_path / f"{name}.latent.safetensors").latent.code,
                                   read_bundle(latents[0]).latent.code)


def test_equal_stems_are_numbered_and_no_photograph_is_replaced(latent, photos, tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("me.png", "b/me.jpg", "b/me.bmp"):
        picture(3).save(tmp_path / name)
    before = (tmp_path / "me.png").read_bytes()
    result = latent("invert", tmp_path / "me.png", tmp_path / "b", "-o", tmp_path, "--no-align", "--steps", 0, "--json")
    stems = [Path(record["latent"]).name.split(".")[0] for record in objects(result)]
    assert len(set(stems)) == 3 and stems[0] == "me-2"
    assert (tmp_path / "me.png").read_bytes() == before


def test_a_photograph_from_standard_input(latent, photos, tmp_path):
    data = Path(photos[0]).read_bytes()
    assert latent("invert", "-", "-o", tmp_path, "--no-align", "--steps", 0, input=data).exit_code == 0
    assert (tmp_path / "stdin.png").is_file()


def test_ctrl_c_keeps_the_best_so_far(latent, photos, tmp_path, monkeypatch):
    import inversion.batch

    whole = inversion.batch.search

    def search(*args, **more):
        for step in whole(*args, **more):
            yield step
            if step.index == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(inversion.batch, "search", search)
    result = latent("invert", *photos, "-o", tmp_path, "--no-align", "--batch", 2, "--steps", 50, "--json")
    assert result.exit_code == 130 and "stopped early: 2 of 3" in result.stderr
    assert [record["steps"] for record in objects(result)] == [2, 2]
    assert json.loads((tmp_path / "report.json").read_text()) == objects(result)
    assert (tmp_path / "b.latent.safetensors").is_file() and not (tmp_path / "c.png").exists()


def test_ctrl_c_elsewhere_is_one_line(latent, tmp_path, monkeypatch):
    def stop(*args, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr("inversion.latent.sample_latent", stop)
    result = latent("sample", "-o", tmp_path / "a.png")
    assert result.exit_code == 130 and result.stderr == "stopped\n"


# Bad photographs


def bad_files(folder: Path) -> dict[str, str]:
    """Name -> a word of the message."""
    whole = io.BytesIO()
    picture(0, 200).save(whole, "JPEG")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("no picture")
    (folder / "cut.jpg").write_bytes(whole.getvalue()[:-900])
    picture(0).resize((1, 1)).save(folder / "pixel.png")
    picture(0, 200).save(folder / "faceless.png")
    return {"empty.jpg": "is empty", "text.jpg": "is not a JPEG", "cut.jpg": "cut off", "pixel.png": "no face",
            "faceless.png": "--no-align", "missing.jpg": "does not exist"}


def test_a_bad_photograph_is_reported_and_the_others_go_on(latent, photos, tmp_path):
    words = bad_files(tmp_path)
    names = [str(tmp_path / name) for name in words]
    result = latent("invert", *names, "-o", tmp_path / "out", "--steps", 0, "--json")
    assert result.exit_code == 1 and "6 of 6 photographs failed" in result.stderr
    for record, name, word in zip(objects(result), names, words.values(), strict=True):
        assert record["file"] == name and word in record["error"] and name in record["error"]

    result = latent("invert", names[0], photos[0], names[1], "-o", tmp_path / "out", "--steps", 0, "--no-align")
    assert result.exit_code == 1 and "a.png" in result.stdout
    lines = result.stderr.splitlines()
    assert [line.split(":")[0] for line in lines] == ["objective", "error", "error", "error"]
    assert ["error" in r for r in json.loads((tmp_path / "out" / "report.json").read_text())] == [True, False, True]


@pytest.mark.slow
def test_a_real_face_is_found_and_kept(latent, tmp_path):
    data = pytest.importorskip("skimage.data", reason="needs scikit-image for its photograph")
    Image.fromarray(data.astronaut()).save(tmp_path / "me.png")
    result = latent("invert", tmp_path / "me.png", "-o", tmp_path / "out", "--steps", 1, "--json")
    assert result.exit_code == 0, result.output
    assert read_bundle(objects(result)[0]["latent"]).history["alignment"]["faces"] == 1
    refused(latent("blend", tmp_path / "me.png", tmp_path / "me.png", "--face", 3, "-o", tmp_path / "x.png"), "face 3")


# Bad settings, places and models


@pytest.mark.parametrize(
    "given, words",
    [
        (["--steps", -1], ["steps is -1"]),
        (["--recipe", "magic"], ["'magic'", "image2stylegan"]),
        (["--loss", "beauty=1"], ["'beauty'", "laplacian"]),
        (["--loss", "pixel=-1"], ["-1"]),
        (["--batch", 0], ["batch is 0"]),
        (["--restarts", 3, "--start", "mean"], ["restarts"]),
        (["--lr", 0], ["lr is 0"]),
        (["--init", "missing.safetensors"], ["missing.safetensors"]),
    ],
)
def test_bad_settings(latent, photos, tmp_path, given, words):
    refused(latent("invert", photos[0], "--no-align", "-o", tmp_path / "out", *given), *words)


@pytest.mark.parametrize(
    "args",
    ["invert", "invert a.jpg", "invert a.jpg -o x --budget 0s", "blend a.jpg -o x.png", "sample -o - --json",
     "sample -o a.png --seed -1", "mix a b --fine c -o x.png", "interpolate a b -o x.mp4 --fps 0", "nonsense"],
)
def test_wrong_usage_exits_2(latent, args):
    result = latent(*args.split())
    assert result.exit_code == 2 and "Usage:" in result.stderr


def test_a_place_that_cannot_be_written_is_refused_before_the_work(latent, photos, latents, tmp_path):
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "out"
    refused(latent("invert", "missing.jpg", "-o", out), "out cannot be written")
    for end in ("x.png", ""):
        refused(latent("blend", "missing.jpg", "missing.jpg", "-o", f"{out}/{end}"), "cannot be written")
    refused(latent("interpolate", *latents, "-o", out / "x.mp4"), "cannot be written")
    refused(latent("interpolate", *latents, "-o", tmp_path / "x.avi"), "'avi'", "mp4")
    refused(latent("sample", "-o", tmp_path / "x.exe"), "'exe'", "png")
    refused(latent("sample", "-n", 2, "--no-sheet", "-o", tmp_path / "x.png"), "2 pictures", "folder")


def test_a_full_disk_is_one_line(latent, tmp_path, monkeypatch):
    def full(*args, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("inversion.output.write_image", full)
    refused(latent("sample", "-o", tmp_path / "x.png"), "No space left")


def test_bad_models(latent, model, tmp_path):
    def attempt(name):
        return latent("sample", "-g", name, "-o", tmp_path / "x.png")

    refused(attempt("nobody"), "'nobody'", "known names")
    data = Path(model).read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(data[: len(data) // 2])
    refused(attempt(tmp_path / "cut.safetensors"), "not a readable model file")
    tensors, header = load_file(model), metadata_of(model)
    tensors["w_avg"] = torch.zeros(9)
    save_file(tensors, tmp_path / "shapes.safetensors", metadata=header)
    refused(attempt(tmp_path / "shapes.safetensors"), "w_avg", "(9,)", "(8,)")


def metadata_of(path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return file.metadata()


def test_bad_latents(latent, generator, latents, tmp_path):
    other = copy.deepcopy(generator)
    other.w_avg = other.w_avg + 1
    vars(other).pop("sha256", None)
    other.name = "other"
    save(sample_latent(other), tmp_path / "other.latent.safetensors", other)
    refused(latent("render", tmp_path / "other.latent.safetensors", "-o", tmp_path / "x.png"), "other", "tiny")
    tensors = load_file(latents[0])
    tensors["code"][0, 0, 0] = torch.nan
    save_file(tensors, tmp_path / "nan.latent.safetensors", metadata=metadata_of(latents[0]))
    refused(latent("blend", latents[1], tmp_path / "nan.latent.safetensors", "-o", tmp_path / "x.png"), "not finite")
    refused(latent("render", "missing.npz", "-o", tmp_path / "x.png"), "missing.npz")
    np.savez(tmp_path / "two.npz", w=np.zeros((2, 8), np.float32))
    refused(latent("blend", latents[0], tmp_path / "two.npz", "-o", tmp_path / "x.png"), "2 images")


# Edits


def test_blend_is_the_weighted_mean(latent, model, latents, tmp_path):
    args = ["--weights", "3,1", "--save-latents", "--json"]
    result = latent("blend", *latents[:2], "-o", tmp_path / "child.png", *args)
    (record,) = objects(result)
    assert record["weights"] == [0.75, 0.25] and pixels(tmp_path / "child.png").shape == (16, 16, 3)
    a, b = (load_latent(path).code for path in latents[:2])
    torch.testing.assert_close(load_latent(record["latent"]).code, 0.75 * a + 0.25 * b)
    refused(latent("blend", *latents[:2], "-o", tmp_path / "x.png", "--weights", "1,-1"), "weights are 1.0, -1.0")
    refused(latent("blend", *latents[:2], "-o", tmp_path / "x.png", "--weights", "1"), "1 weights came for 2")


def test_children_in_a_folder_and_on_a_sheet(latent, latents, tmp_path):
    args = ["--children", 3, "--seed", 1]
    records = objects(latent("blend", *latents, "-o", f"{tmp_path}/kids/", *args, "--json", "--save-latents"))
    assert [Path(r["file"]).name for r in records] == [f"child-000{i}.png" for i in (1, 2, 3)]
    for record in records:
        assert set(record["weights"]) == {"4", "8", "16"}
        assert all(sum(shares) == pytest.approx(1) for shares in record["weights"].values())
        again = tmp_path / "again.png"
        latent("render", record["latent"], "-o", again)
        np.testing.assert_array_equal(pixels(again), pixels(record["file"]))
    codes = [load_latent(record["latent"]).code for record in records]
    assert not torch.allclose(codes[0], codes[1])

    result = latent("blend", *latents, "-o", tmp_path / "sheet.png", *args)
    assert result.stdout.splitlines() == [str(tmp_path / "sheet.png")]
    height, width, _ = pixels(tmp_path / "sheet.png").shape  # three parents and three children, in rows of three
    assert width > 3 * 192 and height > 2 * 192


def test_mix_takes_layers_by_letter(latent, latents, tmp_path):
    args = ["--coarse", "b", "--middle", "a", "--fine", "a", "--save-latents"]
    result = latent("mix", *latents[:2], "-o", tmp_path / "m.png", *args)
    assert result.exit_code == 0, result.output
    a, b, mixed = (load_latent(p).code[0] for p in (*latents[:2], tmp_path / "m.latent.safetensors"))
    torch.testing.assert_close(mixed, torch.cat([b[:3], a[3:]]))  # 4, 8, 8 px | 16, 16, 16 px


def test_interpolate_writes_a_film(latent, latents, tmp_path):
    result = latent("interpolate", *latents, "-o", tmp_path / "m.gif", "--frames", 9, "--loop", "--json")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "m.gif") as film:
        assert film.n_frames == 9  # type: ignore[attr-defined]
    for kind in ("linear", "spherical"):
        strip = tmp_path / f"{kind}.png"
        latent("interpolate", *latents[:2], "-o", strip, "--frames", 5, "--kind", kind, "--no-ease")
        ends = [pixels(strip)[:, :16], pixels(strip)[:, -16:]]
        for end, path in zip(ends, latents, strict=False):
            latent("render", path, "-o", tmp_path / "end.png")
            np.testing.assert_allclose(end, pixels(tmp_path / "end.png"), atol=1)


def test_sample_is_drawn_from_its_seed(latent, model, tmp_path):
    args = ["--truncation", 0.5, "-o", f"{tmp_path}/s/", "--save-latents", "--json"]
    result, g = latent("sample", "-n", 3, "--seed", 4, *args), load(model)
    wanted = sample_latent(g, batch=3, seed=4, truncation_psi=0.5).code
    found = torch.cat([load_latent(record["latent"], g).code for record in objects(result)])
    assert torch.equal(found, wanted)
    latent("sample", "-n", 3, "--seed", 4, "-o", tmp_path / "page.png")
    assert pixels(tmp_path / "page.png").shape[1] > 2 * 192


@pytest.mark.slow
def test_a_picture_on_standard_output(model, tmp_path):
    command = [sys.executable, "-m", "cli", "sample", "-g", model, "-o", "-"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    assert Image.open(io.BytesIO(done.stdout)).size == (16, 16) and done.stderr == b""


# Photographs on the way


def test_a_photograph_is_inverted_once(latent, photos, tmp_path, monkeypatch):
    args = ["blend", *photos[:2], "--no-align", "--steps", 1, "-o"]
    assert latent(*args, tmp_path / "1.png").exit_code == 0
    kept = sorted((tmp_path / "cache" / "inversions").iterdir())
    assert len(kept) == 2

    def never(*args, **more):
        raise AssertionError("searched again")

    with monkeypatch.context() as patch:
        patch.setattr("inversion.cache.search", never)
        assert latent(*args, tmp_path / "2.png").exit_code == 0
    np.testing.assert_array_equal(pixels(tmp_path / "1.png"), pixels(tmp_path / "2.png"))
    whole = kept[0].read_bytes()
    kept[0].write_bytes(whole[:100])
    assert latent(*args, tmp_path / "3.png").exit_code == 0
    np.testing.assert_array_equal(pixels(tmp_path / "1.png"), pixels(tmp_path / "3.png"))
    assert len(kept[0].read_bytes()) == len(whole)
    latent(*args, tmp_path / "4.png", "--recipe", "encode")
    assert len(list((tmp_path / "cache" / "inversions").iterdir())) == 4


def test_a_cache_that_cannot_be_written_does_no_harm(latent, photos, latents, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LATENT_CACHE", str(tmp_path / "file"))
    result = latent("blend", photos[0], latents[0], "--no-align", "--steps", 0, "-o", tmp_path / "x.png")
    assert result.exit_code == 0, result.output


# Measuring, training, listing


def test_evaluate_ends_with_a_summary(latent, photos, tmp_path):
    result = latent("evaluate", Path(photos[0]).parent, "--recipe", "encode", "--json")
    *records, summary = objects(result)
    assert result.exit_code == 0 and [r["file"] for r in records] == ["a.png", "b.png", "c.png"]
    middle = sorted(r["psnr_db"] for r in records)[1]
    assert summary["n"] == 3 and summary["median"]["psnr_db"] == pytest.approx(middle)
    text = latent("evaluate", Path(photos[0]).parent, "--recipe", "encode", "--limit", 1).stdout
    assert "median" in text and "1 pictures, 0 of them failed" in text


@pytest.mark.slow
def test_train_makes_a_model_that_loads_and_resumes(latent, tmp_path):
    (tmp_path / "data").mkdir()
    for i in range(6):
        picture(i, 20).save(tmp_path / "data" / f"{i}.png")
    (tmp_path / "data" / "bad.png").write_text("text")
    out = tmp_path / "m.safetensors"
    sizes = ["--resolution", 16, "--channels", "8,8,8", "--batch", 4, "--licence", "CC0"]
    args = ["train", tmp_path / "data", "-o", out, *sizes, "--json"]
    result = latent(*args, "--images", 16)
    assert result.exit_code == 0, result.output
    assert objects(result)[-1]["images_seen"] == 16
    assert "6 pictures" in result.stderr and "bad.png" in result.stderr and "under 100" in result.stderr
    assert load(out).card == {"data": ["data"], "pictures": 6, "licence": "CC0"}
    refused(latent(*args), "--resume")
    result = latent(*args, "--images", 24, "--resume")
    assert result.exit_code == 0 and objects(result)[-1]["images_seen"] == 24


def test_bad_training_data(latent, tmp_path):
    (tmp_path / "empty").mkdir()
    refused(latent("train", tmp_path / "empty", "-o", tmp_path / "m.safetensors"), "no readable picture")
    refused(latent("train", tmp_path / "missing", "-o", tmp_path / "m.safetensors"), "neither a folder nor a zip")


def test_generators_lists_the_packaged_models(latent, model, monkeypatch):
    monkeypatch.setattr("generators.hub.PRETRAINED", Path(model).parent)
    (record,) = objects(latent("generators", "--json"))
    assert (record["name"], record["resolution"], record["licence"]) == ("tiny", 16, "CC0")
    state = load(model).state_dict()
    assert record["parameters"] == sum(v.numel() for k, v in state.items() if k.split(".")[0] not in PARTS)
    assert "16 px" in latent("generators").stdout
