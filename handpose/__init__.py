"""3D hand pose from one RGB image: the method of Stergioulas et al. (CVPRW 2021), re-implemented."""

__version__ = "0.1.0"


def load(run, device="cpu"):
    """Open a finished run, the folder of a stage, as a predictor: see ``handpose.predictor.Predictor``."""
    from .predictor import load as load_predictor  # torch is only imported when it is needed

    return load_predictor(run, device)
