"""Malicious configs, lists and images: name -> Payload."""

import functools
import io
import os
import pickle
import struct
import zipfile
import zlib

from malicious import LARGE, Payload, build_alias_bomb, shell, single_file
from PIL import Image


def config(text, *, name="a.yml", reader="config"):
    return single_file(name, reader, lambda marker: text.format(str(marker)).encode(), code=2)


def special_file(name, reader, make, *, code=2):
    """Return a payload that is not a regular file."""

    def write(folder, marker):
        make(folder / name)
        return folder / name

    return Payload(reader, write, code)


def run_folder(name, text):
    """Return a payload of a run folder with manipulated settings or metrics."""

    def write(folder, marker):
        (folder / "metrics.json").write_text('{"iteration": 1, "total_loss": 1.0}\n')
        (folder / "config.yaml").write_text("SEED: 1\n")
        (folder / name).write_text(text(marker))
        return folder

    return Payload("runs", write, 2)


CALL = "!!python/object/apply:os.system ['touch {}']"
CONFIGS = {
    "a tag that calls": config(f"SEED: {CALL}"),
    "a tag that creates an object": config("SEED: !!python/object/new:os.system [touch {}]"),
    "a tag that names a module": config("SEED: !!python/module:antigravity"),
    "a tag in a key": config(f"? {CALL}\n: 1"),
    "an alias bomb": single_file("a.yml", "config", lambda marker: build_alias_bomb().encode(), code=2),
    "a circular alias": config("MODEL: &a\n  KD: *a\n".replace("{", "{{")),
    "a config of only brackets": config("SEED: " + "[" * 900_000),
    "a base config that is code": config("_BASE_: evil.py"),
    "a config that is code": config("open({!r}, 'w')", name="a.py"),
    "a system file as base config": config("_BASE_: /etc/passwd"),
    "a base config outside of the folder": config("_BASE_: ../../../../../../../etc/hosts"),
    "a base config from the network": config("_BASE_: http://127.0.0.1:1/a.yml"),
    "a config that is an endless device": special_file("a.yml", "config", lambda path: path.symlink_to("/dev/zero")),
    "a config that is a pipe": special_file("a.yml", "config", os.mkfifo),
    "variants with a tag that calls": config(f"r:\n  SEED: {CALL}", reader="variants"),
    "a run whose settings call a function": run_folder("config.yaml", lambda marker: f"SEED: {CALL.format(marker)}"),
    "a run whose settings are an alias bomb": run_folder("config.yaml", lambda marker: build_alias_bomb()),
    "a run whose metrics are only brackets": run_folder("metrics.json", lambda marker: "[" * 1_000_000),
}


def listed(line, *, name="list.txt"):
    return single_file(name, "list", lambda marker: line.format(marker).encode(), code=2)


def list_of_link(to):
    """Return a payload of a list with one image, which is a link."""

    def write(folder, marker):
        (folder / "a.png").symlink_to(to)
        (folder / "list.txt").write_text("a.png 1\n")
        return folder / "list.txt"

    return Payload("list", write, 2)


def write_list_of_pipe(folder, marker):
    os.mkfifo(folder / "a.png")
    (folder / "list.txt").write_text("a.png 1\n")
    return folder / "list.txt"


LISTS = {
    "a path outside of the folder": listed("../../etc/passwd 1"),
    "a path outside of the folder with backslashes": listed("..\\..\\etc\\passwd 1"),
    "a path that leaves the folder in the middle": listed("a/../../b.png 1"),
    "an absolute path": listed("/etc/passwd 1"),
    "a device": listed("/dev/zero 1"),
    "a path with a drive letter": listed("C:\\windows\\win.ini 1"),
    "a path with a NUL byte": listed("a.png\0.txt 1"),
    "a path with terminal control codes": listed("\x1b]0;x\x07\x1b[2J 1"),
    "a path of a megabyte": listed("a/" * 500_000 + " 1"),
    "an id of a megabyte": listed("a.png " + "9" * 1_000_000),
    "a field of a megabyte": listed("path,id\n" + '"' + "x" * 1_000_000, name="list.csv"),
    "a list that is a pickle": single_file("list.txt", "list", lambda marker: pickle.dumps(shell(marker)), code=2),
    "a link to a system file": list_of_link("/etc/passwd"),
    "a link to a device": list_of_link("/dev/zero"),
    "a link to itself": list_of_link("a.png"),
    "a pipe as an image": Payload("list", write_list_of_pipe, 2),
    "a list that is an endless device": special_file("list.txt", "list", lambda path: path.symlink_to("/dev/zero")),
    "a list that is a pipe": special_file("list.txt", "list", os.mkfifo),
}


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


@functools.cache
def compress_bomb():
    """Return LARGE zeros, compressed: takes half a second, so not when the module is imported."""
    return zlib.compress(bytes(LARGE))


def png(width, height, *more, rows=b"", compressed=b""):
    """Return a PNG; its pixels are `rows`, or `compressed`."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", head), *more, chunk(b"IDAT", compressed or zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def encode(kind, image=None, **options):
    memory = io.BytesIO()
    (image or Image.new("L", (8, 8), 200)).save(memory, kind, **options)
    return memory.getvalue()


def image(content, *, name="a.png", code=2):
    return single_file(name, "image", content if callable(content) else lambda marker: content, code=code)


def many_pages(num):
    """Return a TIFF of `num` pages that share their pixels."""
    directory = tiff_of_size(8, 8, data=bytes(64))[72:-4]
    starts = range(72, 72 + num * (len(directory) + 4), len(directory) + 4)
    links = [*starts[1:], 0]
    return tiff_of_size(8, 8, data=bytes(64))[:72] + b"".join(directory + struct.pack("<I", link) for link in links)


def many_scans(num):
    """Return a progressive JPEG of `num` scans."""
    file = io.BytesIO()
    Image.new("L", (64, 64), 90).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    scan = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + scan * num + content[-2:]


def tiff(*tags, data=b""):
    entries = b"".join(struct.pack("<HHII", tag, kind, count, value) for tag, kind, count, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + b"\0\0\0\0"


def tiff_of_size(width, height, *, compression=1, data=b""):
    plain = (258, 3, 1, 8), (259, 3, 1, compression), (262, 3, 1, 1), (273, 4, 1, 8), (278, 4, 1, height)
    return tiff((256, 4, 1, width), (257, 4, 1, height), *plain, (279, 4, 1, len(data)), data=data)


def with_zip(marker):
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(shell(marker)))
    return encode("PNG") + memory.getvalue()


def many_frames(num):
    """Return a GIF with many frames of one pixel."""
    first = encode("GIF", Image.new("L", (8, 8)))
    frame = b"\x2c\0\0\0\0\1\0\1\0\0\x02\x02\x44\x01\0"
    return first[:-1] + frame * num + b";"


def replace_bytes(data, old, new):
    found = data.replace(old, new, 1)
    assert found != data
    return found


BLANK = b"".join(b"\0" + bytes(8) for _ in range(8))
GIANT = struct.pack(">HH", 65500, 65500)
IMAGES = {
    "a PNG of 2^31 x 2^31 pixels": image(png(0x7FFFFFFF, 0x7FFFFFFF, rows=BLANK)),
    "a PNG of 30,000 x 30,000": image(png(30_000, 30_000, rows=bytes(1000))),
    "a PNG that decompresses to more than its size": image(
        lambda marker: png(8, 8, compressed=compress_bomb()), code=0
    ),
    "a PNG with a text bomb": image(lambda marker: png(8, 8, chunk(b"zTXt", b"a\0\0" + compress_bomb()), rows=BLANK)),
    "a PNG with a color profile bomb": image(
        lambda marker: png(8, 8, chunk(b"iCCP", b"a\0\0" + compress_bomb()), rows=BLANK)
    ),
    "a PNG with a chunk of 4 GB": image(
        png(8, 8, rows=BLANK)[:33] + struct.pack(">I", 0xFFFFFFFF) + b"IDAT" + bytes(9)
    ),
    "a PNG with 20,000 chunks": image(png(8, 8, *[chunk(b"tIME", bytes(7))] * 20_000, rows=BLANK), code=0),
    "a JPEG of 65,500 x 65,500": image(replace_bytes(encode("JPEG"), struct.pack(">HH", 8, 8), GIANT), name="a.jpg"),
    "a GIF of 65,535 x 65,535": image(
        replace_bytes(encode("GIF"), struct.pack("<HH", 8, 8), b"\xff" * 4), name="a.gif"
    ),
    "a BMP of 2^31 x 2^31 pixels": image(
        replace_bytes(encode("BMP"), struct.pack("<ii", 8, 8), struct.pack("<ii", 0x7FFFFFFF, 0x7FFFFFFF)), name="a.bmp"
    ),
    "a TIFF of 2^32 x 2^32 pixels": image(tiff_of_size(0xFFFFFFFF, 0xFFFFFFFF, data=bytes(64)), name="a.tif"),
    "a TIFF that decompresses to more than its size": image(
        lambda marker: tiff_of_size(8, 8, compression=8, data=compress_bomb()), name="a.tif", code=0
    ),
    "a TIFF with a tag of 2^32 values": image(
        tiff((256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 0xFFFFFFFF, 8)), name="a.tif"
    ),
    "a TIFF whose next page is itself": image(
        tiff_of_size(8, 8, data=bytes(64))[:-4] + struct.pack("<I", 72), name="a.tif", code=0
    ),
    "a TIFF with 40,000 pages": image(many_pages(40_000), name="a.tif", code=0),
    "a JPEG with 2,000 scans": image(many_scans(2000), name="a.jpg"),
    "a GIF with 100,000 frames": image(many_frames(100_000), name="a.gif", code=0),
    "an image that is also an archive with code": image(with_zip, code=0),
    "an image that is a pickle": image(lambda marker: pickle.dumps(shell(marker))),
    "PostScript that writes a file": image(lambda marker: f"%!PS-Adobe-3.0 EPSF\n({marker}) (w) file\n".encode()),
    "SVG with an external entity": image(b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg>&a;</svg>'),
    "MVG that calls a program": image(lambda marker: f"push graphic-context\nfill 'url(|touch {marker})'\n".encode()),
    "an image that is a pipe": special_file("a.png", "image", os.mkfifo),
    "an image that is an endless device": special_file("a.png", "image", lambda path: path.symlink_to("/dev/zero")),
}
MALICIOUS_FILES = CONFIGS | LISTS | IMAGES
