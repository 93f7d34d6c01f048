"""Command line of the datasets: ``python -m handpose.data check PATH``."""

import argparse
import sys

from ..records import expanded, print_any_name
from .doctor import SAMPLE, examine


def main(arguments=None):
    """Say which dataset a folder holds, what is wrong with it and what to type next; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m handpose.data", description="Look after datasets on disk.")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help=main.__doc__, description=main.__doc__)
    check.add_argument("path", help="the folder where the dataset was unpacked")
    check.add_argument("--quick", action="store_true", help=f"read {SAMPLE} pictures of each split, not all")
    check.add_argument("--all", action="store_true", help="name every broken file, not only the first of a kind")
    options = parser.parse_args(arguments)
    print_any_name()
    report = examine(expanded(options.path), options.quick, everything=options.all)
    print(report.text())
    return 0 if report.healthy else 1


if __name__ == "__main__":
    sys.exit(main())
