"""A private RabbitMQ."""

from __future__ import annotations

import contextlib
import itertools
import os
import ssl
from collections.abc import Sequence

import pika
import pika.exceptions

from tests.servers.base import Server, find, free_port
from tests.servers.certificates import Certificates

_BINARIES = ("/usr/lib/rabbitmq/bin", "/usr/local/sbin", "/opt/homebrew/sbin")
_ERLANG = ("/usr/lib/erlang/bin", "/usr/local/lib/erlang/bin", "/opt/homebrew/lib/erlang/bin")

# Milliseconds after which a message that left a delay queue while the broker went down is sent once more;
# RabbitMQ itself waits for three minutes, and a test with it.
_CONFIRM = 5000


def _binary(text: str) -> str:
    """An Erlang binary: by its bytes, so that no character needs a backslash."""
    return f"<<{','.join(map(str, text.encode()))}>>"


class RabbitMQ(Server):
    """User guest, password guest; not through Debian's wrapper, which insists on an account of its own.

    With `tls` it speaks nothing else, and wants a client's certificate.
    """

    dbuser = "guest"
    password = "guest"

    def __init__(self, tls: Certificates | None = None) -> None:
        self._binary = find("rabbitmq-server", *_BINARIES)
        super().__init__(tls)
        self._distribution = free_port()
        self._epmd = free_port()
        self._node = f"windmill{self.port}@localhost"
        self._names = itertools.count(1)

    def prepare(self) -> None:
        lines = ["disk_free_limit.absolute = 50MB", "vm_memory_high_watermark.relative = 0.8"]
        if self.tls:
            lines += ["listeners.tcp = none", f"listeners.ssl.1 = {self.host}:{self.port}"]
            lines += ["ssl_options.verify = verify_peer", "ssl_options.fail_if_no_peer_cert = true"]
            for key, name in (("cacert", "ca"), ("cert", "cert"), ("key", "key")):
                lines.append(f"ssl_options.{key}file = {self.folder}/{name}.pem")
        (self.folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n", "utf-8")
        (self.folder / "enabled_plugins").write_text("[].\n", "utf-8")
        for name in ("rabbitmq.conf", "enabled_plugins"):
            (self.folder / name).chmod(0o644)

    def environment(self) -> dict[str, str]:
        place = self.folder
        plain = (
            {} if self.tls else {"RABBITMQ_NODE_PORT": str(self.port)}
        )  # it would open that port for plain text
        return {
            **os.environ,
            **plain,
            "HOME": str(place),
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_NODE_IP_ADDRESS": self.host,
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "ERL_EPMD_PORT": str(self._epmd),
            "ERL_EPMD_ADDRESS": self.host,
            "RABBITMQ_MNESIA_BASE": f"{place}/mnesia",
            "RABBITMQ_LOG_BASE": f"{place}/log",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{place}/enabled_plugins",
            "RABBITMQ_CONFIG_FILE": f"{place}/rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": f"{place}/none.conf",
            "RABBITMQ_PID_FILE": f"{place}/pid",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none "
                f"-rabbit dead_letter_worker_publisher_confirm_timeout {_CONFIRM}"
            ),
        }

    def command(self) -> list[str]:
        return [str(self._binary)]

    def answers(self) -> bool:
        with contextlib.suppress(pika.exceptions.AMQPError, OSError):
            self.connect().close()
            return True
        return False

    def connect(self, vhost: str = "/") -> pika.BlockingConnection:
        """A client's connection."""
        credentials = pika.PlainCredentials(self.dbuser, self.password)
        parameters = pika.ConnectionParameters(self.host, self.port, vhost, credentials, socket_timeout=30)
        if self.tls:
            context = ssl.create_default_context(cafile=self.tls.ca)
            context.load_cert_chain(self.tls.cert, self.tls.key)
            parameters.ssl_options = pika.SSLOptions(context, self.host)
        return pika.BlockingConnection(parameters)

    def reload_certificate(self) -> None:
        self.evaluate("ssl:clear_pem_cache()")

    def control(self, *words: str) -> str:
        """Runs `rabbitmqctl`, which boots an Erlang for over a second; gives what it prints."""
        return self.once(str(find("rabbitmqctl", *_BINARIES)), "-q", "-n", self._node, *words)

    def evaluate(self, code: str) -> str:
        """What Erlang expressions give inside the broker: what `rabbitmqctl` does there, in milliseconds."""
        said = self.once(str(find("erl_call", *_ERLANG)), "-sname", self._node, "-e", given=f"{code}.\n")
        if not said.startswith("{ok, "):
            raise RuntimeError(f"{code}: {said}")
        return said.removeprefix("{ok, ").removesuffix("}")

    def version(self) -> str:
        """As the server says it to a client."""
        with contextlib.closing(self.connect()) as connection:
            return str(connection._impl.server_properties["version"])  # pika has no public name for it

    def add_user(self, name: str, password: str) -> None:
        """A user who may do nothing yet."""
        self._accounts("add_user", name, password)

    def change_password(self, name: str, password: str) -> None:
        self._accounts("change_password", name, password)

    def delete_user(self, name: str) -> None:
        self._accounts("delete_user", name)

    def permit(self, name: str, patterns: Sequence[str] = (".*", ".*", ".*"), vhost: str = "/") -> None:
        """Lets a user configure, write and read what has such names, and nothing else."""
        self._accounts("set_permissions", name, vhost, *patterns)

    def _accounts(self, function: str, *texts: str) -> None:
        arguments = ", ".join(_binary(text) for text in (*texts, "tests"))
        said = self.evaluate(f"rabbit_auth_backend_internal:{function}({arguments})")
        if said != "ok":
            raise RuntimeError(f"{function}: {said}")

    def cut(self) -> None:
        """Closes all connections."""
        pids = "rabbit_networking:connections()"
        self.evaluate(f'[rabbit_networking:close_connection(Pid, "test") || Pid <- {pids}]')

    def limit_memory(self, fraction: float) -> None:
        """The part of the machine's memory beyond which it takes no messages."""
        self.evaluate(f"vm_memory_monitor:set_vm_memory_high_watermark({fraction:.9f})")

    def new_vhost(self) -> str:
        """Creates a vhost and gives its name."""
        name = f"test_{next(self._names)}"
        self.add_vhost(name)
        return name

    def add_vhost(self, name: str) -> None:
        """Creates a vhost, or, in a server whose data was deleted, creates it anew."""
        self.evaluate(f"ok = rabbit_vhost:add({_binary(name)}, <<>>)")
        self.permit(self.dbuser, vhost=name)

    def delete_vhost(self, name: str) -> None:
        """Deletes a vhost with all that is in it."""
        self.evaluate(f"ok = rabbit_vhost:delete({_binary(name)}, <<>>)")

    def cleanup(self) -> list[str]:
        """Ends the epmd of our own, which survives the broker."""
        epmd = find("epmd", *_ERLANG)
        return ["env", f"ERL_EPMD_ADDRESS={self.host}", str(epmd), "-port", str(self._epmd), "-kill"]
