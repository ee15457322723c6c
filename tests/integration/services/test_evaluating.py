"""A detector's figures on real photos are those of an independent run of the same network."""

import json

import pytest

from windmill.cli import main


def test_ssdlite_is_as_good_as_it_is(shared_data, capsys):
    """0.425 is what its recipe gave: other code, other converter, pycocotools straight from photos.json."""
    pytest.importorskip("pycocotools", reason="the extra [eval] is not installed")
    photos = str(shared_data / "coco-photos")
    assert (
        main(["eval", "services", "--data", photos, "--services", "ssdlite", "--limit", "40", "--json"]) == 0
    )
    (row,) = json.loads(capsys.readouterr().out)["services"]
    assert row["figures"]["AP50"]["value"] == pytest.approx(0.425, abs=0.01)
