"""The 21 canonical joints, the 20 bones between them, and the joint orders of the datasets.

Canonical order: wrist, then thumb, index, middle, ring, little, each from base to tip.
"""

import numpy as np

FINGERS = ("thumb", "index", "middle", "ring", "little")

JOINTS = ("wrist",) + tuple(
    f"{finger}_{part}"
    for finger in FINGERS
    for part in (("cmc", "mcp", "ip", "tip") if finger == "thumb" else ("mcp", "pip", "dip", "tip"))
)

#: Parent of each joint but the wrist: 0 for a finger's base, else the joint before it.
BONES = tuple((0 if joint % 4 == 1 else joint - 1, joint) for joint in range(1, 21))

WRIST = 0
MIDDLE_MCP = 9
MIDDLE_PIP = 10

#: RHD stores 42 joints, left hand first; each finger runs from tip to base.
#: ``source[RHD_ORDER]`` takes the 21 joints of one hand into canonical order.
RHD_ORDER = np.array([0, 4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17])

#: STB starts at the palm centre and goes from little finger to thumb, each from base to tip.
STB_ORDER = np.array([0, 17, 18, 19, 20, 13, 14, 15, 16, 9, 10, 11, 12, 5, 6, 7, 8, 1, 2, 3, 4])


def finger_of(joint):
    """Name of the finger that a canonical joint belongs to; ``"wrist"`` for joint 0."""
    return "wrist" if joint == 0 else FINGERS[(joint - 1) // 4]
