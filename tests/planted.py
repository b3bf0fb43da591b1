"""Secrets that tests plant, and a search that finds them in any bytes, also compressed or encoded."""

from __future__ import annotations

import base64
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

import pyarrow as pa
import pyarrow.parquet as pq

SECRETS = {
    "key of Anthropic": "sk-ant-api03-Planted1-of_the-user",
    "key of a gateway": "Qx7+planted/2==of~the-user",
    "token of the Hub": "hf_plantedTokenOfTheUser3",
    "key on the command line": "sk-proj-planted4-given-as-option",
    "password in a URL": "planted5:pass@word",
    "key in a query": "planted6queryKey",
    "id in options": "PLANTED7AKIAOFTHEUSER",
    "secret in options": "planted8/secret+of/the+bucket",
    "password of a proxy": "planted9proxyPassword",
}
"""By what they are. Those of gateways and buckets have signs that every encoding writes in its own way."""


def found(content: bytes) -> set[str]:
    """Return the kinds of the secrets that the bytes contain: plain, compressed, in columns, quoted or encoded."""
    told: set[str] = set()
    for plain in _unpacked(content):
        for text in {plain, unquote_to_bytes(plain.replace(b"+", b" ")), unquote_to_bytes(plain)}:
            told |= {kind for kind, secret in SECRETS.items() if any(form in text for form in _forms(secret))}
    return told


def found_in(folder: Path) -> dict[str, set[str]]:
    """Return the files of a folder that contain secrets, by path. The search covers paths as well as contents."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files, f"{folder} has nothing to search"
    told = {str(path): found(path.read_bytes()) | found(str(path).encode()) for path in files}
    return {path: kinds for path, kinds in told.items() if kinds}


def packed(secret: str) -> dict[str, bytes]:
    """Return a secret in every form in which an output may hide it, by form. The search must find all of them."""
    text = f"before {secret} after".encode()
    table, sink = pa.table({"a": [None, {"b": [text.decode()]}]}), io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    in_footer = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata({"note": text}), in_footer)
    return {
        "plain": text,
        "gzip": gzip.compress(text),
        "zstd": pa.compress(text, "zstd", asbytes=True),
        "zlib": zlib.compress(text),
        "gzip of JSON": gzip.compress(json.dumps({"a": secret}).encode()),
        "parquet": sink.getvalue(),
        "footer": in_footer.getvalue(),
        "base64": base64.b64encode(text),
        "base64 for URLs": base64.urlsafe_b64encode(b"x" + text),
        "basic": base64.b64encode(f"user:{secret}".encode()),
        "hex": text.hex().encode(),
        "percent": quote(secret, safe="").encode(),
        "every letter": "".join(f"%{byte:02X}" for byte in secret.encode()).encode(),
        "UTF-16": text.decode().encode("utf-16"),
        "representation": repr(text).encode(),
    }


def _forms(secret: str) -> Iterator[bytes]:
    raw = secret.encode()
    yield from (raw, json.dumps(secret)[1:-1].encode(), raw.hex().encode(), secret.encode("utf-16-le"))
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for shift in range(3):  # the characters at both ends depend on the neighbouring bytes
            yield encode(b"\0" * shift + raw)[4 if shift else 0 : -4]


def _unpacked(content: bytes) -> Iterator[bytes]:
    yield content
    if content.startswith(b"PAR1"):
        file = pq.ParquetFile(pa.BufferReader(content))
        yield repr(file.schema_arrow.metadata).encode()
        for row in file.read().to_pylist():
            yield json.dumps(row, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass")
    for start, read in {b"\x1f\x8b": gzip.decompress, b"\x28\xb5\x2f\xfd": _zstd, b"\x78": zlib.decompress}.items():
        if content.startswith(start):
            try:
                yield read(content)
            except (OSError, EOFError, zlib.error):
                continue


def _zstd(content: bytes) -> bytes:
    with pa.CompressedInputStream(pa.BufferReader(content), "zstd") as stream:
        return bytes(stream.read())
