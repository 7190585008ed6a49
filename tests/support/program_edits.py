"""Program files with something changed in them, whose hashes say so: what is left to find it are
the rules that values obey."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import blake3


def members_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(members: Mapping[str, bytes], to: Path, how: int = zipfile.ZIP_STORED) -> Path:
    """An archive of the members, as an ordinary tool would write it."""
    with zipfile.ZipFile(to, "w", how) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return to


def edited(
    source: Path,
    to: Path,
    edit: Callable[[dict[str, Any]], object] = lambda facts: None,
    **members: bytes | None,
) -> Path:
    """A copy with an edited manifest, and other bytes of members (`__` for `/` and `.` in names;
    None: without it)."""
    content = members_of(source)
    for spelled, data in members.items():
        name = next(n for n in content if n.replace("/", "__").replace(".", "__") == spelled)
        content.pop(name) if data is None else content.update({name: data})
    facts = json.loads(content["manifest.json"])
    for name in list(facts["members"]):
        data = content.get(name)
        if data is None:
            del facts["members"][name]
        else:
            hashed = blake3.blake3(data).hexdigest()
            facts["members"][name] = {"size_bytes": len(data), "blake3": hashed}
    edit(facts)
    content["manifest.json"] = json.dumps(facts).encode()
    content["manifest.blake3"] = blake3.blake3(content["manifest.json"]).hexdigest().encode()
    return packed(content, to)
