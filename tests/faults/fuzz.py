"""Read mutated files of one kind; test_fuzz.py starts this program with limited memory.

    python tests/faults/fuzz.py images|lists|configs NUM SEED FOLDER

The last line of output is the number of files that were read. The program fails on an error that is not an InputError,
an error message of several lines, a file that takes more than two seconds, a crash, or too much memory.
"""

import io
import re
import resource
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

MEMORY = 1 << 30  # bytes of address space, in addition to that of the imports
LIMIT_S = 2.0
CONFIGS = Path(__file__).parents[2] / "configs"
TOKENS = {
    "images": [
        b"\0\0\0\0",
        b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff",
        b"\x80\0\0\0",
        b"IHDR",
        b"IDAT",
        b"\xff\xd8",
        b"II*\0",
    ],
    "lists": [
        b"\n",
        b"\r\n",
        b"\r",
        b" ",
        b"\t",
        b",",
        b'"',
        b"..",
        b"/",
        b"\\",
        b"\xef\xbb\xbf",
        b"\0",
        b"\xff",
        b"1e9",
        b"-",
    ],
    "configs": [
        b"&a ",
        b"*a",
        b"!!int ",
        b"<<: *a",
        b"[",
        b"]",
        b"{",
        b"}",
        b": ",
        b"- ",
        b"\n",
        b"\t",
        b"'",
        b'"',
        b"~",
        b"|",
        b"%",
    ],
}


def valid_files(kind):
    """Return valid files of a kind: name -> bytes."""
    if kind == "configs":
        return {str(index): path.read_bytes() for index, path in enumerate(sorted(CONFIGS.rglob("*.yml")))}
    if kind == "lists":
        text = "".join(f"a/{index}.png {index // 3}\n" for index in range(8))
        rows = "path,id,camera\n" + "".join(f'"a/{index}.png",US {index // 3},{index}\n' for index in range(8))
        return {"list.txt": text.encode(), "bom.txt": b"\xef\xbb\xbf" + text.encode(), "list.csv": rows.encode()}
    levels = np.random.default_rng(0).integers(0, 256, (24, 20), dtype=np.uint8)
    page = Image.fromarray(levels)
    files = {}
    for name, image, options in (
        ("PNG", page, {}),
        ("PNG 1", page.convert("1"), {}),
        ("PNG P", page.convert("P"), {"transparency": 3}),
        ("PNG LA", page.convert("LA"), {}),
        ("PNG 16", Image.fromarray(levels.astype(np.uint16) * 257), {}),
        ("JPEG", page, {}),
        ("JPEG CMYK", page.convert("CMYK"), {}),
        ("WEBP", page, {}),
        ("JPEG2000", page, {}),
        ("PDF", page, {}),
        ("TIFF LZW", page, {"compression": "tiff_lzw"}),
        ("TIFF G4", page.convert("1"), {"compression": "group4"}),
        ("TIFF F", page.convert("F"), {}),
        ("TIFF 2", page, {"save_all": True, "append_images": [page]}),
        ("GIF", page, {}),
        ("BMP", page, {}),
    ):
        file = io.BytesIO()
        image.save(file, format=name.split()[0], **options)
        files[name] = file.getvalue()
    return files


def mutate(data, others, tokens, generator):
    """Return the data with one to five changes: flipped bits, random bytes, inserted tokens, cut or copied parts."""
    data = bytearray(data)
    for _ in range(generator.integers(1, 6)):
        at = int(generator.integers(0, len(data) + 1))
        end = min(len(data), at + int(generator.integers(1, 24)))
        match int(generator.integers(0, 7)):
            case 0 if at < len(data):
                data[at] ^= 1 << int(generator.integers(0, 8))
            case 1:
                data[at:end] = generator.bytes(end - at)
            case 2:
                data[at:at] = tokens[int(generator.integers(0, len(tokens)))]
            case 3:
                token = tokens[int(generator.integers(0, len(tokens)))]
                data[at : at + len(token)] = token
            case 4:
                del data[at:end]
            case 5:
                data[at:at] = data[at:end] * int(generator.integers(1, 20))
            case _:
                other = others[int(generator.integers(0, len(others)))]
                start = int(generator.integers(0, len(other)))
                data[at:end] = other[start : start + int(generator.integers(1, 64))]
    return (
        bytes(data[: 1 << 16])
        if generator.random() < 0.95
        else bytes(data[: int(generator.integers(0, len(data) + 1))])
    )


def build_reader(kind, folder):
    """Return the function that reads a path of a kind."""
    if kind == "images":
        from fastreid.data.io.image import read_header, read_image

        def read(path):
            page = read_image(path, max_pixels=4_000_000, longest_px=64)
            assert page.dtype == np.uint8
            assert page.ndim == 2
            read_header(path, max_pixels=4_000_000)

        return read
    if kind == "lists":
        from fastreid.data.datasets.base import read_list

        (folder / "a").mkdir(exist_ok=True)
        for index in range(8):
            (folder / f"a/{index}.png").touch()
        return lambda path: read_list(path, images=folder, with_ids=True)
    from fastreid.config import get_cfg

    (folder / "configs/patent").mkdir(parents=True, exist_ok=True)
    for base in CONFIGS.glob("*.yml"):
        (folder / "configs" / base.name).write_bytes(base.read_bytes())
    return lambda path: get_cfg().merge_from_file(path)


def main(kind, num, seed, folder):
    from fastreid.utils.errors import InputError

    folder, generator = Path(folder), np.random.default_rng(int(seed))
    read, files = build_reader(kind, folder), valid_files(kind)
    limit = MEMORY + 1024 * int(re.search(r"VmSize:\s+(\d+)", Path("/proc/self/status").read_text())[1])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    names, num_read, slowest = list(files), 0, 0.0
    for _ in range(int(num)):
        name = names[int(generator.integers(0, len(names)))]
        data = mutate(files[name], list(files.values()), TOKENS[kind], generator)
        path = folder / {"images": "a.png", "configs": "configs/patent/a.yml"}.get(kind, name)
        path.write_bytes(data)  # the file is kept if the loop ends here
        start = time.thread_time()
        try:
            read(path)
            num_read += 1
        except InputError as error:
            if any(not line.startswith("  ") for line in str(error).splitlines()[1:]):  # faults are indented
                raise SystemExit(f"several lines: {error!r}")
        slowest = max(slowest, time.thread_time() - start)
        if slowest > LIMIT_S:
            raise SystemExit(f"{slowest:.1f} s for {path}")
    print(f"{num} of {num} mutated {kind}: {num_read} read, the others rejected, slowest {slowest:.2f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
