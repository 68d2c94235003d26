"""Generate protos/gen from protos/propmubi: messages, stubs, their types, and the comments as data.

`python protos/generate.py` writes, `--check` only says whether what is committed is what the protos say, `--describe`
prints the descriptor set that buf lints (with google.api from its wheel: nothing is fetched).
Python's descriptors carry no comments, so that comments.json keeps them for OpenAPI: full name → leading comment
(or the one behind it on its line), with enum values named `<enum>.<VALUE>`.
"""

import argparse
import filecmp
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

HERE = Path(__file__).parent
GENERATED = HERE / "gen"
KEPT = {"py.typed"}  # Lives among the generated files, but is written by hand.


def generate(target: Path) -> None:
    """Run protoc with the Python, gRPC and mypy plugins, then write the comments beside their output."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(suffix=".binpb") as described:
        protoc(
            *(f"--{kind}_out={target}" for kind in ("python", "grpc_python")),
            *(f"--{kind}_out=quiet:{target}" for kind in ("mypy", "mypy_grpc")),
            # The plugins are beside the Python that runs this, whether .venv is activated or not.
            *(
                f"--plugin={Path(sys.executable).parent / f'protoc-gen-{kind}'}"
                for kind in ("mypy", "mypy_grpc")
            ),
            f"--descriptor_set_out={described.name}",
            "--include_source_info",
        )
        files = FileDescriptorSet.FromString(Path(described.name).read_bytes()).file
    comments = dict(sorted(comment for file in files for comment in file_comments(file)))
    text = json.dumps(comments, indent=1, ensure_ascii=False) + "\n"
    (target / "propmubi" / "comments.json").write_text(text, encoding="utf-8")


def protoc(*options: str) -> None:
    googleapis = distribution("googleapis-common-protos").locate_file("")
    well_known = distribution("grpcio-tools").locate_file("grpc_tools/_proto")
    sources = sorted(str(path.relative_to(HERE)) for path in HERE.glob("propmubi/**/*.proto"))
    paths = [f"--proto_path={path}" for path in (HERE, googleapis, well_known)]
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", *paths, *options, *sources], check=True
    )


def file_comments(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    names = dict(named_paths(file))
    for location in file.source_code_info.location:
        comment = location.leading_comments or location.trailing_comments
        name = names.get(tuple(location.path))
        if comment and name:
            yield name, "\n".join(
                line.removeprefix(" ").rstrip() for line in comment.strip().splitlines()
            )


def named_paths(file: FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    """Each declaration's place in the descriptor, by the field numbers of descriptor.proto, and its full name."""
    for index, message in enumerate(file.message_type):
        yield from message_paths(message, (4, index), file.package)
    for index, enum in enumerate(file.enum_type):
        yield from enum_paths(enum, (5, index), file.package)
    for index, service in enumerate(file.service):
        name = f"{file.package}.{service.name}"
        yield (6, index), name
        for position, method in enumerate(service.method):
            yield (6, index, 2, position), f"{name}.{method.name}"
    for index, extension in enumerate(file.extension):
        yield (7, index), f"{file.package}.{extension.name}"


def message_paths(
    message: DescriptorProto, path: tuple[int, ...], scope: str
) -> Iterator[tuple[tuple[int, ...], str]]:
    name = f"{scope}.{message.name}"
    yield path, name
    for index, field in enumerate(message.field):
        yield (*path, 2, index), f"{name}.{field.name}"
    for index, nested in enumerate(message.nested_type):
        yield from message_paths(nested, (*path, 3, index), name)
    for index, enum in enumerate(message.enum_type):
        yield from enum_paths(enum, (*path, 4, index), name)
    for index, oneof in enumerate(message.oneof_decl):
        yield (*path, 8, index), f"{name}.{oneof.name}"


def enum_paths(
    enum: EnumDescriptorProto, path: tuple[int, ...], scope: str
) -> Iterator[tuple[tuple[int, ...], str]]:
    name = f"{scope}.{enum.name}"
    yield path, name
    for index, value in enumerate(enum.value):
        yield (*path, 2, index), f"{name}.{value.name}"


def outputs(tree: Path) -> set[Path]:
    return {
        path.relative_to(tree)
        for path in tree.rglob("*")
        if path.is_file() and path.name not in KEPT and "__pycache__" not in path.parts
    }


def drifted(fresh: Path) -> list[Path]:
    wanted, present = outputs(fresh), outputs(GENERATED)
    return sorted(
        path
        for path in wanted | present
        if path not in wanted
        or path not in present
        or not filecmp.cmp(fresh / path, GENERATED / path, shallow=False)
    )


def bring_up_to_date(*, only_check: bool) -> None:
    """Write only the files that differ, so that a writer of one proto does not touch the others' output."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / "gen"
        generate(fresh)
        stale = drifted(fresh)
        if only_check:
            if stale:
                sys.exit(
                    f"protos/gen is not what the protos say; run `make protos`: {', '.join(map(str, stale))}"
                )
            return
        for path in stale:
            (GENERATED / path).unlink(missing_ok=True)
            if (fresh / path).exists():
                (GENERATED / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(fresh / path, GENERATED / path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--check", action="store_true", help="write nothing, fail if protos/gen is not up to date"
    )
    parser.add_argument(
        "--describe", action="store_true", help="write nothing, print the descriptor set"
    )
    arguments = parser.parse_args()
    try:
        if arguments.describe:
            protoc("--descriptor_set_out=/dev/stdout", "--include_imports", "--include_source_info")
        else:
            bring_up_to_date(only_check=arguments.check)
    except subprocess.CalledProcessError:
        sys.exit("protoc refused the protos (see above).")


if __name__ == "__main__":
    main()
