"""Ultralytics' `.pt` and the ONNX export of the same network: the same boxes. Random networks, made here."""

import importlib.metadata
import warnings

import numpy as np
import pytest
from PIL import Image

from tests.unit.services.made import photo, weights
from windmill.errors import ConfigError
from windmill.services import detectron2, rtdetr, yolo
from windmill.services.base import ANALYZE, Photo

NAMES = {0: "cat", 1: "dog", 2: "zebra"}
SIDE = 64

TINY_YOLO = {
    "nc": 3,
    "backbone": [
        [-1, 1, "Conv", [8, 3, 4]],
        [-1, 1, "C2f", [8]],
        [-1, 1, "Conv", [16, 3, 2]],
        [-1, 1, "SPPF", [16, 3]],
    ],
    "head": [[[1, 3], 1, "Detect", ["nc"]]],
}
TINY_RTDETR = {
    "nc": 3,
    "backbone": [[-1, 1, "Conv", [8, 3, 8]], [-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Conv", [8, 3, 2]]],
    "head": [[[0, 1, 2], 1, "RTDETRDecoder", ["nc", 32, 20, 2, 2, 1]]],
}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """ultralytics' networks, with what its import leaves behind kept in a folder of the tests.

    It asks for torchvision's version when it is imported, and for torchvision itself never here.
    """
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'windmill-images[torch]'")
    folder = tmp_path_factory.mktemp("ultralytics")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOLO_CONFIG_DIR", str(folder))
        patch.setenv("OMP_NUM_THREADS", "2")  # which it would set for all that follows
        patch.setattr(Image, "open", Image.open)  # which it replaces for all that follows
        try:
            importlib.metadata.version("torchvision")
        except importlib.metadata.PackageNotFoundError:
            about = folder / "torchvision-0.dist-info"
            about.mkdir()
            (about / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\n")
            patch.syspath_prepend(folder)
        yield pytest.importorskip(
            "ultralytics.nn.tasks",
            reason="ultralytics is not installed: pip install 'windmill-images[ultralytics]'",
        )


@pytest.fixture(scope="module")
def scene():
    pixels = np.random.default_rng(3).integers(0, 255, (48, 96, 3), np.uint8)
    return Photo(data=b"", pixels=pixels)


def saved(path, network, torch):
    """A checkpoint with the network, as training leaves it: half precision, and with scores worth telling."""
    network.names = NAMES
    for name, values in network.named_parameters():
        if values.ndim > 1:
            torch.nn.init.normal_(values, std=0.3)
        elif "cv3" in name and name.endswith("2.bias"):
            torch.nn.init.zeros_(values)  # else a network that has not learned yet is sure of nothing
    torch.save({"model": network.half(), "ema": None, "train_args": {"imgsz": SIDE}}, path)
    return path


def exported(path, network, torch):
    """The same as ONNX, with what ultralytics' exporter notes."""
    import onnx

    network.model[-1].export = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.float().eval(),
            torch.zeros(1, 3, SIDE, SIDE),
            str(path),
            opset_version=17,
            input_names=["images"],
            output_names=["output0"],
            dynamo=False,
        )
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"names": str(NAMES)})
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("loader", "kind", "layout"),
    [(yolo, "DetectionModel", TINY_YOLO), (rtdetr, "RTDETRDetectionModel", TINY_RTDETR)],
    ids=["yolov8", "rtdetr"],
)
def test_a_checkpoint_and_its_export_find_the_same(tasks, tmp_path, scene, loader, kind, layout):
    import torch

    torch.manual_seed(5)
    network = getattr(tasks, kind)(layout, ch=3, nc=3, verbose=False)
    checkpoint = saved(tmp_path / "tiny.pt", network, torch)
    export = exported(tmp_path / "tiny.onnx", network, torch)
    said = {}
    for path in (checkpoint, export):
        model = loader.load(weights(path, "yolov8"))
        said[model.info.framework] = model.tasks[ANALYZE].alone(scene)["predictions"]
    ours, theirs = said["Ultralytics"], said["ONNX Runtime"]
    assert len(ours) == len(theirs) > 3
    for one, other in zip(ours, theirs, strict=True):
        assert one["label"] == other["label"]
        assert one["confidence"] == pytest.approx(other["confidence"], abs=2e-3)
        assert list(one["bbox"].values()) == pytest.approx(list(other["bbox"].values()), abs=1)


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def test_a_checkpoint_that_would_run_something_is_refused(tasks, tmp_path, capsys):
    import torch

    path = tmp_path / "evil.pt"
    torch.save({"model": Evil()}, path)
    with pytest.raises(ConfigError, match=r"evil\.pt.*read safely"):
        yolo.load(weights(path, "yolov8"))
    assert "run" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"no pickle", {"model": 1}, ["model"]])
def test_what_is_no_checkpoint_is_told(tasks, tmp_path, content):
    import torch

    path = tmp_path / "odd.pt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(ConfigError, match=r"odd\.pt"):
        yolo.load(weights(path, "yolov8"))


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_detectron2_as_torchscript(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    class Traced(torch.nn.Module):
        def forward(self, image):
            found = torch.tensor([[100.0, 200.0, 300.0, 400.0]]) * (image.max() / 200)
            return found, torch.tensor([15]), torch.tensor([0.75]), torch.tensor(image.shape[1:])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Traced()).save(tmp_path / "d2.ts")
    model = detectron2.load(weights(tmp_path / "d2.ts", "detectron2"))
    (found,) = model.tasks[ANALYZE].alone(photo(400, 400))["predictions"]
    assert found == {
        "label": "cat",
        "confidence": 0.75,
        "emoji": "🐈",
        "bbox": {"x": 50, "y": 100, "width": 100, "height": 100},
    }
