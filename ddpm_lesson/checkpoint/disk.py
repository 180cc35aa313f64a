"""Files that are whole or not there: checksums, moves that survive a power cut, and a lock on a folder."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

FORMAT = "ddpm_lesson 2"  # whose files carry checksums
SUM = "sha256"  # where a file says its own checksum
LOCK = ".lock"
LARGEST_TEXT = 10_000_000  # bytes of settings; a schedule of 100,000 betas takes two million


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be read, does not fit, or could not be written; the message says which and why."""


# Text


def to_json(values: Mapping[str, Any]) -> str:
    """Readable JSON that carries its own checksum."""
    plain = json.loads(json.dumps(values, default=str))
    return json.dumps({**plain, SUM: text_sum(plain)}, indent=2) + "\n"


def from_json(text: bytes | str, source: Path) -> dict[str, Any]:
    """What ``to_json`` wrote, without its checksum; an earlier format without one is taken as it is.

    Raises:
        CheckpointError: if it is no JSON object, too large or too deep, or not what its checksum says.
    """
    try:
        if len(text) > LARGEST_TEXT:
            raise ValueError(f"{len(text):,} bytes are too many")
        values = json.loads(text if isinstance(text, str) else text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"cannot read {source}: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{source} is not of this project: it must hold a JSON object")
    known = values.pop(SUM, None)
    if known != text_sum(values) and (known is not None or values.get("format") == FORMAT):
        raise CheckpointError(f"{source} is damaged, or was edited: its checksum is of other contents")
    return values


def text_sum(values: Mapping[str, Any]) -> str:
    """The checksum of JSON values, however they are laid out."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def read_json(file: Path) -> dict[str, Any]:
    """What a file of ``to_json`` holds; errors as in ``from_json``."""
    check_ordinary(file)
    try:
        with open(file, "rb") as stream:
            return from_json(stream.read(LARGEST_TEXT + 1), file)
    except OSError as error:
        raise CheckpointError(f"cannot read {file}: {error}") from error


def check_ordinary(file: Path) -> None:
    """CheckpointError unless there is an ordinary file; a pipe, for one, would block whoever reads it."""
    if not os.path.isfile(file):
        raise CheckpointError(f"cannot read {file}: it is missing, or no ordinary file")


# Tensors


def tensor_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """The contents of a safetensors file that carries its own checksum."""
    plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    metadata = dict(metadata or {})
    return to_safetensors(plain, {**metadata, SUM: tensor_sum(plain, metadata)})


def read_tensors(file: Path, known_sum: str | None = None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file.

    Args:
        file: the file.
        known_sum: its checksum, where it carries none itself; without either it is taken as it is.

    Raises:
        CheckpointError: if it cannot be read, is not what its checksum says, or holds a number that is not finite.
    """
    metadata = read_metadata(file)
    try:
        with safe_open(file, framework="pt") as f:
            # copies, because an open view of the file would keep Windows from replacing it
            tensors = {name: f.get_tensor(name).clone() for name in f.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read {file}: {error}") from error
    known_sum = metadata.pop(SUM, known_sum)
    if known_sum not in (None, tensor_sum(tensors, metadata)):
        raise CheckpointError(f"{file} is damaged: its checksum is of other contents")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise CheckpointError(f"{file} is spoilt: {name} holds numbers that are not finite")
    return tensors, metadata


def read_metadata(file: Path) -> dict[str, str]:
    """The metadata of a safetensors file, as it stands there; CheckpointError if it cannot be read."""
    check_ordinary(file)
    try:
        with safe_open(file, framework="pt") as f:
            return f.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read {file}: {error}") from error


def tensor_sum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """The checksum of names, types, shapes and every byte of tensors on the CPU, and of their metadata."""
    total = hashlib.sha256(text_sum(metadata).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


# Folders


def write_whole(folder: Path, files: Mapping[str, bytes], keep: Mapping[str, str] | None = None) -> None:
    """Write files beside the old ones and move them into place, in this order, once all are safe on the disk.

    Args:
        folder: created if need be.
        files: their contents, by name.
        keep: names of earlier files, and what to call them from now on.

    Raises:
        CheckpointError: if a file cannot be written; it says whether anything has changed.
    """
    ready = {folder / name: folder / f"{name}.unfinished" for name in files}
    kept = {folder / old: folder / new for old, new in (keep or {}).items()}
    file, moved = folder, []
    try:
        for file, contents in zip(ready, files.values(), strict=True):
            file.parent.mkdir(parents=True, exist_ok=True)
            write_safely(ready[file], contents)
        for old, file in kept.items():
            if old.is_file():
                os.replace(old, file)
        for file, path in ready.items():
            os.replace(path, file)
            moved.append(file.name)
        for parent in {file.parent for file in ready}:
            sync_folder(parent)
    except OSError as error:
        for path in ready.values():
            with contextlib.suppress(OSError):
                path.unlink()
        changed = f"Already renewed: {', '.join(moved)}" if moved else "What was saved before is untouched"
        raise CheckpointError(f"could not save {file}: {error}. {changed}") from error


def write_safely(file: Path, contents: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with open(file, "wb") as stream:
        stream.write(contents)
        stream.flush()
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the disk knows the names in a folder, where the system can be asked."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a folder to this process for the ``with`` block; a process that dies leaves no lock behind.

    Raises:
        CheckpointError: if another process has it, or nothing can be written there.
    """
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        advice = "wait until it ends, or choose another folder"
        raise CheckpointError(f"{folder} is in use by another run: {advice}") from error
    except OSError as error:
        raise CheckpointError(f"cannot write into {folder}: {error}") from error
    try:
        yield
    finally:
        lock.release()
