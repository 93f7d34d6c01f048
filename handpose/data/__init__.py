"""Frames from disk: RHD's official layout, synthetic hands written in it, and shards for training."""

from .frame import Frame
from .rhd import RHD
from .shards import Shards, open_shards, write_shards
from .synthetic import write_synthetic

__all__ = ["RHD", "Frame", "Shards", "open_shards", "write_shards", "write_synthetic"]
