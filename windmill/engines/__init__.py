"""Ways to embed a collection: on this box, through the queues, or on a cluster of Ray or Spark."""
