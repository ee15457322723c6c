"""Private servers for tests: real ones, on loopback, in folders of their own, gone with the test run."""

from tests.servers.certificates import Certificates
from tests.servers.mariadb import MariaDB
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import RabbitMQ

__all__ = ["Certificates", "MariaDB", "Postgres", "RabbitMQ"]
