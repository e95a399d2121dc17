"""`python -m rsnb`: pages, the book, audits, captions, noise, data, weights.

Explained in `book/how_to_run.md`. Exit codes: 0 all well; 1 a cell or the build failed,
or a published row was not reached; 2 bad input or parameters; 3 memory, time or disk
ran out, or the network is down.
"""

import argparse
import errno
import sys
from collections.abc import Sequence
from pathlib import Path

from rsnb import __version__
from rsnb.errors import OUT_OF_MEMORY, ParameterError, RsnbError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one sub-command; return its exit code, after one message on stderr if not 0.

    Args:
        argv: arguments without the program's name; those of the process by default.
    """
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    if rest and args.command != "assets":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        _check_device(getattr(args, "device", "cpu"))
        return _dispatch(args, rest)
    except RsnbError as e:
        if args.debug:
            raise
        return _say(str(e), e.exit_code)
    except (MemoryError, RuntimeError) as e:  # torch's own is a RuntimeError
        if type(e).__name__ not in OUT_OF_MEMORY:
            raise
        return _say("memory ran out. Close other programs or use a smaller set.", 3)
    except OSError as e:
        if e.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return _say(f"the disk is full: {e}", 3)
    except KeyboardInterrupt:
        return _say("interrupted.", 130)


def _check_device(name: str) -> None:
    if name == "cpu":
        return
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as e:
        why = str(e).splitlines()[0]
        fix = "Leave it out to run on the CPU"
        raise ParameterError(f"--device {name} is not here ({why}). {fix}.") from e


def _say(message: str, code: int) -> int:
    print(f"rsnb: {message}", file=sys.stderr)
    return code


def _root(given: Path | None) -> Path:
    """Return the repository root: given, the current folder, or the package's."""
    here = Path.cwd()
    if given is not None:
        return given.resolve()
    if (here / "_config.yml").is_file() and (here / "notebooks").is_dir():
        return here
    return Path(__file__).resolve().parents[2]


def _dispatch(args: argparse.Namespace, rest: list[str]) -> int:
    # Imported here, so that each command loads only what it needs.
    match args.command:
        case "run":
            from rsnb import profiles
            from rsnb.pages import parse_settings
            from rsnb.runner import run

            run(
                _root(args.root), profiles.get(args.profile), args.only,
                parse_settings(args.set), timeout=args.timeout, force=args.force,
            )  # fmt: skip
        case "build":
            from rsnb.book import build

            print(f"The book is at {build(_root(args.root)).as_uri()}")
        case "audit":
            from rsnb import review

            if args.mismatch:
                review.run(
                    args.data, split=args.split, backbone=args.backbone,
                    epochs=args.epochs, folder=args.out, lenient=args.lenient,
                )  # fmt: skip
            else:
                review.survey(args.data, lenient=args.lenient, record_as=args.record)
        case "noise":
            from rsnb.noisefiles import corrupt_csv

            how = {"seed": args.seed, "protocol": args.protocol, "force": args.force}
            corrupt_csv(args.csv, args.rates, args.out, **how)
        case "fetch":
            from rsnb.hub import fetch

            print(fetch(args.name, args.to))
        case "sweep":
            from rsnb import findings, sweep

            tell = args.summary or args.ship
            return findings.main(args) if tell else sweep.main(args)
        case "reproduce":
            from rsnb import reproduce

            return reproduce.main(args)
        case "describe":
            from rsnb import smallcaptioners

            smallcaptioners.run(args)
        case "assets":
            from rsnb import assets, ranks

            with ranks.joined():  # alone, or one of those that torchrun started
                return assets.main(rest)
    return 0


def _parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="rsnb", description=__doc__)
    top.formatter_class = argparse.RawDescriptionHelpFormatter
    top.add_argument("--version", action="version", version=__version__)
    top.add_argument("--debug", action="store_true", help="show tracebacks")
    commands = top.add_subparsers(dest="command", required=True)

    run = commands.add_parser("run", help="run the pages whose inputs changed")
    add = run.add_argument
    add("--profile", default="world", help="world, ucm, …, auto or a path")
    add("--only", action="append", default=[], metavar="NN", help="a page")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter")
    add("--timeout", type=int, default=0, metavar="S", help="seconds for one cell")
    add("--force", action="store_true", help="run also what still stands")

    build = commands.add_parser("build", help="publish the pages run on world as HTML")
    for command in (run, build):
        command.add_argument("--root", type=Path, help="repository root")

    audit = commands.add_parser("audit", help="say what is in a data set")
    audit.add_argument("data", nargs="+", help="names or paths, as for rsnb.data.load")
    audit.add_argument("--record", metavar="NAME", help="write book/results/NAME.json")
    audit.add_argument("--lenient", action="store_true", help="leave faulty rows out")
    audit.add_argument("--mismatch", action="store_true", help="find wrong captions")
    audit.add_argument("--split", default="train", help="the part to find them in")
    audit.add_argument("--backbone", default="", metavar="NAME", help="start of it")
    audit.add_argument("--epochs", type=int, help="0 takes the backbone as it is")
    audit.add_argument("--out", type=Path, help="folder of mismatch.csv and .html")

    noise = commands.add_parser("noise", help="mismatch the captions of a CSV")
    noise.add_argument("csv", type=Path, help="clean filename,title file, .csv[.gz]")
    noise.add_argument("--rates", nargs="+", type=float, required=True, metavar="R")
    noise.add_argument("--seed", type=int, default=42, metavar="N")
    noise.add_argument("--protocol", default="caption", help="caption, ncr or decl")
    noise.add_argument("--out", type=Path, required=True, help="folder to write to")
    noise.add_argument("--force", action="store_true", help="overwrite other content")

    fetch = commands.add_parser("fetch", help="download a pinned data set")
    fetch.add_argument("name")
    fetch.add_argument("--to", type=Path, help="folder; default in the cache")

    sweep = commands.add_parser("sweep", help="train many arms and keep receipts")
    sweep.add_argument("what", choices=["noise"])
    sweep.add_argument("plan", help="world-rn, world-vit, ucm, rsicd")
    sweep.add_argument("--tune", action="store_true", help="choose settings first")
    sweep.add_argument("--summary", action="store_true", help="write its one receipt")
    sweep.add_argument("--ship", action="store_true", help="keep the best weights")
    sweep.add_argument("--method", action="append", default=[], help="only this one")
    sweep.add_argument("--rate", action="append", type=float, default=[])
    sweep.add_argument("--draw", action="append", type=int, default=[])
    sweep.add_argument("--part", default="0/1", metavar="I/N", help="for N processes")

    again = commands.add_parser("reproduce", help="compare with the published row")
    add = again.add_argument
    add("data", help="rsitmd, rsicd or ucm")
    add("--backbone", default="clip-b32", help="clip-b32, remoteclip-b32, …")
    add("--method", default="zero-shot", help="zero-shot, rrsitr, t2t or cadre")
    add("--noise", type=float, default=0.0, metavar="R", help="training captions moved")
    add("--activation", default="", choices=["", "gelu", "quickgelu"])
    add("--captioner", metavar="WHO", help="hub name, folder or file")
    add("--epochs", type=int, help="fewer than published: a trial")
    add("--limit", type=int, default=0, metavar="N", help="training images: a trial")
    add("--tolerance", type=float, metavar="MR", help="points of mR")
    add("--device", default="cpu")
    add("--record", action="store_true", help="write book/results/reproduce/….json")

    tell = commands.add_parser("describe", help="have every image described in words")
    tell.add_argument("data", help="name or path, as for rsnb.data.load")
    tell.add_argument("--split", default="", help="only this one")
    tell.add_argument(
        "--captioner",
        default="world-vlm",
        metavar="WHO",
        help="name, hub name, folder, file of captions, or server URL",
    )
    tell.add_argument("--model", default="", help="its name on the server")
    tell.add_argument("--key-env", default="", help="variable that holds the key")
    tell.add_argument("--prompt", default="", choices=["", "rsrt", "world", "once"])
    tell.add_argument("--out", type=Path, required=True, help="JSONL; continued")
    tell.add_argument("--device", default="cpu")
    tell.add_argument("--batch", type=int, default=32, help="images at once")
    tell.add_argument("--lenient", action="store_true", help="leave faulty rows out")

    commands.add_parser("assets", add_help=False, help="train and check the weights")
    return top
