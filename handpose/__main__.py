"""Command line of the package.

``python -m handpose predict IMAGE --hand right --box x0 y0 x1 y1`` predicts a pose, ``python -m handpose train D3`` trains a row.
"""

import argparse
import os
import sys


def main(arguments=None):
    """Parse the command line and do what it says; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m handpose", description="3D hand pose from one picture.")
    commands = parser.add_subparsers(dest="command", required=True)
    predict = commands.add_parser(
        "predict", help=_predict.__doc__, description=_predict.__doc__,
        epilog="Written beside each picture, or into --out: NAME-pose.png, .html (the hand, to turn), .csv, .json.",
    )  # fmt: skip
    predict.add_argument("pictures", nargs="+", metavar="IMAGE", help="JPEG, PNG, WebP ...; several share all that follows")
    predict.add_argument("--hand", required=True, choices=("left", "right"), help="which hand it is")
    predict.add_argument("--box", nargs=4, type=float, metavar=("X0", "Y0", "X1", "Y1"),
                         help="tight around the hand, wrist (STB: palm) to finger tips, px, on the upright picture; default: all of it")  # fmt: skip
    predict.add_argument("--K", nargs=4, type=float, metavar=("FX", "FY", "CX", "CY"),
                         help="the camera, px; default: focal length as long as the picture is wide")  # fmt: skip
    predict.add_argument("--root", nargs=3, type=float, metavar=("X", "Y", "Z"),
                         help="the palm's centre in the camera frame, mm; default: estimated from the box")  # fmt: skip
    predict.add_argument("--scale", type=float, metavar="MM",
                         help="middle finger, MCP to PIP joint, mm; default: the mean of the training hands")  # fmt: skip
    predict.add_argument("--run", metavar="FOLDER", help="a trained run; default: the best in runs/stages (row D3)")
    predict.add_argument("--dataset", choices=("synthetic", "rhd", "stb"), help="the best run on this dataset; default: on any")
    predict.add_argument("--device", default="cpu", choices=("auto", "cpu", "cuda"), help="default: cpu")
    predict.add_argument("--out", metavar="FOLDER", help="where to write; default: beside each picture")
    predict.add_argument("--format", choices=("csv", "json"), help="the joints in one format only; default: both")
    train = commands.add_parser(
        "train", help=_train.__doc__, description=_train.__doc__,
        epilog="On several GPUs: torchrun --standalone --nproc-per-node 2 -m handpose train D3 --preset paper. Each takes its share of every batch.",
    )  # fmt: skip
    train.add_argument("row", help="D3 say, or one of the seven methods, Moon say")
    train.add_argument("--preset", default="quick", help="quick (default), or one with settings changed: desktop+beta=1e-4")
    train.add_argument("--dataset", default="synthetic", help="synthetic (default), rhd or stb")
    train.add_argument("--data-root", metavar="FOLDER", type=os.path.expanduser, help="where the dataset lies; synthetic hands are rendered")
    train.add_argument("--output-dir", metavar="FOLDER", help="default: runs in the checkout, where predict looks")
    train.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: a GPU where there is one")
    for name, least in (("seed", 0), ("threads", 1)):
        train.add_argument(f"--{name}", type=int, default=least, help=f"default: {least}")
    options = vars(parser.parse_args(arguments))
    return {"predict": _predict, "train": _train}[options.pop("command")](argparse.Namespace(**options))


def _train(options):
    """Train all stages of one row that are missing, and keep its result; an interrupted run goes on."""
    from . import processes
    from .notebook import project_path
    from .results import obtain

    options.output_dir = options.output_dir or project_path("runs")
    try:
        result = obtain(**vars(options))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if processes.rank() == 0:
        card = result.card
        print(f"row {card['row']}: MEPE {card['metrics']['mepe']:.2f} mm, AUC {card['metrics']['auc']:.3f}, {card['seconds']:.0f} s: {result.folder}")
    return 0


def _predict(options):
    """Predict the pose of one hand in a picture, or in several."""
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
        run = options.run or own_picture.find_run(project_path("runs"), options.dataset)
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
