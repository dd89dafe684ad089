"""Run by hand: `uv run --group bench python -m tests.benchmarks.overhead`, or `.throughput`."""
