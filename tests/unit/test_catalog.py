"""service_config.json: what short entries mean, and how mistakes are named."""

import json
from pathlib import Path

import pytest

from windmill import catalog
from windmill.errors import ConfigError

SHIPPED = Path(__file__).parents[2] / "service_config.json"


def load(tmp_path, entries):
    path = tmp_path / "service_config.json"
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries), "utf-8")
    return catalog.load(path)


def test_a_short_entry_takes_the_rest_from_the_table(tmp_path):
    loaded = load(
        tmp_path, {"clip": {"host": "gpu", "port": 7778}, "colors": {"port": 7770, "category": "primary"}}
    )
    assert loaded["clip"].url == "http://gpu:7778/v3/analyze"
    assert loaded["clip"].service_types == ("spatial", "classification")
    assert loaded["clip"].triggers == ("bbox_merger", "consensus")
    assert loaded["colors"].triggers == ("consensus",)


def test_an_empty_list_of_triggers_means_none(tmp_path):
    entry = {"port": 7778, "triggers": []}
    assert load(tmp_path, {"clip": entry, "bbox_merger": {"triggers": []}})["clip"].triggers == ()


def test_a_stage_without_a_service_has_port_0(tmp_path):
    voter = load(tmp_path, {"consensus": {"host": "localhost", "port": 0, "category": "post_processing"}})
    assert voter["consensus"].category == "postprocessing"


def test_a_service_of_ones_own_says_its_type(tmp_path):
    own = load(
        tmp_path, {"birds": {"port": 9000, "service_type": "spatial", "bbox_format": "xyxy", "timeout": 5}}
    )
    assert own["birds"].triggers == ("bbox_merger", "consensus")
    assert (own["birds"].bbox_format, own["birds"].timeout) == ("xyxy", 5.0)


def test_a_detector_of_ones_own_says_what_it_can_see(tmp_path):
    entry = {"port": 9000, "service_type": "spatial"}
    entries = {
        "birds": entry | {"vocabulary": ["eagle", "duck"]},
        "mine": entry | {"vocabulary": "objects365"},
        "yolov8": {"vocabulary": "unknown"},
        "rtdetr": {},
    }
    own = load(tmp_path, entries)
    spoken = [own[name].vocabulary for name in entries]
    assert spoken == [("eagle", "duck"), "objects365", "unknown", "coco"]


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        ({"blip": {"prot": 1}}, r"blip\.prot"),
        ({"blip": {"port": 70000}}, r"blip\.port"),
        ({"blip": {"port": "7777"}}, r"blip\.port"),
        ({"blip": {"endpoint": "v3"}}, r"blip\.endpoint"),
        ({"blip": {"category": "main"}}, r"blip\.category"),
        ({"blip": {"service_type": "vision"}}, r"blip\.service_type"),
        ({"blip": {"triggers": ["dinner"]}}, r"blip\.triggers"),
        ({"blip": {"triggers": "consensus"}}, r"blip\.triggers"),
        ({"blip": {"bbox_format": "yxyx"}}, r"blip\.bbox_format"),
        ({"blip": {"vocabulary": "klingon"}}, r"blip\.vocabulary.*coco, objects365, openimages, unknown"),
        ({"blip": {"vocabulary": []}}, r"blip\.vocabulary"),
        ({"blip": {"vocabulary": ["cat", 7]}}, r"blip\.vocabulary.*expected text"),
        ({"blip": {"vocabulary": ["a\0b"]}}, r"blip\.vocabulary.*printable"),
        ({"blip": {"vocabulary": {"coco": 1}}}, r"blip\.vocabulary"),
        ({"blip": {"timeout": 0}}, r"blip\.timeout"),
        ({"blip": {"concurrency": 0}}, r"blip\.concurrency"),
        ({"blip": {"host": "a b"}}, r"blip\.host"),
        ({"blip": {"host": "a\nb"}}, r"blip\.host: 'a\\nb': expected a host"),
        ({"blip": {"host": "http://a"}}, r"blip\.host"),
        ({"blip": {"host": "a:80"}}, r"blip\.host"),
        ({"blip": {"endpoint": "/a b"}}, r"blip\.endpoint"),
        ({"blip": {"endpoint": "/\x1b[2J"}}, r"blip\.endpoint"),
        ({"x" * 51: {"port": 1}}, "at most 50"),
        ("[" * 100_000, "not JSON"),
        ({"birds": {"host": "x"}}, r"birds\.port"),
        ({"bl ip": {}}, "bl ip"),
        ({"blip": 7777}, "blip"),
        ([], "expected an object"),
        ('{"blip": {"port": 1}, "blip": {"port": 2}}', "blip.*twice"),
        ('{"blip": {"port": 1, "port": 2}}', "port.*twice"),
        ("{", "not JSON"),
    ],
)
def test_a_mistake_names_the_file_the_service_and_the_key(tmp_path, entries, named):
    with pytest.raises(ConfigError, match=named) as caught:
        load(tmp_path, entries)
    assert str(tmp_path / "service_config.json") in str(caught.value)


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_address_of_ipv6_stands_in_brackets_in_the_url(tmp_path, host):
    assert load(tmp_path, {"blip": {"host": host}})["blip"].url == "http://[::1]:7777/v3/analyze"


def test_a_missing_file_names_the_variable(tmp_path):
    with pytest.raises(ConfigError, match="SERVICE_CONFIG"):
        catalog.load(tmp_path / "none.json")


def test_the_shipped_catalog_lists_every_known_service_but_the_demos():
    loaded = catalog.load(SHIPPED)
    demo = {"nanodet", "ssdlite", "centernet", "movenet", "face_embedding", "label_embedding", "resnet50"}
    left_out = {"inception_v3", *demo, *catalog.INDEX_WORKERS}
    assert set(catalog.BUILT_IN) - set(loaded.services) == left_out


@pytest.mark.parametrize(("worker", "called"), catalog.INDEX_WORKERS.items())
def test_an_index_worker_finds_its_service_without_an_entry_and_nothing_follows_it(tmp_path, worker, called):
    own = load(tmp_path, {called: {"host": "gpu2", "port": 9000, "timeout": 5}})[worker]
    assert own.url == "http://gpu2:9000/embed/image"
    assert (own.timeout, own.category, own.triggers) == (5.0, "index", ())
    usual = load(tmp_path, {})[worker]
    assert (usual.host, usual.port) == ("localhost", catalog.facts(called).port)
    assert load(tmp_path, {worker: {"port": 7}, called: {"port": 9000}})[worker].port == 7


def test_index_workers_are_sent_images_by_name_alone(tmp_path):
    listed = load(tmp_path, {"clip": {}, "index_clip": {}, "face": {}})
    assert listed.select("full_catalog") == ("clip", "face")
    assert listed.select("index_clip,index_faces") == ("index_clip", "index_faces")


def test_groups_of_services():
    loaded = catalog.load(SHIPPED)
    everything = set(loaded.select("all"))
    assert everything == set(loaded.select("primary"))
    assert not {"face", "pose", "caption_score", "consensus"} & everything
    assert set(loaded.select("spatial_only")) == {"face", "pose"}
    assert set(loaded.select("full_catalog")) == everything | {"face", "pose"}
    assert loaded.select("yolov8, blip,yolov8") == ("yolov8", "blip")


@pytest.mark.parametrize("wanted", ["dog", "consensus", ","])
def test_what_cannot_be_submitted_is_refused(wanted):
    with pytest.raises(ConfigError):
        catalog.load(SHIPPED).select(wanted)


def test_queue_names():
    assert catalog.queue("blip") == "queue_blip"
    assert catalog.queue("bbox_merger") == "queue_bbox_merge"
    assert catalog.retry_queue("blip", 30) == "queue_blip.retry.30"
    assert catalog.dead_queue("blip") == "queue_blip.dead"
