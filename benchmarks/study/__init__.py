"""The study: does distillation help, by how much, and why. See docs/study.md."""
