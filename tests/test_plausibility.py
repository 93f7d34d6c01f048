import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handpose import plausibility
from handpose.data.synthetic import JOINT_LIMITS, PEOPLE, draw_frame, pose_joints_of if False else draw_frame
