"""What Windmill costs, measured on real servers: how is in bench/README.md."""
