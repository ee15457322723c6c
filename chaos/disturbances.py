"""What is done to a run: small functions over a `Stage`."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from chaos.fleet import await_all, pause
from chaos.site import ASKED
from chaos.stage import Stage
from chaos.tables import OPEN
from windmill.core.retrying import DELIVERY_LIMIT, TRIALS

CLOCK = str(Path(__file__).parent / "clock")
_PRODUCE = ("produce", "--services", ",".join(ASKED))
_KILLS = 10
_BETWEEN = 5  # results between two deaths: more than a worker has at its service at a time
_OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def nothing(_: Stage) -> None:
    """The workers do their work."""


# --- how the photos are submitted ----------------------------------------------------------------------


def submit(stage: Stage) -> None:
    stage.windmill(*_PRODUCE)


def submit_from_two(stage: Stage) -> None:
    _produce(stage, "", 2)


def submit_twice(stage: Stage) -> None:
    _produce(stage, "twice", 1)


def submit_shuffled(stage: Stage) -> None:
    _produce(stage, "shuffle", 1)


def submit_to_half(stage: Stage) -> None:
    stage.site.tell(service="yolov8", fault="half")
    submit(stage)


def submit_to_silent(stage: Stage) -> None:
    stage.site.tell(service="yolov8", fault="silent")
    submit(stage)


def _produce(stage: Stage, how: str, count: int) -> None:
    statuses = await_all([stage.fleet.begin(how, *_PRODUCE) for _ in range(count)])
    if any(statuses):
        raise RuntimeError(f"produce ended with {statuses}")


# --- workers ---------------------------------------------------------------------------------------------


def kill_service_worker(stage: Stage) -> None:
    """Fewer times where there are too few images for ten."""
    for n in range(min(_KILLS, stage.site.images // _BETWEEN - 1)):
        stage.await_count("yolov8", (n + 1) * _BETWEEN)
        stage.await_call("yolov8")
        stage.fleet.kill("yolov8")


def kill_in_a_row(stage: Stage) -> None:
    """As often as workers may die with a job in hand: once more, and it is given up."""
    for _ in range(DELIVERY_LIMIT + TRIALS):
        stage.await_call("yolov8")
        stage.fleet.kill("yolov8")
        stage.await_idle("yolov8")


def kill_stages(stage: Stage) -> None:
    for n in range(_KILLS):
        stage.await_results(0.05 + 0.08 * n)
        stage.fleet.kill("consensus" if n % 2 else "bbox_merger")


def terminate_all(stage: Stage) -> None:
    for share in (0.1, 0.4):
        stage.await_results(share)
        began = time.monotonic()
        statuses = stage.fleet.stop()
        grace = float(stage.environment["SHUTDOWN_GRACE"])
        stage.note(f"all ended within {time.monotonic() - began:.1f} s")
        if any(statuses.values()) or time.monotonic() - began > grace:
            stage.blame(f"exit statuses {statuses}")
        stage.fleet.start(dict.fromkeys({name.split()[0] for name in statuses}, 1))


# --- RabbitMQ --------------------------------------------------------------------------------------------


def restart_rabbitmq(stage: Stage) -> None:
    stage.await_results(0.2)
    stage.site.rabbitmq.restart()


def kill_rabbitmq(stage: Stage) -> None:
    """Not in the first seconds: docs/reliability.md says what RabbitMQ does to a queue as young as that."""
    stage.await_results(0.5)
    stage.site.rabbitmq.kill()
    stage.site.rabbitmq.start()


def wipe_rabbitmq(stage: Stage) -> None:
    server = stage.site.rabbitmq
    stage.await_results(0.2)
    server.stop()
    shutil.rmtree(server.folder / "mnesia")
    server.start()
    server.add_vhost(stage.environment["QUEUE_VHOST"])
    if not stage.reconcile():
        stage.skip("no reconcile yet")


def raise_memory_alarm(stage: Stage) -> None:
    _alarm(stage, "set_vm_memory_high_watermark", "0.0000001", "0.8")


def raise_disk_alarm(stage: Stage) -> None:
    _alarm(stage, "set_disk_free_limit", str(10**16), "50MB")


def _alarm(stage: Stage, command: str, tight: str, usual: str) -> None:
    stage.await_results(0.2)
    stage.site.rabbitmq.control(command, tight)
    pause(stage.hold)
    waiting = stage.count(OPEN)
    stage.note(f"{waiting} jobs waited for its end")
    if not waiting:
        stage.blame("the alarm held nothing back: it came too late")
    stage.site.rabbitmq.control(command, usual)


# --- the network -----------------------------------------------------------------------------------------


def reset_network(stage: Stage) -> None:
    for n in range(5):
        stage.await_results(0.1 + 0.1 * n)
        stage.line.reset()
    stage.line.refusing = True
    stage.line.reset()
    pause(stage.hold)
    stage.line.refusing = False


def stall_network(stage: Stage) -> None:
    stage.await_results(0.2)
    stage.line.stall()
    pause(stage.hold)
    stage.line.resume()


# --- databases -------------------------------------------------------------------------------------------


def restart_postgres(stage: Stage) -> None:
    stage.await_results(0.2)
    stage.close()
    stage.site.postgres.restart()


def kill_postgres(stage: Stage) -> None:
    stage.await_results(0.2)
    stage.close()
    stage.site.postgres.kill()
    stage.site.postgres.start()


def terminate_backends(stage: Stage) -> None:
    for n in range(5):
        stage.await_results(0.1 + 0.1 * n)
        stage.row(f"SELECT count(pg_terminate_backend(pid)) {_OTHERS}")


def terminate_some_backends(stage: Stage) -> None:
    for n in range(20):
        stage.await_results(0.1 + 0.04 * n)
        some = f"{_OTHERS} AND random() < 0.34"
        stage.row(f"SELECT count(pg_terminate_backend(pid)) {some}")


def kill_mysql(stage: Stage) -> None:
    stage.await_results(0.2)
    if not stage.heartbeats():
        raise RuntimeError("monitoring is on, and yet there is no heartbeat")
    stage.site.mariadb.kill()


# --- services --------------------------------------------------------------------------------------------


def close_services(stage: Stage) -> None:
    stage.await_results(0.2)
    for service in ("yolov8", "colors"):
        stage.site.tell(service=service, fault="down")
    pause(stage.hold)
    for service in ("yolov8", "colors"):
        stage.site.tell(service=service, fault="")


def answer_500(stage: Stage) -> None:
    stage.site.tell(fault="error")


def answer_429(stage: Stage) -> None:
    stage.site.tell(fault="busy")
