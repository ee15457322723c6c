"""What Windmill costs, measured on real servers. Figures are in bench/README.md."""
