"""Frames from disk: RHD's and STB's official layouts, synthetic hands written in them, and shards for training."""

from .frame import Frame
from .rhd import RHD
from .shards import Shards, open_shards, write_shards
from .stb import STB
from .synthetic import write_synthetic

__all__ = ["RHD", "STB", "Frame", "Shards", "open_shards", "write_shards", "write_synthetic"]
