"""How time and memory grow with the catalog; ``python -m benchmarks.growth``."""
