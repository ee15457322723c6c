"""The broker of BROKER=rabbitmq, and the only package that knows pika.

`connect` gives a `RabbitMQ`; publish on it, and ask it for a consumer of a queue.
"""

from windmill.rabbitmq.broker import RabbitMQ, connect
from windmill.rabbitmq.consuming import RabbitConsumer

__all__ = ["RabbitConsumer", "RabbitMQ", "connect"]
