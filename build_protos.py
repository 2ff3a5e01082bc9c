"""Compiles the wire contract: ``python build_protos.py [SOURCE_DIR [TARGET]]``.

setup.py calls :func:`compile_protos`; what it makes is read by ``penstock.protos``.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path


def compile_protos(source_dir: Path, target: Path) -> bool:
    """Compile ``source_dir/*.proto`` into one ``FileDescriptorSet``.

    Nothing is done if ``target`` is newer than the sources, their folder and this file.

    Args:
        source_dir: where the .proto files lie, without subfolders.
        target: the file to write; it is replaced at once or not at all.

    Returns:
        Whether ``target`` was written.

    Raises:
        FileNotFoundError: ``source_dir`` has no .proto file.
        RuntimeError: protoc refused the sources; it has said why on stderr.
    """
    sources = sorted(source_dir.glob("*.proto"))
    if not sources:
        raise FileNotFoundError(f"no .proto files in {source_dir}")
    # The folder's time tells of a file that was removed.
    newest = max(path.stat().st_mtime_ns for path in (*sources, source_dir, Path(__file__)))
    if target.exists() and target.stat().st_mtime_ns > newest:
        return False

    from grpc_tools import protoc

    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        written = Path(folder) / target.name
        code = protoc.main(
            [
                "protoc",
                f"--proto_path={source_dir}",
                "--include_imports",
                f"--descriptor_set_out={written}",
                *(source.name for source in sources),
            ]
        )
        if code != 0:
            raise RuntimeError(f"protoc ended with status {code} on the files of {source_dir}")
        os.replace(written, target)
    return True


if __name__ == "__main__":
    root = Path(__file__).resolve().parent
    paths = [Path(argument) for argument in sys.argv[1:]]
    source = paths[0] if paths else root / "protos"
    output = paths[1] if len(paths) > 1 else root / "src/penstock/protos.binpb"
    print(f"{output}: {'written' if compile_protos(source, output) else 'up to date'}")
