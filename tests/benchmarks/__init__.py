"""Run manually: `uv run --group bench python -m tests.benchmarks.overhead`, or `.throughput`."""
