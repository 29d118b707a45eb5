"""Building blocks for semi-supervised sound event detection on DESED; knows no recipe."""

__version__ = "0.1.0"
