"""The figures of the bars, measured: `python -m benchmarks` prints them and writes bench.json. No test is timed."""
