#!/bin/sh
# Checks an APK's natives: both ABIs are there, and every one can be mapped on phones with 16 KB pages: its segments
# are aligned to 16 KB, and it lies uncompressed at a multiple of 16 KB in the archive. Needs python3.
set -eu
exec python3 - "${1:?give an APK}" <<'PYTHON'
import struct
import sys
import zipfile

PAGE = 16384
wrong, abis = [], set()
with zipfile.ZipFile(sys.argv[1]) as archive, open(sys.argv[1], "rb") as raw:
    for entry in archive.infolist():
        if not (entry.filename.startswith("lib/") and entry.filename.endswith(".so")):
            continue
        abis.add(entry.filename.split("/")[1])
        raw.seek(entry.header_offset + 26)
        name, extra = struct.unpack("<HH", raw.read(4))
        if entry.compress_type != zipfile.ZIP_STORED or (entry.header_offset + 30 + name + extra) % PAGE:
            wrong.append(f"{entry.filename} lies compressed, or not at a multiple of 16 KB")
        data = archive.read(entry)
        start, size, count = *struct.unpack_from("<Q", data, 32), *struct.unpack_from("<HH", data, 54)
        for index in range(count):
            at = start + index * size
            kind, align = struct.unpack_from("<I", data, at)[0], struct.unpack_from("<Q", data, at + 48)[0]
            if kind == 1 and align % PAGE:
                wrong.append(f"{entry.filename} has a segment aligned to {align}")
wrong += [f"there are no natives for {abi}" for abi in ("arm64-v8a", "x86_64") if abi not in abis]
print("\n".join(wrong) or f"natives for {', '.join(sorted(abis))} can be mapped at 16 KB pages")
sys.exit(bool(wrong))
PYTHON
