"""What is refused before a worker starts."""

import re
import subprocess
import sys
from dataclasses import replace

import pytest

from windmill import calibration, catalog, holding, wiring
from windmill.errors import ConfigError
from windmill.settings import Settings

RABBITMQ = Settings(queue_host="rabbitmq.example.org")  # four at once, eight in advance, 60 s, 1800 s


def refused(service, settings):
    try:
        holding.check_hold(service, settings)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("change", "longest"),
    [
        ({}, 779),
        ({"worker_prefetch_count": 9}, 479),
        ({"worker_concurrency": 1, "worker_prefetch_count": 1}, 1679),
        ({"queue_ack_timeout": 600}, 179),
        ({"worker_concurrency": 16}, 779),
    ],
)
def test_the_longest_timeout_that_fits_is_named_and_fits(change, longest):
    settings = replace(RABBITMQ, **change)
    error = refused(catalog.facts("blip"), replace(settings, request_timeout=longest + 1))
    assert f"to {longest} at most" in error
    for name in (
        "blip",
        "REQUEST_TIMEOUT",
        "WORKER_PREFETCH_COUNT",
        "WORKER_CONCURRENCY",
        "QUEUE_ACK_TIMEOUT",
    ):
        assert name in error
    assert not refused(catalog.facts("blip"), replace(settings, request_timeout=longest))


def test_where_no_timeout_fits_the_prefetch_is_too_large():
    settings = replace(RABBITMQ, worker_prefetch_count=60_000, worker_concurrency=1)
    error = refused(catalog.facts("blip"), settings)
    assert "take less in advance" in error
    assert "at most" not in error


def test_the_entry_of_a_service_counts_for_it():
    slow = replace(catalog.facts("ollama"), timeout=1000)
    assert re.search("ollama: .* 2240 s", refused(slow, RABBITMQ))
    assert not refused(replace(slow, concurrency=8), replace(RABBITMQ, worker_prefetch_count=8))


@pytest.mark.parametrize("name", ["bbox_face", "caption_score"])
def test_a_stage_that_calls_a_service_is_held_to_it(name):
    assert refused(catalog.facts(name), replace(RABBITMQ, request_timeout=1000))


def test_an_index_worker_holds_what_is_at_its_service_and_gathers():
    """Two rounds of a batch, and ten seconds: a segment is only taken in advance where that is quick."""
    worker = catalog.facts("index_clip")
    error = refused(worker, replace(RABBITMQ, request_timeout=775))
    assert "774 at most" in error
    assert "32 jobs (WORKER_PREFETCH_COUNT), 16 at once (WORKER_BATCH_SIZE)" in error
    assert not refused(worker, replace(RABBITMQ, request_timeout=774))


def test_a_segment_leaves_in_hand_what_the_service_looks_at():
    settings = Settings(worker_batch_size=8, index_segment_size=50)
    worker = catalog.facts("index_clip")
    reach = holding.reach(worker, settings)
    gathering = holding.gathering(worker, settings, reach)
    assert (reach.size, gathering.most()) == (16, 8)
    for moment in range(3):
        reach.note(30, float(moment))
    assert (reach.size, gathering.most()) == (66, 50)
    assert holding.gathering(catalog.facts("clip"), settings, reach) is None


@pytest.mark.parametrize("name", [catalog.MERGER, catalog.VOTER])
def test_a_stage_that_calls_no_service_holds_nothing_for_long(name):
    assert not refused(catalog.facts(name), replace(RABBITMQ, request_timeout=1000))


@pytest.fixture
def surer(tmp_path):
    """A calibration beside the one that ships: its detectors are surer."""
    path = tmp_path / "calibration.json"
    shipped = calibration.load()
    path.write_text(calibration.text(replace(shipped, boxes=replace(shipped.boxes, bias=3.0))), "utf-8")
    return path


def test_boxes_are_merged_by_the_calibration_of_the_settings(surer):
    assert wiring.detectors(Settings()) == calibration.load().boxes
    assert wiring.detectors(Settings(calibration=surer)).bias == 3.0


def test_a_calibration_that_is_none_is_told_before_a_merger_starts(tmp_path):
    path = tmp_path / "calibration.json"
    path.write_text("{}")
    with pytest.raises(ConfigError, match=re.escape(str(path))):
        wiring.RECOMPUTATIONS[catalog.MERGER](catalog.facts(catalog.MERGER), Settings(calibration=path))


def test_postgresql_takes_nothing_away():
    assert not refused(catalog.facts("blip"), Settings(request_timeout=80_000))


def test_a_worker_does_not_start_with_such_settings():
    with (
        pytest.raises(ConfigError, match="QUEUE_ACK_TIMEOUT"),
        wiring.worker(catalog.facts("blip"), replace(RABBITMQ, request_timeout=1000), None),
    ):
        pass


def test_the_rule_of_the_consensus_is_a_setting_and_its_name_tells_the_calibration(tmp_path):
    counting = wiring.consensus_rule(Settings())
    weighing = wiring.consensus_rule(Settings(consensus_algorithm="calibrated"))
    assert (counting.identity, counting.vote([], []).algorithm) == ("v3", "v3")
    assert weighing.identity == weighing.vote([], []).algorithm
    shipped = calibration.load()
    other = replace(shipped, voters=replace(shipped.voters, prior=shipped.voters.prior + 1))
    path = tmp_path / "own.json"
    path.write_text(calibration.text(other), "utf-8")
    own = wiring.consensus_rule(Settings(consensus_algorithm="calibrated", calibration=path))
    assert own.identity.startswith("calibrated 1 ")
    assert own.identity != weighing.identity


def test_a_service_worker_does_without_numpy():
    """Nine megabytes for each of the workers on a small box; only the merger calculates."""
    code = "import windmill.commands.work, windmill.rabbitmq, sys; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
