"""Measurements that print what README and docs claim: `python -m benchmarks SUBJECT`."""
