"""Command line of the package: ``python -m handpose predict IMAGE --hand right --box x0 y0 x1 y1``."""

import argparse
import sys


def main(arguments=None):
    """Predict the pose of one hand in a picture, or in several; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m handpose", description="3D hand pose from one picture.")
    commands = parser.add_subparsers(dest="command", required=True)
    predict = commands.add_parser(
        "predict", help=main.__doc__, description=main.__doc__,
        epilog="Written beside each picture, or into --out: NAME-pose.png, .html (the hand, to turn), .csv, .json.",
    )  # fmt: skip
    predict.add_argument("pictures", nargs="+", metavar="IMAGE", help="JPEG, PNG, WebP ...; several share all that follows")
    predict.add_argument("--hand", required=True, choices=("left", "right"), help="which hand it is")
    predict.add_argument("--box", nargs=4, type=float, metavar=("X0", "Y0", "X1", "Y1"),
                         help="tight around the hand, wrist to finger tips, px, on the upright picture; default: all of it")  # fmt: skip
    predict.add_argument("--K", nargs=4, type=float, metavar=("FX", "FY", "CX", "CY"),
                         help="the camera, px; default: focal length as long as the picture is wide")  # fmt: skip
    predict.add_argument("--root", nargs=3, type=float, metavar=("X", "Y", "Z"),
                         help="the palm's centre in the camera frame, mm; default: estimated from the box")  # fmt: skip
    predict.add_argument("--scale", type=float, metavar="MM",
                         help="middle finger, MCP to PIP joint, mm; default: the mean of the training hands")  # fmt: skip
    predict.add_argument("--run", metavar="FOLDER", help="a trained run; default: the best in runs/stages (row D3)")
    predict.add_argument("--device", default="cpu", choices=("auto", "cpu", "cuda"), help="default: cpu")
    predict.add_argument("--out", metavar="FOLDER", help="where to write; default: beside each picture")
    predict.add_argument("--format", choices=("csv", "json"), help="the joints in one format only; default: both")
    options = parser.parse_args(arguments)
    return _predict(options)


def _predict(options):
    from . import own_picture  # torch is only imported when it is needed
    from .notebook import project_path
    from .photo import read_photo
    from .records import print_any_name

    def failed(error):
        print(f"error: {error}", file=sys.stderr)
        return 2

    print_any_name()
    formats = (options.format,) if options.format else own_picture.FORMATS
    try:
        own_picture.refuse_same_names(options.pictures, options.out)
        run = options.run or own_picture.find_run(project_path("runs"))
        predictor = own_picture.open_predictor(run, options.device)
    except (ValueError, OSError) as error:
        return failed(error)
    print(f"networks: {run}")
    status = 0
    for picture in options.pictures:
        try:
            pose = own_picture.pose_of(
                predictor, read_photo(picture), own_picture.camera(options.K), options.box, options.hand, options.root, options.scale
            )
            paths = own_picture.write(pose, picture, options.out, formats)
        except (ValueError, OSError) as error:
            status = failed(error if str(picture) in str(error) else f"{picture}: {error}")
        else:
            print(own_picture.text(pose, picture), *[f"wrote {path}" for path in paths], sep="\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
