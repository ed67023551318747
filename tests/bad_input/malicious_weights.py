"""Malicious weights and checkpoints: name -> Payload."""

import collections
import io
import pickle
import struct
import zipfile

import numpy as np
import torch
from malicious import LARGE, Call, Payload, build_alias_bomb, header, shell, single_file


class DictWithCode:
    """Is unpickled as a harmless object whose items contain code."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return collections.OrderedDict, (), None, None, iter([("model", shell(self.marker))])


def saved(state, **options):
    memory = io.BytesIO()
    torch.save(state, memory, **options)
    return memory.getvalue()


def repack(data, *, compression=zipfile.ZIP_STORED, more=None, **changed):
    """Return a file of `torch.save` with replaced entries, selected by the end of their names."""
    memory = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(memory, "w", compression) as new:
        for name in old.namelist():
            ending = name.rpartition("/")[2].replace(".", "_")
            new.writestr(name, changed.get(ending) or changed.get(f"data_{ending}") or old.read(name))
        for name, content in (more or {}).items():
            new.writestr(name, content)
    return memory.getvalue()


def tensors():
    return {"weight": torch.zeros(3, 4), "bias": torch.zeros(3)}


def layer(size, stride=(1,), offset=0, numel=4):
    """Return a file of `torch.save` with one tensor that claims this layout of its storage of 4 floats."""
    text = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storage"
    text += b"ctorch\nFloatStorage\nX\x01\0\0\0000X\x03\0\0\0cpu"
    whole = lambda number: b"\x8a\x08" + struct.pack("<q", number)  # noqa: E731
    many = lambda numbers: b"(" + b"".join(map(whole, numbers)) + b"t"  # noqa: E731
    tail = b"tQ" + whole(offset) + many(size) + many(stride) + b"\x89ccollections\nOrderedDict\n(tRtR"
    one = b"\x80\x02}X\x06\0\0\0weight" + text[2:] + whole(numel) + tail + b"s."
    return repack(saved({"weight": torch.zeros(4)}), data_pkl=one)


def nested_list(depth):
    return b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"."


def nested_references(levels):
    """Return nested lists, each with ten references to the next one: small in memory, endless to traverse."""
    value = [1]
    for _ in range(levels):
        value = [value] * 10
    return value


def tensor(shape, ends, dtype="F32"):
    return {"weight": {"dtype": dtype, "shape": shape, "data_offsets": ends}}


def weights(content, *, name="a.pth", is_armed=False):
    return single_file(name, "weights", content, code=6, is_armed=is_armed)


def safetensors_file(content):
    return weights(lambda marker: content, name="a.safetensors")


def scripted_module(marker):
    """Return a file that torch takes for a scripted module, with code in it."""
    return repack(saved({"model": shell(marker)}), more={"archive/constants.pkl": pickle.dumps(shell(marker))})


def unpickled_call(call, text):
    return weights(lambda marker: pickle.dumps({"model": Call(call, text.format(str(marker)))}), is_armed=True)


WEIGHTS = {
    "a pickle that calls a shell": weights(lambda marker: pickle.dumps(shell(marker)), is_armed=True),
    "a pickle that evaluates": unpickled_call(eval, "__import__('pathlib').Path({0!r}).touch()"),
    "a pickle that executes": unpickled_call(exec, "__import__('pathlib').Path({0!r}).touch()"),
    "a pickle of protocol 0": weights(lambda marker: pickle.dumps({"model": shell(marker)}, 0), is_armed=True),
    "a pickle in the state of a value": weights(lambda marker: pickle.dumps(DictWithCode(marker)), is_armed=True),
    "code in the zip format of torch": weights(lambda marker: saved({"model": shell(marker)})),
    "code in the old format of torch": weights(
        lambda marker: saved({"model": shell(marker)}, _use_new_zipfile_serialization=False)
    ),
    "code next to valid weights": weights(lambda marker: saved({"model": tensors(), "note": shell(marker)})),
    "code in the optimizer": weights(lambda marker: saved({"model": tensors(), "optimizer": {"state": shell(marker)}})),
    "code in a list": weights(lambda marker: saved({"model": tensors(), "window": [[shell(marker)]]})),
    "a scripted module": weights(scripted_module),
    "a whole module": weights(lambda marker: saved(torch.nn.Linear(2, 2))),
    "a pickled NumPy array": weights(lambda marker: saved({"weight": np.array([shell(marker)], object)})),
    "a PNG signature before a pickle": weights(lambda marker: b"\x89PNG\r\n\x1a\n" + pickle.dumps(shell(marker))),
    "a zip after a pickle": weights(lambda marker: pickle.dumps(shell(marker)) + saved(tensors()), is_armed=True),
    "a pickle named .safetensors": weights(
        lambda marker: pickle.dumps(shell(marker)), name="a.safetensors", is_armed=True
    ),
    "a zip bomb of 256 MiB": weights(
        lambda marker: repack(saved(torch.zeros(4)), compression=zipfile.ZIP_DEFLATED, data_0=bytes(LARGE))
    ),
    "a storage of 4 TB in 16 bytes": weights(lambda marker: layer((1 << 40,), numel=1 << 40)),
    "a tensor of 4 TB on 4 floats": weights(lambda marker: layer((1 << 40,))),
    "a tensor of 4 TB that repeats one float": weights(lambda marker: layer((1 << 20, 1 << 20), (0, 0))),
    "a tensor that begins before its storage": weights(lambda marker: layer((2,), offset=-400)),
    "a tensor with a negative stride": weights(lambda marker: layer((2,), (-4,))),
    "a string of an exabyte": weights(lambda marker: b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"x."),
    "a list nested 200,000 times": weights(lambda marker: nested_list(200_000)),
    "an exponentially nested list": weights(lambda marker: saved({"model": tensors() | {"x": nested_references(30)}})),
    "a header of an exabyte": safetensors_file(header({}, 1 << 60)),
    "a header of only brackets": safetensors_file(header(b"[" * 10_000_000)),
    "a header longer than the file": safetensors_file(header(tensor([4], [0, 16]), 1 << 20)),
    "a tensor beyond the end of the file": safetensors_file(header(tensor([1 << 20], [0, 4 << 20]))),
    "a tensor with fewer bytes than its shape": safetensors_file(header(tensor([1 << 60, 1 << 60], [0, 64]))),
    "two tensors with overlapping bytes": safetensors_file(
        header(tensor([16], [0, 64]) | {"bias": tensor([8], [32, 64])["weight"]})
    ),
    "a tensor with a negative size": safetensors_file(header(tensor([4], [32, 16]))),
    "a tensor of an unknown dtype": safetensors_file(header(tensor([4], [0, 16], "PICKLE"))),
    "terminal control codes in the name of a tensor": weights(
        lambda marker: saved({"model": tensors() | {"\x1b]0;a\x07\x1b[2J\r\nb": torch.zeros(1)}})
    ),
    "a megabyte as the name of a tensor": weights(lambda marker: saved(tensors() | {"x" * (1 << 20): torch.zeros(1)})),
}


def resumed(name, **changed):
    def write(folder, marker):
        torch.save({"model": {}, **{key: value(marker) for key, value in changed.items()}}, folder / "last.pth")
        (folder / "last_checkpoint").write_text(name)
        return folder

    return Payload("resume", write, 6)


CHECKPOINT = dict.fromkeys(("scaler", "iteration", "generator"), lambda marker: 0)
RESUMED = {
    "code in a checkpoint to resume from": resumed("last.pth", **CHECKPOINT, optimizer=shell),
    "aliases in the config of a checkpoint": resumed(
        "last.pth", **CHECKPOINT, optimizer=lambda marker: 0, config=build_alias_bomb
    ),
    "a tag in the config of a checkpoint": resumed(
        "last.pth",
        **CHECKPOINT,
        optimizer=lambda marker: 0,
        config=lambda marker: f"SEED: !!python/object/apply:os.system ['touch {marker}']",
    ),
    "a list in the config of a checkpoint": resumed(
        "last.pth", **CHECKPOINT, optimizer=lambda marker: 0, config=lambda marker: "- 1"
    ),
    "a negative iteration in a checkpoint": resumed("last.pth", **CHECKPOINT | {"iteration": lambda marker: -5}),
    "an iteration of 1,000 digits in a checkpoint": resumed(
        "last.pth", **CHECKPOINT | {"iteration": lambda marker: 10**1000}
    ),
}


MALICIOUS_WEIGHTS = WEIGHTS | RESUMED
