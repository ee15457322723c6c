"""Weights: pinned, verified, and said where to put when they cannot be fetched."""

from windmill.services import coco, registry, weights


def test_only_what_no_registry_has_comes_without_a_hash():
    for entry in weights.manifest().values():
        for path, about in entry.files.items():
            known = about.sha256 is not None and len(about.sha256) == 64 and about.bytes
            assert known or entry.source.kind in ("hub", "url", "file"), (entry.name, path)


def test_every_model_has_a_port():
    assert all(registry.port(name) for name in registry.SERVICES)


def test_every_coco_class_has_an_emoji_of_its_own():
    assert len(coco.classes()) == len({emoji for _, emoji in coco.classes()}) == 80
    assert coco.classes()[coco.from_90()[90]] == ("toothbrush", "🪥")
