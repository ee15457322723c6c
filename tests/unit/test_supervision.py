"""Which workers a box has, and what supervisor is told."""

import json
from pathlib import Path

import pytest

from tests.waiting import until
from windmill import catalog
from windmill.errors import ConfigError
from windmill.settings import Settings
from windmill.supervision import Supervisor, configuration, workers


@pytest.fixture
def loaded(tmp_path):
    path = tmp_path / "services.json"
    path.write_text(json.dumps({"blip": {}, "bbox_merger": {}, "birds": {"port": 9000}}), "utf-8")
    return catalog.load(path)


def test_a_service_runs_the_generic_worker_and_a_stage_its_own(loaded):
    scripts = {name: [Path(word).name for word in command[1:]] for name, command in workers(loaded).items()}
    assert scripts == {
        "blip": ["generic_worker.py", "blip"],
        "bbox_merger": ["bbox_merger_worker.py"],
        "birds": ["generic_worker.py", "birds"],
    }


def told(loaded, counts, **settings):
    facts = {"run": Path("/r"), "logs": Path("/l"), "socket": Path("/r/s"), "grace": 20.0} | settings
    return configuration(workers(loaded), counts, **facts)


def test_supervisor_is_told_how_many_and_to_start_what_died(loaded):
    config = told(loaded, {"blip": 3, "bbox_merger": 1, "birds": 1})
    assert config["program:blip"]["numprocs"] == "3"
    assert config["program:blip"]["autorestart"] == "true"
    assert int(config["program:blip"]["stopwaitsecs"]) > 20
    assert config["program:birds"]["stdout_logfile_backups"] == "5"


def test_no_setting_stands_in_the_configuration(loaded):
    config = told(loaded, {"blip": 1, "bbox_merger": 1, "birds": 1})
    assert not any("environment" in config[section] for section in config.sections())


def test_an_unknown_worker_is_named_with_those_there_are(loaded, tmp_path):
    supervisor = Supervisor(Settings(run_dir=tmp_path / "run", log_dir=tmp_path / "logs"), loaded)
    with pytest.raises(ConfigError, match=r"dog: no such worker.*blip, bbox_merger, birds"):
        supervisor.start(["dog"], 1)


def test_a_folder_too_deep_for_a_socket_gets_one_elsewhere(loaded, tmp_path):
    deep = tmp_path / ("deep" * 30)
    assert not Supervisor(Settings(run_dir=deep), loaded).running()


def test_workers_read_the_dotenv_of_the_folder_that_they_were_started_in(loaded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DB_PORT", raising=False)
    (tmp_path / ".env").write_text("DB_PORT=of this folder\n", "utf-8")
    (tmp_path / "supervisor.py").write_text("raise SystemExit('not the library')", "utf-8")
    supervisor = Supervisor(Settings(run_dir=Path("run"), log_dir=Path("logs")), loaded)
    supervisor.start(["bbox_merger"], 1)
    try:
        (worker,) = supervisor.processes()
        until(lambda: worker.log.is_file() and "DB_PORT='of this folder'" in worker.log.read_text(), 60)
    finally:
        supervisor.shut_down()
