"""`predict`: which images, at which scale, what is written, and what is told."""

import csv
import dataclasses
import errno
import functools
import json
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
import tifffile
from PIL import Image

import fcn
from experiments import command, convert, predict
from experiments.building import networks
from experiments.building.networks import Network
from experiments.prediction import stages
from experiments.prediction.outputs import plan
from experiments.prediction.results import endings_of
from experiments.prediction.stages import refusal_of
from experiments.runs.facts import label_ids
from fcn import tasks
from fcn.data import resize_image
from fcn.data.reading.decode import opened
from fcn.inference import Predictor, ahead, make_predictor
from fcn.inference.files import Files
from fcn.layers import resize_bilinear
from fcn.preprocessing import Preprocessing, default_preprocessing
from tests.variables import random_variables

CLASSES = ("sk\x1by", "road", "car")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A network with random weights that was trained on images resized to 12x16."""
    model = fcn.create_model("unet", num_classes=3, base_features=2, depth=1, dropout_rate=0.5)
    path = tmp_path_factory.mktemp("net") / "saved"
    fcn.save(path, model, random_variables(model, 1, 16, 16, 3), classes=CLASSES, preprocessing=Preprocessing(size=(12, 16)))
    return path


@pytest.fixture(scope="module", autouse=True)
def shared_compilations():
    """One program for each size, for all calls of the command."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "make_predictor", functools.cache(make_predictor))
        yield


@pytest.fixture
def photos(tmp_path):
    """Two images of 24x32 in a folder, one of them in a folder below."""
    rng = np.random.default_rng(0)
    for name in ("a.png", "deep/b.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).resize((32, 24), Image.NEAREST).save(path)
    return tmp_path / "photos"


def run(*args):
    predict.main([str(arg) for arg in args])


def written(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_the_scale_is_said_chosen_and_obeyed(saved, photos, tmp_path, capsys):
    """Each way of saying it; the mask is that of the image resized in this way, enlarged again."""
    network, image = fcn.load(saved), np.asarray(Image.open(photos / "a.png"))
    predictor, masks = stages.make_predictor(network.model, network.preprocessing), []
    for options, size, said in (
        ([], (12, 16), "(seen at 12x16 pixels, scale 0.5)\n"),
        (["--scale", "1"], (24, 32), "%\n"),
        (["--size", "12", "12"], (12, 12), "(seen at 12x12 pixels, scale 0.375)\n"),
    ):
        run(saved, photos / "a.png", "--out", tmp_path / "out", "--overwrite", *options)
        told = capsys.readouterr()
        assert told.out.endswith(said) and told.err == ""
        expected = predictor(network.variables, resize_image(image, size)[None], (24, 32))[0]
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out/a_mask.png")), expected)
        masks.append(expected)
    assert all(len(np.unique(mask)) > 1 for mask in masks) and np.mean(masks[0] != masks[1]) > 0.05


def test_a_scale_far_from_one_is_warned_of_once_unless_it_was_asked_for(saved, photos, tmp_path, capsys):
    for name in ("large", "larger"):
        Image.open(photos / "a.png").resize((128, 96)).save(tmp_path / f"{name}.png")
    images = [tmp_path / "large.png", tmp_path / "larger.png"]
    run(saved, *images, "--out", tmp_path / "out")
    assert capsys.readouterr().err == (
        f"warning: {images[0]} is seen at 0.125 of its size, because training resized its images to 12x16; "
        "--scale 1 shows images as they are, --size HEIGHT WIDTH at another size\n"
    )
    run(saved, *images, "--out", tmp_path / "out", "--scale", "0.125", "--overwrite")
    assert capsys.readouterr().err == ""


def test_folders_patterns_and_files(saved, photos, tmp_path):
    """A folder's images keep their places; labels beside images, what was written before and double names are left out."""
    Image.open(photos / "a.png").convert("L").save(photos / "a_mask.png")
    (photos / "notes.txt").write_text("no image")
    tree = ["a_mask.png", "a_overlay.png", "deep/b_mask.png", "deep/b_overlay.png", "legend.png"]
    for _ in range(2):  # the second time the folder holds the pictures of the first
        run(saved, photos, photos / "a.png", "--out", photos / "out", "--overwrite")
        assert written(photos / "out") == tree
    run(saved, photos / "deep/*", "--no-overlay", "--out", tmp_path / "globbed")
    assert written(tmp_path / "globbed") == ["b_mask.png", "legend.png"]


def test_the_folder_to_write_to_may_hold_the_images_or_lie_among_them(photos, tmp_path, monkeypatch):
    """Only what lies in a folder below the images' own was written before; a parent of it holds all of them."""
    monkeypatch.chdir(tmp_path)
    assert [each.done.as_posix() for each in plan([Path("photos")], Path("."))] == ["a_mask.png", "deep/b_mask.png"]
    (tmp_path / "photos/out").mkdir()
    for name in ("a_mask", "b_mask"):
        Image.new("RGB", (2, 2)).save(tmp_path / f"photos/out/{name}.png")
    for done, images in (("left out", []), ("replaced", [Path("photos/a.png"), Path("photos/deep/b.png")])):
        assert [each.image for each in plan([Path("photos/**/*.png")], Path("photos/out"), done=done)] == images
    assert [each.image for each in plan([Path("photos/*.png")], Path("."))] == [Path("photos/a.png")]
    Image.new("RGB", (2, 2)).save(tmp_path / "photos/deep/a.png")
    with pytest.raises(FileExistsError, match=r"would both write .*; name the folder itself, which keeps its subfolders"):
        plan([Path("photos/**/*.png")], Path("out"))


def test_an_image_is_decoded_once(tmp_path, monkeypatch):
    """For its files and for what is told of it."""
    task, calls, scores = tasks.make("boundary", ["cell"]), [], np.zeros((6, 8, 3), np.float32)
    scores[..., 0], scores[2:4, 2:5, 1] = 0.5, 1
    decode = tasks.Boundary.prediction
    monkeypatch.setattr(tasks.Boundary, "prediction", lambda self, given: calls.append(given) or decode(self, given))
    files = Files.named(tmp_path / "a.png", tmp_path / "a", task.suffixes)
    model = fcn.create_model("unet", num_classes=3, base_features=2, depth=1)
    network = stages.Stages(Network(model, {}, task, Preprocessing(per_image="z-score")), table=True)
    told = network.write(files, stages.Predicted(np.zeros((6, 8, 3), np.uint8), scores, {}, "", 0.1))
    assert told.endswith("a_instances.tif: 1 object") and len(calls) == 1
    (row,) = network.rows
    assert (row["height"], row["width"], row["objects"]) == (6, 8, 1.0)
    assert row["cell"] == np.mean(decode(task, scores) > 0) > 0
    found = np.asarray(Image.open(tmp_path / "a_instances.tif"))
    np.testing.assert_array_equal(found, decode(task, scores))
    assert found.max() == 1
    assert all(f"NAME_{ending}" in predict.__doc__ for ending in task.suffixes)  # which --help shows


def test_skip_existing_goes_on(saved, photos, tmp_path, capsys):
    out = tmp_path / "out"
    run(saved, photos, "--out", out)
    before = (out / "deep/b_mask.png").stat().st_mtime_ns
    (out / "a_mask.png").unlink()
    (out / "a_overlay.png").unlink()
    run(saved, photos, "--out", out, "--skip-existing")
    assert (out / "a_mask.png").exists() and (out / "deep/b_mask.png").stat().st_mtime_ns == before
    capsys.readouterr()
    run(saved, photos, "--out", out, "--skip-existing")
    assert capsys.readouterr().out == f"all images are done, in {out}\n"


def test_one_bad_image_does_not_end_it(saved, photos, tmp_path, capsys):
    whole = (photos / "a.png").read_bytes()
    (photos / "cut.png").write_bytes(whole[:200])
    (photos / "empty.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"2 of 4 images were not predicted: .*cut\.png, .*empty\.jpg$"):
        run(saved, photos, "--out", tmp_path / "out")
    told = capsys.readouterr()
    assert [line.split(":")[1].strip() for line in told.err.splitlines()] == [f"{photos}/cut.png", f"{photos}/empty.jpg"]
    assert "sk\\x1by" in told.out and "\x1b" not in told.out
    assert written(tmp_path / "out") == ["a_mask.png", "a_overlay.png", "deep/b_mask.png", "deep/b_overlay.png", "legend.png"]


def test_what_is_wrong_with_an_image_and_what_is_not(tmp_path):
    image = tmp_path / "x.png"
    for error in (MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")):
        assert refusal_of(error, image) == f"{image}: there is not enough memory to predict it at this size; " + (
            "predict it in parts, by --tile, or smaller, by --scale"
        )
    assert refusal_of(ValueError("strange"), image) == f"{image}: strange"
    with pytest.raises(RuntimeError, match="a defect"):
        refusal_of(RuntimeError("a defect"), image)


def test_a_full_disk_is_one_sentence_and_leaves_nothing_behind(saved, photos, tmp_path, monkeypatch):
    def full(self, file, *args, **kwargs):
        file.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    run(saved, photos, "--out", tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.png")}
    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match=r"^/.*new/legend\.png cannot be written: No space left on device$"):
        run(saved, photos, "--out", tmp_path / "new", "--no-overlay")
    assert written(tmp_path / "new") == []
    monkeypatch.setattr(stages.Stages, "write_legend", lambda *args, **kwargs: None)
    with pytest.raises(OSError, match=r"^/.*out/a_overlay\.png cannot be written: No space left on device$"):
        run(saved, photos, "--out", tmp_path / "out", "--overwrite")
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_nothing_is_replaced_unasked_and_no_image_ever(saved, photos, tmp_path):
    image = photos / "a.png"
    Image.open(image).save(tmp_path / "a_mask.png")
    mine = (tmp_path / "a_mask.png").read_bytes()
    (tmp_path / "a").mkdir()
    Image.open(image).save(tmp_path / "a/a.jpg")
    for error, words, args in (
        (FileExistsError, r"a_mask\.png exists already", [image, "--out", tmp_path]),
        (
            FileExistsError,
            r"a_mask\.png is one of the images",
            [image, tmp_path / "a_mask.png", "--out", tmp_path, "--overwrite"],
        ),
        (FileExistsError, r"a\.png and .*a\.jpg would both write", [image, tmp_path / "a/a.jpg", "--out", tmp_path / "o"]),
        (ValueError, r"photos is the folder of the images", [photos, "--out", photos, "--overwrite"]),
        (ValueError, r"o\.png is the name of a file, but a folder of pictures", [image, "--out", tmp_path / "o.png"]),
        (FileNotFoundError, "no image .*none", [tmp_path / "none.png", "--out", tmp_path / "o"]),
        (FileNotFoundError, "no image matches", [tmp_path / "none*.png", "--out", tmp_path / "o"]),
        (FileNotFoundError, "no images in", [saved, "--out", tmp_path / "o"]),
    ):
        with pytest.raises(error, match=words):
            run(saved, *args)
    with pytest.raises(ValueError, match=r"a\.png is a file; name the run folder"):
        run(image, "--out", tmp_path / "o")
    with pytest.raises(ValueError, match=r"net\.onnx is for ONNX runtimes; name the run"):
        run(tmp_path / "net.onnx", image, "--out", tmp_path / "o")
    for name in ("m.onnx", "m.tar.gz"):
        with pytest.raises(ValueError, match=rf"{name} is the name of a file, but a saved model"):
            convert.main([str(saved), "--out", str(tmp_path / name)])
    assert (tmp_path / "a_mask.png").read_bytes() == mine and not (tmp_path / "o").exists()


@pytest.mark.parametrize(("classes", "words"), [(1, "has 1 class; .* tells 2 to 256 apart"), (257, "has 257 classes; ")])
def test_networks_whose_masks_would_be_wrong_are_refused(photos, tmp_path, classes, words):
    model = fcn.create_model("unet", num_classes=classes, base_features=2, depth=1)
    variables = random_variables(model, 1, 16, 16, 3)
    palette, record = [(0, 0, 0)] * classes, default_preprocessing(3)
    names = [f"class {number}" for number in range(classes)]
    fcn.save(tmp_path / "net", model, variables, classes=names, palette=palette, preprocessing=record)
    with pytest.raises(ValueError, match=words):
        run(tmp_path / "net", photos, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_tiles_and_views(saved, photos, tmp_path, capsys):
    """In parts: the same mask. From several sides: that of averaged probabilities, at the size at which images are seen."""
    network, image = fcn.load(saved), np.asarray(Image.open(photos / "a.png"))
    predictor = Predictor(network.model, network.variables, network.preprocessing, bucket=None)
    for options, size, how in (
        (["--tile", "12", "--scale", "2"], (48, 64), {}),
        (["--tta", "flips"], (12, 16), {"tta": ("flips",)}),
    ):
        run(saved, photos / "a.png", "--out", tmp_path / "out", "--overwrite", *options)
        told = capsys.readouterr()
        assert f"(seen at {size[0]}x{size[1]} pixels" in told.out and told.err == ""
        logits = np.log(predictor.probabilities(resize_image(image, size), **how))
        expected = np.asarray(resize_bilinear(logits[None], (24, 32)))[0].argmax(-1)
        assert np.mean(np.asarray(Image.open(tmp_path / "out/a_mask.png")) != expected) < 0.01


def test_ensembles_are_of_one_kind(saved, photos, tmp_path):
    """Probabilities are averaged; a network of another task is refused before anything is written."""
    network, image = fcn.load(saved), np.asarray(Image.open(photos / "a.png"))
    known = {"classes": CLASSES, "preprocessing": network.preprocessing}
    other = jax.tree.map(lambda leaf: -leaf, network.variables["params"])
    other = {**network.variables, "params": other}
    fcn.save(tmp_path / "other", network.model, other, **known)
    asked = ["--ensemble", tmp_path / "other", "--save", "labels", "uncertainty", "probabilities"]
    run(saved, photos / "a.png", "--out", tmp_path / "out", "--scale", "1", *asked)
    ensemble = Predictor(network.model, [network.variables, other], network.preprocessing, bucket=None)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out/a_mask.png")), ensemble(image))
    np.testing.assert_allclose(np.load(tmp_path / "out/a_probabilities.npy"), ensemble.probabilities(image), atol=1e-5)
    found = ensemble.uncertainty(image)
    np.testing.assert_allclose(np.load(tmp_path / "out/a_uncertainty.npy"), np.stack(found, -1), atol=1e-5)
    picture = np.asarray(Image.open(tmp_path / "out/a_uncertainty.png"))
    np.testing.assert_allclose(picture, 255 * found.entropy / np.log(3), atol=0.51)
    fcn.save(tmp_path / "odd", network.model, other, classes=("a", "b", "c"), preprocessing=network.preprocessing)
    with pytest.raises(ValueError, match=r"odd has another task than .*saved; the networks of an ensemble have the same"):
        run(saved, photos / "a.png", "--out", tmp_path / "new", "--ensemble", tmp_path / "odd")
    assert not (tmp_path / "new").exists()


def test_dropout(saved, photos, tmp_path):
    """The seed decides; a map that is written part by part is the same."""
    network, image = fcn.load(saved), np.asarray(Image.open(photos / "a.png"))
    predictor = Predictor(network.model, network.variables, network.preprocessing, bucket=None, dropout=2, seed=3)
    found = predictor.results(image, ("scores", "probabilities"))
    asked = [saved, photos / "a.png", "--out", tmp_path / "out", "--scale", "1", "--dropout", "2", "--seed", "3"]
    run(*asked, "--save", "labels", "probabilities")
    np.testing.assert_array_equal(np.load(tmp_path / "out/a_probabilities.npy"), found["probabilities"])
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out/a_mask.png")), found["scores"])
    run(*asked, "--format", "npy")
    np.testing.assert_array_equal(np.load(tmp_path / "out/a_mask.npy"), found["scores"])


def test_published_weights_have_a_name(saved, photos, tmp_path, monkeypatch):
    """Which takes the place of a folder; here nothing is downloaded."""
    monkeypatch.setattr(networks, "open_network", lambda name: fcn.load(saved))
    run("fcn_resnet50.coco_voc", photos / "a.png", "--out", tmp_path / "named")
    run(saved, photos / "a.png", "--out", tmp_path / "out")
    assert (tmp_path / "named/a_mask.png").read_bytes() == (tmp_path / "out/a_mask.png").read_bytes()


def test_one_result_in_all_formats_is_the_same(saved, photos, tmp_path):
    """Each pixel is in the outlines and the run lengths of its class; the table has its share."""
    asked = ["--save", "labels", "contours", "--format", "png", "npy", "geojson", "coco-rle", "--csv", tmp_path / "all.csv"]
    run(saved, photos / "a.png", "--out", tmp_path / "out", *asked)
    files = ["contours.geojson", "contours.png", "coco.json", "mask.npy", "mask.png"]
    assert written(tmp_path / "out") == sorted(["legend.png", *(f"a_{name}" for name in files)])
    mask = np.asarray(Image.open(tmp_path / "out/a_mask.png"))
    np.testing.assert_array_equal(np.load(tmp_path / "out/a_mask.npy"), mask)
    counts = np.bincount(mask.ravel(), minlength=3)
    areas = dict.fromkeys(CLASSES, 0.0)
    for feature in json.loads((tmp_path / "out/a_contours.geojson").read_text())["features"]:
        areas[feature["properties"]["class"]] += sum(map(area, feature["geometry"]["coordinates"]))
    assert list(areas.values()) == counts.tolist()
    found = np.full(mask.shape, 9)
    for one in json.loads((tmp_path / "out/a_coco.json").read_text())["annotations"]:
        lengths = one["segmentation"]["counts"]
        inside = np.repeat(np.arange(len(lengths)) % 2, lengths).reshape(mask.shape[::-1]).T == 1
        assert inside.sum() == one["area"]
        found[inside] = one["category_id"] - 1
    np.testing.assert_array_equal(found, mask)
    (row,) = csv.DictReader((tmp_path / "all.csv").open())
    assert float(row["seconds"]) > 0 and (row["height"], row["width"]) == ("24", "32")
    np.testing.assert_allclose([float(row[name]) for name in CLASSES], counts / mask.size)


def area(ring):
    """Signed, of a ring that is clockwise where y points down."""
    x, y = np.array(ring[:-1]).T
    return float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)) / 2)


def test_pages_may_be_images(saved, photos, tmp_path):
    """Each gets a name and a row; both are what the images alone give."""
    pages = [np.asarray(Image.open(photos / name)) for name in ("a.png", "deep/b.png")]
    tifffile.imwrite(tmp_path / "x.tif", np.stack(pages), photometric="rgb")
    run(saved, photos, "--out", tmp_path / "alone")
    asked = ["--pages", "images", "--csv", tmp_path / "all.csv", "--save", "labels", "contours", "--format", "png", "coco-rle"]
    run(saved, tmp_path / "x.tif", "--out", tmp_path / "out", *asked)
    for page, name in (("0001", "a"), ("0002", "deep/b")):
        expected = np.asarray(Image.open(tmp_path / f"alone/{name}_mask.png"))
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f"out/x_p{page}_mask.png")), expected)
        (entry,) = json.loads((tmp_path / f"out/x_p{page}_coco.json").read_text())["images"]
        assert entry["file_name"] == f"x_p{page}.tif"
    assert [row["page"] for row in csv.DictReader((tmp_path / "all.csv").open())] == ["1", "2"]


def test_a_damaged_file_does_not_end_the_search_for_pages(tmp_path):
    """It is refused where it is read, as others are."""
    (tmp_path / "x.tif").write_bytes(b"no TIFF")
    tifffile.imwrite(tmp_path / "y.tif", np.zeros((2, 4, 5), np.uint8), photometric="minisblack")
    plans = plan([tmp_path / "x.tif", tmp_path / "y.tif"], tmp_path / "out", ["mask.png"], pages=True)
    names = [(files.page, files.done.name) for files in plans]
    assert names == [(None, "x_mask.png"), (0, "y_p0001_mask.png"), (1, "y_p0002_mask.png")]


def test_labels_keep_the_ids_of_training(tmp_path):
    """Where these are no 0, 1 ...: as pixels of the mask, in the colours of the classes."""
    facts = {"classes": ["cell", "edge"], "label_values": {"train": {"7": 0, "255": 1}}}
    assert label_ids(facts) == (7, 255)
    for values in ({"0": 0, "1": 1, "255": 255}, {"(1, 2, 3)": 0, "(0, 0, 0)": 1}, {"300": 0, "1": 1}):
        assert label_ids({**facts, "label_values": {"train": values}}) is None
    task = tasks.make("semantic", ["cell", "edge"], palette=[(1, 2, 3), (4, 5, 6)])
    model = fcn.create_model("unet", num_classes=2, base_features=2, depth=1)
    network = stages.Stages(Network(model, {}, task, Preprocessing(), label_ids=(7, 255)))
    files = Files.named(tmp_path / "a.png", tmp_path / "a", ["mask.npy", "mask.png"])
    network.write(files, stages.Predicted(np.zeros((1, 3, 3), np.uint8), np.array([[0, 1, 0]]), {}, "", 0.1))
    with Image.open(tmp_path / "a_mask.png") as mask:
        assert np.asarray(mask).tolist() == np.load(tmp_path / "a_mask.npy").tolist() == [[7, 255, 7]]
        assert np.asarray(mask.convert("RGB")).tolist() == [[[1, 2, 3], [4, 5, 6], [1, 2, 3]]]


@pytest.mark.parametrize(
    ("task", "save", "formats", "endings"),
    [
        ("semantic", (), ("png",), ["overlay.png", "mask.png"]),
        ("semantic", (), ("npy", "geojson"), ["contours.geojson", "mask.npy"]),
        ("semantic", ("contours",), ("png",), ["contours.png"]),
        ("binary", (), ("png",), ["probability.png", "overlay.png", "mask.png"]),
        ("binary", ("labels",), ("tif", "png"), ["mask.tif", "mask.png"]),
        ("binary", ("probabilities", "labels"), ("npy",), ["probabilities.npy", "mask.npy"]),
        ("multilabel", ("labels",), ("npy",), ["mask_a.npy", "mask_b.npy"]),
        ("boundary", ("labels", "contours"), ("coco-rle",), ["coco.json", "instances.tif"]),
        ("regression", ("labels",), ("npy",), ["values.png", "values.npy"]),
        ("regression", ("contours",), ("geojson",), "the task 'regression' has values, which have no contours"),
        ("flows", ("uncertainty",), ("png",), "the task 'flows' has no probabilities"),
        ("semantic", ("labels",), ("geojson",), "--format geojson is of contours; --save names labels"),
        ("semantic", ("contours",), ("npy",), "--format npy is of labels or probabilities or uncertainty; --save names"),
    ],
)
def test_files_of_what_is_saved(task, save, formats, endings):
    task = tasks.make(task, ["a"] if task in ("boundary", "flows") else ["a", "b"])
    if isinstance(endings, str):
        with pytest.raises(ValueError, match=endings):
            endings_of(task, save, formats, True)
    else:
        assert endings_of(task, save, formats, True) == endings


def test_maps_of_images_that_are_read_in_parts(saved, photos, tmp_path, capsys):
    """The mask of --format png, with the place on Earth; nothing else is written."""
    image = np.tile(np.asarray(Image.open(photos / "a.png")), (3, 3, 1))
    files = [tmp_path / name for name in ("x.npy", "y.tif", "z.png")]
    np.save(files[0], image)
    tifffile.imwrite(files[1], image, photometric="rgb", tile=(16, 16), extratags=[(34737, 2, 0, "WGS 84|", True)])
    Image.fromarray(image).save(files[2])
    run(saved, files[2], "--out", tmp_path / "out", "--scale", "1")
    expected = np.asarray(Image.open(tmp_path / "out/z_mask.png"))
    with pytest.raises(ValueError, match="as they are, though training resized its images to 12x16; say so: --scale 1"):
        run(saved, *files, "--out", tmp_path / "maps", "--format", "npy")
    asked = ["--format", "tif", "--scale", "1", "--tile", "16", "--csv", tmp_path / "all.csv"]
    run(saved, *files, "--out", tmp_path / "maps", *asked)
    shares = [[float(row[name]) for name in CLASSES] for row in csv.DictReader((tmp_path / "all.csv").open())]
    np.testing.assert_allclose(shares, [np.bincount(expected.ravel(), minlength=3) / expected.size] * 3, atol=1e-3)
    assert written(tmp_path / "maps") == ["x_mask.tif", "y_mask.tif", "z_mask.tif"]
    for name in "xyz":
        assert np.mean(np.asarray(Image.open(tmp_path / f"maps/{name}_mask.tif")) != expected) < 1e-3
    with tifffile.TiffFile(tmp_path / "maps/y_mask.tif") as found:
        assert found.pages[0].tags[34737].value == "WGS 84|"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tile": "small"}, "--tile 'small'; give 'auto', 'none' or a number of pixels, such as 512"),
        ({"tile": "0"}, "--tile '0'; give"),
        ({"tta": ("flip",)}, "--tta 'flip'; give 'flips', 'rotations', or scales, such as 0.75"),
    ],
)
def test_tiles_and_views_that_do_not_exist(tmp_path, options, said):
    with pytest.raises(ValueError, match=said):
        predict.PredictConfig((), tmp_path, **options)


def test_a_network_of_other_channels_takes_arrays(tmp_path, capsys):
    """Floats of two channels, and pages that are channels, are seen as the file of the same values in bytes is."""
    model, values = fcn.create_model("unet", num_classes=3, base_features=2, depth=1), np.arange(384).reshape(12, 16, 2) % 256
    record = dataclasses.replace(default_preprocessing(2), value_range=(-1, 1))
    fcn.save(tmp_path / "net", model, random_variables(model, 1, 16, 16, 2), classes=CLASSES, preprocessing=record)
    np.save(tmp_path / "bytes.npy", values.astype(np.uint8))
    np.save(tmp_path / "floats.npy", values * (2 / 255) - 1)
    first, second = (Image.fromarray(values[..., c].astype(np.uint8)) for c in (0, 1))
    first.save(tmp_path / "pages.tif", save_all=True, append_images=[second])
    Image.fromarray(np.zeros((12, 16, 3), np.uint8)).save(tmp_path / "rgb.png")
    files = [tmp_path / name for name in ("bytes.npy", "floats.npy", "pages.tif", "rgb.png")]
    with pytest.raises(ValueError, match=r"1 of 4 images were not predicted: .*rgb\.png"):
        run(tmp_path / "net", *files, "--out", tmp_path / "out", "--pages", "channels")
    assert "rgb.png: 3 channels, but 2 are asked for" in capsys.readouterr().err
    masks = [np.asarray(Image.open(tmp_path / f"out/{name}_mask.png")) for name in ("bytes", "floats", "pages")]
    np.testing.assert_array_equal(masks[0], masks[1])
    np.testing.assert_array_equal(masks[0], masks[2])


def test_a_legend_of_other_classes_stays(saved, photos, tmp_path):
    (tmp_path / "out").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "out/legend.png")
    with pytest.raises(FileExistsError, match=r"legend\.png is the legend of other classes"):
        run(saved, photos, "--out", tmp_path / "out")
    assert written(tmp_path / "out") == ["legend.png"]
    drawn = (tmp_path / "out/legend.png").read_bytes()
    run(saved, photos, "--out", tmp_path / "out", "--skip-existing")  # goes on, whatever font drew the legend
    assert (tmp_path / "out/a_mask.png").exists() and (tmp_path / "out/legend.png").read_bytes() == drawn


def test_words_are_divided_by_spaces_or_commas():
    given = "net a,b.png --save labels,contours overlay --format png,geojson --tta flips,0.5 --csv a,b".split()
    read = command.parse(predict.PredictConfig, [*predict.with_spaces(given), "--out", "o"], "predict", None)
    assert (read.save, read.format, read.views) == (("labels", "contours", "overlay"), ("png", "geojson"), ["flips", 0.5])
    assert (read.images, read.csv) == ((Path("a,b.png"),), Path("a,b"))


@pytest.mark.parametrize("options", [{"size": (8, 8), "scale": 1.0}, {"overwrite": True, "skip_existing": True}])
def test_options_that_exclude_each_other(tmp_path, options):
    with pytest.raises(ValueError, match="give one of them"):
        predict.PredictConfig((), tmp_path, **options)


def test_images_of_16_bits_are_seen_as_in_training(saved, photos, tmp_path, capsys):
    """By the run's range or one asked for, which is said: as the same image of 8 bits; what looks black or white is told."""
    gray = np.asarray(Image.open(photos / "a.png").convert("L"))
    for name, pixels in (
        ("8", gray),
        ("12", (gray.astype(int) * 4095 // 255).astype(np.uint16)),
        ("16", 257 * gray.astype(np.uint16)),
    ):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    network = fcn.load(saved)
    record = dataclasses.replace(network.preprocessing, value_range=(0, 4095))
    fcn.save(tmp_path / "net", network.model, network.variables, classes=CLASSES, preprocessing=record)
    for net, options, origin in (
        (saved, ["--value-range", "0", "4095"], "as asked for"),
        (tmp_path / "net", [], "as in training"),
    ):
        run(net, tmp_path / "12.png", tmp_path / "8.png", "--out", tmp_path / "out", "--overwrite", *options)
        told = capsys.readouterr()
        assert told.out.startswith(f"stored values 0..4095 are seen as black..white, {origin}\n") and told.err == ""
        np.testing.assert_array_equal(*(np.asarray(Image.open(tmp_path / f"out/{name}_mask.png")) for name in ("8", "12")))
    for net, name, words in (
        (saved, "12", "black to the network, which sees stored values 0..65535; try --value-range 0 4095"),
        (tmp_path / "net", "16", "white to the network, which sees stored values 0..4095; try --value-range 0 65535"),
    ):
        run(net, tmp_path / f"{name}.png", "--out", tmp_path / f"odd{name}")
        assert capsys.readouterr().err == f"warning: {tmp_path}/{name}.png is nearly {words}\n"


def test_a_fourth_channel_is_told(saved, photos, tmp_path, monkeypatch):
    """Once, as a sentence without a line of code; what is predicted is the picture without it."""
    monkeypatch.setattr("fcn.data.reading.images._told", set())
    image = Image.open(photos / "a.png")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    image.save(tmp_path / "rgba.png")
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # which the commands replace
    command.run(lambda: None)
    with pytest.warns(UserWarning, match=r"rgba\.png: channel 4 of 4 is left out") as told:
        run(saved, tmp_path / "rgba.png", photos / "a.png", "--out", tmp_path / "out")
    assert len(told) == 1
    assert warnings.formatwarning(told[0].message, UserWarning, "x.py", 3) == f"warning: {told[0].message}\n"
    assert "x.py:3: DeprecationWarning" in warnings.formatwarning("old", DeprecationWarning, "x.py", 3)
    with opened(photos / "a.png"):
        told = warnings.formatwarning("odd", RuntimeWarning, Image.__file__, 3)
    assert told == f"warning: {photos / 'a.png'}: odd\n"
    np.testing.assert_array_equal(*(np.asarray(Image.open(tmp_path / f"out/{name}_mask.png")) for name in ("rgba", "a")))


def test_one_is_fetched_ahead_and_no_more():
    """Of a stream without end: results in order, at most two items more than were asked for, errors where they belong."""
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield number

    results = ahead(lambda number: 1 / (3 - number), items())
    assert [next(results) for _ in range(3)] == [1 / 3, 1 / 2, 1]
    assert len(taken) <= 5
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize(
    ("task", "form", "endings", "writer"),
    [
        ("binary", "npy", ["mask.npy"], "write_maps"),
        ("multilabel", "tif", ["mask_a.tif", "mask_b.tif"], "write_pictures"),
        ("regression", "npy", ["values.png", "values.npy"], "write_pictures"),
        ("flows", "tif", ["objects.csv", "instances.tif"], "write_pictures"),
    ],
)
def test_class_ids_alone_are_written_part_by_part(photos, tmp_path, monkeypatch, task, form, endings, writer):
    """What other tasks give is made of whole images, in the format that was asked for."""
    task, called = tasks.make(task, ["a"] if task == "flows" else ["a", "b"]), []
    monkeypatch.setattr("experiments.building.networks.stored_task", lambda path: task)
    for name in ("write_maps", "write_pictures"):

        def note(options, plans, name=name):
            called.append((name, options.part, [*plans[0].paths]))
            return []

        monkeypatch.setattr(predict, name, note)
    run(tmp_path / "run", photos / "a.png", "--out", tmp_path / "out", "--format", form)
    assert called == [(writer, None, endings)]
