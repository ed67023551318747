"""Malformed and hostile requests to the service, each with the statuses that are correct answers."""

import io
import struct
import zlib
from urllib.parse import quote

from index_pages import draw_page
from PIL import Image
from service_requests import encode

BYTES_OF_PICTURE, BYTES_OF_REQUEST = 200_000, 500_000  # limits of the service that gets the requests
SCRIPTS = (
    "<script>alert(1)</script>.png",
    '"><img src=x onerror=alert(1)>',
    "a.png\r\nX-Evil: 1",
    "x' OR '1'='1",
    "\u202egnp.exe",
)
PATHS = (
    "../../etc/passwd",
    "..\\..\\boot.ini",
    "/etc/shadow",
    "C:\\x.png",
    "a.pdf#page=2",
    "file:///etc/passwd",
    "~root/x",
)
IDS = (*PATHS, *SCRIPTS, "x" * 900, "\0", "%00", "' OR 1=1 --", "0" * 16, "..", "a/thumbnail/b", "\U0001f600")
SEARCH, COMPARE, BOUNDARY = "/api/v1/search", "/api/v1/compare", "limit"
MULTIPART = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


def upload(content, name="query.png", **fields):
    """Return a search with one picture."""
    return "POST", SEARCH, {"files": [("pictures", (name, content, "image/png"))], "data": fields}


def compare(*contents, **fields):
    """Return a comparison of pictures."""
    return "POST", COMPARE, {"files": [("pictures", ("a.png", content)) for content in contents], "data": fields}


def fields(**values):
    """Return a search without pictures."""
    return "POST", SEARCH, {"data": values}


def raw(content, headers):
    return "POST", SEARCH, {"content": content, "headers": headers}


def get(path, **options):
    return "GET", path, options


def make_png(width, height):
    """Return a PNG whose header promises pixels that it does not have."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def make_bombs():
    """Return small files that would become very large images."""
    dense = io.BytesIO()
    Image.new("1", (9_000, 9_000)).save(dense, "PNG", compress_level=9)
    tiff = io.BytesIO()
    Image.new("1", (9_000, 9_000)).save(tiff, "TIFF", compression="group4")
    gif = (
        b"GIF89a"
        + struct.pack("<HH", 65535, 65535)
        + b"\x80\0\0"
        + bytes(6)
        + b",\0\0\0\0"
        + b"\xff\xff" * 2
        + b"\0\x02\x02D\x01\0;"
    )
    webp = b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff" * 6
    jpeg = encode(draw_page(0), "JPEG")
    scans = jpeg[:-2] + jpeg[jpeg.index(b"\xff\xda") : -2] * 200 + jpeg[-2:]
    return [make_png(60_000, 60_000), make_png(2**31 - 1, 1), dense.getvalue(), tiff.getvalue(), gif, webp, scans]


def make_broken_forms(picture):
    """Return bodies of forms that are cut off or invalid."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="pictures"; filename="a.png"\r\n\r\n'.encode()
    whole = head + picture + f"\r\n--{BOUNDARY}--\r\n".encode()
    forms = [
        whole[:20],
        whole[: len(head) + 30],
        whole[:-6],
        head,
        b"",
        b"\0" * 100,
        whole[2:],
        whole.replace(b"\r\n", b"\n"),
    ]
    forms += [whole.replace(b'name="pictures"', b"nothing")]
    return forms


def list_kinds(rng, bombs):
    """Return one request of each kind with the correct statuses; random numbers vary the content."""
    picture = encode(draw_page(rng.integers(100)))
    position = int(rng.integers(8, len(picture) - 1))
    flipped = bytearray(picture)
    flipped[position] ^= 1 << int(rng.integers(8))
    name, path, identity = (texts[rng.integers(len(texts))] for texts in (SCRIPTS, PATHS, IDS))
    noise = rng.bytes(int(rng.integers(1, 5000)))
    number = ("0", "-1", "1e9", "99999999999999999999", "NaN", "inf", "1.5", "true", "[1]", "0x10")[rng.integers(10)]
    words = ["patent", "=", "(", ")", "AND", "NOT", "'", "IN", "..", ",", "\0", "1", "DROP TABLE", "--", "\ud7ff", "*"]
    text = " ".join(words[index] for index in rng.integers(len(words), size=int(rng.integers(1, 30))))
    host = ("evil.example", "127.0.0.1.evil.example", "", "[::1", "localhost@evil", "a" * 300)[rng.integers(6)]
    forms = make_broken_forms(picture)
    crop = ("1,2,3", "0,0,0,0", "9999,9999,5,5", "-1,0,5,5", "1e5,0,1,1", "nan,0,1,1", "200%,0%,5%,5%", "<b>")[
        rng.integers(8)
    ]
    large = bytes(BYTES_OF_PICTURE + int(rng.integers(1, 1000)))
    return [
        (upload(noise, name), {400}),
        (upload(picture[:position], path), {400}),
        (upload(bytes(flipped), name), {200, 400}),  # a flipped bit may be outside of all checksums
        (upload(bombs[rng.integers(len(bombs))], name), {400}),
        (upload(b"", name), {400}),
        (upload(picture, name, crop=crop), {400}),
        (upload(picture, path, page=str(rng.integers(2, 10**6))), {400}),
        (upload(picture, path, page="0"), {400}),
        (upload(picture, name, k=number), {422}),
        (upload(picture, min_score=("NaN", "inf", "2", "-1.01", "x")[rng.integers(5)]), {422}),
        (upload(picture, filter=text), {400}),
        (upload(picture, filter="(" * int(rng.integers(21, 5000))), {400}),
        (upload(picture, filter="x" * 30_000), {422}),
        (upload(picture, group=path), {400}),
        (upload(picture, combine=name), {422}),
        (upload(picture, offset=number), {200} if number == "0" else {422}),
        (upload(picture, limit="201"), {422}),
        (upload(picture, crop=["1,1,5,5"] * 3), {400}),
        (upload(picture, secret="1"), {422}),
        (upload(picture, **{name: path}), {400, 422}),
        (upload(picture, within=name), {400}),
        (upload(picture, within="x" * 2000, group="patent"), {422}),
        (upload(picture, within=identity, group="patent"), {200}),  # no drawing has this patent
        (upload(picture, within=text, group="patent", filter=text), {400}),
        (upload(large, name), {413}),
        (compare(picture), {400}),
        (compare(picture, noise), {400}),
        (compare(picture, bombs[rng.integers(len(bombs))]), {400}),
        (compare(picture, picture, crop=crop), {400}),
        (compare(picture, picture, k=number), {422}),
        (compare(picture, large), {413}),
        (compare(picture, ids=identity), {400}),
        (compare(picture, ids=["x"] * 50), {400}),
        (fields(ids=identity), {400}),
        (fields(ids=["x"] * int(rng.integers(8, 50))), {413}),
        (fields(exclude_patents=["x"] * 101, ids="x"), {422}),
        (fields(), {400, 415}),
        (fields(pictures=path), {422}),
        (("POST", SEARCH, {"files": [("pictures", (name, picture))] * int(rng.integers(8, 40))}), {413}),
        (("POST", SEARCH, {"files": [("ids", (name, picture))]}), {422}),
        (("POST", SEARCH, {"json": {"ids": [identity], "k": 1}}), {415}),
        (("POST", SEARCH, {"content": noise, "headers": {"content-type": "image/png"}}), {415}),
        (raw(forms[rng.integers(len(forms))], MULTIPART), {400}),
        (raw(noise, {"content-type": "multipart/form-data"}), {400}),
        (raw(b"ids=%ff%fe&k=%00", {"content-type": "application/x-www-form-urlencoded"}), {400, 422}),
        (raw(b"a=1&" * 3000, {"content-type": "application/x-www-form-urlencoded"}), {400, 422}),
        (raw(bytes(BYTES_OF_REQUEST + 1), MULTIPART), {413}),
        (raw(iter([bytes(100_000)] * 8), MULTIPART), {400, 413}),  # without Content-Length
        (raw(b"x", {**MULTIPART, "content-length": "9" * int(rng.integers(7, 40))}), {413}),
        (get(f"/api/v1/drawings/{quote(identity)}/image"), {400, 404}),
        (get("/api/v1/drawings/..%2f..%2fetc%2fpasswd/thumbnail"), {404}),
        (get(f"/api/v1/drawings/{'x' * 8000}"), {404}),
        (get("/api/v1/drawings/x/image", params={"longest_px": number}), {422}),
        (get("/api/v1/facets", params={"column": name}), {400}),
        (get("/api/v1/facets", params={"column": "patent", "filter": text}), {400}),
        (get("/api/v1/facets", params={"column": "patent", "limit": number}), {422}),
        (get("/api/v1/drawings/x/image", headers={"if-none-match": name.encode("utf-8", "replace")}), {404}),
        (get("/page.js", headers={"if-none-match": ", ".join(['W/"x'] * 500)}), {200}),
        (get("/api/v1/facets"), {422}),
        (get("/api/v1/collection", params={"x": "1"}), {422}),
        (get("/static/..%2f..%2fapp.py"), {404}),
        (get("//etc/passwd"), {404}),
        (get("/healthz", headers={"host": host}), {421}),
        (("POST", SEARCH, {"data": {"ids": "x"}, "headers": {"origin": f"http://{host or 'null'}"}}), {403}),
        (("DELETE", f"/api/v1/drawings/{'x' * int(rng.integers(1, 50))}", {}), {403}),
        (("POST", "/api/v1/drawings", {"files": [("pictures", (path, picture))]}), {403}),
        (("POST", "/api/v1/update", {}), {403}),
        (("PUT", SEARCH, {"content": noise}), {405}),
        (("TRACE", "/", {}), {405}),
    ]


def list_requests(rng, num):
    """Return requests of all kinds in turn, until there are `num`."""
    bombs, found = make_bombs(), []
    while len(found) < num:
        found += list_kinds(rng, bombs)
    return found[:num]
