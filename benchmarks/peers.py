"""Is a row of our table of conventions true? `python benchmarks/peers.py [NAME …]`.

For each peer, at the version named here: install it into a temporary environment on top of this
one, take one step of its sampler from many equal starts, and hold the affine map of that step
(`one_step.py`) against that of the kernel that `docs/pages/conventions.md` says it is
(`peer_claims.py`).

Run by hand: it downloads what is not there. `--keep FOLDER` keeps the environments.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from importlib.metadata import version
from pathlib import Path
from typing import Any

import harness
from one_step import verdict
from peer_claims import PEERS, Peer


def environment(peer: Peer, folder: Path) -> Path:
    """The Python of an environment with the peer, which sees all that this one has."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
        here = sysconfig.get_path("purelib")
        repository = Path(__file__).parent.parent
        (site / "base.pth").write_text(f"{here}\n{repository}\n")
        subprocess.run([python, "-m", "pip", "install", "-q", *peer.requirements], check=True)
    return python


def check_here(name: str) -> None:
    """In the peer's environment: a line of JSON for each claim."""
    sys.path.remove(str(Path(__file__).parent))  # whose `posteriors` is not the peer
    peer = PEERS[name]
    for claim in peer.claims():
        print(json.dumps({"version": version(peer.package), **verdict(claim)}), flush=True)


def check(name: str, folder: Path) -> list[dict[str, Any]]:
    python = environment(PEERS[name], folder / name)
    path = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(
        [python, __file__, "--here", name],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PEERS)}")
    parser.add_argument("--keep", metavar="FOLDER", help="keep the environments in FOLDER")
    parser.add_argument("--here", metavar="NAME", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        check_here(args.here)
        return
    unknown = set(args.names) - set(PEERS)
    if unknown:
        parser.error(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    harness.print_environment()
    rows, wrong = [], False
    with tempfile.TemporaryDirectory() as temporary:
        for name in args.names or PEERS:
            if sys.version_info < PEERS[name].python:
                print(f"{name} needs Python {'.'.join(map(str, PEERS[name].python))}")
                continue
            for found in check(name, Path(args.keep or temporary)):
                wrong |= found["holds"] != found["true"]
                rows.append(
                    [
                        f"{name} {found['version']} {found['theirs']}",
                        found["ours"],
                        f"{found['off']:.0e}",
                        f"{found['z']:.1f}",
                        "yes" if found["holds"] else "no",
                        "" if found["holds"] == found["true"] else "WRONG TABLE",
                    ]
                )
    harness.print_table(["there", "here", "F off by", "largest z", "equal", ""], rows)
    sys.exit(int(wrong))


if __name__ == "__main__":
    main()
