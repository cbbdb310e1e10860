"""ONNX Runtime for browsers, from the folder of the package ``onnxruntime-web`` that its user has installed with npm."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from gconv_gan.config.errors import UserError

PACKAGE = "onnxruntime-web"
SCRIPT, LOADER, BINARY = "ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"
"""Files in its folder ``dist``, since version 1.19: the interface, the loader of the binary, and the binary, which runs on the CPU."""
INSTALL = f"npm install --no-save {PACKAGE}"
MIT = """Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial
portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES
OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
"""The terms of the MIT License, which the package names without a copy of them."""


@dataclass(frozen=True)
class BrowserRuntime:
    """The files of the runtime that a page needs."""

    version: str
    script: bytes
    loader: bytes
    binary: bytes

    @property
    def license(self) -> str:
        """Return the copyright notice at the top of the script and the terms of the MIT License."""
        notice = re.search(r"/\*!(.*?)\*/", self.script.decode(), re.DOTALL)
        lines = [line.strip(" *") for line in (notice[1] if notice else PACKAGE).strip().splitlines()]
        return "\n".join([*lines, "", MIT])


def read_runtime(folder: Path) -> BrowserRuntime:
    """Return the runtime in the folder of the installed package, ``node_modules/onnxruntime-web``, or in its folder ``dist``.

    Raises:
        UserError: the folder is not this package, or its version lacks a file.

    """
    package = folder.parent if folder.name == "dist" else folder
    try:
        facts = json.loads((package / "package.json").read_text())
        name, version = str(facts["name"]), str(facts["version"])
    except (OSError, ValueError, KeyError, TypeError):
        name, version = "", ""
    if name != PACKAGE:
        raise UserError(f"--slider {folder} is not the package {PACKAGE}: {INSTALL}, and give node_modules/{PACKAGE}")
    for file in (SCRIPT, LOADER, BINARY):
        if not (package / "dist" / file).is_file():
            raise UserError(f"--slider {folder}: {PACKAGE} {version} has no dist/{file}, which versions since 1.19 have: {INSTALL}@latest")
    script, loader, binary = ((package / "dist" / file).read_bytes() for file in (SCRIPT, LOADER, BINARY))
    return BrowserRuntime(version, script, loader, binary)
