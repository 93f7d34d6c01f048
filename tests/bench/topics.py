"""The benchmarks by name."""

from tests.bench import frames, gpu, inputs, networks, profiled, sharing

TOPICS = {
    "training": networks.of_training, "profile": profiled.of_profile, "arithmetic": networks.of_arithmetic, "input": inputs.of_inputs,
    "losses": networks.of_losses, "alignment": networks.of_frozen_phase,
    "prediction": networks.of_prediction, "rendering": frames.of_rendering, "shards": frames.of_shards, "sharing": sharing.of_rows,
    "cores": sharing.of_processes,
}  # fmt: skip
#: What only runs where there is a GPU, and is kept apart.
GPU_TOPICS = {"gpu": gpu.of_gpu}


def measured(topic, options):
    """The figures of ``topic``, a list."""
    return list((TOPICS | GPU_TOPICS)[topic](**options))
