"""The cases: each is one line in the table below, and one small function that disturbs a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from chaos import disturbances as do
from chaos.site import BROKERS, POSTGRES, RABBITMQ, WORKERS
from chaos.stage import Stage
from chaos.tables import Failure

ONE_OF_EACH: Mapping[str, int] = dict.fromkeys(WORKERS, 1)
PACE = 0.1  # seconds that a service takes, so that there is always a job in hand


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`disturb` runs once all is submitted and the workers are up, while the services take `pace` seconds.

    `failure` says what is to become of the marked photos at one service; `tampered` which workers run with
    something changed (`chaos.tampered`; "" is all); `proxied` that the broker is behind a proxy.
    """

    name: str
    does: str
    disturb: Callable[[Stage], None]
    brokers: tuple[str, ...] = BROKERS
    submit: Callable[[Stage], None] = do.submit
    counts: Mapping[str, int] = field(default_factory=lambda: ONE_OF_EACH)
    environment: Mapping[str, str] = field(default_factory=dict)
    tampered: Mapping[str, str] = field(default_factory=dict)
    failure: Failure | None = None
    proxied: bool = False
    pace: float = PACE


CASES: tuple[Case, ...] = (
    Case(name="calm", does="Nothing: an undisturbed run beside another.", disturb=do.nothing),
    # --- workers -------------------------------------------------------------------------------------
    Case(
        name="kill-worker",
        does="`kill -9` of yolov8's worker with images in hand, ten times, with some work done between.",
        disturb=do.kill_service_worker,
        pace=0.2,
    ),
    Case(
        name="kill-worker-in-a-row",
        does="The same, each time as soon as it is back and has an image in hand: nothing is done between.",
        disturb=do.kill_in_a_row,
    ),
    Case(
        name="kill-merger-and-consensus",
        does="`kill -9` of the merger and of the consensus worker in turn, ten times.",
        disturb=do.kill_stages,
    ),
    Case(
        name="sigterm-under-load",
        does="SIGTERM to all workers at once, twice; each must exit with 0 within SHUTDOWN_GRACE.",
        disturb=do.terminate_all,
    ),
    Case(
        name="two-of-everything",
        does="Two producers at once, two workers of each service, three mergers, three consensus workers.",
        submit=do.submit_from_two,
        counts={**dict.fromkeys(WORKERS, 2), "bbox_merger": 3, "consensus": 3},
        disturb=do.nothing,
    ),
    Case(
        name="crashing-image",
        does="One image in ten kills the process of yolov8's worker each time it is looked at.",
        tampered={"yolov8": "crash"},
        failure=Failure(service="yolov8"),
        disturb=do.nothing,
    ),
    Case(
        name="clock-step",
        does="A second after their start, workers' clocks step a day ahead (odd pids) or back (even pids).",
        environment={"PYTHONPATH": do.CLOCK},
        disturb=do.nothing,
    ),
    # --- messages ------------------------------------------------------------------------------------
    Case(
        name="everything-twice",
        does="Every message is published twice, by the producer and by every worker.",
        tampered={"": "twice"},
        submit=do.submit_twice,
        disturb=do.nothing,
    ),
    Case(
        name="shuffled",
        does="Messages are published one by one in random order, differently for each queue.",
        tampered={"": "shuffle"},
        submit=do.submit_shuffled,
        disturb=do.nothing,
    ),
    # --- RabbitMQ ------------------------------------------------------------------------------------
    Case(
        name="rabbitmq-restart",
        does="RabbitMQ is stopped and started.",
        brokers=(RABBITMQ,),
        disturb=do.restart_rabbitmq,
    ),
    Case(
        name="rabbitmq-killed",
        does="RabbitMQ is killed with -9 and started.",
        brokers=(RABBITMQ,),
        disturb=do.kill_rabbitmq,
        pace=0.5,
    ),
    Case(
        name="rabbitmq-wiped",
        does="RabbitMQ is stopped, its data deleted, and started; then `windmill reconcile`.",
        brokers=(RABBITMQ,),
        disturb=do.wipe_rabbitmq,
    ),
    Case(
        name="memory-alarm",
        does="RabbitMQ's memory watermark is set to next to nothing for a while: it takes no messages.",
        brokers=(RABBITMQ,),
        disturb=do.raise_memory_alarm,
        pace=1.0,  # RabbitMQ looks at its memory every 2.5 s
    ),
    Case(
        name="disk-alarm",
        does="RabbitMQ's limit of free disk is set above what there is for a while: it takes no messages.",
        brokers=(RABBITMQ,),
        disturb=do.raise_disk_alarm,
        pace=1.0,
    ),
    # --- the network ---------------------------------------------------------------------------------
    Case(
        name="network-reset",
        does="All connections to the broker are reset, five times; then for a while new ones are refused.",
        proxied=True,
        disturb=do.reset_network,
    ),
    Case(
        name="network-stall",
        does="Nothing passes between the workers and the broker for a while; then all that was held back.",
        proxied=True,
        disturb=do.stall_network,
    ),
    # --- databases -----------------------------------------------------------------------------------
    Case(name="postgres-restart", does="PostgreSQL is stopped and started.", disturb=do.restart_postgres),
    Case(
        name="postgres-killed",
        does="PostgreSQL, with fsync on, is killed with -9 (all of its processes) and started.",
        disturb=do.kill_postgres,
    ),
    Case(
        name="postgres-terminate",
        does="pg_terminate_backend of all connections, five times.",
        disturb=do.terminate_backends,
    ),
    Case(
        name="postgres-terminate-some",
        does="pg_terminate_backend of a random third of the connections, twenty times.",
        disturb=do.terminate_some_backends,
    ),
    Case(
        name="mysql-down",
        does="Monitoring is on; MySQL is killed once work is under way and stays away.",
        disturb=do.kill_mysql,
        environment={"ENABLE_MONITORING": "true", "HEARTBEAT_INTERVAL": "1"},
    ),
    # --- services ------------------------------------------------------------------------------------
    Case(
        name="service-down",
        does="yolov8 and the colours service close their ports for a while.",
        disturb=do.close_services,
    ),
    Case(
        name="service-errors",
        does="Every service answers 500 to the first two calls about one image in ten.",
        disturb=do.answer_500,
    ),
    Case(
        name="service-busy",
        does="Every service answers 429 with Retry-After to the first two calls about one image in ten.",
        disturb=do.answer_429,
    ),
    Case(
        name="service-half-json",
        does="yolov8 sends half of its JSON for one image in ten: these are settled as failed, BadReply.",
        failure=Failure(service="yolov8", error="BadReply"),
        submit=do.submit_to_half,
        disturb=do.nothing,
    ),
    Case(
        name="service-silent",
        does="yolov8 never answers about one image in ten, and about another tenth not the first time.",
        failure=Failure(service="yolov8", status="timeout", error="ServiceUnavailable"),
        environment={"REQUEST_TIMEOUT": "1", "MAX_RETRIES": "1"},
        submit=do.submit_to_silent,
        disturb=do.nothing,
    ),
)

# A tenth of it, for `make test`: quick, and one of each kind.
QUICK: tuple[tuple[str, str], ...] = (
    ("kill-worker", RABBITMQ),
    ("kill-merger-and-consensus", POSTGRES),
    ("everything-twice", POSTGRES),
    ("postgres-terminate-some", POSTGRES),
    ("network-reset", RABBITMQ),
    ("service-half-json", RABBITMQ),
    ("rabbitmq-wiped", RABBITMQ),
    ("crashing-image", POSTGRES),
)
