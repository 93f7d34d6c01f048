"""3D hand pose from one RGB image: the method of Stergioulas et al. (CVPRW 2021), re-implemented."""

__version__ = "0.1.0"
